"""The lasso with a known answer: its numbers, its optimality, the parts of ranks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from u1 import U1, gap

from paralift.optim.problems import AnalyticLasso


def fixed_point_error(problem):
    """Return the distance of the solution from what a proximal gradient step of length 1 makes of it."""
    x, slope = problem.solution.copy(), np.empty_like(problem.solution)
    problem.gradient(x, slope)
    x -= slope
    problem.prox(x, 1.0)
    return np.abs(x - problem.solution).max()


def test_known_numbers():
    assert U1.optimum == pytest.approx(776.4923151499, abs=1e-10)
    assert np.count_nonzero(U1.solution) == 11
    assert np.linalg.norm(U1.solution) == pytest.approx(15.9512, abs=5e-5)
    assert (U1.n_samples, U1.start.shape) == (160, (20,)) and gap(U1.solution) == 0.0


def test_constants_are_those_of_the_rows():
    values = np.linalg.eigvalsh(U1.rows.T @ U1.rows)
    assert values[-1] == pytest.approx(U1.exact_lipschitz, rel=1e-12) and values[0] == pytest.approx(
        U1.exact_convexity, rel=1e-12
    )
    np.testing.assert_allclose(np.linalg.norm(U1.rows, axis=0), U1.lengths, rtol=1e-13)
    assert U1.lipschitz() == pytest.approx(1.0, rel=1e-11)


@settings(max_examples=25, deadline=None)
@given(
    unknowns=st.integers(1, 12), more=st.integers(0, 20), condition=st.floats(1.0, 1e4), weight=st.floats(0.0, 10.0),
    seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_the_solution_is_a_fixed_point(unknowns, more, condition, weight, seed):
    problem = AnalyticLasso(unknowns, unknowns + more, condition, weight, seed)
    assert fixed_point_error(problem) <= 1e-10 * (1.0 + np.abs(problem.solution).max())
    assert problem.optimum <= problem.value(problem.start) + 1e-9


def test_no_point_nearby_is_better():
    rng = np.random.default_rng(0)
    for size in (1e-3, 1e-1, 10.0):
        for _ in range(20):
            assert gap(U1.solution + size * rng.standard_normal(20)) > 0


@pytest.mark.parametrize("size", [1, 2, 7, 160])
def test_parts_sum_to_the_whole(size):
    parts, x = U1.split(size), np.random.default_rng(1).standard_normal(20)
    assert len(parts) == size and sum(part.n_samples for part in parts) == 160
    assert sum(part.value(x) for part in parts) == pytest.approx(U1.value(x), rel=1e-13)
    out, total = np.empty(20), np.zeros(20)
    for part in parts:
        part.gradient(x, out)
        total += out
        assert part.penalty(x) == U1.penalty(x) and (part.exact_lipschitz, part.exact_convexity) == (1.0, 0.01)
    U1.gradient(x, out)
    np.testing.assert_allclose(total, out, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(U1.part(size - 1, size).rows, parts[-1].rows)


def test_seeds_make_other_problems():
    assert AnalyticLasso(seed=0).optimum == U1.optimum != AnalyticLasso(seed=1).optimum
    with pytest.raises(ValueError, match="160 samples cannot be split into 161 parts"):
        U1.split(161)
