"""Measured costs: every kind of block timed as a step runs it, in less than a second, agreed by all ranks.

Equal blocks (same map, activation and shapes) are one kind. A few of each kind, with arrays of their own, are passed one after
the other as in a step, so that what a block finds in the caches is what it will find there: blocks timed alone in a loop look
faster than they are. Two numbers of rows give a line. Ranks measure at the same time, as they will run, and take the
largest figure of all ranks.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np

from paralift.kernels.arrays import Array, from_host, zeros
from paralift.lifted.gradient import displacement_of
from paralift.lifted.inference import sweep
from paralift.lifted.inference.estimate import state_regularizers
from paralift.lifted.inference.proxgrad import ProximalGradient
from paralift.lifted.layers import Sequential
from paralift.lifted.losses import Loss
from paralift.lifted.maps import Linear
from paralift.lifted.maps.combine import add
from paralift.lifted.methods import Method, nudged
from paralift.lifted.network import Block, Network
from paralift.lifted.stage import Stage, Step, Window
from paralift.parallel.activity import ACTIVITY
from paralift.parallel.cost import NOTHING, BlockCost, Costs, Line, count
from paralift.parallel.crossing import crossing
from paralift.parallel.grid import Grid
from paralift.parallel.links import measure_links
from paralift.parallel.optimizer import OptimizerStep
from paralift.parallel.overhead import gather_seconds, measure_software, median_seconds

BUDGET = 0.35
"""Seconds of timed passes."""
PASSES = (3, 40)
"""Passes at least (if they are short) and at most."""
LONGEST = 0.05
"""Seconds that a pass should take by counting; for larger networks fewer rows are measured."""
COPIES = 3
"""Blocks of a kind that are passed at least, if the network has so many."""
FOOTPRINT = 32 << 20
"""Bytes that blocks of a kind should take together: more than what a core keeps close by."""
MIN_ROWS = 16
UPDATES = 1000
"""Length of the run that schedules of the rate are told."""

Kind = tuple[Any, ...]
Times = dict[tuple[str, Kind], list[float]]
UPDATE, FORECAST = ("update", ()), ("forecast", ())
"""Keys of the optimiser's times."""


@dataclass(frozen=True)
class Trial:
    """What is measured, and how.

    Parameters
    ----------
    network : Network
    like : array
        Library, device and dtype.
    rows : int
        Samples of the larger passes.
    method, loss, rule : Method, Loss, update rule
        What a step is made of. Methods with proximal gradient inference are measured by a nudged sweep, whose products and
        passes over memory are those of their iterations.
    """

    network: Network
    like: Array
    rows: int
    method: Method
    loss: Loss
    rule: Any


def measure(
    network: Network, like: Array, rows: int, method: Method, loss: Loss, rule: Any, grid: Grid | None = None
) -> Costs:
    """Return the costs of a network on this machine, the same on every rank; collective.

    Parameters
    ----------
    network : Network
    like : array
        Library, device and dtype of the run.
    rows : int
        Samples of a batch on one rank.
    method, loss, rule : Method, Loss, update rule
    grid : Grid, optional
        All ranks of the run, whatever its shape. Without it, links cost what `paralift.parallel.cost.MESSAGE` says.

    Raises
    ------
    AgreedError
        If a rank cannot measure; all ranks raise it.
    """
    method = nudged() if isinstance(method.inference, ProximalGradient) else method
    trial = Trial(network, like, rows, method, loss, rule)
    grid = Grid(None, 1, 1) if grid is None else grid
    if grid.world is not None:
        with ACTIVITY.waiting("all ranks to begin measuring"):
            grid.world.Barrier()
    costs, error = count(network, len(rule.state_names)), None
    try:
        costs = measure_here(trial)
    except Exception as found:
        error = found
    grid.agree(error)
    if grid.world is None:
        return costs
    itemsize = like.dtype.itemsize
    width = crossing(network).width_up[1:-1].max(initial=1.0)
    links = measure_links(grid.world, int(rows * width * itemsize), network.n_parameters * itemsize)
    return agreed(grid.world, replace(costs, **vars(links)))


def agreed(comm: Any, costs: Costs) -> Costs:
    """Return the costs of the slowest rank in each part: the same numbers on every rank; collective."""
    numbers = np.array(_numbers(costs))
    most = np.empty_like(numbers)
    with ACTIVITY.waiting("the costs of all ranks"):
        comm.Allreduce(numbers, most, op=_max())
    return _like(costs, list(map(float, most)))


def _max() -> Any:
    from mpi4py import MPI

    return MPI.MAX


def _numbers(costs: Any) -> list[float]:
    """Return the numbers in nested dataclasses and tuples, in order."""
    if isinstance(costs, float | int):
        return [float(costs)]
    parts = costs if isinstance(costs, tuple) else vars(costs).values()
    return [n for part in parts if part is not None for n in _numbers(part)]


def _like(costs: Any, numbers: list[float]) -> Any:
    """Return `costs` with its numbers replaced by the first of `numbers`, which are taken out."""
    if costs is None:
        return None
    if isinstance(costs, float | int):
        return numbers.pop(0)
    if isinstance(costs, tuple):
        return tuple(_like(part, numbers) for part in costs)
    return replace(costs, **{name: _like(part, numbers) for name, part in vars(costs).items()})


def measure_here(trial: Trial) -> Costs:
    """Return the costs of blocks and software on this rank; links are those of `count`."""
    counted = count(trial.network, len(trial.rule.state_names))
    ranges = specimens(trial, counted)
    rows = _affordable(trial, counted, ranges)
    fewer = max(1, min(rows - 1, max(MIN_ROWS, rows // 4)))
    benches = [Bench(trial, start, stop, rows) for start, stop in ranges]
    times: Times = {}
    _passes(benches, (rows, fewer), times)
    start = _smallest_update(trial)
    trained = sum(b.stage.layout.trained for b in benches)
    update, forecast = (_each(times[part], start, trained, len(benches)) for part in (UPDATE, FORECAST))
    blocks = []
    for block in trial.network.blocks:
        numbers, lines = sum(map(math.prod, block.trained().values())), {}
        for part in ("forward", "back", "gradient"):
            few, many = (float(np.median(times[f"{part} {n}", kind(block)])) for n in (fewer, rows))
            lines[part] = through(fewer, few, rows, many)
        blocks.append(BlockCost(**lines, update=numbers * update, forecast=numbers * forecast))
    step, turn = measure_software(trial.method, trial.like)
    load = _load_seconds(trial, benches[0], rows)
    return replace(counted, blocks=tuple(blocks), load=load, step=step + start, turn=turn)


def kind(block: Block) -> Kind:
    """Return what blocks of equal costs have in common."""
    pulled = tuple(p != 0 for p in block.parents)
    return (repr(block.map), repr(block.activation), block.parent_shapes, pulled)


def through(few: int, few_seconds: float, many: int, many_seconds: float) -> Line:
    """Return the line through two measured points, without a negative start or slope; through 0 if the rows are equal."""
    if many <= few:
        return Line(0.0, many_seconds / max(1, many))
    each = max(0.0, (many_seconds - few_seconds) / (many - few))
    start = many_seconds - each * many
    return Line(start, each) if start >= 0 else Line(0.0, many_seconds / many)


def specimens(trial: Trial, counted: Costs) -> list[tuple[int, int]]:
    """Return ranges of consecutive blocks that hold enough blocks of every kind, without the rest of a deep network."""
    taken: dict[Kind, tuple[int, int, float]] = {}
    wanted = []
    states, itemsize = 2 + len(trial.rule.state_names), trial.like.dtype.itemsize
    for block, cost in zip(trial.network.blocks, counted.blocks, strict=True):
        copies, held, seconds = taken.get(kind(block), (0, 0, 0.0))
        short = seconds < LONGEST and held < FOOTPRINT
        wanted.append(copies < COPIES or short)
        if wanted[-1]:
            numbers = states * sum(map(math.prod, block.trained().values())) + 3 * trial.rows * math.prod(block.shape)
            seconds += cost.forward(trial.rows) + cost.back(trial.rows) + cost.gradient(trial.rows) + cost.update
            taken[kind(block)] = (copies + 1, held + numbers * itemsize, seconds)
    ranges, start = [], 0
    for take, group in groupby(wanted):
        stop = start + len(list(group))
        ranges += [(start, stop)] if take else []
        start = stop
    return ranges


def _affordable(trial: Trial, counted: Costs, ranges: Sequence[tuple[int, int]]) -> int:
    blocks = [c for a, b in ranges for c in counted.blocks[a:b]]
    each = sum(c.forward.each + c.back.each + c.gradient.each for c in blocks)
    return max(min(trial.rows, 2 * MIN_ROWS), min(trial.rows, int(LONGEST / each) if each else trial.rows), 1)


def _passes(benches: Sequence[Bench], sizes: tuple[int, int], times: Times) -> None:
    """Pass through all benches with both numbers of rows, again and again while the budget lasts."""
    unwanted: Times = {}
    _pass(benches, sizes, unwanted, 0)  # compiles, touches memory
    least, most = PASSES
    start = time.perf_counter()
    for k in range(most):
        seconds = time.perf_counter() - start
        if k and seconds > BUDGET * min(1.0, k / least):
            break
        _pass(benches, sizes, times, k + 1)


def _pass(benches: Sequence[Bench], sizes: tuple[int, int], times: Times, k: int) -> None:
    for part, rows in zip((UPDATE, FORECAST), sizes, strict=True):
        seconds = 0.0
        for bench in benches:
            bench.pass_through(rows, times)
            seconds += bench.update(k) if part == UPDATE else bench.forecast(k)
        times.setdefault(part, []).append(seconds)


def _each(seconds: list[float], start: float, numbers: int, calls: int) -> float:
    """Return the seconds for each number of calls that take `start` each."""
    return max(0.0, float(np.median(seconds)) - calls * start) / max(1, numbers)


def _smallest_update(trial: Trial) -> float:
    """Return the seconds of the optimiser on a few numbers."""
    network = Sequential(Linear(2, 2))
    step = OptimizerStep(Stage(network, 0, 1, trial.like), trial.rule, UPDATES)
    return median_seconds(lambda: step(0, 1.0))


def _load_seconds(trial: Trial, bench: Bench, rows: int) -> Line:
    """Return the seconds for each byte of gathering the samples of a batch."""
    if not bench.stage.has_input:
        return NOTHING
    x = bench.state.x[0]
    return Line(0.0, gather_seconds(x) / (rows * math.prod(trial.network.input_shape) * x.dtype.itemsize))


def targets(rng: np.random.Generator, network: Network, loss: Loss, rows: int, like: Array) -> np.ndarray:
    """Return random targets that suit a network's output: labels if the loss takes them."""
    *outer, width = network.output_shape
    if loss.takes_labels():
        return rng.integers(0, width, (rows, *outer))
    last, n = network.blocks[-1].activation, rows * math.prod(outer)
    if (numbers := loss.target_width(last, width)) != width:
        return np.zeros((rows, *outer, numbers), str(like.dtype))  # there is a class 0 in every head
    return last.sigma(rng.standard_normal((n, width))).reshape(rows, *outer, width).astype(str(like.dtype))


class Bench:
    """A range of blocks with its buffers, filled with numbers like those of a training."""

    def __init__(self, trial: Trial, start: int, stop: int, rows: int) -> None:
        self.trial, network = trial, trial.network
        self.stage = Stage(network, start, stop, trial.like)
        self._init()
        self.runs: dict[int, list[Run]] = {}
        self.pulls = state_regularizers(network, trial.method)
        self.displacement, self.beta = displacement_of(trial.method), trial.method.clamp.beta
        self.scale = 1.0 / (self.beta * rows)
        self.state = self.stage.state(rows, apart=self.pulls)
        rng = np.random.default_rng(0)
        for v in self.stage.inputs:
            self.state.x[v][...] = self._noise(rng, self.state.x[v].shape)
        pulled = [v for v in self.stage.outputs if v in self.stage.pulled]
        self.pulled = {v: self._noise(rng, self.state.g[v].shape) for v in pulled}
        if self.stage.has_output:
            self.state.y = from_host(targets(rng, network, trial.loss, rows, trial.like), trial.like)
        self.optimizer = OptimizerStep(self.stage, trial.rule, UPDATES)
        self.first, self.hat = (zeros(self.optimizer.theta.shape, trial.like) for _ in range(2))

    def _init(self) -> None:
        """Set parameters to initial ones, drawn once for each kind."""
        drawn: dict[Kind, Mapping[str, np.ndarray]] = {}
        dtype = np.dtype(str(self.trial.like.dtype).rsplit(".", 1)[-1])
        for block in self.stage.blocks:
            if kind(block) not in drawn:
                drawn[kind(block)] = block.init(0, dtype)
            for name, value in drawn[kind(block)].items():
                self.stage.params[block.name][name][...] = from_host(value, self.trial.like)

    def _noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        return from_host(rng.standard_normal(shape, np.float32).astype(str(self.trial.like.dtype)), self.trial.like)

    def pass_through(self, rows: int, times: Times) -> None:
        """Take `rows` rows forward and back and their gradients; note the seconds of each run of equal blocks."""
        window = self.state.window(0, rows)
        if rows not in self.runs:
            self.runs[rows] = [Run(tuple(g), window) for _, g in groupby(window.steps, lambda step: kind(step.block))]
        runs = self.runs[rows]
        for run in runs:
            run.time(f"forward {rows}", times, lambda run=run: sweep.forward(run))
        for v, noise in self.pulled.items():
            window.g[v][...] = noise[:rows]
        for run in reversed(runs):
            run.time(f"back {rows}", times, lambda run=run: self._back(run, window))
        for run in reversed(runs):
            run.time(f"gradient {rows}", times, lambda run=run: sweep.gradients(run))

    def _back(self, run: Run, window: Window) -> None:
        if run.steps[-1].block.index == window.last:
            sweep.clamp(window, self.trial.loss, self.beta)
        sweep.backward(run, self.displacement, self.pulls, self.beta)  # type: ignore[arg-type]

    def update(self, step: int) -> float:
        """Return the seconds of the optimiser on all parameters of the range."""
        start = time.perf_counter()
        self.optimizer(step, self.scale)
        return time.perf_counter() - start

    def forecast(self, step: int) -> float:
        """Return the seconds of what an unflushed wave does besides: a forecast, and the sum of two halves' gradients."""
        start = time.perf_counter()
        self.optimizer.forecast(step, self.scale, self.optimizer.gradient, self.hat)
        add(self.optimizer.gradient, self.first, self.optimizer.gradient)
        return time.perf_counter() - start


class Run:
    """Consecutive equal blocks of a window, which passes take for the window itself."""

    def __init__(self, steps: tuple[Step, ...], window: Window) -> None:
        self.steps, self.first, self.last = steps, window.first, window.last
        self.work: dict[Any, Any] = {}
        self.kind = kind(steps[0].block)

    def time(self, part: str, times: Times, work: Any) -> None:
        """Note the seconds of one block."""
        start = time.perf_counter()
        work()
        times.setdefault((part, self.kind), []).append((time.perf_counter() - start) / len(self.steps))
