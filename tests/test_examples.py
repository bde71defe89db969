"""Every example script runs and learns; its last line is its result."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
from threadpoolctl import threadpool_limits

EXAMPLES = Path(__file__).parents[1] / "examples"
ACCURACY = {"chain": 0.97, "residual": 0.95, "parallel_branches": 0.96, "graph": 0.96, "own_optimizer": 0.96, "estimator": 0.96}


def run(name: str, capsys) -> list[str]:
    """Return the lines that a script prints; one BLAS thread, since two wait for each other on a busy machine."""
    with threadpool_limits(limits=1, user_api="blas"):
        runpy.run_path(str(EXAMPLES / f"{name}.py"))
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("name", ACCURACY)
def test_classifiers(name, capsys):
    found = re.search(r"test accuracy ([\d.]+)", run(name, capsys)[-1])
    assert found is not None and float(found[1]) >= ACCURACY[name]


def test_autoencoder(capsys):
    pattern = r"(\d+)% of the code is active, error ([\d.]+)"
    dense, sparse = (re.search(pattern, line) for line in run("autoencoder", capsys))
    assert int(sparse[1]) < 0.6 * int(dense[1])
    assert float(dense[2]) < float(sparse[2]) < 0.5


def test_from_torch(capsys):
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install paralift[torch]")
    here, there = (float(line.split()[-1]) for line in run("from_torch", capsys)[-2:])
    assert here == there >= 0.9


def test_denoiser(capsys):
    noisy, untrained, trained = (float(line.split()[1]) for line in run("denoiser", capsys))
    assert noisy + 4 < untrained and untrained + 3 < trained


def test_lasso(capsys):
    lines = run("lasso", capsys)
    assert len(lines) == 4 and len({line.split("F = ")[1].split()[0] for line in lines}) == 1
    assert all(": 10 of 200 kept" in line and line.endswith("tolerance") for line in lines)


def test_all_scripts_are_tested():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*ACCURACY, "autoencoder", "denoiser", "from_torch", "lasso"}
