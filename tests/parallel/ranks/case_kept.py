"""Variables kept in a file give the bits of those in memory: through checkpoints, short batches and empty shards."""

from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI

import paralift as pl
from paralift.methods import Hard, Method, ProximalGradient
from paralift.parallel import collect
from paralift.parallel.budget import ranks_of_node
from paralift.parallel.grid import AgreedError
from paralift.parallel.plan import block_costs
from paralift.parallel.split import split
from paralift.training import saving

WORLD = MPI.COMM_WORLD
SIZE = WORLD.Get_size()
METHODS = {
    "euclidean": Method(clamp=Hard(), inference=ProximalGradient(1, persistent=True)),
    "dual": Method(clamp=Hard(), inference=ProximalGradient(1, "two_colour", "dual", persistent=True)),
    "descent": pl.methods.lifted_bregman_bcd("nesterov"),
}
STAGES = [s for s in range(1, SIZE + 1) if SIZE % s == 0]


def network():
    layers = [pl.Linear(5, 8), pl.Tanh(), pl.Linear(8, 8), pl.ReLU(), pl.Linear(8, 6), pl.ReLU()]
    return pl.Sequential(*layers, pl.Linear(6, 3), pl.Softmax())


def folder_of(factory):
    return WORLD.bcast(str(factory.mktemp("run")) if WORLD.Get_rank() == 0 else None)


def fit(method, epochs, stages, n=50, batch_size=16, **settings):
    rng = np.random.default_rng(0)
    data = rng.standard_normal((n, 5)), rng.integers(0, 3, n)
    plan = pl.Plan(SIZE // stages, stages, split(block_costs(network()), stages))
    return pl.fit(
        network(), data, method=METHODS[method], optimizer=pl.optim.SGD(0.05), epochs=epochs, batch_size=batch_size,
        dtype="float64", comm=WORLD, plan=plan, progress=False, **settings,
    )  # fmt: skip


def assert_same(a, b):
    for block, arrays in a.params.items():
        for name, array in arrays.items():
            np.testing.assert_array_equal(b.params[block][name], array)
    assert [r["energy"] for r in a.history] == [r["energy"] for r in b.history]


@pytest.fixture(name="small_pieces")
def small_pieces_fixture(monkeypatch):
    """Rows travel a few at a time; return the most numbers that were taken out at once."""
    taken = [0]
    original = saving.host_rows

    def counted(kept, v, start, stop, like):
        taken.append((stop - start) * int(np.prod(kept.shapes[v])))
        return original(kept, v, start, stop, like)

    monkeypatch.setattr(collect, "ROWS", 24)
    monkeypatch.setattr(saving, "host_rows", counted)
    return taken


@pytest.mark.mpi
@pytest.mark.parametrize("stages", STAGES)
@pytest.mark.parametrize("method", METHODS)
def test_file_equals_memory(method, stages):
    assert_same(fit(method, 3, stages), fit(method, 3, stages, states_memory=0))


@pytest.mark.mpi
@pytest.mark.parametrize("stages", STAGES)
@pytest.mark.parametrize("method", METHODS)
def test_resumed_from_either_place_to_either(tmp_path_factory, method, stages, small_pieces):
    whole = fit(method, 4, stages)
    for before, after in ((0, 0), (0, None), ("1GiB", 0)):
        folder = folder_of(tmp_path_factory)
        fit(method, 2, stages, out=folder, states_memory=before)
        assert_same(whole, fit(method, 4, stages, out=folder, resume="auto", states_memory=after))
        WORLD.Barrier()
        assert WORLD.Get_rank() or not list(Path(folder).glob(".states*"))
    assert 0 < WORLD.allreduce(max(small_pieces), MPI.MAX) <= 24


@pytest.mark.mpi
@pytest.mark.parametrize("stages", STAGES)
def test_fewer_samples_than_shards_and_short_batches(tmp_path_factory, stages):
    settings = {"n": 3, "batch_size": 2}
    whole = fit("euclidean", 4, stages, **settings)
    assert_same(whole, fit("euclidean", 4, stages, states_memory=0, **settings))
    folder = folder_of(tmp_path_factory)
    fit("euclidean", 2, stages, out=folder, states_memory=0, **settings)
    assert_same(whole, fit("euclidean", 4, stages, out=folder, resume="auto", states_memory=0, **settings))


@pytest.mark.mpi
def test_another_grid_reads_what_a_file_left(tmp_path_factory):
    folder = folder_of(tmp_path_factory)
    fit("euclidean", 2, 1, out=folder, states_memory=0)
    other = fit("euclidean", 4, SIZE, out=folder, resume="auto", states_memory=0)
    assert [r["epoch"] for r in other.history] == [1, 2, 3, 4]


@pytest.mark.mpi
def test_a_folder_without_room_is_raised_by_all(tmp_path_factory):
    folder = folder_of(tmp_path_factory)
    if WORLD.Get_rank() == 0:
        open(folder + "/file", "w").close()
    WORLD.Barrier()
    with pytest.raises((AgreedError, OSError), match=r"kept variables of this rank need .* in .*file/run: .*; pass out="):
        fit("euclidean", 1, 1, out=folder + "/file/run", states_memory=0)


@pytest.mark.mpi
def test_a_size_that_is_none():
    with pytest.raises(ValueError, match="4 apples"):
        fit("euclidean", 1, 1, states_memory="4 apples")


@pytest.mark.mpi
def test_ranks_of_the_node():
    assert ranks_of_node(WORLD) == SIZE and ranks_of_node(None) == 1
