"""Formulas: what they may hold, their derivative, and their three translations, which must agree."""

from __future__ import annotations

import array_api_strict as strict
import cuda_host
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paralift.kernels import bias_activation, cuda, difference, generated, xstep
from paralift.kernels.algebra import FUNCTIONS, Formula, FormulaError
from paralift.kernels.generated import Definition
from paralift.lifted.activations import Custom, activation

quick = settings(deadline=None, max_examples=60)
EVERYTHING = (
    "where(z < -1 or not z <= 5, tanh(z), sin(z) * cos(z) + tan(z / 4)) + sqrt(1 + z**2) / exp(-abs(z)) - expm1(z / 3)"
    " + log(1 + z*z) ** 3 - log1p(abs(z)) + sinh(z / 4) * cosh(z / 4) - arctan(z) ** 2 + arcsinh(a * z) + erf(z) + sign(z)"
    " + floor(z) + clip(z, -1, 2) + min(z, b) * max(z, a) + (2 if -1 < z < 1 else pi) + abs(z) ** a + (z == 0) * 0"
).replace(" + (z == 0) * 0", " + where(z == 0, 1, 0)")
"""Every operation there is."""
A, B = 1.5, 0.25


def python(name, at):
    """Evaluate a formula by Python itself, entry by entry."""
    given = {k: getattr(np, k) for k in FUNCTIONS if hasattr(np, k)} | {"pi": np.pi, "a": A, "b": B}
    given |= {"min": min, "max": max, "where": lambda c, u, v: u if c else v}
    from math import erf

    return np.array([eval(name, {**given, "erf": erf}, {"z": z}) for z in at])  # noqa: S307 - of this file


Z = np.array([-7.3, -2.5, -0.7, -0.1, 0.0, 0.3, 0.9, 1.6, 4.2, 5.5])
KINKS = (-2, -1, 0, 0.25, 1, 1.5, 2, 4)


def test_values_are_those_of_python():
    formula = Formula(EVERYTHING, ("z", "a", "b"))
    np.testing.assert_allclose(formula(Z, a=A, b=B), python(EVERYTHING, Z), rtol=1e-13)
    plain = Formula(EVERYTHING.replace("erf(z)", "z"), ("z", "a", "b"))
    found = plain(strict.asarray(Z.tolist(), dtype=strict.float64), a=A, b=B)
    np.testing.assert_allclose(np.asarray(found), plain(Z, a=A, b=B), rtol=1e-13)


def test_derivative_is_the_limit_of_differences():
    formula, h = Formula(EVERYTHING, ("z", "a", "b")), 1e-6
    slope = (formula(Z + h, a=A, b=B) - formula(Z - h, a=A, b=B)) / (2 * h)
    smooth = Z != 0.0
    np.testing.assert_allclose(formula.derivative(Z, a=A, b=B)[smooth], slope[smooth], rtol=2e-8)


def _number(children):
    unary = st.sampled_from(["-{}", "tanh({})", "arctan({})", "abs({})", "exp(-abs({}))", "log1p(abs({}))", "sin({})"])
    binary = st.sampled_from(["{} + {}", "{} - {}", "{} * {}", "{} / (1 + abs({}))", "where({} < 0.1, {}, 1)", "max({}, {})"])
    one = st.tuples(unary, children).map(lambda t: f"({t[0].format(t[1])})")
    return one | st.tuples(binary, children, children).map(lambda t: f"({t[0].format(*t[1:])})")


formulas = st.recursive(st.sampled_from(["z", "a", "0.5", "2", "z"]), _number, max_leaves=12)


@quick
@given(formulas, st.floats(-3, 3))
def test_random_formulas_and_their_derivatives(text, z):
    formula = Formula(text, ("z", "a", "b"))
    at = np.array([z])
    np.testing.assert_allclose(formula(at, a=A, b=B), python(text, at), rtol=1e-12, atol=1e-12)
    steps = [(formula(at + h, a=A, b=B) - formula(at - h, a=A, b=B)) / (2 * h) for h in (1e-5, 2e-5)]
    if abs(steps[0] - steps[1]) <= 1e-6 * (1 + abs(steps[0])):  # no kink in between
        slope = formula.derivative(at, a=A, b=B)
        sided = [(formula(at + s, a=A, b=B) - formula(at, a=A, b=B)) / s for s in (1e-6, -1e-6)]
        assert min(abs(slope - d) for d in (*steps, *sided)) <= 1e-4 * (1 + abs(steps[0]))


@pytest.mark.parametrize(
    "text, says",
    (
        ("__import__('os').system('x')", "cannot stand|not known"),
        ("z.real", "cannot stand"),
        ("(lambda: z)()", "cannot stand"),
        ("[z for z in (1,)]", "cannot stand"),
        ("z if z else 1", "expected a condition"),
        ("(z < 1) + 1", "expected a number"),
        ("tnah(z)", "did you mean 'tanh'"),
        ("y + 1", "'y' is not known"),
        ("exp(z, z)", "takes 1 argument"),
        ("exp(*z)", "takes 1 argument|cannot"),
        ("z ** z", "exponent"),
        ("True", "cannot stand"),
        ("'z'", "cannot stand"),
        ("1e400 * z", "cannot stand"),
        ("", "expected a formula"),
        ("z +", "no formula"),
        ("z" * 3000, "at most"),
        ("-" * 1900 + "z", "too deeply|operations|no formula"),
        ("z; z", "no formula"),
    ),
)
def test_what_is_no_formula_is_refused(text, says):
    with pytest.raises(FormulaError, match=says):
        Formula(text, ("z", "a", "b"))


def test_what_depends_on_parameters_alone_is_computed_too():
    formula = Formula("where(a > 1 and not b > 1 or a == 7, exp(a) / (b - b), z)", ("z", "a", "b"))
    assert formula(np.zeros(2), a=A, b=B).tolist() == [np.inf, np.inf]
    assert formula(np.array([2.0]), a=A, b=3.0).tolist() == [2.0] and formula(2.0, a=0.0, b=0.0) == 2.0
    assert Formula("1", ("z",))(np.zeros(2)).tolist() == [1.0, 1.0]


def test_simple_derivatives_are_simple():
    assert Formula("3", ("z",)).derivative(np.zeros(2)).tolist() == [0.0, 0.0]
    nodes = Formula("2*z + 1", ("z",)).derivative
    assert nodes.nodes[nodes.root].value == 2.0


ACTS = (
    Custom("everything", Definition(EVERYTHING), A, B),  # which overflows far out: `activation` would refuse it
    activation("squareplus", sigma="(z + sqrt(z*z + a)) / 2", phi="(z*z + z*sqrt(z*z + a) + a*arcsinh(z / sqrt(a))) / 4", a=A),
)


def _instances():
    for act in ACTS:
        T, V = ("double", 1) if act.proximal else ("float", 4)
        yield bias_activation.cuda_source(act.scalar), f"bias_activation<{T}, {V}, Act<{T}>>"
        yield difference.cuda_source(act.scalar), f"residual<{T}, {V}, SLOPE, Act<{T}>>"
        if act.proximal:
            yield xstep.cuda_source(act.scalar), f"xstep<{T}, {V}, Act<{T}>>"


def test_nvrtc_compiles_what_is_generated():
    assert b"ld.global.v4" in cuda_host.compile_by_nvrtc(_instances())


@pytest.fixture(scope="module")
def on_cpu(tmp_path_factory):
    function = cuda_host.run_on_cpu(_instances(), tmp_path_factory.mktemp("cuda"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cuda, "function", function)
        patch.setattr(cuda, "address", lambda x: x.ctypes.data)
        patch.setattr(cuda, "vector", lambda width, *arrays: 4 if arrays[0].dtype == np.float32 else 1)
        yield


@pytest.mark.parametrize("act, dtype", ((ACTS[0], "float32"), (ACTS[1], "float64")), ids=lambda v: getattr(v, "name", v))
def test_kernels_agree_with_formulas(act, dtype, on_cpu):
    """Numba's and CUDA's kernels, at ordinary points, at kinks and at the edges."""
    close = {"rtol": 3e-5 if dtype == "float32" else 1e-12, "atol": 3e-5 if dtype == "float32" else 1e-12}
    z = np.concatenate([Z, [np.nan, 0.4]]).reshape(3, 4).astype(dtype)
    z = np.ascontiguousarray(z)
    g = np.linspace(-1, 1, z.size).astype(dtype).reshape(z.shape)
    double = z.astype(np.float64)
    for launch in (lambda x: act.activate(z.copy(), None, x), lambda x: bias_activation.cuda_launch(act, z.copy(), None, x)):
        x = np.zeros_like(z)
        launch(x)
        np.testing.assert_allclose(x, act.sigma(double), **close)
    for pull in (act.pull_back, lambda z, r: difference.cuda_residual("SLOPE", act, z, r, None, 0.0, 0.0, None, False)):
        r = g.copy()
        pull(z, r)
        np.testing.assert_allclose(r, act.derivative(double, g.astype(np.float64)), **close)
    if act.proximal:
        start, z = act.sigma(g), np.nan_to_num(z)
        expected, residual = start.astype(np.float64), np.zeros(z.shape)
        value = xstep.formula(act, expected, z.astype(np.float64), g.astype(np.float64), 0.7, residual, True)
        for step in (
            lambda x, r: act.xstep(x, z, g, 0.7, r),
            lambda x, r: xstep.cuda_launch(act, "xstep", (x, z, g, r), 0.7, True),
        ):
            x, r = start.copy(), np.zeros_like(z)
            found = step(x, r)
            np.testing.assert_allclose(x, expected, **close)
            np.testing.assert_allclose(r, residual, **close)
            np.testing.assert_allclose(found, value, rtol=1e-4 if dtype == "float32" else 1e-12)


@pytest.mark.parametrize("dtype", ("float32", "float64"))
def test_exponentials_of_any_size(dtype):
    """e^t and ln(1 + t) as kernels compute them, from underflow to overflow."""
    import numba

    t = np.array([-120.0, -87.5, -30.0, -1.0, -1e-6, 0.0, 1e-6, 1.0, 30.0, 88.0, 120.0, np.inf, -np.inf, np.nan], dtype)
    exp, log1p = generated.exp, generated.log1p

    @numba.njit(error_model="numpy")
    def compute(t, x, y):
        for i in range(t.size):
            x[i], y[i] = exp(t[i]), log1p(t[i])

    x, y = np.empty_like(t), np.empty_like(t)
    compute(t, x, y)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(x, np.exp(t), rtol=2e-6 if dtype == "float32" else 1e-14, atol=1e-44)
        np.testing.assert_allclose(y, np.log1p(t), rtol=1e-6 if dtype == "float32" else 1e-14)


def test_equal_definitions_share_their_kernels():
    texts = ("z / (1 + abs(z))", "abs(z) - log1p(abs(z))")
    assert generated.scalar(Definition(*texts)) is generated.scalar(Definition(*texts))
    assert generated.scalar(Definition(*texts)).stamp != generated.scalar(Definition("z", "z*z/2")).stamp
