"""A sweep on NumPy arrays allocates nothing after its first step: no array, only Python's own small change."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import paralift as pl
from paralift.lifted.gradient import displacement_of
from paralift.lifted.inference.sweep import backward, clamp, forward, gradients
from paralift.lifted.stage import Stage
from paralift.methods import backprop, nudged
from paralift.parallel.batch import Batch, Shard, load
from paralift.parallel.optimizer import OptimizerStep, Options

BATCH, WIDTH = 512, 64
LIMIT = 4096
"""Bytes; one row of a batch is 512, one array of a batch is 262,144."""

NETWORKS = {
    "dense": lambda: pl.Sequential(pl.Linear(20, WIDTH), pl.ReLU(), pl.Linear(WIDTH, 10), pl.Softmax()),
    "all": lambda: pl.Sequential(
        pl.Linear(20, WIDTH), pl.ReLU(),
        pl.Residual(pl.LayerNorm(WIDTH), pl.Linear(WIDTH, WIDTH), pl.ReLU(), pl.Linear(WIDTH, WIDTH)),
        pl.Residual(pl.Linear(WIDTH, WIDTH), pl.Softmax()), pl.RMSNorm(WIDTH), pl.Tanh(),
        pl.Parallel(pl.Linear(WIDTH, WIDTH), pl.Tanh(), combine="concatenate"),
        pl.Linear(2 * WIDTH, 10), pl.Softmax(),
    ),
    "convolutions": lambda: pl.Sequential(
        pl.Reshape(5, 4, 1), pl.Conv2d(1, 4, 3, padding=1, bias=False), pl.BatchNorm(4), pl.ReLU(),
        pl.Parallel([pl.Conv2d(4, 6, 3, stride=2, padding=1), pl.ReLU()], pl.Conv2d(4, 6, 1, stride=2)), pl.Upsample(2),
        pl.MaxPool2d(2), pl.AveragePool2d(2, stride=1), pl.GlobalAverage(), pl.Linear(6, 10), pl.Softmax(),
        input_shape=(20,),
    ),
    "dropout": lambda: pl.Sequential(
        pl.Linear(20, WIDTH), pl.ReLU(), pl.Dropout(0.3), pl.Residual(pl.Dropout(0.2), pl.Linear(WIDTH, WIDTH)),
        pl.Linear(WIDTH, 10), pl.Softmax(),
    ),
}  # fmt: skip


def steps(network, method):
    """Return a function that takes one step in two micro-batches, as training does."""
    stage = Stage(network, 0, len(network.blocks), np.zeros(1))
    stage.init(0)
    state, rng = stage.state(BATCH), np.random.default_rng(0)
    x, labels = rng.standard_normal((2 * BATCH, 20)), rng.integers(0, 10, 2 * BATCH)
    targets = np.empty(BATCH, labels.dtype)
    loss, displacement = pl.losses.CrossEntropy(0.1 if stage.draws else 0.0), displacement_of(method)
    indices = np.arange(BATCH)

    def step():
        x.take(indices, axis=0, out=state.x[0], mode="clip")
        labels.take(indices, out=targets, mode="clip")
        state.y = targets
        for start, stop in ((0, BATCH // 2), (BATCH // 2, BATCH)):
            window = state.window(start, stop)
            forward(window)
            clamp(window, loss, method.clamp.beta)
            backward(window, displacement)
        gradients(state.window(0, BATCH))

    return step


@pytest.mark.parametrize("method", [nudged(), nudged(0.1, symmetric=False), nudged(relative=0.01)], ids=repr)
@pytest.mark.parametrize("name", NETWORKS)
def test_steps_after_the_first_allocate_nothing(name, method):
    assert growth(steps(NETWORKS[name](), method)) < LIMIT


def test_augmentation_and_what_goes_with_an_update_allocate_nothing():
    stage = Stage(NETWORKS["dense"](), 0, 2, np.zeros(1))
    stage.init(0)
    state, rng = stage.state(BATCH), np.random.default_rng(0)
    images = [pl.data.Shift(1), pl.data.Crop(1), pl.data.Flip(), pl.data.Noise(0.1)]
    shard = Shard(rng.standard_normal((2 * BATCH, 20)), rng.integers(0, 10, 2 * BATCH), images, (4, 5))
    targets, batch = np.empty(BATCH, np.int64), Batch(np.arange(BATCH), BATCH, 0, 0)
    options = Options(clip=1e-3, frozen=frozenset({("linear1", "bias")}), ema=0.9)
    optimizer = OptimizerStep(stage, pl.optim.Adam(), 10, options)
    stage.gradient[...] = 1.0

    def step():
        load(state, shard, batch, targets)
        optimizer(0, 1.0)

    assert growth(step) < LIMIT


def test_the_measure_sees_an_array():
    """Backpropagation of softmax, a reference only, takes temporaries."""
    assert growth(steps(NETWORKS["all"](), backprop())) > BATCH * WIDTH


def growth(step):
    """Return the least peak of allocated bytes of five times five steps: an array is in all, Python's small change in some."""
    step()
    step()
    tracemalloc.start()
    try:
        return min(peak(step) for _ in range(5))
    finally:
        tracemalloc.stop()


def peak(step):
    step()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(5):
        step()
    return tracemalloc.get_traced_memory()[1] - before
