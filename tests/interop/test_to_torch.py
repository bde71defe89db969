"""Networks as modules of PyTorch: the same outputs in its order, layers that are trained, blocks without counterpart."""

from __future__ import annotations

import networks
import numpy as np
import pytest
from torch_modules import nn, torch

import paralift as pl

TOLERANCE = 1e-5


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_outputs_are_the_networks(name):
    net, params, x = networks.made(name)
    module = pl.to_torch(net, params)
    assert not module.training
    with torch.no_grad():
        found = module(torch.from_numpy(networks.first(name, x))).numpy()
    np.testing.assert_allclose(found, networks.first(name, net.apply(params, x)), rtol=0, atol=TOLERANCE)


def test_layers_are_pytorchs_and_are_trained():
    net = pl.Sequential(pl.Linear(3, 4), pl.BatchNorm(4), pl.ReLU(), pl.Dropout(0.5), pl.Linear(4, 2))
    params = net.init(0)
    module = pl.to_torch(net, params)
    assert [type(m) for m in module.children()] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Dropout, nn.Linear]
    module.train()
    module(torch.randn(8, 3)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for n, p in module.named_parameters() if n != "linear1.bias")
    assert module.linear1_batch_norm.running_mean.abs().sum() > 0
    assert not params["linear1"]["mean"].any()  # a copy is trained


def test_gradients_are_the_networks():
    net = pl.Sequential(pl.Linear(3, 4), pl.ReLU(), pl.Linear(4, 3), pl.Softmax())
    params, rng = net.init(0), np.random.default_rng(0)
    x, y = rng.standard_normal((5, 3)).astype(np.float32), rng.integers(0, 3, 5)
    _, grads = pl.value_and_grad(net, method=pl.methods.backprop())(params, x, y)
    module = pl.to_torch(net, params)
    chosen = module(torch.from_numpy(x))[torch.arange(5), torch.from_numpy(y)]
    (-chosen.log().mean()).backward()
    for name in ("linear1", "linear2"):
        layer = module.get_submodule(name)
        np.testing.assert_allclose(layer.weight.grad.numpy(), grads[name]["weight"].T, atol=1e-6)
        np.testing.assert_allclose(layer.bias.grad.numpy(), grads[name]["bias"], atol=1e-6)


def test_what_has_no_counterpart_is_named():
    net = pl.Sequential(pl.Linear(3, 4), pl.Sparsemax())
    with pytest.raises(pl.interop.UnsupportedError, match=r"block 1 \(linear1, .*Sparsemax has no counterpart; supported: "):
        pl.to_torch(net, net.init(0))
    with pytest.raises(ValueError, match="blocks missing"):
        pl.to_torch(net, {})
