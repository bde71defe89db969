"""Wrong input on one rank or on all: every rank raises, with the rank named, and nothing hangs."""

import numpy as np
import pytest
from mpi4py import MPI

import paralift as pl
from paralift.parallel.grid import AgreedError, Grid
from paralift.parallel.plan import Plan

WORLD = MPI.COMM_WORLD
SIZE = WORLD.Get_size()


def network():
    return pl.Sequential(pl.Linear(5, 8), pl.ReLU(), pl.Linear(8, 3), pl.Softmax())


def arrays(n=40, dtype=np.float64):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, 5)).astype(dtype), rng.integers(0, 3, n)


def fit(x, y, **settings):
    return pl.fit(network(), (x, y), epochs=2, batch_size=8, comm=WORLD, progress=False, **settings)


@pytest.mark.mpi
def test_nan_in_the_data_names_sample_and_rank():
    x, y = arrays()
    x[len(x) - 1, 2] = np.nan
    with pytest.raises((AgreedError, ValueError), match=r"sample 39, feature 2 is nan") as found:
        fit(x, y)
    if SIZE > 1:
        assert str(found.value).startswith("rank ")


@pytest.mark.mpi
def test_divergence_ends_all_ranks_and_keeps_the_checkpoint(tmp_path_factory):
    run = WORLD.bcast(str(tmp_path_factory.mktemp("run")) if WORLD.Get_rank() == 0 else None)
    x, y = arrays(dtype=np.float32)
    fit(x, y, out=run)
    from paralift.training import checkpoints

    before = checkpoints.latest(run)
    WORLD.Barrier()
    bad = pl.optim.SGD(1e38)
    with pytest.raises(pl.DivergedError, match="loss became (nan|inf|-inf) in epoch"):
        pl.fit(network(), (x, y), optimizer=bad, epochs=9, batch_size=8, comm=WORLD, progress=False, out=run + "2")
    assert checkpoints.latest(run) == before and not checkpoints.intact(before)


@pytest.mark.mpi
def test_a_missing_checkpoint_is_raised_by_all(tmp_path):
    x, y = arrays()
    with pytest.raises((AgreedError, ValueError), match="no such checkpoint"):
        fit(x, y, resume=tmp_path / "nothing.h5")


@pytest.mark.mpi
def test_a_plan_for_other_ranks():
    x, y = arrays()
    with pytest.raises(ValueError, match=f"expected a product of {SIZE} ranks"):
        fit(x, y, plan=Plan(SIZE + 1, 1, (0, 2)))


@pytest.mark.mpi
def test_what_a_callback_raises_all_ranks_raise():
    called = []

    def fail(record):
        called.append(record["epoch"])
        raise KeyError("no such thing")

    callbacks = [fail] if WORLD.Get_rank() == 0 else []  # rank 0's count
    with pytest.raises(RuntimeError, match="callback .*fail, after epoch 1: KeyError: 'no such thing'") as found:
        fit(*arrays(), callbacks=callbacks)
    assert called == ([1] if callbacks else [])
    assert isinstance(found.value, AgreedError) == (SIZE > 1)


@pytest.mark.mpi
def test_agree_names_the_first_failing_rank():
    with Grid(WORLD, SIZE, 1) as grid:
        error = OSError("disk full") if WORLD.Get_rank() == SIZE - 1 else None
        with pytest.raises((AgreedError, OSError), match="disk full") as found:
            grid.agree(error)
        assert SIZE == 1 or f"rank {SIZE - 1}: OSError" in str(found.value)
        grid.agree(None)


@pytest.mark.mpi
def test_the_users_communicator_is_left_alone():
    x, y = arrays()
    fit(x, y)
    assert WORLD.allreduce(1) == SIZE
