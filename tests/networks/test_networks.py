"""Networks by one call: their shapes and sizes are the published ones, gradients are those of backpropagation, they learn."""

from __future__ import annotations

import numpy as np
import pytest
from problems import cosine, problem

import paralift as pl
from paralift.config import Config

SMALL = {
    "lenet": lambda: pl.networks.lenet((12, 14, 1), classes=3),
    "resnet": lambda: pl.networks.resnet(8, (8, 8, 2), classes=3, width=4),
    "resnet without norm": lambda: pl.networks.resnet(8, (8, 8, 2), classes=3, width=4, norm=None),
    "vgg": lambda: pl.networks.vgg(5, (16, 16, 1), classes=3, width=2),
    "mlp": lambda: pl.networks.mlp((3, 4), (5,), 3, pl.Tanh()),
}


def convolutions(network):
    return [b.map for b in network.blocks if isinstance(b.map, pl.Conv2d)]


def test_sizes_are_the_published_ones():
    assert pl.networks.lenet().n_parameters == 61_706
    assert pl.networks.mlp().n_parameters == 784 * 256 + 256 + 256 * 256 + 256 + 256 * 10 + 10
    resnet = pl.networks.resnet(20)
    assert len(convolutions(resnet)) == 19 + 2  # and a projection in two of the groups
    assert 0.26e6 < resnet.n_parameters < 0.28e6  # 0.27 million in the paper's table 6
    assert len(convolutions(pl.networks.vgg(16))) == 13 and pl.networks.vgg(16).output_shape == (10,)


def test_the_second_and_third_group_halve_the_image():
    shapes = [b.shape for b in pl.networks.resnet(8, width=8).blocks if isinstance(b.activation, pl.ReLU)]
    assert list(dict.fromkeys(shapes)) == [(32, 32, 8), (16, 16, 16), (8, 8, 32)]


@pytest.mark.parametrize("name", SMALL)
def test_gradients_are_those_of_backpropagation(name):
    p = problem(SMALL[name](), n=6)
    loss, expected = pl.value_and_grad(p.network, pl.methods.backprop())(p.params, p.x, p.y)
    same, found = pl.value_and_grad(p.network, pl.methods.nudged(relative=1e-4))(p.params, p.x, p.y)
    assert same == pytest.approx(loss)
    for block in p.network.blocks:
        for key in block.trained():
            if np.abs(expected[block.name][key]).max() > 1e-12:
                assert cosine(found[block.name][key], expected[block.name][key]) > 0.999, (block.name, key)


@pytest.mark.parametrize("name", SMALL)
def test_the_expression_that_a_network_shows_builds_it(name):
    network = SMALL[name]()
    text = f'data = "digits"\nnetwork = {network.source!r}\n'
    assert Config.from_text(text).network.source == network.source


def test_configurations_know_them():
    config = Config.from_text('data = "digits"\nnetwork = "networks.resnet(8, (8, 8, 1), width=4, flat=True)"\n')
    assert config.network.input_shape == (64,) and config.network.output_shape == (10,)


def test_a_residual_network_learns_the_digits():
    network = pl.networks.resnet(8, (8, 8, 1), width=8, flat=True)
    run = pl.fit(network, pl.data.digits(), optimizer=pl.optim.Adam(3e-3), epochs=4, comm=None, progress=False)
    assert run.summary["test_accuracy"] > 0.93


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: pl.networks.resnet(10), "depth is 10, expected 6 n [+] 2"),
        (lambda: pl.networks.resnet(6 * 10**9 + 2), "from 8 to 1202"),
        (lambda: pl.networks.resnet(8, norm="layer"), "norm is 'layer', expected one of"),
        (lambda: pl.networks.vgg(12), "depth is 12, expected one of"),
        (lambda: pl.networks.lenet((784,)), "input_shape is .784,., expected .height, width, channels."),
        (lambda: pl.networks.vgg(16, (16, 16, 3)), "too small"),
    ],
)
def test_networks_that_cannot_be(build, words):
    with pytest.raises(ValueError, match=words):
        build()
