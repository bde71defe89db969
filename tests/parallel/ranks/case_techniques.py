"""Dropout, augmentation, clipping, frozen parameters, averages and early stopping: P ranks give what one gives, also resumed.

All at once, so that what one of them does to another shows, too.
"""

import shutil
import signal
from pathlib import Path

import case_equal
import numpy as np
import pytest
from case_signals import Signalling
from mpi4py import MPI

import paralift as pl
from paralift.methods import Hard, Method, ProximalGradient
from paralift.parallel.plan import Plan, block_costs
from paralift.parallel.split import split
from paralift.training import checkpoints, looks

WORLD = MPI.COMM_WORLD
RANK = WORLD.Get_rank()
METHODS = {
    "flush": (pl.methods.nudged(), "flush"),
    "unflushed": (pl.methods.nudged(), "unflushed"),
    "lifted": (Method(clamp=Hard(), inference=ProximalGradient(2, "two_colour")), "flush"),
}
IMAGES = [pl.data.Shift(1), pl.data.Flip(), pl.data.Crop(2), pl.data.Noise(0.1)]
GRIDS = case_equal.GRIDS[1:-1] or case_equal.GRIDS
"""On four ranks two shards of two stages alone: the rest is tried by other cases."""
ALL = {
    "augment": IMAGES, "clip": 0.2, "freeze": ["linear2.bias", "linear4"], "ema": 0.9,
    "stop_early": pl.EarlyStopping(2, "test_loss"), "loss": pl.losses.CrossEntropy(0.1, (1.0, 2.0, 0.5, 1.0)),
}  # fmt: skip


def network():
    return pl.Sequential(
        pl.Flatten(), pl.Linear(12, 9), pl.Tanh(), pl.Dropout(0.3), pl.Linear(9, 8), pl.ReLU(),
        pl.Residual(pl.Dropout(0.2), pl.Linear(8, 8), pl.Softplus()), pl.Linear(8, 7), pl.Dropout(0.1), pl.Linear(7, 4),
        pl.Softmax(), input_shape=(3, 4),
    )  # fmt: skip


def data(n=90):
    rng = np.random.default_rng(1)
    return rng.standard_normal((n, 3, 4)), rng.integers(0, 4, n)


def train(comm, grid, method, out=None, epochs=3, **settings):
    net, (chosen, schedule) = network(), METHODS[method]
    plan = Plan(*grid, split(block_costs(net), grid[1]), 6, schedule)
    rule = pl.optim.SGD(0.05, momentum=0.9) if method == "lifted" else Signalling(1e-2)
    return pl.fit(
        net, data(), test=data(21), method=chosen, optimizer=rule, epochs=epochs, batch_size=12, seed=3, dtype="float64",
        comm=comm, plan=plan, out=out, progress=False, **{**ALL, **settings},
    )  # fmt: skip


@pytest.fixture(autouse=True)
def no_signals():
    yield
    Signalling.at = None


@pytest.fixture
def folder(tmp_path_factory):
    return Path(WORLD.bcast(str(tmp_path_factory.mktemp("run"))))


@pytest.mark.mpi
@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_equals_one_rank(method, grid):
    case_equal.assert_equal(train(WORLD, grid, method), train(None, (1, 1), method))


@pytest.mark.mpi
@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("method", ["flush", "unflushed"])
def test_stopped_in_an_epoch_and_resumed_bit_for_bit(method, grid, folder, monkeypatch):
    monkeypatch.setattr(looks, "MOST", 1)
    whole = train(WORLD, grid, method)
    Signalling.at, Signalling.number = (11 if RANK == 0 else None), signal.SIGUSR2
    stopped = train(WORLD, grid, method, folder)
    Signalling.at = None
    assert stopped.reason is pl.Reason.STOPPED and checkpoints.attributes_of(checkpoints.latest(folder))["batch"] > 0
    copy = folder.with_name(folder.name + "-copy")
    if RANK == 0:
        shutil.copytree(folder, copy)
    rest = train(WORLD, grid, method, folder, resume="auto")
    for block, arrays in whole.params.items():
        for name, a in arrays.items():
            np.testing.assert_array_equal(rest.params[block][name], a)
    saved, _ = checkpoints.load_params(checkpoints.latest(folder))  # what `paralift evaluate` reads: the best epoch's average
    for block, arrays in rest.params.items():
        for name, a in arrays.items():
            np.testing.assert_array_equal(saved[block][name], a)
    if RANK == 0:
        case_equal.assert_equal(train(None, (1, 1), method, copy, resume="auto"), whole)
    WORLD.Barrier()


@pytest.mark.mpi
def test_early_stopping_keeps_the_best_epoch(folder):
    """On the last of the grids; the masks make the loss grow at some point."""
    grid = GRIDS[-1]
    settings = {"stop_early": pl.EarlyStopping(2, "loss"), "ema": None, "clip": None, "epochs": 30}
    found = train(WORLD, grid, "flush", folder, **settings)
    losses = [record["loss"] for record in found.history]
    best = int(np.argmin(losses)) + 1
    assert found.reason is pl.Reason.STOPPED_EARLY and len(losses) == best + 2 < 30
    assert found.summary["best_epoch"] == best and found.summary["train_loss"] == min(losses)
    until = train(WORLD, grid, "flush", epochs=best, **{k: v for k, v in settings.items() if k != "epochs"})
    for block, arrays in until.params.items():
        for name, a in arrays.items():
            np.testing.assert_array_equal(found.params[block][name], a)
    again = train(WORLD, grid, "flush", folder, resume="auto", **settings)
    assert again.reason is pl.Reason.STOPPED_EARLY and len(again.history) == best + 2
    np.testing.assert_array_equal(again.params["linear1"]["weight"], found.params["linear1"]["weight"])


@pytest.mark.mpi
@pytest.mark.parametrize("schedule", ["flush", "unflushed"])
def test_rates_by_trial_equal_those_of_one_rank(schedule):
    """The trial ends at the same step, too: the last rate makes the loss grow beyond all bounds."""
    net, grid = network(), GRIDS[-1]
    n = len(net.blocks)
    curves = []
    for comm, plan in (
        (WORLD, Plan(*grid, split(block_costs(net), grid[1]), 6, schedule)), (None, Plan(1, 1, (0, n), 2, schedule))
    ):  # fmt: skip
        settings = {"optimizer": pl.optim.SGD(0.1), "batch_size": 12, "dtype": "float64", "augment": IMAGES, "plan": plan}
        curves.append(pl.find_rate(net, data(), comm=comm, progress=False, high=1e4, steps=40, **settings))
    assert len(curves[0].losses) == len(curves[1].losses) < 40
    np.testing.assert_allclose(curves[0].losses, curves[1].losses, rtol=1e-8)
    assert curves[0].suggestion == curves[1].suggestion


@pytest.mark.mpi
@pytest.mark.parametrize("method", ["flush", "unflushed"])
def test_divergence_ends_on_all_ranks_with_a_norm_on_its_way(method, monkeypatch):
    grid = GRIDS[-1]
    monkeypatch.setattr(looks, "MOST", 1)
    monkeypatch.setattr(Signalling, "step", lambda self, theta, *more: theta.fill(np.nan))
    with pytest.raises(pl.DivergedError, match="the loss became"):
        train(WORLD, grid, method)
    monkeypatch.undo()
    train(WORLD, grid, method, epochs=1)  # and the communicator serves the next run
