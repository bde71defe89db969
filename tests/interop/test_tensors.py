"""Parameters in files of safetensors: back as they were, and errors that name what does not fit."""

from __future__ import annotations

import numpy as np
import pytest

import paralift as pl

safetensors = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed: pip install paralift[safetensors]")


def network(width: int = 4) -> pl.Sequential:
    return pl.Sequential(pl.Linear(3, width), pl.BatchNorm(width), pl.ReLU(), pl.Linear(width, 2), pl.Softmax())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parameters_come_back(tmp_path, dtype):
    net = network()
    params = net.init(1, dtype)
    pl.save_safetensors(tmp_path / "net.safetensors", params)
    assert set(safetensors.load_file(tmp_path / "net.safetensors")) == {
        *("linear1.weight", "linear1.bias", "linear1.mean", "linear1.variance"),
        *("diagonal1.gain", "diagonal1.shift", "linear2.weight", "linear2.bias"),
    }
    found = pl.load_safetensors(tmp_path / "net.safetensors", net)
    assert {b: list(a) for b, a in found.items()} == {b: list(a) for b, a in params.items()}
    for block, arrays in params.items():
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[block][name], array)
            assert found[block][name].dtype == dtype and found[block][name].flags.writeable
    assert [f.name for f in tmp_path.iterdir()] == ["net.safetensors"]


def write(path, change):
    """Write the network's parameters after a change."""
    flat = {f"{b}.{n}": a for b, arrays in network().init(0).items() for n, a in arrays.items()}
    change(flat)
    safetensors.save_file(flat, path)


WRONG = {
    "missing and unknown": (
        lambda f: f.update(other=f.pop("linear1.bias")),
        r"missing \['linear1.bias'\], unknown \['other'\]",
    ),
    "a shape": (
        lambda f: f.update({"linear1.bias": np.zeros(3, np.float32)}),
        r"linear1.bias has shape \(3,\), expected \(4,\)",
    ),
    "types": (
        lambda f: f.update({"linear1.bias": np.zeros(4)}),
        r"holds \['float32', 'float64'\], expected float32 or float64 for all",
    ),
    "not a number": (lambda f: f["linear2.weight"].fill(np.nan), "linear2.weight has 8 numbers that are not finite"),
}


@pytest.mark.parametrize("name", WRONG)
def test_files_that_do_not_fit_are_named(tmp_path, name):
    change, message = WRONG[name]
    write(tmp_path / "net.safetensors", change)
    with pytest.raises(ValueError, match=message):
        pl.load_safetensors(tmp_path / "net.safetensors", network())


def test_other_files_are_named(tmp_path):
    (tmp_path / "text").write_text("no tensors")
    with pytest.raises(ValueError, match="text is no file of safetensors"):
        pl.load_safetensors(tmp_path / "text", network())
    with pytest.raises(FileNotFoundError, match="none does not exist.*give the right path"):
        pl.load_safetensors(tmp_path / "none", network())


def test_infinite_parameters_are_not_written(tmp_path):
    params = network().init(0)
    params["linear1"]["bias"][0] = np.inf
    with pytest.raises(ValueError, match="save_safetensors: linear1.bias has 1 numbers that are not finite"):
        pl.save_safetensors(tmp_path / "net.safetensors", params)
    assert not list(tmp_path.iterdir())
