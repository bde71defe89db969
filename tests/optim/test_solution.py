"""The picture of a solution and the line that tells of a run."""

import io

import numpy as np
import pytest
from u1 import U1

import paralift as pl
from paralift.optim.solution import Live, Solution


def test_a_picture_of_the_history(tmp_path):
    found = pl.solve(U1, comm=None, every=5)
    path = found.plot(tmp_path / "curve.png", U1.optimum)
    assert path is not None and path.read_bytes().startswith(b"\x89PNG")
    assert found.plot(tmp_path / "own.pdf") == tmp_path / "own.pdf"  # against the least of the run


def test_no_picture_without_a_history_or_on_other_ranks(tmp_path):
    with pytest.raises(ValueError, match="pass every= to solve"):
        pl.solve(U1, comm=None).plot(tmp_path / "curve.png")
    other = Solution(np.zeros(1), 0.0, "updates", 1, 0.0, [], {}, rank=1)
    assert other.plot(tmp_path / "curve.png") is None and not list(tmp_path.iterdir())


def test_lines_are_told_now_and_then():
    stream = io.StringIO()
    live = Live(stream)
    for update in (1, 2):
        live({"update": update, "seconds": 0.1, "residual": 1e-3, "bytes": 2_000_000, "objective": 1.5, "delay": 4})
    assert stream.getvalue() == "update 1, 0.10 s, F = 1.5, residual 1.00e-03, delay 4, 2 MB sent\n"


def test_progress_tells_of_the_run(capsys):
    pl.solve(U1, pl.optim.ProximalGradientDescent(), comm=None, progress=True)
    assert "update 50, " in capsys.readouterr().err
