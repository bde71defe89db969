"""Problems in blocks: gradients and constants of blocks against those of the whole, after any moves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from u1 import U1

from paralift.optim import L1, NonNegative
from paralift.optim.problems import BlockProblem, LeastSquares, LinearBlocks, Logistic, Multinomial


@st.composite
def linear_blocks(draw):
    """Draw a linear model in blocks, and a generator."""
    n, d = draw(st.integers(1, 10)), draw(st.integers(1, 14))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, kind = rng.standard_normal((n, d)), draw(st.sampled_from([LeastSquares, Logistic]))
    storage = draw(st.sampled_from([np.asarray, csr_array]))
    model = kind(storage(rows), rng.choice([-1.0, 1.0], n), L1(0.3), draw(st.sampled_from([1.0, 0.1])))
    return LinearBlocks(model, draw(st.integers(1, d))), rows, rng


@settings(max_examples=40, deadline=None)
@given(linear_blocks())
def test_gradients_of_blocks_are_slices_of_the_whole_after_any_moves(drawn):
    problem, _, rng = drawn
    x = rng.standard_normal(problem.start.shape)
    problem.begin(x)
    whole, again = np.empty_like(x), np.empty_like(x)
    for _ in range(5):
        j = int(rng.integers(len(problem.blocks)))
        change = rng.standard_normal(x[problem.blocks[j]].shape)
        x[problem.blocks[j]] += change
        problem.moved(j, x, change)
        problem.model.gradient(x, whole)
        for k, block in enumerate(problem.blocks):
            out = np.empty_like(x[block])
            problem.block_gradient(k, x, out)
            np.testing.assert_allclose(out, whole[block], rtol=0, atol=1e-11)
        problem.gradient(x, again)
        np.testing.assert_allclose(again, whole, rtol=0, atol=1e-11)
    assert problem.value(x) == problem.model.value(x) and problem.penalty(x) == pytest.approx(problem.model.penalty(x))


@settings(max_examples=25, deadline=None)
@given(linear_blocks())
def test_constants_of_blocks_are_exact(drawn):
    problem, rows, _ = drawn
    model = problem.model
    for j, block in enumerate(problem.blocks):
        expected = model.scale * model.bend * np.linalg.norm(rows[:, block], 2) ** 2
        assert problem.block_lipschitz(j, problem.start) == pytest.approx(expected, rel=1e-9)
    assert problem.lipschitz() == pytest.approx(model.scale * model.bend * np.linalg.norm(rows, 2) ** 2, rel=1e-9)


def test_a_block_that_no_sample_has_anything_of_has_the_constant_zero():
    rows = np.hstack([np.ones((3, 2)), np.zeros((3, 10))])
    problem = LinearBlocks(LeastSquares(csr_array(rows), np.ones(3)), 6)
    assert [problem.block_lipschitz(j, problem.start) for j in range(6)] == pytest.approx([6.0, 0, 0, 0, 0, 0])
    assert LinearBlocks(LeastSquares(rows[:, 2:], np.ones(3)), 1).block_lipschitz(0, rows[0, 2:]) == 0.0


def test_products_begin_at_the_start():
    """Gradients of all blocks are those at the point that is given, whatever was moved before."""
    problem, out, expected = LinearBlocks(U1, 10), np.empty(20), np.empty(20)
    for x in (U1.start, U1.solution):
        U1.gradient(x, expected)
        problem.gradient(x, out)
        np.testing.assert_array_equal(out, expected)
    problem.block_gradient(0, problem.start, out[:2])
    U1.gradient(U1.start, expected)
    np.testing.assert_allclose(out[:2], expected[:2], rtol=1e-12)
    problem.gradient(x, out, np.arange(7))
    U1.gradient(x, expected, np.arange(7))
    np.testing.assert_array_equal(out, expected)


def test_constants_of_the_model_are_those_of_the_blocks():
    problem, v = LinearBlocks(U1, 10), np.arange(20.0)
    assert (problem.exact_lipschitz, problem.exact_convexity, problem.n_samples) == (1.0, 0.01, 160)
    assert problem.lipschitz() == U1.lipschitz() and problem.strong_convexity() == U1.strong_convexity()
    ours, theirs = np.empty(20), np.empty(20)
    assert problem.curvature(v, ours) and U1.curvature(v, theirs)
    np.testing.assert_array_equal(ours, theirs)


SPARSE = (L1(0.5), None)


class Own(BlockProblem):
    """1/2 |x|^2 in two blocks of three and one unknowns, the second of which is not regularised."""

    def __init__(self, regularizers=SPARSE):
        super().__init__(np.zeros(4), [slice(0, 3), slice(3, 4)], regularizers)

    def block_gradient(self, j, x, out):
        out[...] = x[self.blocks[j]]


def test_each_block_has_its_own_regulariser():
    problem, x = Own(), np.array([2.0, -2.0, 0.1, 5.0])
    assert problem.penalty(x) == pytest.approx(0.5 * 4.1)
    problem.prox(x, 1.0)
    np.testing.assert_allclose(x, [1.5, -1.5, 0.0, 5.0])
    problem = Own([None, NonNegative()])
    x = np.array([-1.0, -1.0, -1.0, -1.0])
    assert problem.penalty(x) == np.inf
    problem.prox(x, 1.0)
    np.testing.assert_array_equal(x, [-1.0, -1.0, -1.0, 0.0])


def test_the_gradient_is_made_of_those_of_the_blocks():
    x, out = np.arange(4.0), np.empty(4)
    problem = Own()
    problem.begin(x)
    problem.moved(0, x, x[:3])
    problem.gradient(x, out)
    np.testing.assert_array_equal(out, x)


@pytest.mark.parametrize(
    ("start", "blocks"),
    [
        (np.zeros(4), [slice(0, 2), slice(3, 4)]), (np.zeros(4), [slice(0, 3), slice(2, 4)]), (np.zeros(4), [slice(0, 3)]),
        (np.zeros(4), [slice(1, 4)]), (np.zeros((2, 2)), [slice(0, 2)]), (np.zeros(4), [slice(0, 5)]), (np.zeros(4), []),
    ],
)  # fmt: skip
def test_blocks_that_do_not_make_up_the_unknowns_are_refused(start, blocks):
    with pytest.raises(ValueError, match=r"blocks \[.*\] were given, expected ranges that make up the"):
        BlockProblem(start, blocks, [None] * len(blocks))


def test_wrong_arguments():
    with pytest.raises(ValueError, match="1 regularisers were given, expected one for each of 2 blocks"):
        Own([None])
    with pytest.raises(ValueError, match=r"LinearBlocks: unknowns of shape \(3, 2\) were given, expected one dimension"):
        LinearBlocks(Multinomial(np.eye(3), np.array([0, 1, 1]), 2), 2)
    with pytest.raises(ValueError, match="20 samples cannot be split into 21 parts"):
        LinearBlocks(U1, 21)
    problem = BlockProblem(np.zeros(2), [slice(0, 2)], [None])
    with pytest.raises(NotImplementedError, match="BlockProblem has no gradient of a block"):
        problem.gradient(np.zeros(2), np.zeros(2))
    with pytest.raises(NotImplementedError, match="BlockProblem has no Lipschitz constant of a block"):
        problem.block_lipschitz(0, np.zeros(2))
