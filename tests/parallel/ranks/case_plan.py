"""Measured costs and the plan by them are the same on all ranks, however different the ranks are."""

import time
from dataclasses import replace

import numpy as np
import pytest
from mpi4py import MPI

import paralift as pl
from paralift.parallel import measure as measuring
from paralift.parallel.choosing import Question, best
from paralift.parallel.cost import count
from paralift.parallel.grid import AgreedError, Grid
from paralift.parallel.links import measure_links
from paralift.parallel.measure import agreed, measure

WORLD = MPI.COMM_WORLD
RANK, SIZE = WORLD.Get_rank(), WORLD.Get_size()


def network():
    layers = [layer for _ in range(6) for layer in (pl.Linear(8, 8), pl.ReLU())]
    return pl.Sequential(pl.Linear(5, 8), pl.ReLU(), *layers, pl.Linear(8, 3), pl.Softmax())


def data(n=40):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, 5)), rng.integers(0, 3, n)


def measured():
    with Grid(WORLD, SIZE, 1) as grid:
        like, loss = np.zeros(1, np.float32), pl.losses.CrossEntropy()
        return measure(network(), like, 16, pl.methods.nudged(), loss, pl.optim.Adam(), grid)


def same_everywhere(value):
    return all(other == value for other in WORLD.allgather(value))


@pytest.mark.mpi
def test_costs_and_plans_are_agreed_although_a_rank_is_slow(monkeypatch):
    original = measuring.measure_here

    def slow(trial):
        time.sleep(0.1)
        found = original(trial)
        return replace(found, blocks=tuple(replace(b, update=b.update + 1e-3 * (i + 1)) for i, b in enumerate(found.blocks)))

    if RANK == SIZE - 1:
        monkeypatch.setattr(measuring, "measure_here", slow)
    costs = measured()
    assert same_everywhere(costs)
    assert costs.blocks[3].update >= 4e-3  # that of the slowest
    assert same_everywhere(best(Question(network(), SIZE, 16), costs))


@pytest.mark.mpi
def test_a_rank_that_cannot_measure_is_named(monkeypatch):
    def fails(trial):
        raise MemoryError("no room to measure")

    if RANK == SIZE - 1:
        monkeypatch.setattr(measuring, "measure_here", fails)
    expected = MemoryError if SIZE == 1 else AgreedError
    with pytest.raises(expected, match="no room to measure") as error:
        measured()
    assert SIZE == 1 or str(error.value).startswith(f"rank {SIZE - 1}: ")


@pytest.mark.mpi
def test_agreed_costs_are_the_largest_of_each_part():
    costs = count(network())
    rising = replace(costs, step=float(RANK), turn=float(SIZE - RANK), handling=costs.message)
    found = agreed(WORLD, rising)
    assert found == replace(rising, step=SIZE - 1.0, turn=float(SIZE))


@pytest.mark.mpi
def test_links():
    if SIZE == 1:
        return
    found = measure_links(WORLD, 10_000, 100_000)
    for line in vars(found).values():
        assert np.isfinite([line.start, line.each]).all() and min(line.start, line.each) >= 0
    for whole, busy in ((found.message, found.handling), (found.sum, found.sum_handling)):
        assert busy(2500) <= whole(2500) * (1 + 1e-9) and busy(10_000) <= whole(10_000) * (1 + 1e-9)


@pytest.mark.mpi
@pytest.mark.parametrize("wanted", [None, "measured", "counted"])
def test_a_run_finds_its_plan(wanted):
    run = pl.fit(network(), data(), plan=wanted, epochs=1, batch_size=16, comm=WORLD, progress=False)
    summary = run.summary
    assert same_everywhere(summary["plan"])
    assert summary["shards"] * summary["stages"] == SIZE
    assert summary["costs"] == ("counted" if wanted == "counted" else "measured")
    assert summary["predicted_seconds_per_step"] > 0
    assert len(summary["predicted_memory_bytes"]) == len(summary["memory_bytes"]) == SIZE
    assert len(summary["predicted_computing_seconds_per_step"]) == SIZE


@pytest.mark.mpi
def test_a_resumed_run_keeps_its_plan(tmp_path_factory):
    out = WORLD.bcast(str(tmp_path_factory.mktemp("run")) if RANK == 0 else None)
    first = pl.Plan(SIZE, 1, (0, 8), 3, "flush")
    before = pl.fit(network(), data(), plan=first, epochs=1, batch_size=16, comm=WORLD, progress=False, out=out)
    settings = {"batch_size": 16, "comm": WORLD, "progress": False, "out": out, "resume": "auto"}
    resumed = pl.fit(network(), data(), epochs=2, **settings)
    assert resumed.summary["plan"] == before.summary["plan"]
    other = pl.fit(network(), data(), epochs=3, micro_batches=2 if SIZE < 4 else 5, **settings)
    assert other.summary["plan"]["micro_batches"] == (2 if SIZE < 4 else 5)


@pytest.mark.mpi
def test_memory_that_no_plan_fits_into():
    with pytest.raises((ValueError, AgreedError), match="no plan of"):
        pl.fit(network(), data(), memory="1KiB", comm=WORLD, progress=False)
