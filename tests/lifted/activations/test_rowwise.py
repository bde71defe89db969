"""Activations that couple the entries of a row or a column: every property of proximal maps (docs/method.md, section 2)."""

from __future__ import annotations

import array_api_strict as strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paralift.lifted.activations import (
    Activation,
    Ball,
    BatchNormalise,
    GroupSoftThreshold,
    Identity,
    LargestPositive,
    Normalise,
    Softmax,
    Sparsemax,
)

NORMS = {
    "LayerNorm": Normalise(),
    "RMSNorm": Normalise(centre=False),
    "LayerNorm, large eps": Normalise(eps=0.3),
    "BatchNorm": BatchNormalise(),
    "BatchNorm, large eps": BatchNormalise(eps=0.3),
}
CONVEX = {
    "Softmax": Softmax(),
    "Sparsemax": Sparsemax(),
    "Ball": Ball(),
    "Ball(2.5)": Ball(2.5),
    "GroupSoftThreshold": GroupSoftThreshold(0.6, 2),
    "GroupSoftThreshold, all": GroupSoftThreshold(1.2, 6),
}
ALL = CONVEX | NORMS | {"LargestPositive": LargestPositive()}
ROWS, WIDTH = 7, 6
SEEDS = st.integers(0, 10**6)
SCALES = st.sampled_from([0.05, 0.5, 1.0, 3.0, 20.0])
few = settings(deadline=None, max_examples=25, derandomize=True)


@pytest.fixture(params=ALL, ids=str)
def act(request):
    return ALL[request.param]


def normal(seed, scale=1.0, rows=ROWS):
    return scale * np.random.default_rng(seed).standard_normal((rows, WIDTH))


def total(values, act):
    """Values of rows; of a batch normalisation, whose rows only share them, their sum."""
    return np.array([values.sum()]) if act.couples_batch else values


def square(x, act):
    return total((x * x).sum(axis=1), act)


def inner(a, b, act):
    return total((a * b).sum(axis=1), act)


@given(seed=SEEDS, scale=SCALES)
@few
def check_penalty_bound(act, seed, scale):
    z, x = normal(seed, scale), act.sigma(normal(seed + 1, scale))
    away = square(x - act.sigma(z), act)
    found = total(act.penalty(x, z), act)
    assert (found >= away / (2 * act.lipschitz) - 1e-9 * (1 + np.abs(square(z, act)))).all()


def test_penalty_is_at_least_the_squared_distance(act):
    check_penalty_bound(act)


@given(seed=SEEDS, scale=SCALES)
@few
def check_penalty_zero(act, seed, scale):
    z = normal(seed, scale)
    scale = 1 + square(z, act)
    assert (np.abs(total(act.penalty(act.sigma(z), z), act)) <= 1e-9 * scale).all()
    assert (np.abs(total(act.penalty_dual(z, z), act)) <= 1e-12 * scale).all()


def test_penalty_vanishes_at_sigma(act):
    check_penalty_zero(act)


@given(seed=SEEDS, scale=SCALES)
@few
def check_fenchel_young(act, seed, scale):
    z, p = normal(seed, scale), normal(seed + 1, scale)
    x = act.sigma(p)
    conjugate = total(act.psi(x), act) + 0.5 * square(x, act)
    size = 1e-9 * (1 + square(z, act) + square(p, act))
    assert (total(act.phi(z), act) + conjugate >= inner(x, z, act) - size).all()
    assert (np.abs(total(act.phi(p), act) + conjugate - inner(x, p, act)) <= size).all()


def test_fenchel_young(act):
    check_fenchel_young(act)


@given(seed=SEEDS, scale=st.sampled_from([0.5, 1.0, 3.0]))
@few
def check_phi(act, seed, scale):
    z, d, h = normal(seed, scale), normal(seed + 1), 1e-6
    slope = (total(act.phi(z + h * d), act) - total(act.phi(z - h * d), act)) / (2 * h)
    np.testing.assert_allclose(slope, inner(act.sigma(z), d, act), rtol=1e-6, atol=1e-6 * scale)


def test_sigma_is_the_gradient_of_phi(act):
    check_phi(act)


@given(seed=SEEDS, scale=SCALES)
@few
def check_cocoercive(act, seed, scale):
    a, b = normal(seed, scale), normal(seed + 1, scale)
    moved = act.sigma(a) - act.sigma(b)
    assert (inner(moved, a - b, act) >= square(moved, act) / act.lipschitz - 1e-10 * (1 + scale)).all()


def test_sigma_is_cocoercive_with_its_constant(act):
    check_cocoercive(act)


def test_convex_psi_means_a_firmly_nonexpansive_sigma():
    assert all(act.lipschitz <= 1.0 for act in CONVEX.values())
    assert all(act.lipschitz == pytest.approx(act.eps**-0.5) for act in NORMS.values())


def test_the_lipschitz_constant_is_reached():
    """Softmax at (0, 0) and the normalisations at 0 stretch by their constants."""
    h = np.array([[1e-5, -1e-5]])
    for act in (Softmax(), Normalise(), Normalise(centre=False), Normalise(eps=0.3)):
        stretch = np.linalg.norm(act.sigma(h) - act.sigma(-h)) / np.linalg.norm(2 * h)
        assert stretch == pytest.approx(act.lipschitz, rel=1e-4)


@given(seed=SEEDS, scale=SCALES, lam=st.sampled_from([1e-4, 1e-2, 0.3, 0.5, 0.9, 1.0]))
@few
def check_prox(act, seed, scale, lam):
    """prox(w) minimises lam Psi(x) + |x - w|^2/2: along segments to other points of the domain the value grows."""

    def value(x):
        return lam * total(act.psi(x), act) + 0.5 * square(x - w, act)

    w = normal(seed, scale)
    x = act.prox(w, lam)
    lowest = value(x)
    assert np.isfinite(lowest).all()
    for k in range(4):
        other = act.sigma(normal([seed, k], 10.0 ** (k - 1)))
        for t in (1.0, 0.3, 1e-2, 1e-4):
            assert (value((1 - t) * x + t * other) >= lowest - 1e-10 * (1 + square(w, act))).all()


def test_prox_minimises(act):
    check_prox(act)


@given(seed=SEEDS, lam=st.sampled_from([1e-3, 0.1, 0.5, 0.9, 1.0]), t=st.sampled_from([1e-4, 1e-2, 1.0, 30.0]))
@few
def check_prox_equation(act, dtype, seed, lam, t):
    z = normal(seed, t)
    w = lam * z + (1 - lam) * act.sigma(z)
    tolerance = 1e-4 if dtype is np.float32 else 1e-10
    np.testing.assert_allclose(act.prox(w.astype(dtype), lam), act.sigma(z), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("act", [Softmax(), Normalise(eps=0.3), Normalise(centre=False, eps=0.3)], ids=repr)
def test_prox_solves_its_equation(act, dtype):
    """prox(w) = sigma(z) where lam z + (1 - lam) sigma(z) = w, to a few rounding errors."""
    check_prox_equation(act, dtype)


def test_prox_of_a_normalisation_with_a_sharp_bend():
    for act in (Normalise(), Normalise(centre=False), BatchNormalise()):
        check_prox_equation(act, np.float64)


def test_prox_of_whole_step_is_sigma(act):
    w = normal(4)
    np.testing.assert_allclose(act.prox(w, 1.0), act.sigma(w), atol=1e-12)


@given(seed=SEEDS, scale=st.sampled_from([0.5, 1.0, 3.0]))
@few
def check_derivative(act, seed, scale):
    z, g, h = normal(seed, scale), normal(seed + 1), 1e-6
    expected = (act.sigma(z + h * g) - act.sigma(z - h * g)) / (2 * h)
    np.testing.assert_allclose(act.derivative(z, g), expected, rtol=1e-5, atol=1e-6)


def test_derivative_is_that_of_sigma(act):
    check_derivative(act)


def test_derivative_is_symmetric(act):
    z, a, b = normal(0), normal(1), normal(2)
    assert np.vdot(a, act.derivative(z, b)) == pytest.approx(np.vdot(b, act.derivative(z, a)), rel=1e-9)


# Known values


@given(seed=SEEDS, scale=SCALES)
@few
def test_penalty_of_softmax_is_kullback_leibler(seed, scale):
    act, z = Softmax(), normal(seed, scale)
    x, s = act.sigma(normal(seed + 1)), act.sigma(z)
    logarithm = z - act.phi(z)[:, None]
    np.testing.assert_allclose(act.penalty(x, z), (x * (np.log(x) - logarithm)).sum(axis=1), atol=1e-10 * (1 + scale))
    hot = np.eye(WIDTH)[np.arange(ROWS) % WIDTH]
    np.testing.assert_allclose(act.penalty(hot, z), -(hot * logarithm).sum(axis=1), atol=1e-10 * (1 + scale))
    np.testing.assert_allclose(s.sum(axis=1), 1.0)


def test_sparsemax_projects_on_the_simplex():
    z = np.array([[0.5, 0.5, 0.5], [2.0, 0.0, 0.0], [0.6, 0.5, -1.0], [0.1, 0.1, 0.1], [-3.0, -3.5, -9.0]])
    expected = np.array([[1 / 3] * 3, [1, 0, 0], [0.55, 0.45, 0], [1 / 3] * 3, [0.75, 0.25, 0]])
    np.testing.assert_allclose(Sparsemax().sigma(z), expected, atol=1e-15)


def test_ball_and_groups_by_hand():
    np.testing.assert_allclose(Ball().sigma(np.array([[3.0, 4.0], [0.3, 0.4]])), [[0.6, 0.8], [0.3, 0.4]])
    x = GroupSoftThreshold(2.5, 2).sigma(np.array([[3.0, 4.0, 1.0, 1.0]]))
    np.testing.assert_allclose(x, [[1.5, 2.0, 0.0, 0.0]])


def test_normalisations_by_numpy():
    z = normal(3)
    centred = z - z.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(Normalise().sigma(z), centred / np.sqrt(z.var(axis=1, keepdims=True) + 1e-5))
    rms = np.sqrt((z * z).mean(axis=1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(Normalise(centre=False).sigma(z), z / rms)
    np.testing.assert_allclose(BatchNormalise().sigma(z), (z - z.mean(axis=0)) / np.sqrt(z.var(axis=0) + 1e-5))


@pytest.mark.parametrize(
    ("act", "outside"),
    [
        (Softmax(), [[0.5, 0.6], [-0.1, 1.1]]),
        (Sparsemax(), [[0.5, 0.6], [-0.1, 1.1]]),
        (Ball(), [[0.9, 0.9], [-1.1, 0.0]]),
        (Normalise(), [[1.0, 0.5], [1.5, -1.5]]),
        (Normalise(centre=False), [[1.2, 0.9], [1.5, -1.5]]),
    ],
)
def test_psi_is_infinite_outside_its_domain(act, outside):
    assert (act.psi(np.array(outside)) == np.inf).all()


# Steps


@given(seed=SEEDS, scale=st.sampled_from([0.5, 3.0]), tau=st.sampled_from([1e-3, 0.1, 1.0, 50.0]))
@few
def check_xstep(act, seed, scale, tau):
    """The x-step is no worse than staying and than other points, and says what r and B are."""
    z, g, old = normal(seed, scale), normal(seed + 1), act.sigma(normal(seed + 2, scale))

    def value(x):
        return total(act.penalty(x, z), act) + inner(g, x, act) + square(x - old, act) / (2 * tau)

    x, r = old.copy(), np.empty_like(old)
    penalty = act.xstep(x, z, g, tau, r)
    np.testing.assert_allclose(r, act.sigma(z) - x, atol=1e-12)
    np.testing.assert_allclose(penalty, act.penalty(x, z), atol=1e-12 * (1 + scale**2))
    for other in (old, act.sigma(z), act.sigma(normal(seed + 3, 1.0)), 0.999 * x + 0.001 * old):
        assert (value(other) >= value(x) - 1e-9 * (1 + 1 / tau)).all()
    assert act.xstep(x, z, g, tau, r, value=False) is None


def test_xstep_minimises(act):
    check_xstep(act)


def test_dual_step(act):
    p, z, g = normal(0), normal(1), normal(2)
    x, r, start = np.empty_like(p), np.empty_like(p), p.copy()
    penalty = act.xstep_dual(p, x, z, g, 0.3, r)
    np.testing.assert_allclose(p, 0.7 * start + 0.3 * (z - g), rtol=1e-14)
    np.testing.assert_allclose(x, act.sigma(p), rtol=1e-14)
    np.testing.assert_allclose(r, act.sigma(z) - x, atol=1e-14)
    np.testing.assert_allclose(total(penalty, act), total(act.penalty(x, z), act), atol=1e-9)
    assert act.xstep_dual(p, x, z, g, 1.0, r, value=False) is None
    np.testing.assert_allclose(p, z - g, atol=1e-14)


def test_both_geometries_agree_on_the_minimiser(act):
    """Without a step length both find sigma(z - g), the minimiser of B(x, z) + <g, x>."""
    z, g = normal(1), 0.2 * normal(2)
    p, x, r = normal(0), act.sigma(normal(3)), np.empty_like(z)
    act.xstep(x, z, g, 1e9, r)
    np.testing.assert_allclose(x, act.sigma(z - g), atol=1e-6)
    act.xstep_dual(p, x, z, g, 1.0, r)
    np.testing.assert_allclose(x, act.sigma(z - g), atol=1e-12)


# Kernels


def by_formula(act, z, g, up, down, relative):
    """The residual difference; a batch normalisation takes one scale for all rows, which are coupled."""
    s = 1.0
    if relative:
        axis = None if act.couples_batch else 1
        z2, g2 = (np.mean(a * a, axis=axis, keepdims=True) for a in (z, g))
        s = relative * np.sqrt(np.where(z2 > 0, z2, 1) / np.where(g2 > 0, g2, 1))
    return (act.sigma(z + up * s * g) - act.sigma(z - down * s * g)) / s


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("relative", [0.0, 0.05])
@pytest.mark.parametrize("sums", ["none", "write", "add"])
def test_difference_equals_the_formula(act, dtype, relative, sums):
    z, g = normal(0), normal(1)
    g[2], z[3] = 0.0, 0.0
    expected, found = by_formula(act, z, g, 0.3, 0.7, relative), g.astype(dtype)
    column = None if sums == "none" else np.full(WIDTH, 2.0, dtype)
    act.difference(z.astype(dtype), found, 0.3, 0.7, relative, column, sums == "add")
    tolerance = (2e-4 if relative else 1e-5) if dtype is np.float32 else 1e-12
    assert found.dtype == dtype
    assert act.couples_batch or not found[2].any()
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
    if column is not None:
        before = 2.0 * (sums == "add")
        np.testing.assert_allclose(column, before + expected.sum(axis=0), rtol=tolerance, atol=10 * tolerance)


@pytest.mark.parametrize("relative", [0.0, 0.05])
def test_base_class_formula_agrees(relative):
    for act in (Softmax(), Normalise(), Sparsemax()):
        z, g = normal(0), normal(1)
        expected = by_formula(act, z, g, 0.5, 0.5, relative)
        Activation.difference(act, z, g, relative=relative)
        np.testing.assert_allclose(g, expected, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [False, True])
@pytest.mark.parametrize("in_place", [False, True])
def test_activate_equals_the_formula(act, dtype, offset, in_place):
    z = normal(0).astype(dtype)
    shift = np.linspace(-1, 1, WIDTH).astype(dtype) if offset else None
    shifted = z + shift if offset else z.copy()
    x = z if in_place else np.empty_like(z)
    act.activate(z, shift, x)
    np.testing.assert_allclose(x, act.sigma(shifted), atol=2e-6 if dtype is np.float32 else 1e-14)
    assert x.dtype == dtype
    if not in_place:
        np.testing.assert_array_equal(z, shifted)


def test_pull_back_is_the_derivative_with_its_sum(act):
    z, g = normal(0), normal(1)
    expected, column = act.derivative(z, g), np.ones(WIDTH)
    act.pull_back(z, g, column, accumulate=True)
    np.testing.assert_allclose(g, expected)
    np.testing.assert_allclose(column, 1 + expected.sum(axis=0))


def test_differences_become_derivatives(act):
    z, g = normal(0), normal(1)
    for beta, tolerance in ((1e-2, 1e-3), (1e-4, 1e-7)):
        r = beta * g
        act.difference(z, r)
        np.testing.assert_allclose(r / beta, act.derivative(z, g), atol=tolerance)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_nan_spoils_its_row_and_no_other(act, dtype):
    z = normal(0).astype(dtype)
    z[2, 3] = np.nan
    for x in (act.sigma(z), activated(act, z)):
        spoilt = np.isnan(x)
        if act.couples_batch:
            assert spoilt[:, 3].all() and spoilt.sum() == ROWS
        elif isinstance(act, GroupSoftThreshold):
            assert spoilt[2, 3] and not np.delete(spoilt, 2, axis=0).any()
        else:
            assert spoilt[2].all() and not np.delete(spoilt, 2, axis=0).any()
    g = np.ones_like(z)
    act.difference(z, g)
    assert np.isnan(g[2, 3])


def activated(act, z):
    x = np.empty_like(z)
    act.activate(z.copy(), None, x)
    return x


@pytest.mark.parametrize("act", [Softmax(), Sparsemax()], ids=repr)
@pytest.mark.parametrize(
    ("dtype", "huge"), [(np.float32, 1e4), (np.float32, 1e30), (np.float64, 1e17), (np.float64, 1e300)]
)
def test_huge_logits_choose_one(act, dtype, huge):
    z = np.array([[huge, 0.0, 1.0], [-huge, -huge, 0.0], [1.0, 1.0, -huge]], dtype)
    expected = [[1, 0, 0], [0, 0, 1], [0.5, 0.5, 0]]
    np.testing.assert_allclose(act.sigma(z), expected, atol=1e-6)
    np.testing.assert_allclose(activated(act, z), expected, atol=1e-6)
    g = np.ones_like(z)
    act.difference(z, g)
    np.testing.assert_allclose(g, 0.0, atol=1e-6)
    if isinstance(act, Softmax):
        np.testing.assert_allclose(act.phi(z), [huge, 0.0, 1.0 + np.log(2.0)], rtol=1e-6)


def test_constant_rows_do_not_divide_by_zero(act):
    z = np.ones((3, WIDTH))
    assert np.isfinite(act.sigma(z)).all() and np.isfinite(act.prox(z, 0.5)).all()
    assert np.isfinite(act.derivative(0 * z, z)).all()


def test_no_rows(act):
    z = np.empty((0, WIDTH))
    column = np.ones(WIDTH)
    act.activate(z, None, z)
    act.difference(z, z, column_sum=column)
    assert not column.any()


# Other array libraries

DEVICE = strict.Device("device1")


def to_device(x):
    return strict.asarray(x.tolist(), dtype=getattr(strict, str(x.dtype)), device=DEVICE)


def to_numpy(x):
    assert x.device == DEVICE
    return np.asarray(x.to_device(strict.Device("CPU_DEVICE")))


def test_arrays_on_a_device_stay_there(act):
    with pytest.raises(RuntimeError):
        np.asarray(to_device(normal(0)))
    z, g, offset = normal(0), normal(1), np.linspace(-1, 1, WIDTH)
    x, r, p, column = np.empty_like(z), np.empty_like(z), normal(2), np.zeros(WIDTH)
    on = [to_device(a) for a in (z, g, offset, np.zeros_like(x), np.zeros_like(r), p, column)]
    dz, dg, doffset, dx, dr, dp, dcolumn = on
    dg2 = to_device(g)

    def agree(device, host):
        np.testing.assert_allclose(to_numpy(device), host, atol=1e-10)

    act.activate(z, offset, x)
    act.activate(dz, doffset, dx)
    agree(dz, z)
    agree(dx, x)
    agree(act.xstep(dx, dz, dg, 0.7, dr), act.xstep(x, z, g, 0.7, r))
    agree(dx, x)
    agree(dr, r)
    agree(act.xstep_dual(dp, dx, dz, dg, 0.3, dr), act.xstep_dual(p, x, z, g, 0.3, r))
    agree(dp, p)
    agree(dr, r)
    h = g.copy()
    act.pull_back(z, h)
    act.pull_back(dz, dg2)
    agree(dg2, h)
    act.difference(z, g, column_sum=column)
    act.difference(dz, dg, column_sum=dcolumn)
    agree(dg, g)
    agree(dcolumn, column)


# Batch normalisation's statistics


def test_running_statistics_and_evaluation():
    act, z = BatchNormalise(momentum=0.25), normal(0)
    running = act.statistics(WIDTH)
    act.track(z, running)
    np.testing.assert_allclose(running["mean"], 0.25 * z.mean(axis=0))
    np.testing.assert_allclose(running["variance"], 0.75 + 0.25 * z.var(axis=0, ddof=1))
    x, w, offset = np.empty_like(z), normal(1), np.ones(WIDTH)
    expected = (w + offset - running["mean"]) / np.sqrt(running["variance"] + act.eps)
    act.evaluate(w, offset, x, running)
    np.testing.assert_allclose(x, expected)


def test_statistics_of_one_row_or_none_stay_finite():
    act = BatchNormalise()
    running = act.statistics(WIDTH)
    act.track(normal(0, rows=0), running)
    assert not running["mean"].any() and (running["variance"] == 1).all()
    act.track(normal(0, rows=1), running)
    assert np.isfinite(running["variance"]).all()


@pytest.mark.parametrize(
    ("build", "word"),
    [
        (lambda: Ball(0.0), "radius is 0.0"),
        (lambda: GroupSoftThreshold(0.0, 2), "threshold greater than 0"),
        (lambda: GroupSoftThreshold(1.0, 0), "group of at least 1"),
        (lambda: GroupSoftThreshold(1.0, 4).check((6,)), "groups of 4 do not divide a width of 6"),
        (lambda: Normalise(eps=0.0), "eps is 0.0"),
        (lambda: BatchNormalise(eps=-1.0), "eps greater than 0"),
        (lambda: BatchNormalise(momentum=0.0), "momentum in"),
    ],
)
def test_activations_that_cannot_be(build, word):
    with pytest.raises(ValueError, match=word):
        build()


def test_identity_is_no_exception():
    z = normal(0)
    assert (Identity().penalty(z, z) == 0).all()
