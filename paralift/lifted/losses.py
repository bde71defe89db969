"""Losses. A loss is a last activation and a clamp.

With B the Bregman penalty of the last activation, B(y, z) is cross-entropy for softmax, half the squared error for the
identity and binary cross-entropy for the sigmoid: their pull on the output is beta (sigma(z) - y). A loss l that is no such
penalty (Huber, absolute error) enters through its prox on an identity output: x_L = prox_{beta l}(z) minimises
|x - z|^2/2 + beta l(x), and the pull is z - x_L, the gradient of the Moreau envelope. A sweep, which needs the loss' own
gradient, takes its slope.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paralift.kernels.arrays import Array, namespace
from paralift.kernels.clamp import cross_entropy, soft_cross_entropy
from paralift.lifted.activations import Heads, Identity, Sigmoid, Softmax
from paralift.lifted.activations.base import Activation
from paralift.optim.checks import set_number


@dataclass(frozen=True)
class Loss:
    """Base of all losses; arrays are two-dimensional, a row for each sample, token or pixel.

    `y` is an array of the output's shape or, for `CrossEntropy`, integer class labels of shape (rows,).
    """

    @property
    def steepness(self) -> float:
        """The largest factor of a row's pull, whose Lipschitz constant steps of proximal gradient iterations need."""
        return 1.0

    def stiffness(self, beta: float) -> float:
        """Return the Lipschitz constant of the pull in z over that of sigma, for beta times the loss."""
        return self.steepness * max(abs(beta), 1.0)  # of envelopes: |d - prox(d)| moves no more than d

    def check(self, activation: Activation, width: int | None = None) -> None:
        """Raise ValueError unless the loss fits the last activation, and its `width` where that is given."""

    def takes_labels(self) -> bool:
        """Return whether integer labels may stand for one-hot rows."""
        return False

    def target_width(self, activation: Activation, width: int) -> int:
        """Return how many numbers a row of floating point targets has, for `width` outputs of the last activation."""
        return width

    def whole(self, activation: Activation, y: Array) -> Array:
        """Return rows of floating point targets as what the outputs should be, shape (rows, width)."""
        return y

    def check_rows(self, activation: Activation, y: np.ndarray) -> None:
        """Raise ValueError unless rows of floating point targets are such that the loss can be computed."""

    def pull(self, activation: Activation, z: Array, x: Array, y: Array, beta: float, g: Array) -> Array:
        """Write the pull of beta times the loss of each row on the output into `g`; return the summed loss.

        x = sigma(z). The pull is also the residual that the output block hands to its map: x_minus - x_plus for two
        states nudged by -beta/2 and +beta/2, sigma(z) - x for one nudged by beta.
        """
        raise NotImplementedError

    def value(self, activation: Activation, z: Array, x: Array, y: Array) -> Array:
        """Return the summed loss."""
        raise NotImplementedError

    def gradient(self, activation: Activation, z: Array, x: Array, y: Array, beta: float, g: Array) -> Array:
        """Write beta times a (sub)gradient of the loss in z into `g`, for sweeps; return the summed loss."""
        return self.pull(activation, z, x, y, beta, g)

    def energy(self, activation: Activation, z: Array, x: Array, y: Array, beta: float) -> Array:
        """Return the part of E whose gradient in z `pull` is, summed."""
        return beta * self.value(activation, z, x, y)

    def target(self, activation: Activation, z: Array, x: Array, y: Array, beta: float) -> Array:
        """Return the clamped or nudged output x_L, shape (rows, width); beta = 1 is the hard clamp."""
        g = namespace(z).empty_like(z)
        self.pull(activation, z, x, y, beta, g)
        return x - g


@dataclass(frozen=True)
class BregmanLoss(Loss):
    """B(y, z) of whatever the last activation is, `y` an array in its range."""

    def stiffness(self, beta: float) -> float:
        """Return its weight: the pull is a multiple of sigma(z) - y."""
        return self.steepness * abs(beta)

    def pull(self, activation: Activation, z: Array, x: Array, y: Array, beta: float, g: Array) -> Array:
        """Write beta (sigma(z) - y) into `g`; return the summed penalty."""
        weighted_difference(x, y, beta, g)
        return self.value(activation, z, x, y)

    def value(self, activation: Activation, z: Array, x: Array, y: Array) -> Array:
        """Return the sum of B(y, z)."""
        return namespace(z).sum(activation.penalty(y, z))


@dataclass(frozen=True)
class CrossEntropy(BregmanLoss):
    """Cross-entropy after softmax; `y` integer labels (rows,) or rows of probabilities.

    A row's target is t_c = w_c ((1 - s) y_c + s / K), K the number of classes, and its loss -sum_c t_c log softmax(z)_c, as in
    PyTorch; but a batch's loss is divided by its samples, not by their weights.

    Parameters
    ----------
    smoothing : float
        s, in [0, 1): so much of every label is spread evenly over the classes.
    weights : tuple of float, optional
        w, one for each class, none negative; all 1 by default.
    """

    smoothing: float = 0.0
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        set_number(self, "smoothing", below=1.0)
        if self.weights is None:
            return
        if isinstance(self.weights, str) or not isinstance(self.weights, Sequence) or not self.weights:
            raise TypeError(f"CrossEntropy: weights = {self.weights!r} was given, expected a tuple, one number for each class")
        for k, weight in enumerate(self.weights):
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0.0 <= weight < math.inf:
                raise ValueError(f"CrossEntropy: weights[{k}] is {weight!r}, expected a finite number of at least 0")
        object.__setattr__(self, "weights", tuple(map(float, self.weights)))

    def __repr__(self) -> str:
        given = {"smoothing": self.smoothing or None, "weights": self.weights}
        return f"CrossEntropy({', '.join(f'{k}={v}' for k, v in given.items() if v is not None)})"

    @property
    def steepness(self) -> float:
        """The largest weight."""
        return 1.0 if self.weights is None else max(self.weights)

    def check(self, activation: Activation, width: int | None = None) -> None:
        """Raise ValueError unless the last activation is Softmax, and there is a weight for each of its outputs."""
        _expect(self, activation, Softmax)
        if self.weights is not None and width is not None and len(self.weights) != width:
            raise ValueError(f"{self!r}: {len(self.weights)} weights, the network has {width} outputs: give one for each class")

    def takes_labels(self) -> bool:
        """Return True."""
        return True

    def pull(self, activation: Activation, z: Array, x: Array, y: Array, beta: float, g: Array) -> Array:
        """Write beta ((sum t) softmax(z) - t), which is beta (softmax(z) - y) for t = y, into `g`; return the summed loss."""
        if self.smoothing or self.weights is not None:
            return soft_cross_entropy(z, x, y, beta, self.smoothing, self._weights(z.shape[1]), g)
        if y.ndim == 1:
            return cross_entropy(z, x, y, beta, g)
        weighted_difference(x, y, beta, g)
        return self.value(activation, z, x, y)

    def value(self, activation: Activation, z: Array, x: Array, y: Array) -> Array:
        """Return the sum of (sum t) logsumexp(z) - <t, z>, where t = y unless targets are smoothed or weighted."""
        if self.smoothing or self.weights is not None:
            return self.pull(activation, z, x, y, 1.0, namespace(z).empty_like(z))
        if y.ndim == 1:
            return cross_entropy(z, x, y, 1.0, namespace(z).empty_like(z))
        return namespace(z).sum(activation.phi(z) - namespace(z).sum(y * z, axis=1))

    def _weights(self, classes: int) -> tuple[float, ...]:
        return (1.0,) * classes if self.weights is None else self.weights


@dataclass(frozen=True)
class Squared(BregmanLoss):
    """Half the squared error after an identity output."""

    def check(self, activation: Activation, width: int | None = None) -> None:
        """Raise ValueError unless the last activation is the identity."""
        _expect(self, activation, Identity)

    def value(self, activation: Activation, z: Array, x: Array, y: Array) -> Array:
        """Return the sum of |z - y|^2/2."""
        return 0.5 * namespace(z).sum((z - y) ** 2)


@dataclass(frozen=True)
class BinaryCrossEntropy(BregmanLoss):
    """Binary cross-entropy after a sigmoid, summed over the outputs of a row; `y` in [0, 1]."""

    def check(self, activation: Activation, width: int | None = None) -> None:
        """Raise ValueError unless the last activation is Sigmoid."""
        _expect(self, activation, Sigmoid)

    def value(self, activation: Activation, z: Array, x: Array, y: Array) -> Array:
        """Return the sum of ln(1 + e^z) - y z."""
        xp = namespace(z)
        return xp.sum(activation.phi(z)) - xp.sum(y * z)


@dataclass(frozen=True)
class ProximalLoss(Loss):
    """A loss on an identity output that is known by its value and its prox; sweeps take a subgradient of it."""

    def check(self, activation: Activation, width: int | None = None) -> None:
        """Raise ValueError unless the last activation is the identity."""
        _expect(self, activation, Identity)

    def prox(self, d: Array, beta: float) -> Array:
        """Return the prox of beta l at the error d = z - y."""
        raise NotImplementedError

    def of_error(self, d: Array) -> Array:
        """Return the loss of each entry of the error d = z - y."""
        raise NotImplementedError

    def pull(self, activation: Activation, z: Array, x: Array, y: Array, beta: float, g: Array) -> Array:
        """Write d - prox_{beta l}(d), d = z - y, into `g`; return the summed loss."""
        d = z - y
        g[...] = d - self.prox(d, beta)
        return namespace(z).sum(self.of_error(d))

    def slope(self, d: Array) -> Array:
        """Return a subgradient of the loss at the error d = z - y."""
        raise NotImplementedError

    def gradient(self, activation: Activation, z: Array, x: Array, y: Array, beta: float, g: Array) -> Array:
        """Write beta times a subgradient into `g`; return the summed loss."""
        g[...] = beta * self.slope(z - y)
        return self.value(activation, z, x, y)

    def energy(self, activation: Activation, z: Array, x: Array, y: Array, beta: float) -> Array:
        """Return the Moreau envelope of beta times the loss, summed."""
        d = z - y
        p = self.prox(d, beta)
        return namespace(z).sum(0.5 * (d - p) ** 2 + beta * self.of_error(p))

    def value(self, activation: Activation, z: Array, x: Array, y: Array) -> Array:
        """Return the summed loss."""
        return namespace(z).sum(self.of_error(z - y))


@dataclass(frozen=True)
class Huber(ProximalLoss):
    """d^2/2 for |d| <= delta, delta |d| - delta^2/2 beyond."""

    delta: float = 1.0

    def __post_init__(self) -> None:
        if not self.delta > 0:
            raise ValueError(f"Huber: delta is {self.delta}, expected a number greater than 0")

    def slope(self, d: Array) -> Array:
        """Return d, clipped to [-delta, delta]."""
        xp = namespace(d)
        return xp.where(xp.abs(d) <= self.delta, d, self.delta * xp.sign(d))

    def of_error(self, d: Array) -> Array:
        """Return the Huber function of each entry."""
        xp = namespace(d)
        a = xp.abs(d)
        return xp.where(a <= self.delta, 0.5 * d * d, self.delta * a - 0.5 * self.delta**2)

    def prox(self, d: Array, beta: float) -> Array:
        """Return d / (1 + beta) near zero, d shrunk by beta delta beyond |d| = delta (1 + beta)."""
        xp = namespace(d)
        near = d / (1.0 + beta)
        return xp.where(xp.abs(d) <= self.delta * (1.0 + beta), near, d - beta * self.delta * xp.sign(d))


@dataclass(frozen=True)
class Absolute(ProximalLoss):
    """|d|, the sum over the outputs of a row."""

    def slope(self, d: Array) -> Array:
        """Return the sign of d."""
        return namespace(d).sign(d)

    def of_error(self, d: Array) -> Array:
        """Return |d|."""
        return namespace(d).abs(d)

    def prox(self, d: Array, beta: float) -> Array:
        """Return d shrunk by beta towards zero."""
        xp = namespace(d)
        return xp.sign(d) * xp.where(xp.abs(d) > beta, xp.abs(d) - beta, xp.zeros_like(d))


@dataclass(frozen=True, init=False, repr=False)
class Several(Loss):
    """A weighted sum of losses, one for each part of a last activation `Heads`.

    A row of targets holds those of the parts side by side: a class number for a loss that takes labels, as many numbers as the
    part has outputs for the others.

    Parameters
    ----------
    *losses : Loss
    weights : tuple of float, optional
        Positive; all 1 by default.
    """

    losses: tuple[Loss, ...]
    weights: tuple[float, ...]

    def __init__(self, *losses: Loss, weights: Sequence[float] | None = None) -> None:
        if not losses or not all(isinstance(loss, Loss) for loss in losses):
            raise TypeError(f"Several: {losses!r} was given, expected losses, one for each part of Heads")
        given = (1.0,) * len(losses) if weights is None else tuple(weights)
        numbers = all(isinstance(w, int | float) and not isinstance(w, bool) and 0.0 < w < math.inf for w in given)
        if len(given) != len(losses) or not numbers:
            raise ValueError(f"Several: weights = {weights!r} was given, expected {len(losses)} positive numbers")
        object.__setattr__(self, "losses", losses)
        object.__setattr__(self, "weights", tuple(map(float, given)))

    def __repr__(self) -> str:
        weights = "" if set(self.weights) == {1.0} else f", weights={self.weights}"
        return f"Several({', '.join(map(repr, self.losses))}{weights})"

    @property
    def steepness(self) -> float:
        """The largest weight times what its loss has."""
        return max(w * loss.steepness for loss, w in zip(self.losses, self.weights, strict=True))

    def check(self, activation: Activation, width: int | None = None) -> None:
        """Raise ValueError unless the last activation is Heads with a part for each loss, which fits it."""
        _expect(self, activation, Heads)
        assert isinstance(activation, Heads)
        if len(activation.parts) != len(self.losses):
            raise ValueError(f"{self!r}: {len(self.losses)} losses for the {len(activation.parts)} parts of {activation!r}")
        for loss, (part, n) in zip(self.losses, activation.parts, strict=True):
            loss.check(part, n)

    def target_width(self, activation: Activation, width: int) -> int:
        """Return 1 for each part whose loss takes labels, the outputs of the others, summed."""
        return sum(y.stop - y.start for _, _, _, _, y in self._parts(activation))

    def whole(self, activation: Activation, y: Array) -> Array:
        """Return the targets with one-hot rows for labels."""
        xp = namespace(y)
        out = xp.empty((y.shape[0], sum(n for _, n in activation.parts)), dtype=y.dtype)  # type: ignore[attr-defined]
        for loss, _, _, columns, of_y in self._parts(activation):
            if loss.takes_labels():
                out[:, columns] = y[:, of_y] == xp.arange(columns.stop - columns.start)[None, :]
            else:
                out[:, columns] = y[:, of_y]
        return out

    def check_rows(self, activation: Activation, y: np.ndarray) -> None:
        """Raise ValueError unless the numbers of classes are whole and those of outputs of their part."""
        for loss, _, part, columns, of_y in self._parts(activation):
            if not loss.takes_labels():
                continue
            labels, classes = y[:, of_y.start], columns.stop - columns.start
            wrong = np.flatnonzero((labels < 0) | (labels >= classes) | (labels != np.floor(labels)))
            if wrong.size:
                raise ValueError(
                    f"targets, row {wrong[0]}, column {of_y.start}: {labels[wrong[0]]} was given, expected the number of one "
                    f"of the {classes} classes of {part!r}, from 0"
                )

    def pull(self, activation: Activation, z: Array, x: Array, y: Array, beta: float, g: Array) -> Array:
        """Write the pulls of the losses, side by side, into `g`; return their weighted sum."""
        return self._each("pull", activation, z, x, y, beta, g)

    def gradient(self, activation: Activation, z: Array, x: Array, y: Array, beta: float, g: Array) -> Array:
        """Write beta times the gradients of the losses, side by side, into `g`; return their weighted sum."""
        return self._each("gradient", activation, z, x, y, beta, g)

    def value(self, activation: Activation, z: Array, x: Array, y: Array) -> Array:
        """Return the weighted sum of the losses."""
        parts = self._parts(activation)
        return sum(w * loss.value(a, z[:, c], x[:, c], self._targets(loss, y[:, of_y])) for loss, w, a, c, of_y in parts)

    def energy(self, activation: Activation, z: Array, x: Array, y: Array, beta: float) -> Array:
        """Return the part of E whose gradient in z `pull` is, summed."""
        parts = self._parts(activation)
        return sum(loss.energy(a, z[:, c], x[:, c], self._targets(loss, y[:, of_y]), w * beta) for loss, w, a, c, of_y in parts)

    def _each(self, name: str, activation: Activation, z: Array, x: Array, y: Array, beta: float, g: Array) -> Array:
        total: Array = 0.0
        for loss, weight, part, columns, of_y in self._parts(activation):
            targets, out = self._targets(loss, y[:, of_y]), g[:, columns]
            total = total + weight * getattr(loss, name)(part, z[:, columns], x[:, columns], targets, weight * beta, out)
        return total

    def _parts(self, activation: Activation) -> list[tuple[Loss, float, Activation, slice, slice]]:
        """Return each loss with its weight, its part, and the columns of outputs and of targets."""
        found, start = [], 0
        for loss, weight, (part, columns) in zip(self.losses, self.weights, activation.cut(), strict=True):  # type: ignore[attr-defined]
            n = 1 if loss.takes_labels() else loss.target_width(part, columns.stop - columns.start)
            found.append((loss, weight, part, columns, slice(start, start + n)))
            start += n
        return found

    @staticmethod
    def _targets(loss: Loss, y: Array) -> Array:
        if not loss.takes_labels():
            return y
        column = y[:, 0]
        return column.astype("int64") if hasattr(column, "astype") else namespace(y).astype(column, namespace(y).int64)


def default_loss(activation: Activation) -> Loss:
    """Return the loss that belongs to a last activation: its own Bregman penalty."""
    if isinstance(activation, Heads):
        return Several(*(default_loss(part) for part, _ in activation.parts))
    own = {Softmax: CrossEntropy, Identity: Squared, Sigmoid: BinaryCrossEntropy}
    return own.get(type(activation), BregmanLoss)()


def weighted_difference(x: Array, y: Array, beta: float, g: Array) -> None:
    """Write beta (x - y) into `g`."""
    if isinstance(g, np.ndarray):
        np.subtract(x, y, out=g)
        if beta != 1.0:
            np.multiply(g, g.dtype.type(beta), out=g)
    else:
        g[...] = beta * (x - y)


def _expect(loss: Loss, activation: Activation, kind: type[Activation]) -> None:
    if not isinstance(activation, kind):
        raise ValueError(
            f"{loss!r} needs {kind.__name__}() as the network's last activation, found {activation!r}: "
            f"end the network with {kind.__name__}() or choose another loss"
        )
