"""Autoencoders: their layers, and widths that make none."""

import pytest

import paralift as pl


def test_layers():
    net = pl.networks.autoencoder((6, 4, 3, 6), pl.SoftThreshold(0.1))
    assert [b.shape for b in net.blocks] == [(4,), (3,), (6,)]
    assert [b.activation for b in net.blocks] == [pl.SoftThreshold(0.1), pl.SoftThreshold(0.1), pl.Identity()]


@pytest.mark.parametrize("widths", [(4, 4), (4, 3, 5), ()])
def test_errors(widths):
    with pytest.raises(ValueError, match="the last like the first"):
        pl.networks.autoencoder(widths)
