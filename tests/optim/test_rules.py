"""Update rules: textbook steps, known minimisers, what the regulariser touches, and refusals."""

from __future__ import annotations

import dataclasses
import math
import tracemalloc

import array_api_strict as strict
import numpy as np
import pytest

from paralift.kernels import update
from paralift.optim import (
    L1,
    SGD,
    Adam,
    AdamW,
    Box,
    Constant,
    Cosine,
    GroupL1,
    NonNegative,
    Ridge,
    Rule,
    Step,
)

SEGMENTS = ((0, 6, (2, 3)), (6, 9, (3,)), (9, 15, (3, 2)), (15, 17, (2,)))
WEIGHTS = np.r_[0:6, 9:15]
OFFSETS = np.r_[6:9, 15:17]
NAMES = {
    k.__name__: k for k in (SGD, Adam, AdamW, Constant, Cosine, Step, L1, GroupL1, Box, NonNegative, Ridge)
}
RULES = [SGD(0.1), SGD(0.1, momentum=0.9), SGD(0.1, momentum=0.9, nesterov=True), Adam(0.1), AdamW(0.1)]
every_rule = pytest.mark.parametrize("rule", RULES, ids=repr)


def with_regularizer(rule, regularizer):
    return dataclasses.replace(rule, regularizer=regularizer)


def train(rule, flat, gradient, n_steps, segments=SEGMENTS, total_steps=None, scale=1.0):
    """Take steps with the gradient of a callable; return the state."""
    state = rule.init(flat)
    for t in range(1, n_steps + 1):
        rule.step(flat, gradient(flat), state, segments, t, total_steps, scale)
    return state


class SparseLeastSquares:
    """f = 1/2 |A x - b|^2, A = Q D, Q^T Q = I, and R = lam |x|_1: L = 1, mu = 1 / kappa, minimiser known."""

    def __init__(self, lam=0.5, kappa=100.0, m=160, d=20):
        rng = np.random.default_rng(0)
        q = np.linalg.qr(rng.standard_normal((m, d)))[0]
        b = 3 * rng.standard_normal(m)
        scales = np.logspace(-0.5 * np.log10(kappa), 0, d)
        self.a, self.b, self.lam, self.mu = q * scales, b, lam, 1 / kappa
        c = (q.T @ b) / scales
        self.minimiser = np.sign(c) * np.maximum(np.abs(c) - lam / scales**2, 0)

    def gradient(self, x):
        return self.a.T @ (self.a @ x - self.b)

    def objective(self, x):
        return 0.5 * np.sum((self.a @ x - self.b) ** 2) + self.lam * np.sum(np.abs(x))


def test_ista_reaches_the_exact_sparse_minimiser_within_its_bounds():
    """Gradient descent with L1 is ISTA: Beck & Teboulle 2009, theorem 3.1, and the linear rate."""
    problem = SparseLeastSquares()
    best, x = problem.objective(problem.minimiser), np.zeros(20)
    assert best == pytest.approx(776.4923151499, rel=1e-12)
    assert np.count_nonzero(problem.minimiser) == 11
    rule = SGD(1.0, regularizer=L1(problem.lam, on="all"))
    radius2 = np.sum(problem.minimiser**2)
    for k in range(1, 1501):
        rule.step(x, problem.gradient(x), {}, ((0, 20, (20,)),), k)
        gap = problem.objective(x) - best
        assert gap <= 0.5 * radius2 * min(1 / k, (1 - problem.mu) ** k) + 1e-10 * best
    np.testing.assert_allclose(x, problem.minimiser, atol=1e-10)
    np.testing.assert_array_equal(x == 0, problem.minimiser == 0)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_minimises_the_sum_with_a_lighter_regulariser(nesterov):
    """At a fixed point the velocity is gradient / (1 - mu), so it is one of f + (1 - mu) R."""
    problem = SparseLeastSquares(lam=0.5)
    x = np.zeros(20)
    rule = SGD(1.0, momentum=0.75, nesterov=nesterov, regularizer=L1(0.5 / 0.25, on="all"))
    train(rule, x, problem.gradient, 1500, ((0, 20, (20,)),))
    np.testing.assert_allclose(x, problem.minimiser, atol=1e-9)


@pytest.mark.parametrize("rule", [Adam(Cosine(0.5)), SGD(1.0, momentum=0.75)], ids=repr)
def test_smooth_problems_are_solved(rule):
    problem = SparseLeastSquares(lam=0.0)
    x = np.zeros(20)
    train(rule, x, problem.gradient, 1500, total_steps=1500)
    np.testing.assert_allclose(x, problem.minimiser, atol=1e-6)


def test_nonnegative_least_squares_satisfies_its_optimality_conditions():
    problem = SparseLeastSquares(lam=0.0)
    x = np.zeros(20)
    train(SGD(1.0, regularizer=NonNegative(on="all")), x, problem.gradient, 4000, ((0, 20, (20,)),))
    g = problem.gradient(x)
    assert np.all(x >= 0)
    assert np.any(x == 0)
    assert np.all(g >= -1e-9)
    np.testing.assert_allclose(x * g, 0, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_three_steps_of_every_rule_equal_the_textbook(dtype):
    rng = np.random.default_rng(1)
    start, gradients = rng.standard_normal(17), rng.standard_normal((3, 17))
    d, lr, mu, b1, b2 = 0.03, 0.1, 0.8, 0.7, 0.9
    plain, heavy, ahead, adam, adamw = (start.copy() for _ in range(5))
    v, w, m, s, mw, sw = (np.zeros(17) for _ in range(6))
    for t, g in enumerate(gradients, start=1):
        plain -= lr * (g + d * plain)
        v = mu * v + g + d * heavy
        heavy -= lr * v
        w, g_ahead = mu * w + g + d * ahead, g + d * ahead
        ahead -= lr * (g_ahead + mu * w)
        g_adam = g + d * adam
        m, s = b1 * m + (1 - b1) * g_adam, b2 * s + (1 - b2) * g_adam**2
        adam -= lr * m / (1 - b1**t) / (np.sqrt(s / (1 - b2**t)) + 1e-8)
        mw, sw = b1 * mw + (1 - b1) * g, b2 * sw + (1 - b2) * g**2
        adamw *= 1 - lr * d
        adamw -= lr * mw / (1 - b1**t) / (np.sqrt(sw / (1 - b2**t)) + 1e-8)
    expected = {
        SGD(lr, weight_decay=d): plain,
        SGD(lr, momentum=mu, weight_decay=d): heavy,
        SGD(lr, momentum=mu, nesterov=True, weight_decay=d): ahead,
        Adam(lr, betas=(b1, b2), weight_decay=d): adam,
        AdamW(lr, betas=(b1, b2), weight_decay=d): adamw,
    }
    for rule, want in expected.items():
        flat = start.astype(dtype)
        queue = iter(gradients)
        train(rule, flat, lambda _: 4 * next(queue).astype(dtype), 3, scale=0.25)  # noqa: B023
        np.testing.assert_allclose(flat, want, rtol=0, atol=60 * np.finfo(dtype).eps, err_msg=repr(rule))


def test_the_schedule_is_asked_with_step_and_total():
    asked = []

    def schedule(step, total):
        asked.append((step, total))
        return 0.5 * step

    flat = np.zeros(2)
    train(SGD(schedule), flat, np.ones_like, 3, total_steps=3)
    assert asked == [(1, 3), (2, 3), (3, 3)]
    np.testing.assert_allclose(flat, -3.0)


@every_rule
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_states_start_at_zero_in_the_dtype_and_library_of_the_parameters(rule, dtype):
    names = {"SGD": ["velocity"] if rule.__dict__.get("momentum") else []}.get(
        type(rule).__name__, ["first_moment", "second_moment"]
    )
    for flat in (np.ones(5, dtype), strict.ones(5, dtype=getattr(strict, dtype))):
        state = rule.init(flat)
        assert list(state) == names
        for x in state.values():
            assert type(x) is type(flat)
            assert x.dtype == flat.dtype
            assert x.shape == (5,)
            assert not np.any(np.from_dlpack(x))


@every_rule
@pytest.mark.parametrize(
    "regularizer", [L1(0.4), Box(-0.1, 0.2), NonNegative(), Ridge(2.0), GroupL1(0.8)], ids=repr
)
def test_a_regulariser_acts_on_weights_after_the_step_and_leaves_offsets_alone(rule, regularizer):
    rng = np.random.default_rng(2)
    start, g = rng.standard_normal((2, 17))
    bare, flat = start.copy(), start.copy()
    bare_state = train(rule, bare, lambda _: g, 1)
    state = train(with_regularizer(rule, regularizer), flat, lambda _: g, 1)
    np.testing.assert_allclose(flat[OFFSETS], bare[OFFSETS], rtol=1e-14)
    for begin, end, shape in SEGMENTS[::2]:
        want = regularizer.prox(bare[begin:end].reshape(shape), 0.1)
        np.testing.assert_allclose(flat[begin:end].reshape(shape), want, atol=1e-15)
    assert not np.allclose(flat[WEIGHTS], bare[WEIGHTS])
    for name in state:
        np.testing.assert_allclose(state[name], bare_state[name], rtol=1e-14)


@every_rule
@pytest.mark.parametrize(
    "regularizer", [None, L1(0.4), L1(0.4, on="all"), GroupL1(0.8, axis=0, on="all")], ids=repr
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_other_array_libraries_give_the_same(rule, regularizer, dtype):
    rule = with_regularizer(rule, regularizer)
    start, g = np.random.default_rng(3).standard_normal((2, 17)).astype(dtype)
    flat, other = start.copy(), strict.asarray(start)
    train(rule, flat, lambda _: g, 3)
    train(rule, other, lambda _: strict.asarray(g), 3)
    assert other.dtype == getattr(strict, dtype)
    np.testing.assert_allclose(np.from_dlpack(other), flat, rtol=0, atol=40 * np.finfo(dtype).eps)


@every_rule
@pytest.mark.parametrize(
    "regularizer", [None, L1(0.4), L1(0.4, on="all"), GroupL1(0.8, axis=0, on="all")], ids=repr
)
def test_a_forecast_changes_nothing_and_says_what_the_step_does(rule, regularizer):
    rule = with_regularizer(rule, regularizer)
    start, g = np.random.default_rng(3).standard_normal((2, 17))
    flat, forecast = start.copy(), np.full(17, np.nan)
    state = rule.init(flat)
    for t in (1, 2, 3):
        before, states = flat.copy(), {name: a.copy() for name, a in state.items()}
        rule.step(flat, g, state, SEGMENTS, t, forecast=forecast)
        np.testing.assert_array_equal(flat, before)
        for name, a in state.items():
            np.testing.assert_array_equal(a, states[name])
        rule.step(flat, g, state, SEGMENTS, t)
        np.testing.assert_allclose(forecast, flat, rtol=0, atol=1e-13)


def count_calls(monkeypatch, rule, segments, n=17):
    lengths = []
    monkeypatch.setattr(update, "sgd", lambda p, *rest: lengths.append((len(p), rest[4].kind)))
    rule.step(np.zeros(n), np.zeros(n), {}, segments, 1)
    return lengths


def test_one_kernel_call_serves_the_whole_array_where_all_is_treated_alike(monkeypatch):
    assert count_calls(monkeypatch, SGD(0.1), SEGMENTS) == [(17, "none")]
    assert count_calls(monkeypatch, SGD(0.1, regularizer=L1(1.0, on="all")), SEGMENTS) == [(17, "l1")]
    assert count_calls(monkeypatch, SGD(0.1, regularizer=GroupL1(1.0)), SEGMENTS) == [(17, "none")]
    one_matrix = ((0, 17, (17, 1)),)
    assert count_calls(monkeypatch, SGD(0.1, regularizer=L1(1.0)), one_matrix) == [(17, "l1")]


def test_neighbours_that_are_treated_alike_share_a_call(monkeypatch):
    segments = (
        (0, 4, (2, 2)),
        (4, 6, (1, 2)),
        (6, 6, (0, 3)),
        (7, 9, (2,)),
        (9, 9, (0,)),
        (10, 12, (2,)),
        (12, 16, (4, 1)),
    )
    rule = SGD(0.1, regularizer=L1(1.0))
    assert count_calls(monkeypatch, rule, segments) == [(7, "l1"), (5, "none"), (5, "l1")]


@every_rule
@pytest.mark.parametrize("regularizer", [None, L1(0.4), GroupL1(0.4)], ids=repr)
def test_a_stage_without_parameters_takes_its_step(rule, regularizer):
    flat = np.zeros(0)
    train(with_regularizer(rule, regularizer), flat, np.zeros_like, 2, segments=())
    assert flat.shape == (0,)


@every_rule
def test_nan_in_the_gradient_shows_in_the_parameters(rule):
    flat, g = np.zeros(17), np.zeros(17)
    g[3] = np.nan
    train(with_regularizer(rule, L1(0.1)), flat, lambda _: g, 1)
    assert np.flatnonzero(np.isnan(flat)).tolist() == [3]


@every_rule
def test_a_step_allocates_no_array(rule):
    n = 100_000
    segments = ((0, n // 2, (n // 2, 1)), (n // 2, n, (n // 2,)))
    rule = with_regularizer(rule, L1(0.1))
    flat, g = np.zeros(n), np.ones(n)
    state = train(rule, flat, lambda _: g, 1, segments)
    tracemalloc.start()
    try:
        for t in range(2, 5):
            rule.step(flat, g, state, segments, t)
        assert tracemalloc.get_traced_memory()[1] < n
    finally:
        tracemalloc.stop()


def test_adamw_decays_by_default_and_adam_does_not():
    assert (Adam().weight_decay, AdamW().weight_decay) == (0.0, 0.01)
    flat = np.ones(2)
    train(AdamW(0.1, weight_decay=0.5), flat, np.zeros_like, 1)
    np.testing.assert_allclose(flat, 0.95)


@pytest.mark.parametrize(
    "rule",
    [
        *RULES,
        SGD(Step(0.1, every=5), regularizer=Box(None, 1.0, on="all")),
        Adam(
            Cosine(np.float32(0.5), warmup=3), betas=(np.float64(0.8), 0.9), regularizer=GroupL1(0.1, axis=0)
        ),
        AdamW(Constant(1), eps=np.float64(1e-6), weight_decay=0, regularizer=NonNegative()),
    ],
    ids=repr,
)
def test_the_repr_makes_the_rule_again(rule):
    assert eval(repr(rule), NAMES) == rule


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: SGD(-0.1), ValueError, "SGD: rate = -0.1 was given, expected a finite number >= 0"),
        (lambda: Adam("fast"), TypeError, "Adam: rate = 'fast' was given, expected a number"),
        (lambda: SGD(0.1, momentum=1.0), ValueError, "momentum = 1.0 was given, expected .* < 1"),
        (lambda: SGD(0.1, nesterov=True), ValueError, "nesterov=True was given without momentum"),
        (lambda: SGD(0.1, weight_decay=-1), ValueError, "weight_decay = -1"),
        (lambda: Adam(betas=(0.9, 1.0)), ValueError, r"betas = \(0.9, 1.0\) was given, expected two numbers"),
        (lambda: Adam(betas=0.9), ValueError, "betas = 0.9"),
        (lambda: AdamW(betas=(0.9, 0.99, 0.999)), ValueError, "AdamW: betas"),
        (lambda: Adam(eps=-1e-8), ValueError, "eps = -1e-08"),
        (
            lambda: SGD(0.1, regularizer="l1"),
            TypeError,
            "regularizer = 'l1' was given, expected None or one of",
        ),
        (lambda: SGD(0.1, regularizer=L1), TypeError, "expected None or one of"),
    ],
)
def test_rules_that_make_no_sense_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_steps_are_counted_from_one():
    with pytest.raises(ValueError, match="t = 0 was given"):
        SGD(0.1).step(np.zeros(2), np.zeros(2), {}, (), 0)


def test_a_missing_state_is_named():
    with pytest.raises(
        ValueError, match=r"Adam: the states \['velocity'\] were given, expected \['first_moment'"
    ):
        Adam().step(np.zeros(2), np.zeros(2), {"velocity": np.zeros(2)}, (), 1)


@pytest.mark.parametrize("regularizer", [L1(0.1), GroupL1(0.1)], ids=repr)
@pytest.mark.parametrize(
    "segments",
    [((0, 4, (2, 2)), (2, 6, (4,))), ((0, 18, (18,)),), ((4, 2, (0,)),), ((0, 4, (5,)),)],
    ids=["overlap", "outside", "backwards", "shape"],
)
def test_segments_that_do_not_fit_are_refused(segments, regularizer):
    with pytest.raises(ValueError, match="the segment .* was given after .* of 17 entries"):
        SGD(0.1, regularizer=regularizer).step(np.zeros(17), np.zeros(17), {}, segments, 1)


def test_a_rule_that_moves_nothing_says_so():
    class Nothing(Rule):
        rate = 0.1

    with pytest.raises(NotImplementedError, match="neither move nor _update"):
        Nothing().step(np.zeros(2), np.zeros(2), {}, [], 1)


def test_eps_zero_and_a_dead_parameter_give_a_nan_as_the_formula_does():
    flat = np.zeros(1)
    train(Adam(0.1, eps=0.0), flat, np.zeros_like, 1)
    assert math.isnan(flat[0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@every_rule
def test_a_step_does_not_depend_on_where_an_entry_lies(rule, dtype):
    """Replicas of tied parameters stay equal so: bit for bit, also at the end of an array, which no vector register fills."""
    rng = np.random.default_rng(0)
    start, gradient, state = (rng.random(150).astype(dtype) for _ in range(3))

    def moved(first, stop):
        flat, found = start[first:stop].copy(), {name: state[first:stop].copy() for name in rule.state_names}
        rule.step(flat, gradient[first:stop].copy(), found, [(0, stop - first, (stop - first,))], 3)
        return [flat, *found.values()]

    whole = moved(0, 150)
    for first, stop in [(0, n) for n in range(1, 66)] + [(n, 80) for n in range(1, 65)]:
        for part, full in zip(moved(first, stop), whole, strict=True):
            np.testing.assert_array_equal(part, full[first:stop])
