"""The studies of what is learnt: cosines, the reference in PyTorch, and short runs of each study."""

import gzip
import json
import math
import sys

import numpy as np
import pytest

import paralift as pl
from paralift.bench import accuracy, clean, cosines, learning, quantised, studies, torch_reference


@pytest.fixture(autouse=True)
def clean_here(monkeypatch):
    monkeypatch.setenv(clean.MARK, "{}")


def test_cosines_of_known_vectors():
    a = np.array([[3.0, 0.0], [0.0, 4.0]], np.float32)
    assert cosines.cosine(a, 2 * a) == pytest.approx(1.0)
    assert cosines.cosine(a, -a) == pytest.approx(-1.0)
    assert cosines.cosine(a, np.array([[0.0, 1.0], [1.0, 0.0]])) == 0.0
    assert cosines.cosine(a, np.array([[5.0, 0.0], [0.0, 0.0]])) == pytest.approx(0.6)
    assert cosines.cosine(0 * a, 0 * a) == 1.0
    assert cosines.cosine(0 * a, a) == 0.0


def test_a_gradient_that_is_not_finite_is_the_worst():
    good, bad = np.ones(3), np.array([1.0, math.nan, 1.0])
    found = {"a": {"weight": bad, "bias": good}, "b": {"weight": -good}}
    expected = {"a": {"weight": good, "bias": good}, "b": {"weight": good}}
    assert cosines.smallest(found, expected) == (-math.inf, "a.weight")


def test_the_smallest_cosine_is_named():
    expected = {"a": {"weight": np.ones(2)}, "b": {"weight": np.ones(2)}}
    found = {"a": {"weight": np.ones(2)}, "b": {"weight": np.array([1.0, 0.0])}}
    value, where = cosines.smallest(found, expected)
    assert where == "b.weight" and value == pytest.approx(0.5**0.5)


def test_residual_networks_have_the_stated_scales():
    network = cosines.residual(3)
    params = cosines.residual_params(network, 0.3)
    assert len(params) == 2 + 2 * 3
    ends = [a["weight"] for a in params.values() if a["weight"].shape == (cosines.INNER, cosines.WIDTH)]
    assert np.std(ends) == pytest.approx(0.3 / cosines.INNER**0.5, rel=0.02)


@pytest.mark.parametrize("kind", cosines.KINDS)
def test_reference_agrees_with_backpropagation(kind):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    network, params, x, y = cosines._random_case(cosines.KINDS[kind], 3)
    expected = pl.value_and_grad(network, pl.methods.backprop())(params, x, y)[1]
    found = torch_reference.gradients(network, params, x, y)
    for block, arrays in expected.items():
        for name, a in arrays.items():
            np.testing.assert_allclose(found[block][name], a, rtol=0, atol=1e-12 * max(1.0, np.abs(a).max()))


def test_reference_takes_the_same_batches_and_steps():
    pytest.importorskip("torch", reason="PyTorch is not installed")
    network = studies.perceptron((64, 12, 10))
    data = pl.data.digits()
    start = network.init(4)
    found = torch_reference.train(network, start, data, epochs=1, batch_size=128, rate=1e-3, seed=4)
    expected = pl.fit(
        network, data, method=pl.methods.backprop(), optimizer=pl.optim.Adam(1e-3), epochs=1, batch_size=128, seed=4,
        comm=None, progress=False,
    ).params  # fmt: skip
    for block, arrays in expected.items():
        for name, a in arrays.items():
            np.testing.assert_allclose(found[block][name], a, rtol=0, atol=2e-5)
            assert not np.array_equal(a, start[block][name])


def test_reference_refuses_what_it_does_not_know():
    pytest.importorskip("torch", reason="PyTorch is not installed")
    network = pl.Sequential(pl.Linear(3, 4), pl.Arctan(), pl.Linear(4, 2), pl.Softmax())
    with pytest.raises(TypeError, match="linear1.*Arctan.*no counterpart"):
        torch_reference.gradients(network, network.init(0, np.float64), np.zeros((2, 3)), np.zeros(2, int))


def test_reference_trains_convolutions_and_running_statistics():
    pytest.importorskip("torch", reason="PyTorch is not installed")
    network = pl.Sequential(
        pl.Reshape(8, 8, 1), pl.Conv2d(1, 4, 3, stride=2, padding=1, bias=False), pl.BatchNorm(4), pl.ReLU(),
        pl.Conv2d(4, 6, 3, groups=2), pl.ReLU(), pl.MaxPool2d(2), pl.GlobalAverage(), pl.Linear(6, 10), pl.Softmax(),
        input_shape=(64,),
    )  # fmt: skip
    data, start = pl.data.digits(), network.init(4)
    found = torch_reference.train(network, start, data, epochs=1, batch_size=256, rate=1e-3, seed=4)
    expected = pl.fit(
        network, data, method=pl.methods.backprop(), optimizer=pl.optim.Adam(1e-3), epochs=1, batch_size=256, seed=4,
        comm=None, progress=False,
    ).params  # fmt: skip
    for block, arrays in expected.items():
        for name, a in arrays.items():
            np.testing.assert_allclose(found[block][name], a, rtol=0, atol=1e-4)
            assert not np.array_equal(a, start[block][name])


def run(tmp_path, *argv):
    code = learning.main([*argv, "--quick", "--out", str(tmp_path)])
    path = tmp_path / f"learning-{argv[0]}.json"
    return code, json.loads(path.read_text()) if path.exists() else None


@pytest.mark.parametrize("torch", [True, False])
def test_digits(torch, tmp_path, monkeypatch, capsys):
    if torch:
        pytest.importorskip("torch", reason="PyTorch is not installed")
    else:
        monkeypatch.setattr(torch_reference, "available", lambda: False)
    code, found = run(tmp_path, "digits")
    assert code == 0 and found["epochs"] == 1
    for name, result in found["results"].items():
        if name == studies.TORCH and not torch_reference.available():
            assert result["status"] == "not installed"
            continue
        assert list(result["test_accuracy"]) == ["split 0"]
        assert 0.3 < result["mean"] <= 1.0
    assert studies.DEFAULT in capsys.readouterr().out


def test_mnist1d(tmp_path):
    pytest.importorskip("mnist1d", reason="the package mnist1d is not installed")
    code, found = run(tmp_path, "mnist1d")
    assert code == 0
    assert set(studies.ALL_NUDGES) <= set(found["results"])
    assert found["results"][studies.DEFAULT]["method"] == repr(pl.methods.nudged())


def test_quantised(tmp_path):
    code, found = run(tmp_path, "quantised")
    results = found["tasks"]["digits"]
    assert code == 0 and list(results) == ["2 bits", "3 bits", "sign", quantised.FULL]
    assert {"nudged(beta=3)", "nudged(beta=4)", "nudged(relative=0.5)"} <= set(results["2 bits"])
    assert studies.TORCH not in results[quantised.FULL]
    for kind, methods in results.items():
        assert 0.2 < methods[quantised.ours(kind)]["mean"] <= 1.0
    assert (tmp_path / "learning-quantised.png").stat().st_size > 10_000


@pytest.mark.parametrize("quantizer", [pl.Quantizer(4), pl.Quantizer(8, high=2.0, signed=True), pl.Sign()], ids=repr)
def test_straight_through_has_the_values_of_the_quantiser_and_the_slope_of_a_clip(quantizer):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    z = np.linspace(-3.05, 3.05, 24).reshape(4, 6)
    at = torch.tensor(z, requires_grad=True)
    x = torch_reference._straight_through(at, quantizer)
    x.sum().backward()
    np.testing.assert_allclose(x.detach().numpy(), quantizer.sigma(z), atol=1e-12)
    low = -quantizer.high if quantizer.signed else 0.0
    np.testing.assert_array_equal(at.grad.numpy(), (z >= low) & (z <= quantizer.high))


def idx(path, array):
    head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    with gzip.open(path, "wb") as file:
        file.write(head + array.tobytes())


@pytest.mark.parametrize("study", ["fashion", "fashion-cnn"])
def test_fashion_is_read_from_the_named_folder(study, tmp_path, monkeypatch):
    folder = tmp_path / "fashion-mnist"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for prefix, n in (("train", 300), ("t10k", 100)):
        idx(folder / f"{prefix}-images-idx3-ubyte.gz", rng.integers(0, 256, (n, 28, 28), np.uint8))
        idx(folder / f"{prefix}-labels-idx1-ubyte.gz", rng.integers(0, 10, n).astype(np.uint8))
    monkeypatch.setenv("PARALIFT_DATA", str(tmp_path))
    code, found = run(tmp_path, study)
    assert code == 0
    assert 0 <= found["results"][studies.DEFAULT]["mean"] <= 1


def test_fashion_without_a_folder_says_the_way_out(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("PARALIFT_DATA", raising=False)
    assert run(tmp_path, "fashion") == (2, None)
    assert "PARALIFT_DATA" in capsys.readouterr().err


def test_shakespeare_is_read_from_the_named_folder(tmp_path, monkeypatch, capsys):
    (tmp_path / studies.TEXT).parent.mkdir()
    (tmp_path / studies.TEXT).write_text("to be, or not to be; " * 60)
    monkeypatch.setenv("PARALIFT_DATA", str(tmp_path))
    code, found = run(tmp_path, "shakespeare")
    assert code == 0 and "Tied" in found["network"]
    for name in (studies.DEFAULT, studies.BACKPROP):
        result = found["results"][name]
        assert result["test_loss"] == {"seed 0": result["mean"]} and 0 < result["test_accuracy"]["seed 0"] <= 1
    if torch_reference.available():
        losses = [found["results"][name]["mean"] for name in ("backprop()", studies.TORCH)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    monkeypatch.delenv("PARALIFT_DATA")
    assert run(tmp_path, "shakespeare")[0] == 2
    assert "PARALIFT_DATA" in capsys.readouterr().err


def test_a_way_on_several_ranks(launch, monkeypatch):
    """Started as a program of its own, which finds the study, its column and its way by their names."""
    pytest.importorskip("mnist1d", reason="the package mnist1d is not installed")
    study = studies.STUDIES["mnist1d-residual"][1](True)
    found = accuracy._on_ranks(2, study.name, "seed 0", studies.on_ranks(2), True)
    alone = accuracy.trained(study, study.columns["seed 0"][0](), "seed 0", studies.DEFAULT, True)
    assert set(found) == {"accuracy", "loss"}
    assert found["loss"] != alone["loss"]  # forecasts are not the parameters
    assert found["loss"] == pytest.approx(alone["loss"], rel=0.1)
    monkeypatch.setattr(accuracy, "mpirun_command", lambda ranks: [sys.executable, "-c", "raise SystemExit('no such column')"])
    with pytest.raises(OSError, match="2 ranks.*'seed 9'.*no such column"):
        accuracy._on_ranks(2, study.name, "seed 9", studies.on_ranks(2), True)


def test_reference_agrees_on_a_transformer():
    pytest.importorskip("torch", reason="PyTorch is not installed")
    network = pl.networks.transformer(7, 5, 6, 1, 2)
    rng = np.random.default_rng(0)
    params, x, y = network.init(0, np.float64), rng.integers(0, 7, (3, 5)).astype(float), rng.integers(0, 7, (3, 5))
    expected = pl.value_and_grad(network, pl.methods.backprop())(params, x, y)[1]
    found = torch_reference.gradients(network, params, x, y)
    for block, arrays in expected.items():
        for name, a in arrays.items():
            np.testing.assert_allclose(found[block][name], a, rtol=0, atol=1e-12)


@pytest.mark.parametrize("torch", [True, False])
def test_gradients(torch, tmp_path, monkeypatch):
    if torch:
        pytest.importorskip("torch", reason="PyTorch is not installed")
    else:
        monkeypatch.setattr(torch_reference, "available", lambda: False)
    code, found = run(tmp_path, "gradients")
    assert code == 0
    assert ("not installed" in found["reference"]) != torch_reference.available()
    assert found["min"]["backprop()"] > 1 - 1e-12
    assert found["min"]["beta = 0.01"] > 0.999
    assert set(found["results"]) == set(cosines.KINDS)


def test_depth(tmp_path):
    pytest.importorskip("mnist1d", reason="the package mnist1d is not installed")
    code, found = run(tmp_path, "depth")
    assert code == 0
    for row in found["results"].values():
        assert set(row) == set(cosines.DEPTH_METHODS)
        assert row["beta = 0.01"]["min"] > 0.999


@pytest.mark.parametrize(("argv", "code"), [([], 2), (["nothing"], 2), (["--help"], 0), (["digits", "--help"], 0)])
def test_help_and_wrong_arguments(argv, code, capsys):
    assert learning.main(argv) == code
