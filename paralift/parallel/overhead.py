"""What a step costs besides its blocks: the package's own software, measured on the smallest of networks."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from paralift import optim
from paralift.kernels.arrays import Array, empty, from_host, zeros
from paralift.lifted.activations import Softmax
from paralift.lifted.gradient import displacement_of
from paralift.lifted.inference import sweep
from paralift.lifted.layers import Sequential
from paralift.lifted.losses import CrossEntropy
from paralift.lifted.maps import Linear
from paralift.lifted.methods import Method
from paralift.lifted.stage import Stage
from paralift.parallel.batch import Batch, Shard, gather
from paralift.parallel.exchange import Messages
from paralift.parallel.grid import Grid
from paralift.parallel.optimizer import OptimizerStep
from paralift.parallel.plan import Plan
from paralift.parallel.reduce import GradientSum
from paralift.parallel.sweep_step import SweepStep

REPEATS = 30
SPREAD = 8
"""Times as many samples as a batch that it is gathered from."""
ROWS = 4


def median_seconds(work: Callable[[], Any], repeats: int = REPEATS) -> float:
    """Return the median of the seconds of `work`, after it has run once."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def measure_software(method: Method, like: Array) -> tuple[float, float]:
    """Return the seconds that software takes once a step and once a micro-batch.

    A flushed step of a network of four numbers is nothing but software; what its block itself takes is measured, too, and
    taken off.
    """
    one, many = (median_seconds(_tiny_step(method, like, parts)) for parts in (1, ROWS))
    passes, once = _tiny_block(method, like)
    turn = max(0.0, (many - one) / (ROWS - 1) - passes)
    return max(0.0, one - turn - passes - once), turn


def _tiny() -> Sequential:
    return Sequential(Linear(2, 2), Softmax())


def _tiny_step(method: Method, like: Array, micro_batches: int) -> Callable[[], Any]:
    grid, stage = Grid(None, 1, 1), Stage(_tiny(), 0, 1, like)
    shard = Shard(zeros((ROWS, 2), like), from_host(np.zeros(ROWS, np.int64), like))
    plain = Method(method.penalty, method.clamp, method.inference, method.update)  # states name blocks of another network
    optimizer = OptimizerStep(stage, optim.SGD(0.0), 1)
    plan = Plan(1, 1, (0, 1), micro_batches, "flush")
    step = SweepStep(stage, ROWS, shard, plain, CrossEntropy(), Messages(grid), plan, optimizer, GradientSum(grid, stage))
    batch = Batch(np.arange(ROWS), ROWS, 0, 0)
    return lambda: step(batch)


def _tiny_block(method: Method, like: Array) -> tuple[float, float]:
    """Return the seconds of one micro-batch of the tiny block, and of its gradient and update."""
    stage = Stage(_tiny(), 0, 1, like)
    state, displacement, loss = stage.state(ROWS), displacement_of(method), CrossEntropy()
    state.x[0][...] = 0.0
    state.y = from_host(np.zeros(ROWS, np.int64), like)
    window, optimizer = state.window(0, ROWS), OptimizerStep(stage, optim.SGD(0.0), 1)

    def passes() -> None:
        sweep.forward(window)
        sweep.clamp(window, loss, method.clamp.beta)
        sweep.backward(window, displacement)

    def once() -> None:
        sweep.gradients(window)
        optimizer(0, 1.0)

    return median_seconds(passes), median_seconds(once)


def gather_seconds(x: Array) -> float:
    """Return the seconds of gathering rows into `x` from an array with more of them, in a random order."""
    source = empty((SPREAD * x.shape[0], *x.shape[1:]), x)
    source[...] = 0.0
    out, rng = empty(x.shape, x), np.random.default_rng(0)
    order = rng.permutation(source.shape[0]).reshape(SPREAD, -1)
    turn = iter(range(10**9))
    return median_seconds(lambda: gather(source, order[next(turn) % SPREAD], out), SPREAD)
