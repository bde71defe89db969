"""Early stopping by hand, and the arguments of `fit` that go with any method: what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

import paralift as pl
from paralift.training.stopping import Best


def network():
    return pl.Sequential(pl.Linear(5, 4), pl.ReLU(), pl.Linear(4, 3), pl.Softmax())


def data(n=30):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, 5)), rng.integers(0, 3, n)


def history(stop, values):
    best = None
    for epoch, value in enumerate(values, 1):
        best = stop.after({"epoch": epoch, stop.metric: value}, best)
        if stop.is_over(epoch, best):
            return epoch, best
    return None, best


def test_losses_fall_and_accuracies_rise():
    assert history(pl.EarlyStopping(2, "loss"), [3.0, 2.0, 2.5, 2.0, 1.0]) == (4, Best(2, 2.0))
    assert history(pl.EarlyStopping(3, "loss"), [3.0, 2.0, 2.5, 2.0, 1.0]) == (None, Best(5, 1.0))
    assert history(pl.EarlyStopping(1, "test_accuracy"), [0.1, 0.2, 0.2]) == (3, Best(2, 0.2))
    assert history(pl.EarlyStopping(2, "loss", delta=0.3), [3.0, 2.9, 2.8, 2.0]) == (3, Best(1, 3.0))


def test_figures_that_are_no_numbers_are_no_improvement():
    assert history(pl.EarlyStopping(2, "test_loss"), [np.nan, 1.0, np.inf, np.nan]) == (4, Best(2, 1.0))
    assert history(pl.EarlyStopping(2, "test_loss"), [np.nan] * 5) == (None, None)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"clip": 0.0}, ValueError, "clip is 0.0, expected a finite number greater than 0"),
        ({"clip": "1"}, ValueError, "clip is '1'"),
        ({"clip": 1.0, "method": pl.methods.lifted_bregman()}, ValueError, "Implicit.* takes no step of the optimiser"),
        ({"ema": 1.0}, ValueError, "ema is 1.0, expected a number greater than 0 and less than 1"),
        ({"freeze": ["linar1"]}, ValueError, "no parameter is called 'linar1'; did you mean 'linear1'"),
        ({"freeze": "linear1"}, TypeError, "freeze is 'linear1', expected a list of names"),
        ({"freeze": ["*"]}, ValueError, "leaves nothing to train"),
        ({"stop_early": 5}, TypeError, r"stop_early is 5, expected EarlyStopping\(...\)"),
        ({"stop_early": pl.EarlyStopping()}, ValueError, r"has no test samples: pass test=, or metric=\"loss\""),
        ({"stop_early": pl.EarlyStopping(1, "train_error")}, ValueError, "are class labels, whose epochs have no train_error"),
        ({"augment": [pl.data.Shift(1)]}, ValueError, r"given \(5,\)"),
        ({"init": "glorot"}, ValueError, "init is 'glorot', expected one of"),
        ({"init": {"conv1": "he"}}, ValueError, "init: no block is called 'conv1'; this network has"),
    ],
)
def test_arguments_that_cannot_be(settings, error, words):
    with pytest.raises(error, match=words):
        pl.fit(network(), data(), comm=None, progress=False, **settings)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: pl.EarlyStopping(0), "patience is 0"),
        (lambda: pl.EarlyStopping(2.0), "patience is 2.0"),
        (lambda: pl.EarlyStopping(2, "test_los"), "did you mean 'test_loss'"),
        (lambda: pl.EarlyStopping(2, delta=-1.0), "delta is -1.0"),
    ],
)
def test_early_stopping_that_cannot_be(build, words):
    with pytest.raises(ValueError, match=words):
        build()


def test_a_resumed_run_has_the_techniques_that_it_had(tmp_path):
    settings = {"comm": None, "progress": False, "out": tmp_path / "run", "epochs": 1}
    pl.fit(network(), data(), ema=0.9, **settings)
    with pytest.raises(ValueError, match=r"ema is 0\.9, this run has None"):
        pl.fit(network(), data(), resume="auto", **settings)


def test_other_initial_weights_reach_the_run():
    start = network().init(0, scheme="orthogonal")
    found = pl.fit(network(), data(), epochs=0, init="orthogonal", comm=None, progress=False)
    np.testing.assert_array_equal(found.params["linear1"]["weight"], start["linear1"]["weight"])


def test_what_is_tied_to_a_frozen_parameter_stands_still_with_it():
    net = pl.Sequential(
        pl.Linear(5, 4), pl.ReLU(), pl.Linear(4, 4), pl.ReLU(), pl.Tied(pl.Linear(4, 4), to="linear2"), pl.ReLU(),
        pl.Linear(4, 3), pl.Softmax(),
    )  # fmt: skip
    start = net.init(0)
    run = pl.fit(net, data(), epochs=2, freeze=["linear3.weight"], comm=None, progress=False)
    for block in ("linear2", "linear3"):
        np.testing.assert_array_equal(run.params[block]["weight"], start[block]["weight"])
        np.testing.assert_array_equal(run.params[block]["bias"], run.params["linear2"]["bias"])
    assert not np.array_equal(run.params["linear2"]["bias"], start["linear2"]["bias"])
