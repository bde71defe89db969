"""The pieces of docs/extend.md work as it says: every block is run, and each learns the digits."""

import re
from pathlib import Path

import pytest
from threadpoolctl import threadpool_limits

PAGE = (Path(__file__).parents[1] / "docs" / "extend.md").read_text()
BLOCK = re.compile(r"```python\n(.*?)```\n(?:\n```\n(.*?)```)?", re.DOTALL)
PIECES = {part.split("\n", 1)[0]: BLOCK.search(part) for part in PAGE.split("\n## ")[1:] if BLOCK.search(part)}
LONGEST = 30


@pytest.fixture(scope="module")
def script():
    """Return the names that the blocks share."""
    names = {"__name__": "extend"}
    exec(BLOCK.search(PAGE)[1], names)
    return names


@pytest.mark.parametrize("title", ["An activation", "A map", "A penalty", "A method", "An update rule"])
def test_piece(title, script, capsys):
    code, shown = PIECES[title].groups()
    with threadpool_limits(limits=1, user_api="blas"):
        exec(compile(code, f"extend.md, {title}", "exec"), script)
    found = float(capsys.readouterr().out)
    assert found >= 0.9 and found == pytest.approx(float(shown), abs=0.025)
    assert sum(bool(line.strip()) for line in code.splitlines()) < LONGEST
