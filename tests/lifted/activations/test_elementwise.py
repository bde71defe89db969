"""What makes an elementwise activation a proximal map, its known answers and its errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import spence

from paralift.lifted.activations import (
    ELU,
    GELU,
    ISRU,
    Activation,
    Arctan,
    Hardtanh,
    Identity,
    LeakyReLU,
    NotMonotoneError,
    Quantizer,
    ReLU,
    Sigmoid,
    Sign,
    SiLU,
    Softplus,
    Softsign,
    SoftThreshold,
    Tanh,
)

CONVEX = (
    *(Identity(), ReLU(), LeakyReLU(0.1), Hardtanh(-1.0, 0.5), SoftThreshold(0.3)),
    *(Tanh(), Sigmoid(), Arctan(), ISRU(), Softsign(), ELU(), ELU(0.5), Softplus()),
)
STEPS = (Quantizer(4), Quantizer((-1.0, 0.0, 0.3, 2.0)), Quantizer(8, high=2.0, signed=True), Sign())
NON_MONOTONE = (GELU(), GELU(exact=True), SiLU())
EPS = np.finfo(np.float64).eps

convex = pytest.mark.parametrize("act", CONVEX, ids=repr)
monotone = pytest.mark.parametrize("act", CONVEX + STEPS, ids=repr)
non_monotone = pytest.mark.parametrize("act", NON_MONOTONE, ids=repr)
quick = settings(deadline=None, max_examples=30, derandomize=True)
number = st.floats(-20, 20)
numbers = st.lists(number, min_size=1, max_size=8).map(lambda values: np.array([values]))
pairs = st.lists(st.tuples(number, number), min_size=1, max_size=8).map(lambda v: np.array(v).T[:, None])


@monotone
@quick
@given(pairs)
def test_fenchel_young(act, pair):
    """B(x, z) >= |x - sigma(z)|^2 / 2 (>= 0 where Psi is not convex), and 0 at x = sigma(z)."""
    q, z = pair
    x, s = act.sigma(q), act.sigma(z)
    slack = 32 * EPS * (1.0 + np.sum(np.abs(x * z) + x * x + z * z))
    bound = 0.0 if act in STEPS else 0.5 * np.sum((x - s) ** 2)
    assert act.penalty(x, z)[0] >= bound - slack
    assert abs(act.penalty(s, z)[0]) <= slack


@monotone
@quick
@given(pairs)
def test_the_two_forms_of_the_penalty_agree(act, pair):
    """<p - z, sigma(p)> - phi(p) + phi(z) is B(sigma(p), z)."""
    p, z = pair
    slack = 64 * EPS * (1.0 + np.sum(p * p + z * z))
    assert abs(act.penalty_dual(p, z)[0] - act.penalty(act.sigma(p), z)[0]) <= slack


@convex
@quick
@given(number)
def test_sigma_is_the_gradient_of_phi(act, z):
    h = 1e-4
    below, above = (act.phi(np.array([[z + s * h]]))[0] for s in (-1, 1))
    assert abs((above - below) / (2 * h) - act.sigma(np.array([[z]]))[0, 0]) <= 2e-4


@monotone
@quick
@given(pairs)
def test_phi_is_convex_with_subgradient_sigma(act, pair):
    """phi(y) >= phi(z) + <sigma(z), y - z>: holds for the staircase too."""
    y, z = pair
    slack = 32 * EPS * (1.0 + np.sum(y * y + z * z))
    assert act.phi(y)[0] >= act.phi(z)[0] + np.sum(act.sigma(z) * (y - z)) - slack


@convex
@quick
@given(pairs)
def test_sigma_is_firmly_nonexpansive(act, pair):
    y, z = pair
    moved = act.sigma(y) - act.sigma(z)
    slack = 16 * EPS * (1.0 + np.abs(y) + np.abs(z)) * np.abs(y - z)
    assert (moved * moved <= moved * (y - z) + slack).all()


@convex
@quick
@given(pairs, st.floats(0.01, 1.0))
def test_prox_minimises_its_objective(act, pair, lam):
    """x = prox_{lam Psi}(w) gives lam Psi(x) + |x - w|^2/2 <= its value at other points of the domain."""
    w, other = pair

    def objective(x):
        return lam * act.psi(x)[0] + 0.5 * np.sum((x - w) ** 2)

    x = act.prox(w, lam)
    slack = 64 * EPS * (1.0 + np.sum(w * w + other * other))
    assert math.isfinite(objective(x))
    for t in (1.0, 0.1, 1e-3):
        assert objective(x) <= objective((1 - t) * x + t * act.sigma(other)) + slack


@monotone
@quick
@given(pairs, st.floats(0.01, 1.0))
def test_the_xstep_kernel_solves_the_problem_of_the_xstep(act, pair, tau):
    """x minimises B(x, z) + <g, x> + |x - x_old|^2 / (2 tau) over random trial points."""
    z, q = pair
    g, old = 0.3 * z[:, ::-1] - 0.1, act.sigma(q)
    x, r = old.copy(), np.empty_like(old)
    value = act.xstep(x, z, g, tau, r)

    def objective(x):
        return act.penalty(x, z)[0] + np.sum(g * x) + np.sum((x - old) ** 2) / (2 * tau)

    slack = 512 * EPS * (1.0 + np.sum(z * z + q * q)) / tau
    trials = [act.sigma(q), act.sigma(z), act.sigma(z - g), act.sigma(np.zeros_like(z))]
    assert all(objective(x) <= objective(y) + slack for y in trials)
    assert abs(value[0] - act.penalty(x, z)[0]) <= slack
    np.testing.assert_allclose(r, act.sigma(z) - x, atol=1e-13 * (1 + np.abs(z).max()))


@convex
@quick
@given(pairs)
def test_the_dual_xstep_and_the_euclidean_one_have_the_same_fixed_point(act, pair):
    """p = z - g, x = sigma(p) is left where it is by both."""
    z, g = pair
    p = z - g
    x, r = act.sigma(p), np.empty_like(z)
    again = x.copy()
    act.xstep(again, z, g, 0.5, r)
    np.testing.assert_allclose(again, x, atol=1e-13 * (1 + np.abs(p).max()))
    act.xstep_dual(p, again, z, g, 0.5, r)
    np.testing.assert_allclose(p, z - g, atol=1e-13 * (1 + np.abs(z).max() + np.abs(g).max()))
    np.testing.assert_allclose(again, x, atol=1e-13 * (1 + np.abs(p).max()))


def test_the_shortcut_without_psi_converges_to_a_wrong_point():
    """x <- tanh((x + tau (z - g)) / (1 + tau)) has another fixed point than the x-step: a trap."""
    act, tau = Tanh(), 0.5
    z, g = np.array([[1.0]]), np.array([[0.2]])
    right = act.sigma(z - g)
    x, short, r = np.zeros((1, 1)), np.zeros((1, 1)), np.empty((1, 1))
    for _ in range(200):
        act.xstep(x, z, g, tau, r, value=False)
        short = act.sigma((short + tau * (z - g)) / (1.0 + tau))
    np.testing.assert_allclose(x, right, atol=1e-14)
    assert abs(short - right)[0, 0] > 0.05


@pytest.mark.parametrize("act", CONVEX + NON_MONOTONE, ids=repr)
@quick
@given(numbers)
def test_derivative_is_the_limit_of_differences(act, z):
    h = 1e-6
    kinks = np.abs(np.abs(z)[..., None] - [0.0, 0.3, 0.5, 1.0]).min(axis=-1) < 1e-4
    g = np.full_like(z, h)
    act.difference(z, g)
    slope = act.derivative(z, np.ones_like(z))
    assert (kinks | (np.abs(g / h - slope) <= 1e-6)).all()
    assert (np.abs(slope) <= act.lipschitz + 1e-12).all()


@monotone
def test_psi_is_infinite_outside_its_domain_and_finite_inside(act):
    domains = {ReLU: (0, math.inf), Hardtanh: (-1, 0.5), Tanh: (-1, 1), Sigmoid: (0, 1), Arctan: (-1, 1)}
    domains |= {ISRU: (-1, 1), Softsign: (-1, 1), Softplus: (0, math.inf)}
    low, high = domains.get(type(act), (-math.inf, math.inf))
    low = -act.alpha if isinstance(act, ELU) else low
    low, high = (float(act.sigma(np.zeros((1, 1)))[0, 0]),) * 2 if act in STEPS else (low, high)
    for x, inside in ((low - 0.1, False), (high + 0.1, False), (0.5 * (max(low, -9) + min(high, 9)), True)):
        if math.isfinite(x):
            value = act.psi(np.array([[0.0, x]] if not inside else [[x]]))[0]
            assert math.isfinite(value) if inside else value == math.inf


ENDS = ((Tanh(), 1.0, math.log(2) - 0.5), (Tanh(), -1.0, math.log(2) - 0.5), (Sigmoid(), 0.0, 0.0))
ENDS += ((Sigmoid(), 1.0, -0.5), (ISRU(), 1.0, -0.5), (ELU(), -1.0, 0.5), (Softplus(), 0.0, 0.0))
ENDS += ((Arctan(), 1.0, math.inf), (Softsign(), -1.0, math.inf))


@pytest.mark.parametrize("act, x, value", ENDS, ids=str)
def test_psi_at_the_ends_of_its_domain(act, x, value):
    np.testing.assert_allclose(act.psi(np.array([[x]])), [value], atol=1e-15)


def test_softplus_potential_is_the_dilogarithm():
    z = np.linspace(-30, 40, 2001)
    reference = -spence(1.0 + np.exp(np.maximum(z, -5)))  # for small e^z SciPy's argument has lost its digits
    phi = Softplus().phi(z[:, None])
    np.testing.assert_allclose(phi[z >= -5], reference[z >= -5], rtol=1e-13)
    small = z <= -25
    t = np.exp(z[small])
    np.testing.assert_allclose(phi[small], t - t**2 / 4, rtol=1e-14)
    np.testing.assert_allclose(Softplus().phi(np.zeros((1, 1))), [math.pi**2 / 12], rtol=1e-15)


@pytest.mark.parametrize("act", CONVEX + STEPS + NON_MONOTONE, ids=repr)
def test_large_numbers_give_no_warning_in_single_precision(act):
    """Warnings are errors in this suite; squares beyond 3e38 are avoided where sigma or phi stays below."""
    z = np.array([[1e18, -1e18, 100.0, -100.0, 0.0]], np.float32)
    assert np.isfinite(act.sigma(z)).all()
    if act.proximal:
        assert np.isfinite(act.phi(z)).all()
        assert np.isfinite(act.prox(z, 0.5)).all()
    if not isinstance(act, Quantizer):
        assert np.isfinite(act.derivative(z, np.ones_like(z))).all()
    if isinstance(act, (Tanh, Sigmoid, Arctan, ISRU, Softsign)):
        huge = np.array([[1e38, -1e38]], np.float32)
        assert np.isfinite(act.sigma(huge)).all() and np.isfinite(act.phi(huge[:, :1])).all()


def test_known_values():
    z = np.array([[-2.0, 0.0, 2.0]])
    known = {
        ReLU(): [0, 0, 2],
        LeakyReLU(0.1): [-0.2, 0, 2],
        Hardtanh(): [-1, 0, 1],
        SoftThreshold(0.5): [-1.5, 0, 1.5],
        Tanh(): [-math.tanh(2), 0, math.tanh(2)],
        Sigmoid(): [1 / (1 + math.exp(2)), 0.5, 1 / (1 + math.exp(-2))],
        Arctan(): [-2 / math.pi * math.atan(2), 0, 2 / math.pi * math.atan(2)],
        ISRU(): [-2 / math.sqrt(5), 0, 2 / math.sqrt(5)],
        Softsign(): [-2 / 3, 0, 2 / 3],
        ELU(): [math.expm1(-2), 0, 2],
        Softplus(): [math.log1p(math.exp(-2)), math.log(2), 2 + math.log1p(math.exp(-2))],
        Quantizer(3): [0, 0, 1],
        Quantizer((-1.0, 0.25, 3.0)): [-1, 0.25, 3],
        GELU(): [-0.0454023059, 0, 1.9545976941],
        GELU(exact=True): [-1 + math.erf(2**0.5), 0, 1 + math.erf(2**0.5)],
        SiLU(): [-2 / (1 + math.exp(2)), 0, 2 / (1 + math.exp(-2))],
    }
    for act, values in known.items():
        np.testing.assert_allclose(act.sigma(z), [values], rtol=1e-9, err_msg=repr(act))


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", range(1, 9))
def test_quantizer_of_so_many_bits(bits, signed):
    """2^bits levels at equal distances from end to end, none farther than half a step inside; kernels find the same."""
    act = Quantizer(2**bits, high=1.5, signed=signed)
    low, step = -1.5 * signed, 1.5 * (1 + signed) / (2**bits - 1)
    levels = low + step * np.arange(2**bits)
    for dtype in (np.float32, np.float64):
        z = np.linspace(-2, 2, 4001).astype(dtype)[None]
        x = np.empty_like(z)
        act.activate(z.copy(), None, x)
        near = np.abs((z - low) / step % 1 - 0.5) > 1e-4  # but for ties, which rounding decides
        np.testing.assert_allclose(x[near], act.sigma(z)[near], rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(np.unique(x.round(5)), levels, atol=1e-5)
        inside = (z >= low) & (z <= 1.5)
        assert (np.abs(x - z)[inside] <= 0.5 * step * (1 + 1e-4)).all()
        assert x.min() == dtype(low) and x.max() == dtype(1.5)


def test_sign_and_its_potential():
    """phi(z) = |z| - 1/2 and Psi is 0 at the two levels."""
    z = np.array([[-2.0, -1e-6, -0.0, 0.0, 3.0]])
    assert Sign().sigma(z).tolist() == [[-1.0, -1.0, 1.0, 1.0, 1.0]]
    np.testing.assert_allclose(Sign().phi(z), [np.sum(np.abs(z) - 0.5)])
    assert Sign().psi(np.array([[-1.0], [1.0], [0.0]])).tolist() == [0.0, 0.0, math.inf]
    assert repr(Sign()) == "Sign()" and Sign() == Sign() and Quantizer(4) != Quantizer(4, signed=True)


def test_a_nudge_of_the_size_of_a_step_sees_across_the_staircase():
    """Averaged over z, the difference is the slope of the line through the levels: nothing in its place is needed."""
    act = Quantizer(4)
    z = np.linspace(1 / 3, 2 / 3, 60001)[None]  # one level to the next, the step in the middle
    r = np.full_like(z, 1 / 3)
    act.difference(z, r)
    assert r.mean() == pytest.approx(1 / 3, abs=1e-3)
    small = np.full_like(z, 1e-3)
    act.difference(z, small)
    assert (small == 0).mean() > 0.99 and small.mean() == pytest.approx(1e-3, abs=2e-4)


def test_quantizer_takes_the_nearest_level_and_the_higher_of_two():
    z = np.array([[-3.0, 1 / 6, 0.49, 0.51, 5.0]])
    np.testing.assert_allclose(Quantizer(4).sigma(z), [[0, 1 / 3, 1 / 3, 2 / 3, 1]])
    for levels in (2, 3, 50, 256):
        grid = np.linspace(0, 1, levels, dtype=np.float32)[None]
        x = np.empty_like(grid)
        Quantizer(levels).activate(grid.copy(), None, x)
        np.testing.assert_array_equal(x, grid)
    table = Quantizer([0.0, 1.0, 10.0])
    np.testing.assert_array_equal(table.sigma(np.array([[0.5, 5.5, 5.4]])), [[1, 10, 1]])


def test_representations_name_the_arguments():
    assert repr(ReLU()) == "ReLU()"
    assert repr(LeakyReLU(slope=0.1)) == "LeakyReLU(slope=0.1)"
    assert repr(Quantizer([0, 1])) == "Quantizer(levels=(0.0, 1.0))"
    assert LeakyReLU() == LeakyReLU(0.01) and len({ReLU(), ReLU(), Tanh()}) == 2


BAD = (
    (LeakyReLU, (0.0,), "0 < slope <= 1"),
    (LeakyReLU, (1.5,), "0 < slope <= 1"),
    (LeakyReLU, (math.nan,), "0 < slope <= 1"),
    (Hardtanh, (1.0, 1.0), "finite low < high"),
    (Hardtanh, (-math.inf, 1.0), "finite low < high"),
    (SoftThreshold, (-0.1,), "finite number >= 0"),
    (ELU, (2.0,), "0 < alpha <= 1"),
    (Quantizer, (1,), "at least 2"),
    (Quantizer, ((0.0,),), "increasing order"),
    (Quantizer, ((0.0, 0.0),), "increasing order"),
    (Quantizer, ((0.0, math.nan),), "increasing order"),
    (Quantizer, ((0.0, math.inf),), "increasing order"),
)


@pytest.mark.parametrize("kind, arguments, message", BAD)
def test_bad_parameters(kind, arguments, message):
    with pytest.raises(ValueError, match=message):
        kind(*arguments)


@non_monotone
def test_what_a_non_monotone_activation_refuses(act):
    z = np.ones((2, 3))
    refused = (
        lambda: act.phi(z),
        lambda: act.psi(z),
        lambda: act.prox(z, 0.5),
        lambda: act.penalty(z, z),
        lambda: act.penalty_dual(z, z),
        lambda: act.xstep(z, z, z, 0.5, z),
        lambda: act.xstep_dual(z, z, z, z, 0.5, z),
    )
    for call in refused:
        with pytest.raises(NotMonotoneError, match="not monotone"):
            call()
    assert not act.proximal


@pytest.mark.parametrize("act", STEPS, ids=repr)
def test_a_staircase_has_no_derivative(act):
    z = np.ones((2, 3))
    for call in (lambda: act.derivative(z, z), lambda: act.pull_back(z, z)):
        with pytest.raises(TypeError, match="has no derivative"):
            call()


@pytest.mark.parametrize("act", CONVEX + STEPS + NON_MONOTONE, ids=repr)
def test_the_base_class_does_the_same_without_kernels(act):
    """`Activation` writes the in-place work by formulas; what a stage gets does not depend on which is used."""
    rng = np.random.default_rng(0)
    z, g, offset = rng.standard_normal((5, 6)), rng.standard_normal((5, 6)), rng.standard_normal(6)
    results = []
    for kind in (type(act), Activation):
        zz, gg, x, total = z.copy(), g.copy(), np.empty_like(z), np.ones(6)
        kind.activate(act, zz, offset, x)
        kind.difference(act, zz, gg, relative=0.1, column_sum=total, accumulate=True)
        results.append((zz, gg, x, total))
    for fused, formula in zip(*results, strict=True):
        np.testing.assert_allclose(fused, formula, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("up", "down"), [(0.5, 0.5), (1.0, 0.5), (0.0, 1.0)])
@pytest.mark.parametrize("relative", [0.0, 0.01])
def test_the_identity_leaves_a_pull_as_it_is(up, down, relative):
    """Bit for bit where up + down = 1: a difference of large numbers would lose digits."""
    z, g = 1e3 * np.ones((4, 3), np.float32), np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    for column in (None, np.empty(3, np.float32)):
        r = g.copy()
        Identity().bound_difference(z, r, up, down, relative, column, False)()
        np.testing.assert_array_equal(r, np.float32(up + down) * g)
        assert column is None or np.allclose(column, r.sum(axis=0))
    Identity().bound_activate(z, None, z)()
    assert (z == 1e3).all()
    Identity().bound_activate(z, np.arange(3, dtype=np.float32), z)()
    np.testing.assert_array_equal(z, 1e3 + np.arange(3) * np.ones((4, 1)))
