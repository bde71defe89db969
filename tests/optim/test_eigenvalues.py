"""The largest eigenvalue against NumPy's: random, repeated and vanishing ones, of few and many unknowns."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paralift.optim.eigenvalues import SMALL, largest_eigenvalue


def found(matrix, dtype=float, shape=None):
    """Return the largest eigenvalue by products alone."""
    like = np.empty(shape or len(matrix), dtype)

    def multiply(v, out):
        assert v.shape == out.shape == like.shape and v.dtype == out.dtype == like.dtype
        out[...] = (matrix @ v.reshape(-1)).reshape(out.shape)

    return largest_eigenvalue(multiply, like)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 40), data=st.data(), seed=st.integers(0, 2**32 - 1), power=st.integers(-6, 6))
def test_random_matrices_of_any_rank(n, data, seed, power):
    factor = np.random.default_rng(seed).standard_normal((data.draw(st.integers(1, n)), n))
    matrix = 10.0**power * factor.T @ factor
    assert found(matrix) == pytest.approx(np.linalg.eigvalsh(matrix)[-1], rel=1e-9)


@pytest.mark.parametrize("n", [1, 2, SMALL, SMALL + 1, 20, 21, 40])
def test_known_matrices(n):
    assert found(np.zeros((n, n))) == 0.0
    assert found(np.eye(n)) == pytest.approx(1.0, rel=1e-12)
    assert found(np.ones((n, n))) == pytest.approx(n, rel=1e-12)
    assert found(np.diag(np.arange(1.0, n + 1))) == pytest.approx(n, rel=1e-12)


@pytest.mark.parametrize("shape", [(2, 3), (3, 4), (5, 2, 3)])
def test_unknowns_of_any_shape(shape):
    n = int(np.prod(shape))
    factor = np.random.default_rng(0).standard_normal((n, n))
    assert found(factor.T @ factor, shape=shape) == pytest.approx(np.linalg.norm(factor, 2) ** 2, rel=1e-10)


@pytest.mark.parametrize("n", [3, 30])
def test_single_precision(n):
    factor = np.random.default_rng(0).standard_normal((n, n)).astype(np.float32)
    assert found(factor.T @ factor, np.float32) == pytest.approx(np.linalg.norm(factor.astype(float), 2) ** 2, rel=1e-5)


def test_the_answer_is_the_same_every_time():
    """Ranks that multiply together must ask equally often: nothing random may differ."""
    factor, calls = np.random.default_rng(0).standard_normal((30, 30)), []

    def multiply(v, out):
        calls.append(v.copy())
        out[...] = factor.T @ (factor @ v)

    first = largest_eigenvalue(multiply, np.empty(30))
    count = len(calls)
    assert largest_eigenvalue(multiply, np.empty(30)) == first and len(calls) == 2 * count
    np.testing.assert_array_equal(calls[:count], calls[count:])
