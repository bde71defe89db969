"""Problems that several tests share: those with known answers, and random small networks with their data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

import paralift as pl
from paralift.lifted.activations.base import Activation
from paralift.lifted.losses import Loss, default_loss
from paralift.lifted.network import Network

Params = dict[str, dict[str, np.ndarray]]

SMOOTH = (pl.Tanh(), pl.Sigmoid(), pl.Arctan(), pl.ISRU(), pl.Softsign(), pl.ELU(), pl.Softplus())
PIECEWISE = (pl.ReLU(), pl.LeakyReLU(0.2), pl.Hardtanh(), pl.SoftThreshold(0.1))
ELEMENTWISE = SMOOTH + PIECEWISE


# Known answers (docs/method.md, section 7)


@dataclass(frozen=True)
class U2:
    """E(x, w) = (y - x)^2/2 + B(x, w a) + lam/2 w^2 with ReLU, for a, y > 0."""

    a: float = 2.0
    y: float = 3.0
    lam: float = 0.5

    @property
    def w(self) -> float:
        return self.a * self.y / (self.a**2 + 2 * self.lam)

    @property
    def x(self) -> float:
        return self.y * (self.a**2 + self.lam) / (self.a**2 + 2 * self.lam)

    @property
    def contraction(self) -> float:
        """Factor on w - w* of one round of exact alternating minimisation."""
        return self.a**2 / (2 * (self.a**2 + self.lam))

    def energy(self, x: float, w: float) -> float:
        """E for x >= 0, where B(x, z) = x^2/2 + max(z, 0)^2/2 - x z."""
        z = w * self.a
        return 0.5 * (self.y - x) ** 2 + 0.5 * x * x + 0.5 * max(z, 0.0) ** 2 - x * z + 0.5 * self.lam * w * w

    def network(self) -> Network:
        return pl.Sequential(pl.Linear(1, 1, bias=False), pl.ReLU(), pl.Identity())

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        return np.array([[self.a]]), np.array([[self.y]])


@dataclass(frozen=True)
class MatrixU2:
    """The same with matrices, a sample in each row.

    W* = (A^T A + 2 lam I)^-1 A^T Y and X* = (Y + A W*)/2 while A W* > 0.
    """

    lam: float = 0.5
    inputs: tuple[tuple[float, ...], ...] = ((2.0, 0.3, 0.2), (0.1, 2.1, 0.4), (0.3, 0.2, 1.9))
    targets: tuple[tuple[float, ...], ...] = ((3.0, 1.0), (2.0, 2.5), (1.5, 3.5))

    @property
    def w(self) -> np.ndarray:
        a, y = self.data()
        w = np.linalg.solve(a.T @ a + 2 * self.lam * np.eye(a.shape[1]), a.T @ y)
        assert (a @ w > 0).all()
        return w

    @property
    def x(self) -> np.ndarray:
        a, y = self.data()
        return 0.5 * (y + a @ self.w)

    @property
    def energy(self) -> float:
        """E* of the sum over the samples."""
        a, y = self.data()
        parts = (y - self.x, self.x - a @ self.w, self.lam**0.5 * self.w)
        return 0.5 * sum(float((p**2).sum()) for p in parts)

    def network(self) -> Network:
        return pl.Sequential(pl.Linear(3, 2, bias=False), pl.ReLU(), pl.Identity())

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        return np.array(self.inputs), np.array(self.targets)


# Traps: what is almost right (docs/method.md)


def shortcut(sigma: Callable, x: np.ndarray, z: np.ndarray, g: np.ndarray, tau: float) -> np.ndarray:
    """The x-step that is right only for positively homogeneous Psi."""
    return sigma((x + tau * (z - g)) / (1.0 + tau))


def deep_chain(activation: Activation, depth: int = 4, width: int = 16, outputs: int = 3) -> Network:
    """A chain on which the pull on the moved state after one sweep has the wrong sign in the top blocks."""
    hidden = [layer for _ in range(depth - 1) for layer in (pl.Linear(width, width), activation)]
    return pl.Sequential(pl.Linear(8, width), activation, *hidden, pl.Linear(width, outputs), pl.Softmax())


# Random networks


@dataclass(frozen=True)
class Problem:
    """A network with parameters and a batch, in float64."""

    network: Network
    params: Params
    x: np.ndarray
    y: np.ndarray
    loss: Loss

    def __repr__(self) -> str:
        return f"Problem({self.network!r}, n={self.x.shape[0]})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # what hypothesis prints
        printer.text(repr(self))


def random_params(network: Network, seed: int = 0, dtype: Any = np.float64) -> Params:
    """Return initial parameters whose offsets and gains are moved too."""
    rng = np.random.default_rng([seed, 99])
    params = network.init(seed, dtype)
    for block in network.blocks:
        for name, shape in block.trained().items():
            if len(shape) == 1:
                params[block.name][name] += (0.3 * rng.standard_normal(shape)).astype(dtype)
    return params


def problem(network: Network, n: int = 5, seed: int = 0, labels: bool = True, loss: Loss | None = None) -> Problem:
    """Return a problem on `network` with targets in the range of its output: labels after Softmax if `labels`."""
    rng = np.random.default_rng([seed, 7])
    x = rng.standard_normal((n, *network.input_shape))
    activation = network.blocks[-1].activation
    if isinstance(activation, pl.Softmax) and labels:
        y = rng.integers(0, network.output_shape[-1], (n, *network.output_shape[:-1]))
    else:
        y = rng.standard_normal((n, *network.output_shape))
        y = activation.sigma(y.reshape(-1, y.shape[-1])).reshape(y.shape)
    return Problem(network, random_params(network, seed), x, y, default_loss(activation) if loss is None else loss)


def skips(activation: Activation, width: int = 4, outputs: int = 3, end: Activation | None = None) -> Network:
    """Skip connections over several blocks, the input's among them, a branch, and a block that is read three times."""
    end = pl.Softmax() if end is None else end
    return pl.Graph(
        a=(["input"], pl.Linear(5, width), activation),
        b=(["a"], pl.Linear(width, width), pl.Tanh()),
        c=(["b", "a"], pl.Add(), pl.Linear(width, width)),
        d=(["c", "a", "input"], pl.Concatenate(), pl.Linear(2 * width + 5, width), activation),
        e=(["d", "c"], pl.Add(), pl.Linear(width, outputs), end),
    )


def _piece(kind: str, width: int, a: Activation) -> list:
    """Return layers from `width` to `width` features."""
    linear = pl.Linear(width, width)
    return {
        "dense": [linear, a],
        "residual": [pl.Residual(linear, a)],
        "bottleneck": [pl.Residual(linear, a, pl.Linear(width, width))],
        "pre-norm": [pl.Residual(pl.LayerNorm(width), linear, a)],
        "norm": [linear, pl.RMSNorm(width), a],
        "softmax": [linear, pl.Softmax()],
        "add": [pl.Parallel([linear, a], pl.Linear(width, width))],
        "concatenate": [pl.Parallel([linear, a], pl.Identity(), combine="concatenate"), pl.Linear(2 * width, width)],
    }[kind]


KINDS = ("dense", "residual", "bottleneck", "pre-norm", "norm", "softmax", "add", "concatenate")


@st.composite
def problems(
    draw: Any,
    activations: tuple[Activation, ...] = ELEMENTWISE,
    kinds: tuple[str, ...] = KINDS,
    ends: tuple[Activation, ...] = (pl.Identity(), pl.Softmax(), pl.Sigmoid()),
    max_samples: int = 5,
) -> Problem:
    """Random problems: chains, residual blocks, branches, normalisation, graphs with skips."""
    activation, end = draw(st.sampled_from(activations)), draw(st.sampled_from(ends))
    if draw(st.integers(0, 4)) == 4:
        network = skips(activation, end=end)
    else:
        width = draw(st.integers(3, 5))
        pieces = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=3))
        layers = [layer for kind in pieces for layer in _piece(kind, width, activation)]
        network = pl.Sequential(pl.Linear(4, width), activation, *layers, pl.Linear(width, 3), end)
    n, seed = draw(st.integers(1, max_samples)), draw(st.integers(0, 10**6))
    return problem(network, n, seed, labels=draw(st.booleans()))


# Vectors of gradients


def vector(grads: Mapping[str, Mapping[str, Any]]) -> np.ndarray:
    """Return all numbers of a structure like params in one vector, in order of names."""
    return np.concatenate([np.ravel(grads[b][k]) for b in sorted(grads) for k in sorted(grads[b])])


def cosine(a: Any, b: Any) -> float:
    """Return the cosine of the angle between two arrays, or structures like params."""
    u, v = (vector(s) if isinstance(s, Mapping) else np.ravel(s) for s in (a, b))
    return float(u @ v / (np.linalg.norm(u) * np.linalg.norm(v)))


def distance(a: Any, b: Any) -> float:
    """Return |a - b| / |b| of two structures like params."""
    u, v = vector(a), vector(b)
    return float(np.linalg.norm(u - v) / np.linalg.norm(v))


def moved(params: Params, direction: Params, t: float) -> Params:
    """Return params + t direction."""
    return {b: {k: a + t * direction[b][k] for k, a in arrays.items()} for b, arrays in params.items()}


def random_direction(network: Network, params: Params, seed: int = 0) -> Params:
    """Return a random direction in the trained parameters; running statistics stand still."""
    rng = np.random.default_rng([seed, 3])
    trained = {b.name: set(b.trained()) for b in network.blocks}
    return {
        b: {k: rng.standard_normal(a.shape) * (k in trained[b]) for k, a in arrays.items()}
        for b, arrays in params.items()
    }


def numerical_derivative(f: Callable[[Any], float], at: Any, along: Any, step: float = 1e-6) -> float:
    """Return the central difference of `f` at arrays, or structures like params, along a direction."""
    if isinstance(at, Mapping):
        return (f(moved(at, along, step)) - f(moved(at, along, -step))) / (2 * step)
    return (f(at + step * along) - f(at - step * along)) / (2 * step)
