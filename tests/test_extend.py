"""The pieces of docs/extend.md work as it says: every block is run, and each learns the digits."""

import ast
import re
from pathlib import Path

import pytest
from threadpoolctl import threadpool_limits

PAGE = (Path(__file__).parents[1] / "docs" / "extend.md").read_text()
BLOCKS = dict(re.findall(r"^## (.*?)\n(?:(?!^## ).*\n)*?```python\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE))
LONGEST = 30


@pytest.mark.parametrize("title", ["An activation", "A map", "A penalty", "A method", "An update rule"])
def test_block(title, capsys):
    with threadpool_limits(limits=1, user_api="blas"):
        exec(compile(BLOCKS[title], f"extend.md, {title}", "exec"), {"__name__": "extend"})
    assert float(capsys.readouterr().out) >= 0.9
