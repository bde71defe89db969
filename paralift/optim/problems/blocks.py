"""Problems whose unknowns come in blocks: H(x_1, ..., x_m) + sum_j r_j(x_j), H smooth in each block while others stand still.

A block is a range of a flat array of unknowns, so that blocks of any shapes live in one. What a problem keeps to make moves
of single blocks cheap, it keeps up to date in `moved`.
"""

from __future__ import annotations

from collections.abc import Sequence

from paralift.kernels import arrays
from paralift.kernels.arrays import Array
from paralift.optim.eigenvalues import largest_eigenvalue
from paralift.optim.problems.composite import CompositeProblem, shares
from paralift.optim.problems.linear import LinearModel
from paralift.optim.regularizers import Regularizer


class BlockProblem(CompositeProblem):
    """Base of problems in blocks.

    Parameters
    ----------
    start : Array of shape (n,)
    blocks : sequence of slice
        They make up the unknowns, in order.
    regularizers : sequence of Regularizer or None
        r_j, one for each block.
    """

    def __init__(self, start: Array, blocks: Sequence[slice], regularizers: Sequence[Regularizer | None]) -> None:
        super().__init__(start)
        self.blocks = list(blocks)
        ends = [0, *(b.stop for b in self.blocks)]
        if start.ndim != 1 or [b.start for b in self.blocks] != ends[:-1] or ends[-1] != len(start):
            raise ValueError(
                f"blocks {self.blocks} were given, expected ranges that make up the {start.shape} unknowns in order"
            )
        if len(regularizers) != len(self.blocks):
            raise ValueError(f"{len(regularizers)} regularisers were given, expected one for each of {len(self.blocks)} blocks")
        self.parts = [CompositeProblem(start[b], 1, r) for b, r in zip(self.blocks, regularizers, strict=True)]

    def begin(self, x: Array) -> None:
        """Take note of the unknowns that moves start from."""

    def moved(self, j: int, x: Array, change: Array) -> None:
        """Take note that block j of `x` has moved by `change`."""

    def block_gradient(self, j: int, x: Array, out: Array) -> None:
        """Write this rank's part of the gradient of H by block j into `out`."""
        raise NotImplementedError(f"{type(self).__name__} has no gradient of a block")

    def block_lipschitz(self, j: int, x: Array) -> float:
        """Return a Lipschitz constant of that gradient by its own block, with the others as they are; it adds over ranks."""
        raise NotImplementedError(f"{type(self).__name__} has no Lipschitz constant of a block")

    def gradient(self, x: Array, out: Array, rows: Array | slice | None = None) -> None:
        """Write the gradient by all blocks into `out`."""
        for j, block in enumerate(self.blocks):
            self.block_gradient(j, x, out[block])

    def prox(self, x: Array, step: float) -> None:
        """Overwrite each block by the proximal map of its r_j."""
        for part, block in zip(self.parts, self.blocks, strict=True):
            part.prox(x[block], step)

    def penalty(self, x: Array) -> float:
        """Return sum_j r_j(x_j)."""
        return sum(part.penalty(x[block]) for part, block in zip(self.parts, self.blocks, strict=True))


class LinearBlocks(BlockProblem):
    """A linear model in blocks of columns; products A x are kept, so that the gradient of a block costs its own columns alone.

    Parameters
    ----------
    model : LinearModel
        With unknowns of one dimension; its regulariser must be a sum over entries.
    n_blocks : int
    """

    def __init__(self, model: LinearModel, n_blocks: int) -> None:
        if model.start.ndim != 1:
            raise ValueError(f"LinearBlocks: unknowns of shape {model.start.shape} were given, expected one dimension")
        blocks = shares(len(model.start), n_blocks)
        super().__init__(model.start, blocks, [model.regularizer] * n_blocks)
        self.model, self.n_samples = model, model.n_samples
        self.exact_lipschitz, self.exact_convexity = model.exact_lipschitz, model.exact_convexity
        self._columns = [model.rows[:, b] for b in blocks]
        self._products = model.rows @ model.start
        self._constants: dict[int, float] = {}

    def begin(self, x: Array) -> None:
        """Compute the products."""
        self._products = self.model.rows @ x

    def moved(self, j: int, x: Array, change: Array) -> None:
        """Bring the products up to date."""
        self._products += self._columns[j] @ change

    def value(self, x: Array) -> float:
        """Return f_i(x)."""
        return self.model.value(x)

    def gradient(self, x: Array, out: Array, rows: Array | slice | None = None) -> None:
        """Write the gradient of f_i, or of some of its samples, at `x`, whatever products are kept, into `out`."""
        self.model.gradient(x, out, rows)

    def lipschitz(self) -> float:
        """Return that of the model."""
        return self.model.lipschitz()

    def strong_convexity(self) -> float:
        """Return that of the model."""
        return self.model.strong_convexity()

    def curvature(self, v: Array, out: Array) -> bool:
        """Write that of the model into `out`."""
        return self.model.curvature(v, out)

    def block_gradient(self, j: int, x: Array, out: Array) -> None:
        """Write the gradient by the columns of block j, at the products that are kept, into `out`."""
        out[...] = self._columns[j].T @ self.model.slopes(self._products, self.model.targets)
        out *= self.model.scale

    def block_lipschitz(self, j: int, x: Array) -> float:
        """Return scale bend |A_j|^2, found once."""
        if j not in self._constants:
            columns = self._columns[j]

            def multiply(v: Array, out: Array) -> None:
                out[...] = columns.T @ (columns @ v)

            like = arrays.empty((columns.shape[1],), self.start)
            self._constants[j] = self.model.scale * self.model.bend * largest_eigenvalue(multiply, like)
        return self._constants[j]
