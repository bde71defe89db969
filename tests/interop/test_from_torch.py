"""Modules that this project did not write, from PyTorch: the same outputs, the way back, and errors that name the module."""

from __future__ import annotations

import networks
import numpy as np
import pytest
import torch_modules
from hypothesis import given, settings
from torch_modules import nn, torch

import paralift as pl
from paralift.expressions import parse
from paralift.lifted.activations import BatchNormalise
from paralift.vocabulary import NETWORK

TOLERANCE = 1e-5


def channels_last(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, 1, -1).copy()


def as_it_is(x: np.ndarray) -> np.ndarray:
    return x


def check(module, example, take=as_it_is, give=as_it_is, way_back=as_it_is):
    """Compare the module, the network made of it, and the module made of that; `take` and `give` turn arrays for ParaLift."""
    net, params = pl.from_torch(module, example)
    module.eval()
    with torch.no_grad():
        expected = module(example).numpy()
    x = take(example.numpy()).astype(np.float32)
    np.testing.assert_allclose(net.apply(params, x), give(expected), rtol=0, atol=TOLERANCE * (1 + np.abs(expected).max()))
    back = pl.to_torch(net, params)
    with torch.no_grad():
        again = back(torch.from_numpy(way_back(example.numpy()).copy())).numpy()
    np.testing.assert_allclose(again, way_back(expected), rtol=0, atol=TOLERANCE * (1 + np.abs(expected).max()))
    return net, params


@settings(max_examples=12, deadline=None)
@given(torch_modules.modules())
def test_round_trip_of_random_networks(given_):
    module, example, kind = given_
    moved = channels_last if kind in ("image", "series") else as_it_is
    check(module, example, moved, moved if kind == "series" else as_it_is)


def test_resnet18_of_pytorchs_layers():
    module = torch_modules.resnet18(width=4, classes=5)
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    net, params = check(module, x, channels_last)
    assert parse(net.source, NETWORK).build().source == net.source  # what configurations and checkpoints keep
    assert isinstance(net, pl.Graph) and net.input_shape == (32, 32, 3) and net.output_shape == (5,)
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    blocks = [b for b in net.blocks if isinstance(b.activation, BatchNormalise)]
    assert len(norms) == len(blocks) == 20
    np.testing.assert_array_equal(params[blocks[0].name]["variance"], norms[0].running_var.numpy())


ENCODERS = [(True, True, "gelu"), (False, False, "relu"), (False, True, "gelu")]


@pytest.mark.parametrize(("first", "samples_first", "activation"), ENCODERS)
def test_transformer_encoder(first, samples_first, activation):
    layer = nn.TransformerEncoderLayer(8, 2, 12, 0.1, activation, batch_first=samples_first, norm_first=first)
    module = torch_modules.moved(nn.TransformerEncoder(layer, 2, nn.LayerNorm(8), enable_nested_tensor=False))
    turned = as_it_is if samples_first else lambda x: np.swapaxes(x, 0, 1)
    x = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(1))
    net, _ = check(module, x, turned, turned, turned)
    assert sum(isinstance(b.map, pl.Dropout) for b in net.blocks) == 2 * 4


def test_a_language_model_with_positions_mask_and_a_shared_table():
    module = torch_modules.moved(torch_modules.LanguageModel(), but=("mask",))
    net, params = check(module, torch.randint(0, 11, (2, 6), generator=torch.Generator().manual_seed(1)))
    assert [tie.blocks for tie in net.ties] == [("embedding1", "readout1")]
    back = pl.to_torch(net, params)
    assert back.embedding1.weight is back.readout1.weight


@pytest.mark.parametrize("name", torch_modules.SINGLE)
def test_every_module_of_the_page_alone(name):
    module, shape = torch_modules.SINGLE[name]
    moved = channels_last if len(shape) > 1 else as_it_is
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(1))
    check(torch_modules.moved(module), x, moved, moved)


@pytest.mark.parametrize("name", torch_modules.FORWARDS)
def test_forwards_that_are_functions(name):
    forward, layers, shape = torch_modules.FORWARDS[name]
    module = torch_modules.moved(torch_modules.Written(forward, **layers()))
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(1))
    check(module, x, channels_last if len(shape) == 3 else as_it_is)


@pytest.mark.parametrize("name", ["series", "norms and pools", "residual network"])
def test_what_went_to_pytorch_comes_back(name):
    net, params, x = networks.made(name)
    again, values = pl.from_torch(pl.to_torch(net, params), torch.from_numpy(networks.first(name, x)))
    np.testing.assert_allclose(again.apply(values, x), net.apply(params, x), rtol=0, atol=TOLERANCE)


def test_a_module_keeps_its_mode_and_its_parameters():
    module = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.BatchNorm1d(4))
    module[2].eval()
    net, params = pl.from_torch(module, torch.randn(1, 3))
    assert [m.training for m in module] == [True, True, False]
    params["linear1"]["bias"][...] = 7.0
    assert not (module[0].bias == 7.0).any()
    assert module[2].num_batches_tracked == 0
    assert repr(net) == (
        "Sequential(Linear(in_features=3, out_features=4, bias=True), Dropout(rate=0.5), "
        "BatchNorm(width=4, eps=1e-05, momentum=0.1, shared=False), input_shape=(3,))"
    )


def test_a_network_from_pytorch_is_trained_on():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 4)).astype(np.float32)
    y = (x[:, 0] > x[:, 1]).astype(int)
    torch.manual_seed(0)
    net, params = pl.from_torch(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2), nn.Softmax(-1)), torch.zeros(1, 4))
    run = pl.fit(net, (x, y), params=params, optimizer=pl.optim.Adam(0.02), epochs=20, batch_size=16, comm=None, progress=False)
    before, after = (pl.to_torch(net, p)(torch.from_numpy(x)).argmax(1).numpy() for p in (params, run.params))
    assert (after == y).mean() > max(0.95, (before == y).mean())


REFUSED = {
    "Bilinear": (nn.Sequential(nn.Linear(3, 4), nn.PReLU()), (3,), r"1 = PReLU\(.*: supported: .*Linear"),
    "an argument": (
        nn.Conv2d(1, 2, 3, padding_mode="circular"),
        (1, 4, 4),
        "Conv2d.*padding_mode is 'circular', supported: 'zeros'",
    ),
    "no proximal map": (nn.ELU(2.0), (3,), "ELU.*alpha = 2.0 was given, expected 0 < alpha <= 1"),
    "another output": (nn.MaxPool2d(2, ceil_mode=True), (1, 5, 5), r"MaxPool2d.*samples of shape \(1, 3, 3\)"),
    "statistics": (nn.BatchNorm1d(3, track_running_stats=False), (3,), "track_running_stats is False"),
    "a function": (torch_modules.Written(lambda self, x: torch.sort(x)[0]), (3,), "call of .*sort.*returns sort"),
    "a product": (torch_modules.Written(lambda self, x: x * x), (3,), "call of .*mul.*: supported: products with a number"),
    "a decision": (
        torch_modules.Written(lambda self, x: x if x.sum() > 0 else -x),
        (3,),
        "torch.fx cannot trace .*must not decide",
    ),
    "an attribute": (torch_modules.Written(lambda self, x: x + x.data), (3,), "call of .*getattr"),
    "weights of attention": (
        torch_modules.Written(lambda self, x: self.a(x, x, x)[1], a=nn.MultiheadAttention(2, 1, batch_first=True)),
        (3, 2),
        "but not its weights",
    ),
    "samples mixed": (torch_modules.Written(lambda self, x: x.flatten()), (3,), "several samples together"),
    "half precision": (nn.Linear(3, 4).half(), (3,), "float16, supported: float32, float64; module.float"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_named(name):
    module, shape, message = REFUSED[name]
    with pytest.raises(pl.interop.UnsupportedError, match=message):
        pl.from_torch(module, torch.zeros(2, *shape))


def test_arguments_of_the_wrong_kind_are_named():
    with pytest.raises(TypeError, match="module is int, expected torch.nn.Module"):
        pl.from_torch(3, torch.zeros(1, 1))
    with pytest.raises(TypeError, match=r"example is \(3,\), expected a tensor of samples"):
        pl.from_torch(nn.ReLU(), torch.zeros(3))
