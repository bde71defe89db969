"""Lifted variables that are unknowns of their own: their buffers, and the moves that iterations are made of.

With r_l the penalty's gradient in z_l (sigma(z) - x for Bregman), the pull on x_l is g_l = sum_c adjoint_c(r_c). A variable's
move leaves the z of its children out of date; they are computed again only when they are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from paralift.kernels.arrays import Array, empty, namespace
from paralift.kernels.difference import sum_columns
from paralift.lifted.inference.sweep import rows_of
from paralift.lifted.losses import Loss
from paralift.lifted.maps.combine import add
from paralift.lifted.network import Block
from paralift.lifted.penalties import Penalty, penalty_of
from paralift.lifted.stage import Stage, drawn, matrix, sample_keys_like


@dataclass(frozen=True)
class Roles:
    """What each variable is during inference; a variable that is not named is free.

    Parameters
    ----------
    loss, beta : Loss or None, float
        The loss that clamps (beta = 1) or nudges the output; None leaves the output free.
    penalty : str or Penalty
    geometry : {"euclidean", "dual"}
    regularizers : mapping of int to Regularizer
        Added to E on these variables, through their prox.
    nudges : mapping of int to (array, float)
        Adds weight |x - target|^2 / 2 on these variables.
    fixed : frozenset of int
        Variables that keep their value; the input unless it is to be found.
    weights : mapping of int to float
        Factors of these blocks' penalties (the output's loss has `beta` instead); 1 for the others.
    """

    loss: Loss | None = None
    beta: float = 1.0
    penalty: str | Penalty = "bregman"
    geometry: str = "euclidean"
    regularizers: Mapping[int, Any] = field(default_factory=dict)
    nudges: Mapping[int, tuple[Array, float]] = field(default_factory=dict)
    fixed: frozenset[int] = frozenset({0})
    weights: Mapping[int, float] = field(default_factory=dict)

    @cached_property
    def measure(self) -> Penalty:
        """The penalty itself."""
        return penalty_of(self.penalty)


class LiftedState:
    """Buffers for the lifted variables of at most `capacity` samples on a stage; in training, their keys."""

    def __init__(self, stage: Stage, capacity: int, training: bool = False) -> None:
        self.stage = stage
        self.capacity = capacity
        shapes = stage.network.shapes
        own = [b.index for b in stage.blocks]
        self.x = self._arrays([*stage.inputs, *own], shapes)
        self.z, self.r, self.p = (self._arrays(own, shapes) for _ in range(3))
        self.g = self._arrays(sorted(stage.pulled), shapes)
        self.remote = self._arrays(stage.outputs, shapes)
        self.y: Array | None = None
        self.keys = sample_keys_like(capacity, stage.like) if training else None
        self._scratch: dict[tuple[int, ...], Array] = {}
        self._windows: dict[int, LiftedWindow] = {}

    def _arrays(self, variables: Any, shapes: Any) -> dict[int, Array]:
        return {v: empty((self.capacity, *shapes[v]), self.stage.like) for v in variables}

    def scratch(self, shape: tuple[int, ...]) -> Array:
        """Return a temporary array for samples of `shape`, the same at every call."""
        if shape not in self._scratch:
            self._scratch[shape] = empty((self.capacity, *shape), self.stage.like)
        return self._scratch[shape]

    def window(self, n: int) -> LiftedWindow:
        """Return the first `n` samples."""
        if n not in self._windows:
            self._windows[n] = LiftedWindow(self, n)
        return self._windows[n]


class LiftedWindow:
    """The first samples of a lifted state, and the moves on them."""

    def __init__(self, state: LiftedState, n: int) -> None:
        self.state = state
        self.stage = state.stage
        self.n = n
        self.x, self.z, self.r, self.p, self.g, self.remote = (
            {v: a[:n, ...] for v, a in group.items()}
            for group in (state.x, state.z, state.r, state.p, state.g, state.remote)
        )
        self.own: dict[int, Block] = {b.index: b for b in self.stage.blocks}
        keys = None if state.keys is None else state.keys[:n]
        self.maps = {b.index: drawn(b, keys) for b in self.stage.blocks}
        self.readers = {
            v: [(b, k) for b in self.stage.blocks for k, p in enumerate(b.parents) if p == v] for v in self.x
        }
        self.last = len(self.stage.network.blocks)
        self.stale = set(self.own)
        self.roles = Roles()
        self.visits: dict[Any, Any] = {}
        self.before: dict[int, Array] = {}  # variables before an iteration, where its end is looked for

    @property
    def y(self) -> Array:
        """The targets, shape (n, ...)."""
        if self.state.y is None:
            raise RuntimeError("the state of the last stage has no targets yet")
        return self.state.y[: self.n, ...]

    def touch(self, v: int) -> None:
        """Mark the blocks that read variable `v` as out of date."""
        self.stale.update(b.index for b, _ in self.readers[v])

    def project(self, b: Block) -> None:
        """Compute z of block `b` and sigma(z) into its residual's buffer."""
        theta: Any = self.stage.params.get(b.name, {})
        self.maps[b.index].apply(theta, [self.x[p] for p in b.parents], self.z[b.index])
        offset = theta[b.map.offset] if b.map.offset else None
        b.activation.activate(matrix(self.z[b.index]), offset, matrix(self.r[b.index]))

    def start(self, b: Block) -> None:
        """Set the variable of block `b` to what a forward pass gives."""
        self.project(b)
        if b.tracked():
            b.activation.track(matrix(self.z[b.index]), self.stage.params[b.name])
        self.x[b.index][...] = self.r[b.index]
        self.p[b.index][...] = self.z[b.index]
        self.finish(b)

    def refresh(self, v: int) -> None:
        """Bring z and r of block `v` up to date, if they are not."""
        if v in self.stale:
            self.project(self.own[v])
            self.finish(self.own[v])

    def finish(self, b: Block) -> None:
        """Turn sigma(z) in the residual's buffer into the residual."""
        v = b.index
        z, r = matrix(self.z[v]), matrix(self.r[v])
        if v == self.last and self.roles.loss is not None:
            self.roles.loss.pull(b.activation, z, r, rows_of(self.y, r), self.roles.beta, r)
        else:
            self.roles.measure.residual(b.activation, matrix(self.x[v]), z, r)
            self._weigh(v, r)
        self.stale.discard(v)

    def _weigh(self, v: int, r: Array) -> None:
        """Multiply the residual `r` of variable `v` by the weight of its penalty."""
        weight = self.roles.weights.get(v, 1.0)
        if weight != 1.0:
            r *= weight

    def pull(self, v: int) -> Array:
        """Compute and return the pull on variable `v`: from the stages above, and from its readers here."""
        g, started = self.g[v], v in self.remote
        if started:
            g[...] = self.remote[v]
        for b, k in self.readers[v]:
            self.refresh(b.index)
            out = self.state.scratch(self.stage.network.shapes[v])[: self.n, ...] if started else g
            theta: Any = self.stage.params.get(b.name, {})
            self.maps[b.index].adjoint(theta, [self.x[p] for p in b.parents], self.r[b.index], k, out)
            if started:
                add(g, out, g)
            started = True
        if not started:
            g[...] = 0.0
        return g

    def move(self, v: int, lipschitz: float, blend: float = 1.0) -> None:
        """Move variable `v` given its pull: x <- (1 - blend) x + blend (x-step of length 1/lipschitz)."""
        old = None
        if blend < 1.0:
            old = self.state.scratch(self.stage.network.shapes[v])[: self.n, ...]
            old[...] = self.x[v]
        if v == 0:
            self._move_input(lipschitz)
        else:
            self.refresh(v)
            self._move_block(self.own[v], lipschitz, blend)
        if old is not None and (v == 0 or self.roles.geometry == "euclidean"):
            self.x[v][...] = old + blend * (self.x[v] - old)
            if v:
                self.stale.add(v)
        self.touch(v)

    def _move_input(self, lipschitz: float) -> None:
        tau, centre = self._nudged(0, 1.0 / lipschitz if lipschitz > 0 else 1.0)
        step = centre - tau * self.g[0]
        regularizer = self.roles.regularizers.get(0)
        self.x[0][...] = step if regularizer is None else regularizer.prox(step, tau)

    def _nudged(self, v: int, tau: float) -> tuple[float, Array]:
        """Return the step and the centre of |x - centre|^2/(2 step), with a nudge's square taken in."""
        if v not in self.roles.nudges:
            return tau, self.x[v]
        target, weight = self.roles.nudges[v]
        step = 1.0 / (1.0 / tau + weight)
        return step, step * (self.x[v] / tau + weight * target)

    def _move_block(self, b: Block, lipschitz: float, blend: float) -> None:
        v, penalty = b.index, self.roles.measure
        x, z, r, g, p = (matrix(a[v]) for a in (self.x, self.z, self.r, self.g, self.p))
        weight = self.roles.weights.get(v, 1.0)
        if weight != 1.0:  # weight P + <g, x> is least where P + <g/weight, x> is
            g /= weight
            lipschitz /= weight
        apart = v in self.roles.nudges or v in self.roles.regularizers
        if self.roles.geometry == "dual":
            # phi* is 1/Lip(sigma)-strongly convex: relative to it the pull is Lip(sigma) lip-smooth
            smooth = lipschitz * max(float(b.activation.lipschitz), 1.0)
            b.activation.xstep_dual(p, x, z, g, blend / (1.0 + smooth), r, value=False)
        elif lipschitz <= 0.0 and not apart:
            b.activation.activate(z, None, x)  # nothing pulls: the minimiser is sigma(z)
            r[...] = x
            penalty.residual(b.activation, x, z, r)
        elif penalty.fused and not apart:
            b.activation.xstep(x, z, g, 1.0 / lipschitz, r, value=False)
        else:
            tau, centre = self._nudged(v, 1.0 / max(lipschitz, 1e-12))
            more = {"regularizer": self.roles.regularizers[v]} if v in self.roles.regularizers else {}
            x[...] = penalty.step(b.activation, matrix(centre), z, g, tau, **more)
            r[...] = b.activation.sigma(z)
            penalty.residual(b.activation, x, z, r)
        self._weigh(v, r)
        self.stale.discard(v)

    def energy(self) -> Array:
        """Return the stage's part of E, summed over the samples: penalties, the loss, regularisers and nudges."""
        xp = namespace(self.stage.like)
        total = xp.sum(0.0 * self.stage.like)
        for v, b in self.own.items():
            self.refresh(v)
            x, z = matrix(self.x[v]), matrix(self.z[v])
            if v == self.last and self.roles.loss is not None:
                y = rows_of(self.y, x)
                total = total + self.roles.loss.energy(b.activation, z, b.activation.sigma(z), y, self.roles.beta)
            else:
                total = total + self.roles.weights.get(v, 1.0) * xp.sum(self.penalty(v))
        mine = set(self.own) | ({0} if self.stage.has_input else set())
        for v in mine & set(self.roles.regularizers):
            total = total + xp.sum(self.roles.regularizers[v].value_rows(matrix(self.x[v])))
        for v in mine & set(self.roles.nudges):
            target, weight = self.roles.nudges[v]
            total = total + 0.5 * weight * xp.sum((self.x[v] - target) ** 2)
        return total

    def penalty(self, v: int) -> Array:
        """Return the penalty of each row of variable `v`, without its weight; z is up to date."""
        activation, z = self.own[v].activation, matrix(self.z[v])
        if self.roles.geometry == "dual":
            return activation.penalty_dual(matrix(self.p[v]), z)
        return self.roles.measure.value(activation, matrix(self.x[v]), z)

    def gradients(self) -> None:
        """Write dE/dtheta, summed over the samples, into the stage's gradient."""
        for v, b in self.own.items():
            target = self.stage.gradients.get(b.name)
            if target is None:
                continue
            self.refresh(v)
            self.maps[v].gradient([self.x[p] for p in b.parents], self.r[v], target)
            if b.map.offset:
                sum_columns(matrix(self.r[v]), target[b.map.offset], accumulate=False)
