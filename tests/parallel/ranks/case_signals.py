"""A run that is stopped in the middle of an epoch goes on as if nothing had been: same bits on the same ranks, 1e-10 on others.

The signals come from the update rule, on one rank alone, so that each run is stopped at the same batch every time.
"""

import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from case_equal import GRIDS, NETWORKS, assert_equal, data
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
    "persistent": (Method(clamp=Hard(), inference=ProximalGradient(2, "two_colour", persistent=True)), "flush"),
    "blocks": (pl.methods.lifted_bregman_bcd("nesterov", order="two_colour"), "flush"),
}


class Signalling(pl.optim.Adam):
    """Adam whose process gets a signal at one of its steps; it looks like Adam to checkpoints."""

    at, number = None, None

    def step(self, theta, gradient, states, segments, step, total_steps=None, scale=1.0, forecast=None):
        if step == Signalling.at and forecast is None:
            os.kill(os.getpid(), Signalling.number)
        super().step(theta, gradient, states, segments, step, total_steps, scale, forecast)

    def __repr__(self):
        return super().__repr__().replace("Signalling", "Adam")


@pytest.fixture(autouse=True)
def look_after_each_batch(monkeypatch):
    monkeypatch.setattr(looks, "MOST", 1)
    yield
    Signalling.at = None


@pytest.fixture
def folder(tmp_path_factory):
    return Path(WORLD.bcast(str(tmp_path_factory.mktemp("run"))))


def plan_of(network, grid, schedule):
    shards, stages = grid
    return Plan(shards, stages, split(block_costs(network), stages), 6, schedule)


def train(comm, plan, method, out=None, resume=None, epochs=3, **settings):
    return pl.fit(
        NETWORKS["chain"](), data(110), test=data(11), method=METHODS[method][0], optimizer=Signalling(1e-2), epochs=epochs,
        batch_size=8, seed=3, dtype="float64", comm=comm, plan=plan, out=out, resume=resume, progress=False, **settings,
    )  # fmt: skip


def on_one_rank(method, out, **settings):
    network = NETWORKS["chain"]()
    plan = Plan(1, 1, (0, len(network.blocks)), 2, METHODS[method][1])
    return train(None, plan, method, out, **settings)



@pytest.mark.mpi
@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize(
    ("method", "number"), [("flush", signal.SIGUSR2), ("unflushed", signal.SIGTERM), ("persistent", signal.SIGUSR2)]
)
def test_stopped_and_resumed(method, grid, number, folder):
    plan = plan_of(NETWORKS["chain"](), grid, METHODS[method][1])
    whole = train(WORLD, plan, method)
    Signalling.at, Signalling.number = (18 if WORLD.Get_size() - 1 == RANK else None), number  # in the second epoch
    stopped = train(WORLD, plan, method, folder)
    Signalling.at = None
    assert stopped.reason is pl.Reason.STOPPED
    assert len(stopped.history) == 1
    saved = checkpoints.attributes_of(checkpoints.latest(folder))
    assert saved["epoch"] == 1 and 4 <= saved["batch"] <= 8
    copy = folder.with_name(folder.name + "-copy")
    if RANK == 0:
        shutil.copytree(folder, copy)
    WORLD.Barrier()
    rest = train(WORLD, plan, method, folder, resume="auto")
    assert rest.reason is pl.Reason.EPOCHS_DONE
    assert [r["epoch"] for r in rest.history] == [1, 2, 3]
    np.testing.assert_allclose([r["loss"] for r in rest.history], [r["loss"] for r in whole.history], rtol=1e-12)
    for block, arrays in whole.params.items():
        for name, a in arrays.items():
            np.testing.assert_array_equal(rest.params[block][name], a)
    if RANK == 0:
        assert_equal(on_one_rank(method, copy, resume="auto"), whole)
    WORLD.Barrier()


@pytest.mark.mpi
@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("method", ["flush", "unflushed"])
def test_what_one_rank_saved_goes_on_on_many(method, grid, folder):
    if RANK == 0:
        Signalling.at, Signalling.number = 18, signal.SIGUSR2
        on_one_rank(method, folder)
        Signalling.at = None
    WORLD.Barrier()
    plan = plan_of(NETWORKS["chain"](), grid, METHODS[method][1])
    assert_equal(train(WORLD, plan, method, folder, resume="auto"), on_one_rank(method, None))


@pytest.mark.mpi
@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_what_many_saved_goes_on_on_one(method, grid, folder):
    """At the end of an epoch, every method."""
    plan = plan_of(NETWORKS["chain"](), grid, METHODS[method][1])
    whole = train(WORLD, plan, method)
    train(WORLD, plan, method, folder, epochs=2)
    if RANK == 0:
        assert_equal(on_one_rank(method, folder, resume="auto"), whole)
    WORLD.Barrier()


@pytest.mark.mpi
@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("method", ["flush", "unflushed", "persistent"])
def test_a_checkpoint_that_was_asked_for_changes_nothing(method, grid, folder):
    plan = plan_of(NETWORKS["chain"](), grid, METHODS[method][1])
    whole = train(WORLD, plan, method)
    Signalling.at, Signalling.number = (18 if RANK == 0 else None), signal.SIGUSR1
    found = train(WORLD, plan, method, folder, checkpoints=10)
    assert found.reason is pl.Reason.EPOCHS_DONE
    assert len(checkpoints.all_of(folder)) == 4
    for block, arrays in whole.params.items():
        for name, a in arrays.items():
            np.testing.assert_array_equal(found.params[block][name], a)


@pytest.mark.mpi
def test_without_a_run_folder_the_end_comes_all_the_same():
    network = NETWORKS["chain"]()
    Signalling.at, Signalling.number = (18 if RANK == 0 else None), signal.SIGUSR2
    found = train(MPI.COMM_WORLD, plan_of(network, GRIDS[0], "flush"), "flush")
    assert found.reason is pl.Reason.STOPPED_UNSAVED
    assert len(found.history) == 1


@pytest.mark.mpi
def test_a_run_that_diverged_is_not_saved(folder, monkeypatch):
    """A checkpoint is asked for when the loss is no number any more: older ones stay, and the error says so."""
    monkeypatch.setattr(Signalling, "at", 18 if RANK == 0 else None)
    monkeypatch.setattr(Signalling, "number", signal.SIGUSR1)
    plan = plan_of(NETWORKS["chain"](), GRIDS[0], "flush")
    original = Signalling.step

    def wild(self, theta, gradient, states, segments, step, *more):
        original(self, theta, gradient, states, segments, step, *more)
        if step >= 20:  # in the batch behind which the run pauses
            theta[...] = np.nan

    monkeypatch.setattr(Signalling, "step", wild)
    with pytest.raises(pl.DivergedError, match="step-000000014 is intact"):
        train(WORLD, plan, "flush", folder)
    assert [path.name for path in checkpoints.all_of(folder)] == [checkpoints.name(14)]
