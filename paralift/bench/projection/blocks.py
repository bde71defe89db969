"""What the blocks of a deep, even network cost on this machine: one middle block, timed; and the network made of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from paralift import methods, optim
from paralift.bench.machine import one_core
from paralift.bench.protocol import Timing, measure
from paralift.kernels.arrays import zeros
from paralift.lifted.activations import ReLU
from paralift.lifted.gradient import displacement_of
from paralift.lifted.inference import sweep
from paralift.lifted.layers import Sequential
from paralift.lifted.maps import Linear
from paralift.lifted.maps.combine import add
from paralift.lifted.network import Network
from paralift.lifted.stage import Stage
from paralift.parallel.cost import BlockCost, Costs, Line
from paralift.parallel.optimizer import OptimizerStep
from paralift.parallel.overhead import measure_software

ITEMSIZE = 4
"""Everything is float32."""
STATES = 2
"""Arrays of Adam's state."""
LARGE = 16
"""A large gradient has the rows of so many micro-batches."""


def network(width: int, blocks: int) -> Network:
    """Return blocks of `width` x `width` weights, a bias and ReLU, in a chain; the last one is linear."""
    layers: list[Any] = [part for _ in range(blocks - 1) for part in (Linear(width, width), ReLU())]
    return Sequential(*layers, Linear(width, width))


@dataclass(frozen=True)
class Measured:
    """A middle block's times.

    Attributes
    ----------
    cost : BlockCost
    step, turn : float
        Software once a batch and once a micro-batch, in s.
    flops : float
        Operations a second of the product of a forward pass, bias and activation included.
    times : dict of str to Timing
        Of one block each.
    """

    cost: BlockCost
    step: float
    turn: float
    flops: float
    times: dict[str, Timing]

    def record(self) -> dict[str, Any]:
        """Return the numbers with all raw times for a JSON file."""
        lines = {name: vars(line) for name, line in vars(self.cost).items() if isinstance(line, Line)}
        found = {"update_s": self.cost.update, "forecast_s": self.cost.forecast, "step_s": self.step, "turn_s": self.turn}
        return {**lines, **found, "flops": self.flops, "times": {name: timing.record() for name, timing in self.times.items()}}


def measure_block(width: int, blocks: int, rows: int, repeats: int) -> Measured:
    """Time one of `blocks` consecutive blocks in the middle of a network, on one core.

    A micro-batch has `rows` rows. Gradients are timed with one and with `LARGE` micro-batches; the line through both goes on.
    """
    like = np.zeros(0, np.float32)
    stage = Stage(network(width, blocks + 2), 1, blocks + 1, like)
    stage.init(0)
    state = stage.state(LARGE * rows)
    rng = np.random.default_rng(0)
    for v in stage.inputs:
        state.x[v][...] = rng.standard_normal(state.x[v].shape, np.float32)
    pulled = {v: rng.standard_normal(state.g[v].shape, np.float32) for v in stage.outputs}
    method = methods.nudged()
    displacement = displacement_of(method)
    hat, other = (zeros((stage.layout.trained,), like) for _ in range(2))
    optimizer = OptimizerStep(stage, optim.Adam(1e-6), 1000)
    window, whole = state.window(0, rows), state.window(0, LARGE * rows)

    def come_back() -> None:
        for v, noise in pulled.items():
            whole.g[v][...] = noise

    def look() -> None:
        optimizer.forecast(0, 1.0, optimizer.gradient, hat)
        add(optimizer.gradient, other, optimizer.gradient)

    def time(work: Any, prepare: Any = lambda: None) -> Timing:
        seconds = measure(work, repeats=repeats, warm_up=2, prepare=prepare).seconds
        return Timing(tuple(s / blocks for s in seconds))

    with one_core():
        sweep.forward(whole)
        come_back()
        sweep.backward(whole, displacement)  # gradients of all rows need residuals of all rows
        times = {
            "forward": time(lambda: sweep.forward(window)),
            "back": time(lambda: sweep.backward(window, displacement), come_back),
            "gradient": time(lambda: sweep.gradients(window)),
            "gradient, large": time(lambda: sweep.gradients(whole)),
            "update": time(lambda: optimizer(0, 1.0)),
            "forecast": time(look),
        }
        step, turn = measure_software(method, like)
    return _measured(width, rows, times, step, turn)


def _measured(width: int, rows: int, times: dict[str, Timing], step: float, turn: float) -> Measured:
    forward, back, update = (times[name].median for name in ("forward", "back", "update"))
    one, large = times["gradient"].median, times["gradient, large"].median
    each = max(0.0, large - one) / ((LARGE - 1) * rows)
    cost = BlockCost(
        forward=Line(0.0, forward / rows),
        back=Line(0.0, back / rows),
        gradient=Line(max(0.0, one - each * rows), each),
        update=update,
        forecast=times["forecast"].median,
    )
    return Measured(cost, step, turn, 2.0 * width**2 * rows / forward, times)


def scaled(cost: BlockCost, factor: float) -> BlockCost:
    """Return a cost whose every part takes `factor` times as long."""

    def line(old: Line) -> Line:
        return Line(factor * old.start, factor * old.each)

    return replace(
        cost, forward=line(cost.forward), back=line(cost.back), gradient=line(cost.gradient), update=factor * cost.update,
        forecast=factor * cost.forecast,
    )  # fmt: skip


def costs(cost: BlockCost, blocks: int, latency: float, bandwidth: float, overhead: float, step: float, turn: float) -> Costs:
    """Return the costs of a network of equal blocks, with software once a batch and once a micro-batch.

    Messages between stages are handled within the tasks before and behind them, those of a sum while they travel.
    """
    link, hop, handling = Line(latency, 1.0 / bandwidth), Line(latency + 2 * overhead, 1.0 / bandwidth), Line(overhead, 0.0)
    return Costs((cost,) * blocks, link, hop, handling, handling, step=step, turn=turn)
