"""Steps on the parameters by ridge regression: the Gram matrices of a block's input, summed over all shards.

With X the rows that a block's map multiplies (and a column of ones for its offset), theta = (W; b), z = X theta, r the gradient
of the penalty in z and c a bound of its slope, the step is to the minimum of

    <X^T r, d> + c |X d|^2/2  (over the batch)  +  ridge |theta + d|^2/2  +  |theta + d - anchor|^2/(2 tau)

over d, a matrix of few rows and columns however many the samples are. Where the penalty is a square in z this is E itself, and
the step exact; where sigma is non-expansive and the penalty Bregman's it is above E. The quadratic penalty is not convex in
z: there d is the Gauss-Newton direction, and the length of each unit's is chosen by E, from lengths 1, 1/2, ... and 0.

References
----------
Carreira-Perpinan & Wang, AISTATS 2014, section 3 (nested least squares, a unit at a time); Li, Fang & Lin, Lifted proximal
operator machines, AAAI 2019, section 4 (the bound).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from scipy import linalg

from paralift.kernels.arrays import Array, from_host, namespace, to_host
from paralift.lifted.activations.elementwise import Elementwise
from paralift.lifted.exchange import Neighbours
from paralift.lifted.inference.descend import stiffness
from paralift.lifted.inference.lifted import LiftedWindow
from paralift.lifted.network import Block, Network
from paralift.lifted.stage import matrix
from paralift.optim.regularizers import Ridge

LENGTHS = (1.0, 0.5, 0.25, 0.125, 0.0625, 0.015625, 0.0)
"""Of Gauss-Newton steps."""
FLOOR = 4.0
"""Machine epsilons of the Gram matrix' trace that are added to its eigenvalues: about its rounding; it moves no optimum."""


def check_least_squares(network: Network, regularizer: Any) -> None:
    """Raise ValueError or TypeError unless the parameters of a network can be fitted.

    Ties would need one system for all replicas, other regularisers than Ridge have no linear system, and of some maps no Gram
    matrix is known.
    """
    way_out = "take BlockDescent() (exact=False of the named methods), a proximal gradient step that needs none of this"
    if network.ties:
        raise ValueError(f"LeastSquares solves for each block alone, but {network.ties[0].blocks} share parameters: {way_out}")
    if regularizer is not None and not isinstance(regularizer, Ridge):
        raise ValueError(f"LeastSquares knows Ridge(...), {regularizer!r} was given: {way_out}")
    for block in network.blocks:
        if block.trained() and block.map.design(_samples(block)) is None:
            raise TypeError(f"{block.name}: {block.map!r} has no Gram matrix that LeastSquares knows: {way_out}")


def _samples(block: Block) -> list[np.ndarray]:
    return [np.zeros((1, *shape)) for shape in block.parent_shapes]


def least_squares(
    window: LiftedWindow,
    neighbours: Neighbours,
    batch: int,
    regularizer: Ridge | None = None,
    anchor: Array | None = None,
    tau: float = np.inf,
    frozen: Collection[tuple[str, str]] = (),
) -> None:
    """Fit the parameters of every block of a stage; collective over the shards.

    Parameters
    ----------
    window : LiftedWindow
        Its stage's gradient holds dE/dtheta summed over the samples of all shards, its residuals are those of this gradient.
    neighbours : Neighbours
    batch : int
        Samples of the batch over all shards.
    regularizer : Ridge, optional
    anchor : flat array, optional
        The parameters before the step, with `tau`; they themselves by default.
    tau : float
    frozen : collection of (block, parameter)
        What does not move.
    """
    stage = window.stage
    anchors = stage.params if anchor is None else stage.layout.views(anchor)
    for block in stage.blocks:
        names = [name for name in block.trained() if (block.name, name) not in frozen]
        if names:
            fit = _Fit(window, block, names, batch, 1.0 / tau, regularizer)
            fit.step(neighbours, anchors[block.name])


class _Fit:
    """One block's regression: `weight`, `bias` or both, the rows of one matrix."""

    def __init__(
        self, window: LiftedWindow, block: Block, names: list[str], batch: int, inertia: float, regularizer: Ridge | None
    ) -> None:
        self.window, self.block, self.names, self.batch = window, block, names, batch
        x = window.maps[block.index].design([window.x[p] for p in block.parents])
        assert x is not None
        self.x = x
        self.theta = window.stage.params[block.name]
        self.penalties = [
            (inertia, regularizer.weight if regularizer is not None and regularizer.acts_on(self.theta[n].shape) else 0.0)
            for n in names
        ]

    def step(self, neighbours: Neighbours, anchor: Any) -> None:
        """Move the parameters."""
        old, held = self._stacked(self.theta), self._stacked(anchor)
        inertia, ridge = self._diagonals()
        slope = self._stacked(self.window.stage.gradients[self.block.name]) / self.batch
        slope += inertia[:, None] * (old - held) + ridge[:, None] * old
        gram = neighbours.sum_shards(self._gram()) * (stiffness(self.window, self.block) / self.batch)
        direction = -_solve(gram, inertia + ridge, slope, float(np.finfo(str(self.x.dtype)).eps))
        if self._searched():
            lengths = self._lengths(neighbours, direction, old, held, inertia, ridge)
            direction *= lengths
        self._write(old + direction)

    def _stacked(self, arrays: Any) -> np.ndarray:
        """Return parameters as a float64 matrix on the host, the offset its last row."""
        rows = [to_host(arrays[n]).astype(np.float64).reshape(-1, self.block.shape[-1]) for n in self.names]
        return np.concatenate(rows)

    def _diagonals(self) -> tuple[np.ndarray, np.ndarray]:
        sizes = [int(np.prod(self.theta[n].shape)) // self.block.shape[-1] for n in self.names]
        both = [np.repeat(values, sizes) for values in zip(*self.penalties, strict=True)]
        return both[0], both[1]

    def _gram(self) -> np.ndarray:
        """Return X^T X of the local samples in float64; the last row and column belong to the offset."""
        x, sums = self.x, []
        weight, offset = "weight" in self.names, self.block.map.offset in self.names
        if weight:
            sums.append(to_host(x.T @ x).astype(np.float64))
        if not offset:
            return sums[0]
        count = np.array([[float(x.shape[0])]])
        if not weight:
            return count
        column = to_host(namespace(x).sum(x, axis=0)).astype(np.float64)[:, None]
        return np.block([[sums[0], column], [column.T, count]])

    def _searched(self) -> bool:
        """Whether the length of the step is not known beforehand."""
        clamped = self.block.index == self.window.last and self.window.roles.loss is not None
        return self.window.roles.measure.derivative and not clamped and not self.block.activation.is_identity

    def _lengths(
        self, neighbours: Neighbours, direction: np.ndarray, old: np.ndarray, held: np.ndarray, inertia: np.ndarray,
        ridge: np.ndarray,
    ) -> np.ndarray:  # fmt: skip
        """Return for each unit the length of its step that is best for E; all units one where a row's are not alone."""
        x, z = matrix(self.window.x[self.block.index]), matrix(self.window.z[self.block.index])
        act, xp = self.block.activation, namespace(z)
        move = self._image(from_host(direction.astype(z.dtype), z))
        local = np.stack([
            to_host(xp.sum((x - act.sigma(z + length * move)) ** 2, axis=0)).astype(np.float64) for length in LENGTHS
        ])  # fmt: skip
        energy = 0.5 * neighbours.sum_shards(local) / self.batch
        for k, length in enumerate(LENGTHS):
            theta = old + length * direction
            energy[k] += 0.5 * (inertia @ (theta - held) ** 2 + ridge @ theta**2)
        if not isinstance(act, Elementwise):
            energy = np.repeat(energy.sum(axis=1, keepdims=True), energy.shape[1], axis=1)
        return np.array(LENGTHS)[energy.argmin(axis=0)]

    def _image(self, direction: Array) -> Array:
        """Return X times a change of the parameters."""
        if "weight" not in self.names:
            return direction + 0.0 * matrix(self.window.z[self.block.index])
        width = self.x.shape[1]
        image = self.x @ direction[:width, ...]
        return image + direction[width:, ...] if direction.shape[0] > width else image

    def _write(self, theta: np.ndarray) -> None:
        start = 0
        for name in self.names:
            own = self.theta[name]
            rows = int(np.prod(own.shape)) // self.block.shape[-1]
            own[...] = from_host(theta[start : start + rows].reshape(own.shape).astype(self.x.dtype), own)
            start += rows


def _solve(gram: np.ndarray, diagonal: np.ndarray, right: np.ndarray, eps: float) -> np.ndarray:
    """Return (gram + diag(diagonal))^-1 right; what the samples say nothing about stays where it is.

    `eps` is that of the numbers the Gram matrix was summed from: its rounding is added to the diagonal.
    """
    n, trace = len(gram), float(np.trace(gram))
    if not (np.isfinite(gram).all() and np.isfinite(right).all()):
        return np.full_like(right, np.nan)  # the run ends at the next look at its loss
    floor = trace * (FLOOR * eps + n * np.finfo(np.float64).eps) + np.finfo(np.float32).tiny
    while True:
        try:
            factor = linalg.cho_factor(gram + np.diag(diagonal + floor), lower=True, overwrite_a=True, check_finite=False)
            return linalg.cho_solve(factor, right, check_finite=False)
        except linalg.LinAlgError:  # more rounding than usual
            floor *= 10.0
