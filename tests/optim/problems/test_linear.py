"""Linear models: gradients against differences, constants against NumPy, parts that make up the whole, dense and sparse."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array, csc_array, csr_array, csr_matrix

from paralift.optim import L1
from paralift.optim.problems import LeastSquares, LinearModel, Logistic, Multinomial

CLASSES = 3
KINDS = [LeastSquares, Logistic, Multinomial]
FORMATS = [np.asarray, csr_array, coo_array, csc_array, csr_matrix]
every_kind = pytest.mark.parametrize("kind", KINDS)


def made(kind, rows, rng, storage=np.asarray, scale=1.0):
    """Return a problem with random targets."""
    n, kept = len(rows), storage(rows)
    if kind is LeastSquares:
        return kind(kept, rng.standard_normal(n).astype(rows.dtype), L1(0.1), scale)
    if kind is Logistic:
        return kind(kept, rng.choice([-1.0, 1.0], n).astype(rows.dtype), L1(0.1), scale)
    return kind(kept, rng.integers(CLASSES, size=n), CLASSES, L1(0.1), scale)


@st.composite
def problems(draw, kind):
    """Draw a problem, its rows as a dense array, a point and a generator."""
    n, d = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows = rng.standard_normal((n, d)) * (rng.random((n, d)) < draw(st.sampled_from([0.3, 1.0])))
    rows[0, 0] = 1.0
    problem = made(kind, rows, rng, draw(st.sampled_from(FORMATS)), draw(st.sampled_from([1.0, 1.0 / n, 3.0])))
    return problem, rows, rng.standard_normal(problem.start.shape), rng


def gradient(problem, x, rows=None):
    out = np.empty_like(x)
    problem.gradient(x, out, rows)
    return out


few = settings(max_examples=25, deadline=None)


@every_kind
@few
@given(data=st.data())
def test_gradients_are_those_of_the_values(kind, data):
    problem, _, x, rng = data.draw(problems(kind))
    v, h = rng.standard_normal(x.shape), 1e-5
    slope = (problem.value(x + h * v) - problem.value(x - h * v)) / (2 * h)
    assert slope == pytest.approx(np.sum(gradient(problem, x) * v), rel=1e-6, abs=1e-6)


@every_kind
@few
@given(data=st.data())
def test_parts_sum_to_the_whole(kind, data):
    problem, _, x, _ = data.draw(problems(kind))
    parts = problem.split(data.draw(st.integers(1, problem.n_samples)))
    assert sum(part.n_samples for part in parts) == problem.n_samples
    assert sum(part.value(x) for part in parts) == pytest.approx(problem.value(x), rel=1e-12)
    np.testing.assert_allclose(sum(gradient(part, x) for part in parts), gradient(problem, x), rtol=0, atol=1e-11)
    assert all(part.penalty(x) == problem.penalty(x) and type(part) is kind for part in parts)


@every_kind
@few
@given(data=st.data())
def test_gradients_of_some_samples_are_those_of_a_problem_of_them(kind, data):
    problem, dense, x, rng = data.draw(problems(kind))
    chosen = np.sort(rng.choice(problem.n_samples, rng.integers(1, problem.n_samples + 1), replace=False))
    more = (CLASSES,) if kind is Multinomial else ()
    alone = kind(dense[chosen], problem.targets[chosen], *more, None, problem.scale)
    np.testing.assert_allclose(gradient(problem, x, chosen), gradient(alone, x), rtol=0, atol=1e-11)
    span = slice(0, len(chosen))
    np.testing.assert_allclose(gradient(problem, x, span), gradient(problem, x, np.arange(len(chosen))), rtol=0, atol=1e-11)


@every_kind
@few
@given(data=st.data())
def test_residuals_that_are_pulled_are_gradients(kind, data):
    problem, _, x, rng = data.draw(problems(kind))
    chosen = rng.permutation(problem.n_samples)
    residuals, out = problem.residuals(x, chosen), np.empty_like(x)
    assert residuals.shape == ((len(chosen), CLASSES) if kind is Multinomial else (len(chosen),))
    problem.pull(residuals, chosen, out)
    np.testing.assert_allclose(out, gradient(problem, x), rtol=0, atol=1e-11)
    one = int(chosen[0])
    problem.pull(residuals[:1], chosen[:1], out)
    np.testing.assert_allclose(out, gradient(problem, x, np.array([one])), rtol=0, atol=1e-11)


@every_kind
@few
@given(data=st.data())
def test_constants_are_exact(kind, data):
    problem, rows, _, _ = data.draw(problems(kind))
    factor = problem.scale * {LeastSquares: 1.0, Logistic: 0.25, Multinomial: 0.5}[kind]
    assert problem.lipschitz() == pytest.approx(factor * np.linalg.norm(rows, 2) ** 2, rel=1e-9)
    assert problem.sample_lipschitz() == pytest.approx(factor * np.square(rows).sum(axis=1).max(), rel=1e-12)


@every_kind
@few
@given(data=st.data())
def test_curvature_bounds_the_hessians(kind, data):
    problem, _, x, rng = data.draw(problems(kind))
    h, bound = 1e-5, np.empty_like(x)
    for _ in range(3):
        v = rng.standard_normal(x.shape)
        bend = np.sum(v * (gradient(problem, x + h * v) - gradient(problem, x - h * v))) / (2 * h)
        assert problem.curvature(v, bound)
        assert -1e-6 <= bend <= np.sum(v * bound) * (1 + 1e-7) + 1e-6
        if kind is LeastSquares:
            assert bend == pytest.approx(np.sum(v * bound), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("storage", FORMATS)
def test_known_values_at_zero(storage):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((7, 4))
    for kind, each in ((Logistic, np.log(2.0)), (Multinomial, np.log(3.0))):
        problem = made(kind, rows, rng, storage, 0.5)
        assert problem.value(problem.start) == pytest.approx(0.5 * 7 * each, rel=1e-14)
    problem = made(LeastSquares, rows, rng, storage, 0.5)
    assert problem.value(problem.start) == pytest.approx(0.25 * problem.targets @ problem.targets, rel=1e-14)
    assert problem.sparse == (storage is not np.asarray) and (problem.start == 0).all()


def test_least_squares_has_no_gradient_at_its_solution():
    rng = np.random.default_rng(1)
    rows, targets = rng.standard_normal((9, 4)), rng.standard_normal(9)
    solution = np.linalg.lstsq(rows, targets)[0]
    np.testing.assert_allclose(gradient(LeastSquares(rows, targets), solution), 0.0, rtol=0, atol=1e-13)


@pytest.mark.parametrize("whole", [np.int8, np.int64, np.uint64])
def test_two_classes_are_logistic(whole):
    rng = np.random.default_rng(2)
    rows, labels, w = rng.standard_normal((9, 4)), rng.integers(2, size=9), rng.standard_normal(4)
    two, one = Multinomial(rows, labels.astype(whole), 2), Logistic(rows, 2.0 * labels - 1.0)
    x = np.stack([np.zeros(4), w], axis=1)
    assert two.value(x) == pytest.approx(one.value(w), rel=1e-13)
    np.testing.assert_allclose(gradient(two, x)[:, 1], gradient(one, w), rtol=0, atol=1e-13)


def test_huge_products_stay_finite():
    """exp(800) is not a number of 64 bits: losses are linear there, slopes 0 or 1."""
    rows, w = np.array([[800.0], [-800.0], [1e300]]), np.array([1.0])
    problem = Logistic(rows, np.array([1.0, 1.0, -1.0]))
    np.testing.assert_array_equal(problem.losses(rows @ w, problem.targets), [0.0, 800.0, 1e300])
    np.testing.assert_array_equal(problem.slopes(rows @ w, problem.targets), [0.0, -1.0, 1.0])
    several = Multinomial(rows, np.array([0, 0, 1]), 2)
    products = rows @ np.array([[1.0, 0.0]])
    np.testing.assert_array_equal(several.losses(products, several.targets), [0.0, 800.0, 1e300])
    np.testing.assert_array_equal(several.slopes(products, several.targets), [[0.0, 0.0], [-1.0, 1.0], [1.0, -1.0]])


@every_kind
@pytest.mark.parametrize("storage", [np.asarray, csr_array])
def test_single_precision_stays(kind, storage):
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((20, 10)).astype(np.float32)
    problem = made(kind, rows, rng, storage, 0.3)
    x = rng.standard_normal(problem.start.shape).astype(np.float32)
    assert problem.start.dtype == np.float32 and problem.residuals(x, np.arange(5)).dtype == np.float32
    slopes = problem.slopes(problem.rows @ x, problem.targets)
    assert slopes.dtype == problem.losses(problem.rows @ x, problem.targets).dtype == np.float32
    targets = problem.targets if kind is Multinomial else problem.targets.astype(float)
    exact = kind(rows.astype(float), targets, *((CLASSES,) if kind is Multinomial else ()), scale=0.3)
    np.testing.assert_allclose(gradient(problem, x), gradient(exact, x.astype(float)), rtol=1e-4, atol=1e-5)
    assert problem.lipschitz() == pytest.approx(exact.lipschitz(), rel=1e-5)


def test_the_regulariser_acts_on_vectors():
    problem, x = LeastSquares(np.eye(2), np.zeros(2), L1(0.5)), np.array([2.0, -0.1])
    assert problem.penalty(x) == pytest.approx(1.05)
    problem.prox(x, 1.0)
    np.testing.assert_allclose(x, [1.5, 0.0])


A, B = np.eye(3), np.ones(3)


@pytest.mark.parametrize(
    ("act", "error", "text"),
    [
        (lambda: LeastSquares(B, B), ValueError, r"rows of shape \(3,\) were given, expected \(samples, unknowns\)"),
        (lambda: LeastSquares([[1.0]], B), ValueError, "rows of shape None were given"),
        (lambda: LeastSquares(A, B[:2]), ValueError, r"3 rows and targets of shape \(2,\) were given, expected one target"),
        (lambda: LeastSquares(A, B[:, None]), ValueError, r"3 rows and targets of shape \(3, 1\)"),
        (lambda: LeastSquares(A, [1.0] * 3), ValueError, "3 rows and targets of shape None"),
        (lambda: LeastSquares(A, B, scale=0.0), ValueError, "scale = 0.0 was given, expected a finite number greater than 0"),
        (lambda: LeastSquares(A, B, scale=np.inf), ValueError, "scale = inf"),
        (lambda: LeastSquares(A * np.nan, B), ValueError, "rows with a NaN or an infinite number"),
        (lambda: LeastSquares(csr_array(A * np.inf), B), ValueError, "rows with a NaN or an infinite number"),
        (lambda: LeastSquares(A, B / 0.0), ValueError, "targets with a NaN or an infinite number"),
        (lambda: LeastSquares(A[:0], B[:0]), ValueError, "LeastSquares: 0 samples were given, expected at least 1"),
        (lambda: LeastSquares(A.astype(int), B), TypeError, "unknowns of dtype int64 were given, expected a real float type"),
        (lambda: LeastSquares(A * 1j, B), TypeError, "unknowns of dtype complex128"),
        (lambda: Logistic(A, 0.5 * B), ValueError, "labels other than -1 and 1 were given"),
        (lambda: Multinomial(A, B, 2), ValueError, "labels were given that are no whole numbers from 0 to 1"),
        (lambda: Multinomial(A, np.array([0, 1, 2]), 2), ValueError, "no whole numbers from 0 to 1"),
        (lambda: Multinomial(A, np.array([0, -1, 1]), 2), ValueError, "no whole numbers from 0 to 1"),
        (lambda: LeastSquares(A, B).split(4), ValueError, "3 samples cannot be split into 4 parts"),
        (lambda: LinearModel(A, B).value(B), NotImplementedError, "LinearModel has no losses"),
        (lambda: LinearModel(A, B).gradient(B, A[0]), NotImplementedError, "LinearModel has no slopes"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:(divide by zero|invalid value):RuntimeWarning")
def test_wrong_arguments(act, error, text):
    with pytest.raises(error, match=text):
        act()
