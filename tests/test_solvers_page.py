"""The problem of one's own in docs/solvers.md is solved, and by algorithms that ask for more than its value."""

import re
from pathlib import Path

import numpy as np

import paralift as pl

PAGE = (Path(__file__).parents[1] / "docs" / "solvers.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_first_lines(capsys):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((60, 5))
    names = {"pl": pl, "rows": rows, "labels": np.sign(rows @ np.ones(5)) + 0.0}
    exec(BLOCKS[0], names)
    assert names["found"].reason == "tolerance" and "longest" in capsys.readouterr().out


def test_a_problem_of_ones_own():
    names = {"pl": pl, "np": np}
    exec(BLOCKS[1], names)
    rng = np.random.default_rng(0)
    a = rng.standard_normal((80, 6))
    b = a @ np.arange(6.0)
    b[:5] += 100.0  # what a squared loss would follow
    problem = names["Huber"](a, b)
    ways = (pl.optim.FISTA(), pl.optim.SAGA(batch_size=8))
    ends = [pl.solve(problem, way, tolerance=1e-7, max_updates=2000).x for way in ways]
    assert np.abs(ends[0] - ends[1]).max() < 1e-5 and np.abs(ends[0] - np.arange(6.0)).max() < 0.3
