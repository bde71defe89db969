"""The README's example prints what the README says."""

import re
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_example_prints_what_is_shown(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    shown = re.search(r"```python\n.*?```\s+```\n(.*?)```", README, re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    assert shown is not None and capsys.readouterr().out == shown[1]


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (Path(__file__).parents[1] / target).exists(), target
