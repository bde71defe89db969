"""The study of unrolled denoisers: its reference in PyTorch, its measure, its two ranks' program, a short run."""

import json
import runpy
import sys

import numpy as np
import pytest

import paralift as pl
from paralift.bench import clean, denoiser, learning, torch_reference
from paralift.bench.studies import DEFAULT, TORCH


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a folder of few and small pictures of steps, in place of the real ones."""
    rng = np.random.default_rng(0)
    (tmp_path / "grey-denoise").mkdir()
    for name, n, side in (("train400", 6, 2 * denoiser.PATCH), ("set12", 2, 40), ("bsd68", 2, 45)):
        pictures = rng.integers(0, 256, (n, side, side // 20 + 1), np.uint8).repeat(20, axis=2)[:, :, :side]
        np.savez(tmp_path / "grey-denoise" / f"{name}.npz", images=pictures)
    monkeypatch.setenv("PARALIFT_DATA", str(tmp_path))
    monkeypatch.setenv(clean.MARK, "{}")
    return tmp_path


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(denoiser, "DEPTH", 2)
    monkeypatch.setattr(denoiser, "FILTERS", 4)
    monkeypatch.setattr(denoiser, "KERNEL", 3)
    monkeypatch.setattr(denoiser, "STRIDE", 7)


def test_known_ratios():
    assert denoiser.psnr(np.full((4, 4), 0.6), np.full((4, 4), 0.5)) == pytest.approx(20.0)
    noise = np.random.default_rng(0).standard_normal((200, 200)) * denoiser.SIGMA / 255
    assert denoiser.psnr(noise, np.zeros((200, 200))) == pytest.approx(20.17, abs=0.05)


@pytest.mark.parametrize("torch", [True, False])
def test_a_short_run(torch, folder, small, monkeypatch, capsys):
    if torch:
        pytest.importorskip("torch", reason="PyTorch is not installed")
    else:
        monkeypatch.setattr(torch_reference, "available", lambda: False)
    assert learning.main(["denoiser", "--quick", "--out", str(folder)]) == 0
    found = json.loads((folder / "learning-denoiser.json").read_text())["results"]
    assert list(found) == denoiser.names(ranks=False)
    for key in denoiser.SETS:
        assert 20.2 < found[DEFAULT][key]["mean"] < 40
        if torch_reference.available():
            assert found[DEFAULT][key]["mean"] == pytest.approx(found[TORCH][key]["mean"], abs=0.05)
    assert str(folder) not in json.dumps(found) and "BSD68" in capsys.readouterr().out


def test_without_a_folder_the_way_out_is_said(monkeypatch, capsys):
    monkeypatch.setenv(clean.MARK, "{}")
    monkeypatch.delenv("PARALIFT_DATA", raising=False)
    assert learning.main(["denoiser", "--quick"]) == 2
    assert "PARALIFT_DATA" in capsys.readouterr().err


def test_the_program_of_the_ranks_writes_parameters(folder, small, monkeypatch):
    path = folder / "params.npz"
    monkeypatch.setattr(sys, "argv", [str(denoiser.CHILD), "0", "0", str(path)])
    runpy.run_path(str(denoiser.CHILD), run_name="__main__")
    found, expected = denoiser.read_params(path), denoiser.trained(DEFAULT, 0, False)
    for block, arrays in expected.items():
        np.testing.assert_array_equal(found[block]["weight"], arrays["weight"])
        assert not np.array_equal(arrays["weight"], pl.networks.cosine_filters(denoiser.network(), 0)[block]["weight"])


@pytest.mark.parametrize(
    "layers",
    [
        (pl.Conv2d(1, 3, (3, 5), padding="same"), pl.Hardtanh(-0.5, 0.7), pl.ConvTranspose2d(3, 2, 3, padding="same")),
        (pl.Conv2d(1, 4, 3), pl.Hardtanh(), pl.ConvTranspose2d(4, 2, 3, stride=2, padding=1, groups=2)),
        (pl.Conv2d(1, 2, 3, padding="same", dilation=2), pl.ConvTranspose2d(2, 2, 3, dilation=2)),
    ],
)
def test_convolutions_of_the_reference(layers):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    _agree(pl.Sequential(*layers, pl.Flatten(), pl.Softmax(), input_shape=(7, 6, 1)))


def test_unrolled_layers_of_the_reference():
    pytest.importorskip("torch", reason="PyTorch is not installed")
    net = pl.networks.unrolled((6, 5, 2), 3, 4, 3, bound=0.4)
    params, x = net.init(0, np.float64), np.random.default_rng(0).standard_normal((3, 6, 5, 2))
    import torch

    theta = torch_reference.leaves(net, params)
    found = torch_reference.logits(net, theta, torch.from_numpy(x))
    np.testing.assert_allclose(found.detach().numpy(), net.apply(params, x), atol=1e-12)
    y = np.zeros_like(x)
    loss, expected = pl.value_and_grad(net, pl.methods.backprop())(params, x, y)
    value = torch_reference.half_squares(found, torch.from_numpy(y))
    value.backward()
    assert value.item() == pytest.approx(loss)
    for block, arrays in expected.items():
        np.testing.assert_allclose(theta[block]["weight"].grad.numpy(), arrays["weight"], atol=1e-12)


def _agree(net):
    rng = np.random.default_rng(0)
    params, x = net.init(0, np.float64), rng.standard_normal((3, *net.input_shape))
    y = rng.integers(0, net.blocks[-1].shape[-1], 3)
    expected = pl.value_and_grad(net, pl.methods.backprop())(params, x, y)[1]
    found = torch_reference.gradients(net, params, x, y)
    for block, arrays in expected.items():
        for name, a in arrays.items():
            np.testing.assert_allclose(found[block][name], a, rtol=0, atol=1e-12)
