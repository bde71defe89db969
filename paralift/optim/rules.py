"""Update rules: how a gradient becomes a new parameter. Each step is a call of one fused kernel.

A stage keeps all its parameters in one flat array, and the gradient and the states of the optimiser in others
of the same layout. Conventions are PyTorch's (dampening none), so that its settings carry over: weight decay
acts on every entry, and on the gradient except in AdamW. Whoever wants decay on weights only takes
``regularizer=Ridge(...)``, the same term by its proximal map.

What differs from a textbook proximal method: the proximal map follows the complete update, with the rate as
its step, also under momentum and under Adam's diagonal metric. Fixed points of plain SGD, which then is ISTA,
minimise f + R. With momentum mu steps add up to 1 / (1 - mu) times the rate, and fixed points minimise
f + (1 - mu) R. Those of Adam, whose metric varies, minimise no such sum. Box and NonNegative, which have no
weight, keep their meaning under SGD with momentum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from paralift.kernels import arrays, update
from paralift.kernels.arrays import Array, family, namespace
from paralift.kernels.prox import NO_PROX, Prox
from paralift.optim.checks import set_number
from paralift.optim.regularizers import Regularizer
from paralift.optim.schedules import Schedule, rate_at

Segment = tuple[int, int, tuple[int, ...]]
"""Start, stop and shape of one parameter in the flat array."""


class Rule:
    """Base of all update rules: the pass over the flat arrays, with the regulariser where it belongs.

    A rule of one's own is a frozen dataclass with a field `rate` that derives from this one, names its states in `state_names`
    and gives `move`; fields `weight_decay` and `regularizer`, if it has them, then work as they do elsewhere. Rules with a
    kernel of their own give `_update` instead.
    """

    rate: Schedule | float
    weight_decay: float = 0.0
    regularizer: Regularizer | None = None

    def __post_init__(self) -> None:
        if not callable(self.rate):
            set_number(self, "rate")
        set_number(self, "weight_decay")
        if not isinstance(self.regularizer, Regularizer | None):
            raise TypeError(
                f"{type(self).__name__}: regularizer = {self.regularizer!r} was given, expected None or "
                "one of paralift.optim: L1, GroupL1, Box, MaxNorm, NonNegative, Ridge"
            )

    @property
    def state_names(self) -> tuple[str, ...]:
        """The names of the state arrays, in the order of the kernel; none by default."""
        return ()

    def init(self, flat: Array) -> dict[str, Array]:
        """Return the states before the first step, by name, each of the shape, dtype and device of `flat`."""
        return {name: arrays.zeros(flat.shape, flat) for name in self.state_names}

    def step(
        self,
        flat: Array,
        gradient: Array,
        state: dict[str, Array],
        segments: Sequence[Segment],
        t: int,
        total_steps: int | None = None,
        scale: float = 1.0,
        forecast: Array | None = None,
    ) -> None:
        """Update `flat` and `state` in place, or look where that would lead.

        Parameters
        ----------
        flat, gradient : (n,) float32 or float64, contiguous
        state : dict of (n,) arrays
            What `init` returned, as the steps before have left it.
        segments : sequence of (start, stop, shape)
            The parameters in `flat`, in order; looked at only if there is a regulariser that needs shapes.
        t : int
            Number of this step, counted from 1.
        total_steps : int, optional
            Steps of the whole run, for schedules that end with it.
        scale : float
            Factor of the gradient, such as 1 / (batch * beta).
        forecast : (n,) like `flat`, optional
            Written instead: what `flat` would become. `flat` and `state` stay as they are.

        Raises
        ------
        ValueError
            If t < 1, a state is missing, the arrays differ in length, or segments overlap or leave `flat`.
        TypeError
            If the arrays are not flat, contiguous and of one dtype.
        """
        if t < 1:
            raise ValueError(f"t = {t} was given, expected the number of this step, counted from 1")
        rate = rate_at(self.rate, t, total_steps)
        scale = float(scale)
        operands = (flat, gradient, *self._operands(state))
        regularizer = self.regularizer
        if regularizer is None:
            self._update(operands, rate, t, scale, NO_PROX, forecast)
        elif (prox := regularizer.fused(rate)) is None:
            self._update_then(regularizer, operands, segments, rate, t, scale, forecast)
        else:
            for start, stop, acts in _runs(segments, flat.shape[0], regularizer):
                part = tuple(x[start:stop] for x in operands)
                seen = None if forecast is None else forecast[start:stop]
                self._update(part, rate, t, scale, prox if acts else NO_PROX, seen)

    def _update_then(
        self, regularizer: Regularizer, operands: Any, segments: Sequence[Segment], rate: float, t: int, scale: float,
        forecast: Array | None,
    ) -> None:  # fmt: skip
        """Update, then apply a regulariser that needs the shapes."""
        self._update(operands, rate, t, scale, NO_PROX, forecast)
        _apply(regularizer, operands[0] if forecast is None else forecast, segments, rate)

    def _operands(self, state: dict[str, Array]) -> list[Array]:
        try:
            return [state[name] for name in self.state_names]
        except KeyError as error:
            raise ValueError(
                f"{type(self).__name__}: the states {sorted(state)} were given, expected "
                f"{sorted(self.state_names)}: take those that init returned for this rule"
            ) from error

    def move(self, parameter: Array, gradient: Array, state: dict[str, Array], rate: float, t: int) -> None:
        """Update `parameter` and the arrays of `state` in place, entry by entry.

        Parameters
        ----------
        parameter, gradient : (n,) arrays
            Any part of the parameters: a rule must not mix entries, of which stages and frozen parameters make other parts.
            The gradient is that of the mean loss, decay included; it may be overwritten.
        state : dict of (n,) arrays
            By the names of `state_names`; zeros at first.
        rate : float
            The step size of this step.
        t : int
            Number of the step, counted from 1.
        """
        raise NotImplementedError(f"{type(self).__name__} has neither move nor _update: see docs/extend.md")

    def _update(self, operands: Any, rate: float, t: int, scale: float, prox: Prox, forecast: Array | None) -> None:
        parameter, gradient, *states = operands
        d = scale * gradient
        if forecast is not None:
            forecast[...] = parameter
            parameter, states = forecast, [namespace(s).asarray(s, copy=True) for s in states]
        if self.weight_decay:
            d += self.weight_decay * parameter
        self.move(parameter, d, dict(zip(self.state_names, states, strict=True)), rate, t)
        if prox is not NO_PROX:
            update.proximal(parameter, prox)


@dataclass(frozen=True)
class SGD(Rule):
    """Gradient descent, with heavy-ball or Nesterov momentum if asked for.

    Parameters
    ----------
    rate : float or schedule
        Step size.
    momentum : float
        In [0, 1); 0 keeps no state.
    nesterov : bool
        Look ahead along the velocity; needs momentum.
    weight_decay : float
        Added to the gradient, times the parameter.
    regularizer : Regularizer, optional
        Applied by its proximal map after each step.
    """

    rate: Schedule | float
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    regularizer: Regularizer | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        set_number(self, "momentum", below=1.0)
        if self.nesterov and self.momentum == 0.0:
            raise ValueError("SGD: nesterov=True was given without momentum; give momentum > 0, for example 0.9")

    @property
    def state_names(self) -> tuple[str, ...]:
        """``velocity``, if there is momentum."""
        return ("velocity",) if self.momentum > 0.0 else ()

    def _update(self, operands: Any, rate: float, t: int, scale: float, prox: Prox, forecast: Array | None) -> None:
        decay = self.weight_decay
        if self.momentum > 0.0:
            p, g, v = operands
            update.momentum(p, g, v, rate, self.momentum, self.nesterov, decay, scale, prox, forecast)
        else:
            p, g = operands
            update.sgd(p, g, rate, decay, scale, prox, forecast)


@dataclass(frozen=True)
class Adam(Rule):
    """Adam; weight decay is part of the gradient, as in PyTorch's Adam.

    Parameters
    ----------
    rate : float or schedule
        Step size.
    betas : (float, float)
        Decay of the first and of the second moment, each in [0, 1).
    eps : float
        Added to the root of the second moment.
    weight_decay : float
        Added to the gradient, times the parameter.
    regularizer : Regularizer, optional
        Applied by its proximal map after each step.
    """

    decoupled: ClassVar[bool] = False

    rate: Schedule | float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    regularizer: Regularizer | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        set_number(self, "eps")
        try:
            beta1, beta2 = (float(beta) for beta in self.betas)
        except (TypeError, ValueError):
            beta1 = beta2 = math.nan
        if not (0.0 <= beta1 < 1.0 and 0.0 <= beta2 < 1.0):
            name = type(self).__name__
            raise ValueError(f"{name}: betas = {self.betas!r} was given, expected two numbers >= 0 and < 1")
        object.__setattr__(self, "betas", (beta1, beta2))

    @property
    def state_names(self) -> tuple[str, ...]:
        """``first_moment`` and ``second_moment``."""
        return ("first_moment", "second_moment")

    def _update(self, operands: Any, rate: float, t: int, scale: float, prox: Prox, forecast: Array | None) -> None:
        beta1, beta2 = self.betas
        p, g, m, s = operands
        decay, decoupled = self.weight_decay, self.decoupled
        update.adam(p, g, m, s, rate, beta1, beta2, self.eps, t, decay, decoupled, scale, prox, forecast)


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay: each step first shrinks the parameter by 1 - rate * weight_decay."""

    decoupled: ClassVar[bool] = True

    weight_decay: float = 0.01


def _runs(segments: Sequence[Segment], size: int, regularizer: Regularizer) -> list[tuple[int, int, bool]]:
    """Return (start, stop, acts) of the longest pieces of the flat array that are treated alike.

    Empty ones are left out. Space between two segments, such as padding, goes with the segment before it;
    zeros there stay zero, except under a Box without 0 in it.
    """
    if regularizer.on == "all":
        return [(0, size, True)]
    runs: list[tuple[int, int, bool]] = []
    begin, acts = 0, False
    for start, _, shape in _ordered(segments, size):
        if regularizer.acts_on(shape) != acts:
            runs.append((begin, start, acts))
            begin, acts = start, not acts
    runs.append((begin, size, acts))
    return [run for run in runs if run[0] < run[1]]


def _apply(regularizer: Regularizer, flat: Array, segments: Sequence[Segment], rate: float) -> None:
    """Apply a regulariser that needs the shapes to each of its parameters, in place."""
    for start, stop, shape in _ordered(segments, flat.shape[0]):
        part = namespace(flat).reshape(flat[start:stop], shape)
        regularizer.apply(part, rate)
        if family(flat) == "other":  # there a reshaped slice may be a copy
            flat[start:stop] = namespace(flat).reshape(part, (-1,))


def _ordered(segments: Sequence[Segment], size: int) -> Sequence[Segment]:
    """Return `segments`, or raise ValueError if they overlap, go backwards or leave the flat array."""
    end = 0
    for start, stop, shape in segments:
        if not end <= start <= stop <= size or stop - start != math.prod(shape):
            raise ValueError(
                f"the segment {(start, stop, shape)} was given after {end} of {size} entries, expected "
                f"{end} <= start <= stop <= {size} and stop - start entries in its shape"
            )
        end = stop
    return segments
