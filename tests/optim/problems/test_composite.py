"""Composite problems: what a problem of one's own has without writing it, and what it must write."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paralift.optim import L1, GroupL1, Ridge
from paralift.optim.problems import CompositeProblem
from paralift.optim.problems.composite import Nothing, shares


class Quartic(CompositeProblem):
    """sum_j (a_j . x)^4 / 4, of unknowns in two dimensions, so that a gradient is no residual times a row."""

    def __init__(self, rows):
        super().__init__(np.zeros(rows.shape[1:]), len(rows))
        self.rows = rows

    def gradient(self, x, out, rows=None):
        rows = self.rows if rows is None else self.rows[rows]
        out[...] = np.tensordot(np.tensordot(rows, x, 2) ** 3, rows, 1)


@given(n=st.integers(1, 1000), data=st.data())
def test_shares_make_up_the_samples_and_are_nearly_alike(n, data):
    parts = data.draw(st.integers(1, n))
    spans = shares(n, parts)
    assert [k for span in spans for k in range(n)[span]] == list(range(n))
    lengths = [span.stop - span.start for span in spans]
    assert len(spans) == parts and max(lengths) - min(lengths) <= 1 and min(lengths) >= 1


@pytest.mark.parametrize(("n", "parts"), [(3, 4), (3, 0), (3, -1), (0, 1)])
def test_more_parts_than_samples_are_refused(n, parts):
    with pytest.raises(ValueError, match=f"{n} samples cannot be split into {parts} parts, expected 1 to {n}"):
        shares(n, parts)


def test_nothing_is_zero_and_moves_nothing():
    x, problem = np.arange(6.0), CompositeProblem(np.zeros(6))
    assert isinstance(problem.regularizer, Nothing) and problem.penalty(x) == 0.0
    problem.prox(x, 3.0)
    problem.prox_within(x, 3.0, 0.1)
    np.testing.assert_array_equal(x, np.arange(6.0))


def test_residuals_are_gradients_where_nothing_else_is_said():
    rng = np.random.default_rng(0)
    problem, x = Quartic(rng.standard_normal((7, 3, 2))), rng.standard_normal((3, 2))
    rows, one = np.array([4, 0, 6]), np.empty((3, 2))
    table = problem.residuals(x, rows)
    assert table.shape == (3, 6)
    for line, row in zip(table, rows, strict=True):
        problem.gradient(x, one, np.array([row]))
        np.testing.assert_allclose(line, one.reshape(-1), rtol=1e-13)
    out, expected = np.empty((3, 2)), np.empty((3, 2))
    problem.pull(table, rows, out)
    problem.gradient(x, expected, rows)
    np.testing.assert_allclose(out, expected, rtol=1e-12)
    problem.pull(problem.residuals(x, np.arange(7)), np.arange(7), out)
    problem.gradient(x, expected)
    np.testing.assert_allclose(out, expected, rtol=1e-12)


@pytest.mark.parametrize("on", ["weights", "all"])
@pytest.mark.parametrize("shape", [(4,), (2, 2)])
def test_the_regulariser_acts_on_all_unknowns(on, shape):
    given_one = L1(0.5, on=on)
    problem, x = CompositeProblem(np.zeros(shape), regularizer=given_one), np.full(shape, 2.0)
    assert problem.penalty(x) == 4.0
    problem.prox(x, 2.0)
    np.testing.assert_array_equal(x, 1.0)
    problem.prox_within(x, 1.0, 0.1)
    np.testing.assert_array_equal(x, 0.5)
    assert given_one.on == on


def test_other_fields_of_the_regulariser_are_kept():
    assert CompositeProblem(np.zeros(3), regularizer=Ridge(0.25)).regularizer == Ridge(0.25, on="all")
    assert CompositeProblem(np.zeros(3), regularizer=GroupL1(0.25, axis=0)).regularizer == GroupL1(0.25, axis=0, on="all")


def test_constants_that_nobody_knows():
    problem, out = CompositeProblem(np.zeros(3)), np.full(3, 7.0)
    assert problem.exact_lipschitz is None and problem.exact_convexity is None and problem.strong_convexity() == 0.0
    assert not problem.curvature(np.ones(3), out) and not problem.nearest(np.ones(3), 1.0, out)
    np.testing.assert_array_equal(out, 7.0)


@pytest.mark.parametrize(
    ("act", "text"),
    [
        (lambda p: p.value(p.start), "Mine has no value"),
        (lambda p: p.gradient(p.start, p.start), "Mine has no gradient"),
        (lambda p: p.lipschitz(), "Mine knows no Lipschitz constant: give the step, or write `lipschitz`"),
        (lambda p: p.sample_lipschitz(), "Mine knows no constant of a sample: give the step, or write `sample_lipschitz`"),
        (lambda p: p.split(2), "Mine cannot be split"),
    ],
)
def test_what_is_not_written_is_named(act, text):
    class Mine(CompositeProblem):
        pass

    with pytest.raises(NotImplementedError, match=text):
        act(Mine(np.zeros(2)))


def test_wrong_arguments():
    with pytest.raises(ValueError, match="CompositeProblem: 0 samples were given, expected at least 1"):
        CompositeProblem(np.zeros(2), 0)
    with pytest.raises(TypeError, match="CompositeProblem: unknowns of dtype int64 were given, expected a real float type"):
        CompositeProblem(np.zeros(2, dtype=np.int64))
