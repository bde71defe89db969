"""Clipping, frozen parameters and averages against their definitions, written out on one rank."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import paralift as pl
from paralift.data import Sampler
from paralift.kernels.squares import square_sum
from paralift.lifted.stage import Stage
from paralift.parallel.clipping import Clipping
from paralift.parallel.grid import Grid
from paralift.parallel.optimizer import OptimizerStep, Options
from paralift.parallel.plan import Plan


def network():
    return pl.Sequential(pl.Linear(5, 7), pl.Tanh(), pl.Linear(7, 6), pl.Softplus(), pl.Linear(6, 3), pl.Softmax())


def data(n=50):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, 5)), rng.integers(0, 3, n)


def fit(rule, epochs=3, **settings):
    plan = Plan(1, 1, (0, 3), 1, "flush")
    return pl.fit(
        network(), data(), optimizer=rule, plan=plan, epochs=epochs, batch_size=8, seed=3, dtype="float64", comm=None,
        progress=False, **settings,
    )  # fmt: skip


def emulated(rule, clip=None, frozen=(), ema=None, epochs=3):
    """Return parameters, or their average, by `value_and_grad`: every technique by its definition."""
    net, (x, y) = network(), data()
    sampler, params = Sampler(len(x), 8, 3), net.init(3, dtype="float64")
    average = {b: {n: a.copy() for n, a in arrays.items()} for b, arrays in params.items()}
    states = {(b, n): rule.init(a.ravel()) for b, arrays in params.items() for n, a in arrays.items()}
    gradient_of, before, t = pl.value_and_grad(net), 0.0, 0
    for epoch in range(epochs):
        for rows in sampler.epoch(epoch):
            _, grads = gradient_of(params, x[rows], y[rows])
            norms = {key: np.linalg.norm(grads[key[0]][key[1]]) for key in states if key not in frozen}
            for (b, n), norm in norms.items():
                factor = 1.0 if clip is None else min(1.0, clip / max(before, norm))
                flat = params[b][n].reshape(-1)
                rule.step(flat, factor * grads[b][n].reshape(-1), states[b, n], [], t + 1)
            before = np.sqrt(sum(norm**2 for norm in norms.values()))
            decay = 0.0 if ema is None else min(ema, (t + 1) / (t + 10))
            for b, arrays in params.items():
                for n, a in arrays.items():
                    average[b][n] = decay * average[b][n] + (1 - decay) * a
            t += 1
    return average


def assert_close(found, expected):
    for block, arrays in expected.items():
        for name, want in arrays.items():
            np.testing.assert_allclose(found.params[block][name], want, rtol=0, atol=1e-10)


RULES = [pl.optim.SGD(0.3), pl.optim.SGD(0.1, momentum=0.9), pl.optim.AdamW(1e-2)]
NAMES = ["sgd", "momentum", "adamw"]


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_clipping_is_its_definition(rule):
    for clip in (0.05, 0.4):
        found = fit(rule, clip=clip)
        assert_close(found, emulated(rule, clip=clip))
        difference = found.params["linear1"]["weight"] - fit(rule).params["linear1"]["weight"]
        assert np.abs(difference).max() > 1e-4


def test_gradients_within_the_limit_stay_as_they_are():
    for a, b in zip(fit(RULES[0], clip=1e6).params.values(), fit(RULES[0]).params.values(), strict=True):
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=6), st.floats(1e-2, 1e2), st.sampled_from([1.0, 0.01]))
@settings(deadline=None, max_examples=40, derandomize=True)
def test_no_parameter_is_longer_than_the_limit_and_steady_gradients_have_its_length(sizes, clip, scale):
    """Whatever came before; and from the second step on, a gradient that stays as it is has the length `clip`."""
    stage = Stage(network(), 0, 3, np.zeros(1))
    segments = stage.layout.segments
    clipping = Clipping(Grid(None, 1, 1), segments, clip, stage.like)
    direction = np.random.default_rng(0).standard_normal(stage.layout.size)
    for size in [*sizes, sizes[-1]]:
        gradient = size * direction / scale
        own = scale * np.sqrt(sum(square_sum(gradient[s.start : s.stop]) for s in segments))
        factor = scale * clipping(gradient, scale)
        norms = [factor * np.sqrt(square_sum(gradient[s.start : s.stop])) for s in segments]
        assert max(norms) <= clip * (1 + 1e-12)
    assert np.linalg.norm(norms) == pytest.approx(min(own, clip), rel=1e-9)


def test_norms_alone_carry_clipping_over_a_restart():
    stage, rng = Stage(network(), 0, 3, np.zeros(1, np.float32)), np.random.default_rng(0)
    grid = Grid(None, 1, 1)
    first, second = (Clipping(grid, stage.layout.segments, 0.5, stage.like) for _ in range(2))
    gradients = [rng.standard_normal(stage.layout.size).astype(np.float32) for _ in range(4)]
    for gradient in gradients[:3]:
        first(gradient.copy(), 0.1)
    second.norms[...] = first.norms
    assert first(gradients[3].copy(), 0.1) == second(gradients[3].copy(), 0.1) < 1.0


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
@pytest.mark.parametrize(
    ("patterns", "frozen"),
    [
        (["linear1"], {("linear1", "weight"), ("linear1", "bias")}),
        (["*.bias", "linear3"], {(b, "bias") for b in ("linear1", "linear2", "linear3")} | {("linear3", "weight")}),
        (["linear2.w*"], {("linear2", "weight")}),
    ],
    ids=["block", "biases", "weight"],
)
def test_frozen_parameters_stay_and_the_others_move_as_if_alone(rule, patterns, frozen):
    found, start = fit(rule, freeze=patterns, clip=0.4), network().init(3, "float64")
    for block, name in frozen:
        np.testing.assert_array_equal(found.params[block][name], start[block][name])
    assert_close(found, emulated(rule, clip=0.4, frozen=frozen))


def test_a_forecast_takes_the_last_norm_and_leaves_alone_what_would_be_shortened():
    stage = Stage(network(), 0, 3, np.zeros(1))
    stage.init(0)
    optimizer = OptimizerStep(stage, pl.optim.SGD(0.1), 10, Options(clip=1.0))
    rng = np.random.default_rng(2)
    gradient, forecast = rng.standard_normal(optimizer.theta.shape), np.zeros(optimizer.theta.shape)
    optimizer(0, 1.0, gradient.copy())
    last = np.sqrt(sum(np.sum(gradient[s.start : s.stop] ** 2) for s in stage.layout.segments))
    before, spike = optimizer.theta.copy(), 0.1 * gradient
    first, *others = stage.layout.segments
    spike[first.start : first.stop] *= 1e3
    optimizer.forecast(1, 1.0, spike, forecast)
    np.testing.assert_array_equal(optimizer.theta, before)
    np.testing.assert_array_equal(forecast[first.start : first.stop], before[first.start : first.stop])
    for s in others:
        step = 0.1 / last * spike[s.start : s.stop]
        np.testing.assert_allclose(forecast[s.start : s.stop], before[s.start : s.stop] - step, rtol=0, atol=1e-14)


def test_no_gradient_of_a_frozen_block_is_computed(monkeypatch):
    """Weights alone or biases alone are: their products and sums come together."""
    wanted = []
    original = pl.Linear.bound_gradient

    def noted(self, xs, r, out):
        wanted.append((self.in_features, self.out_features))
        return original(self, xs, r, out)

    monkeypatch.setattr(pl.Linear, "bound_gradient", noted)
    for schedule in ("flush", "unflushed"):
        wanted.clear()
        plan = Plan(1, 1, (0, 3), 2, schedule)
        pl.fit(network(), data(), freeze=["linear1", "linear2.bias"], plan=plan, epochs=1, comm=None, progress=False)
        assert set(wanted) == {(7, 6), (6, 3)}


def test_frozen_parameters_stay_in_every_method():
    start = network().init(3, "float64")
    methods = {
        "implicit": pl.methods.lifted_bregman(), "descent": pl.methods.lifted_bregman_bcd("nesterov"),
        "sweep": pl.methods.nudged(),
    }  # fmt: skip
    rule = pl.optim.AdamW(1e-2, regularizer=pl.optim.L1(1e-3, on="all"))
    for name, method in methods.items():
        for schedule in ("flush", "unflushed") if name == "sweep" else ("flush",):
            found = pl.fit(
                network(), data(), method=method, optimizer=rule, epochs=2, batch_size=10, seed=3, dtype="float64", comm=None,
                progress=False, freeze=["linear2"], schedule=schedule,
            )  # fmt: skip
            for key in ("weight", "bias"):
                np.testing.assert_array_equal(found.params["linear2"][key], start["linear2"][key])
                assert np.abs(found.params["linear1"][key] - start["linear1"][key]).max() > 1e-6, name


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_the_average_is_its_definition(rule):
    assert_close(fit(rule, ema=0.8), emulated(rule, ema=0.8))


def test_methods_without_an_optimiser_have_an_average_too():
    settings = {"method": pl.methods.lifted_bregman(), "batch_size": 50, "dtype": "float64", "comm": None, "progress": False}
    steps = [network().init(0, "float64")["linear1"]["weight"]]
    steps += [pl.fit(network(), data(), epochs=n, **settings).params["linear1"]["weight"] for n in (1, 2)]
    expected = steps[0]
    for t, weight in enumerate(steps[1:]):
        decay = min(0.9, (t + 1) / (t + 10))
        expected = decay * expected + (1 - decay) * weight
    found = pl.fit(network(), data(), epochs=2, ema=0.9, **settings)
    np.testing.assert_allclose(found.params["linear1"]["weight"], expected, atol=1e-12)


def test_the_average_is_what_is_evaluated():
    found = fit(pl.optim.SGD(0.5), ema=0.95, test=data())
    score = found.evaluate(data())
    assert found.history[-1]["test_loss"] == pytest.approx(score["loss"], rel=1e-12)
    assert fit(pl.optim.SGD(0.5), test=data()).history[-1]["test_loss"] != pytest.approx(score["loss"], rel=1e-6)


def test_running_statistics_are_those_of_the_parameters():
    net = pl.Sequential(pl.Linear(5, 7), pl.BatchNorm(7), pl.ReLU(), pl.Linear(7, 3), pl.Softmax())
    runs = [pl.fit(net, data(), ema=ema, epochs=2, batch_size=8, comm=None, progress=False) for ema in (None, 0.9)]
    for block in net.blocks:
        for name in block.tracked():
            np.testing.assert_array_equal(*(run.params[block.name][name] for run in runs))


def test_ranges_cover_what_moves_with_its_padding():
    stage = Stage(network(), 0, 3, np.zeros(1))
    assert OptimizerStep(stage, pl.optim.SGD(0.1), 1).ranges == [(0, stage.layout.trained)]
    frozen = frozenset({("linear1", "bias"), ("linear2", "weight")})
    starts = {(s.block, s.name): s.start for s in stage.layout.segments}
    found = OptimizerStep(stage, pl.optim.SGD(0.1), 1, Options(frozen=frozen)).ranges
    assert found == [(0, starts["linear1", "bias"]), (starts["linear2", "bias"], stage.layout.trained)]
