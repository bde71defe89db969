"""Rates by trial: the curve is that of the run it stands for, and the suggestion is one that learns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import paralift as pl
from paralift.training.rates import losses_of, smooth, suggest

DATA = pl.data.digits()


def network():
    return pl.Sequential(pl.Linear(64, 32), pl.ReLU(), pl.Linear(32, 10), pl.Softmax())


@pytest.mark.parametrize("rule", [pl.optim.SGD(0.1, momentum=0.9), pl.optim.Adam()], ids=["sgd", "adam"])
@pytest.mark.parametrize("schedule", ["flush", "unflushed"])
def test_the_suggestion_learns_well(rule, schedule):
    settings = {"comm": None, "progress": False, "schedule": schedule, "plan": "counted"}
    found = pl.find_rate(network(), DATA, optimizer=rule, high=100.0, steps=150, **settings)
    assert len(found.rates) == len(found.losses) == len(found.smoothed) < 150 and np.isfinite(found.losses).all()
    assert found.smoothed[-1] > 4 * min(found.smoothed)
    ratios = np.array(found.rates[1:]) / np.array(found.rates[:-1])
    np.testing.assert_allclose(ratios, (100.0 / 1e-6) ** (1 / 149))

    def loss(rate):
        chosen = {"optimizer": replace(rule, rate=rate), "epochs": 3}
        return pl.fit(network(), DATA, **chosen, **settings).history[-1]["loss"]

    assert loss(found.suggestion) < 0.5 * loss(found.suggestion / 100)


def test_losses_are_those_of_the_batches():
    """The losses of an epoch's batches average to its loss."""
    settings = {"optimizer": pl.optim.SGD(0.1), "batch_size": 128, "comm": None, "progress": False}
    found = losses_of(network(), DATA, 12, **settings)
    run = pl.fit(network(), DATA, epochs=1, **settings)
    n = DATA.train.n_samples
    sizes = np.array([min(128, n - k * 128) for k in range(12)])
    assert sizes.sum() == n and sizes @ found / n == pytest.approx(run.history[0]["loss"], rel=1e-5)


def test_smoothing_keeps_constants_and_the_steepest_descent_is_found():
    assert smooth([2.0] * 9) == pytest.approx([2.0] * 9)
    rates = list(np.geomspace(1e-4, 1.0, 50))
    curve = [1.0 - np.tanh(2 * np.log(r / 0.01)) / 2 + (r > 0.3) for r in rates]
    assert suggest(rates, curve) == pytest.approx(0.01, rel=0.1)
    with pytest.raises(ValueError, match="the loss falls at no rate from 0.0001 on"):
        suggest(rates, list(np.arange(50.0)))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"low": 1.0, "high": 0.1}, "expected 0 < low < high"),
        ({"steps": 3}, "at least 10 steps"),
        ({"method": pl.methods.lifted_bregman()}, "has no rate to be found"),
    ],
)
def test_trials_that_cannot_be(settings, words):
    with pytest.raises(ValueError, match=words):
        pl.find_rate(network(), DATA, comm=None, progress=False, **settings)
