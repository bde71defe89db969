"""`solve` on ranks: the same points on any number of them, asynchronous runs that end at the answer, errors that all raise."""

import time

import numpy as np
import pytest
from mpi4py import MPI

import paralift as pl
from paralift.optim.problems import AnalyticLasso, LinearBlocks
from paralift.parallel.grid import AgreedError, Grid
from paralift.parallel.team import MPITeam

WORLD = MPI.COMM_WORLD
RANK, SIZE = WORLD.Get_rank(), WORLD.Get_size()
MIDDLE = AnalyticLasso(samples=400)
PART = MIDDLE.part(RANK, SIZE)
OPTIM = pl.optim
SYNCHRONOUS = [
    OPTIM.ProximalGradientDescent(), OPTIM.FISTA(), OPTIM.FISTA(backtracking=True), OPTIM.InexactProximalGradient(),
    OPTIM.PIAG(OPTIM.FirstAdaptive(), synchronous=True), OPTIM.SAGA(batch_size=16), OPTIM.SAG(batch_size=16),
    OPTIM.ProxSVRG(batch_size=16),
]  # fmt: skip


def gap(x):
    return MIDDLE.value(x) + MIDDLE.penalty(x) - MIDDLE.optimum


def same_everywhere(x):
    return all((other == x).all() for other in WORLD.allgather(x))


@pytest.mark.mpi
@pytest.mark.parametrize("algorithm", SYNCHRONOUS, ids=lambda a: type(a).__name__)
def test_any_number_of_ranks_gives_the_points_of_one(algorithm):
    """To 1e-12; of minibatches, too, which are drawn alike."""
    found = pl.solve(PART, algorithm, tolerance=0.0, max_updates=12, every=1)
    alone = pl.solve(MIDDLE, algorithm, comm=None, tolerance=0.0, max_updates=12, every=1)
    split = pl.solve(MIDDLE, algorithm, split=True, tolerance=0.0, max_updates=12)
    assert (split.x == found.x).all() and split.rank == RANK
    assert np.abs(found.x - alone.x).max() < 1e-12 and same_everywhere(found.x)
    assert found.objective == pytest.approx(alone.objective, rel=1e-13) and found.updates == alone.updates == 12
    lines = [line["objective"] for line in found.history]
    assert lines == pytest.approx([line["objective"] for line in alone.history], rel=1e-12)


@pytest.mark.mpi
@pytest.mark.parametrize(
    "algorithm",
    [OPTIM.PIAG(), OPTIM.AveragedProximalGradient(), OPTIM.NIDS(OPTIM.graphs.ring), OPTIM.ConsensusADMM()],
    ids=lambda a: type(a).__name__,
)
def test_other_ways_end_at_the_same_answer(algorithm):
    if SIZE == 1 and isinstance(algorithm, OPTIM.NIDS):
        algorithm = OPTIM.NIDS(OPTIM.graphs.complete)
    found = pl.solve(PART, algorithm, tolerance=1e-8, max_updates=100_000, every=50)
    assert found.reason == "tolerance" and same_everywhere(found.x)
    assert np.abs(found.x - MIDDLE.solution).max() < 1e-5 and gap(found.x) < 1e-8


@pytest.mark.mpi
@pytest.mark.parametrize("slow", [0, SIZE - 1])
@pytest.mark.parametrize("algorithm", [OPTIM.PIAG(), OPTIM.AveragedProximalGradient()], ids=lambda a: type(a).__name__)
def test_a_slow_rank_and_random_delays_change_no_answer(algorithm, slow):
    rng = np.random.default_rng(RANK)

    class Late(type(PART)):
        def gradient(self, x, out, rows=None):
            time.sleep((0.004 if slow == RANK else 0.0004) * rng.random())
            super().gradient(x, out, rows)

    part = Late(PART.rows, PART.targets, PART.regularizer)
    part.exact_lipschitz, part.exact_convexity = PART.exact_lipschitz, PART.exact_convexity
    found = pl.solve(part, algorithm, tolerance=0.0, until=lambda x: gap(x) <= 1e-6, max_updates=100_000)
    assert found.reason == "until" and gap(found.x) < 1e-4 and same_everywhere(found.x)
    if SIZE > 1:
        assert len(found.facts["gradients"]) == SIZE and min(found.facts["gradients"]) > 2


@pytest.mark.mpi
def test_blocks_of_several_ranks_move_without_waiting():
    problem = LinearBlocks(MIDDLE, 10)
    problem.exact_lipschitz = 1.0
    found = pl.solve(problem, OPTIM.ARock(delay_bound=4), tolerance=1e-4, max_updates=200_000)
    assert found.reason == "tolerance" and gap(found.x) < 1e-4 and same_everywhere(found.x)
    assert found.objective == pytest.approx(MIDDLE.optimum, rel=1e-6)  # the whole problem is on each rank, and counted once


@pytest.mark.mpi
def test_seconds_and_a_users_word_end_all_ranks():
    found = pl.solve(PART, OPTIM.ProximalGradientDescent(), tolerance=0.0, seconds=0.05, max_updates=10**9)
    assert found.reason == "seconds" and same_everywhere(np.array(found.updates))
    found = pl.solve(PART, OPTIM.FISTA(), tolerance=0.0, until=lambda x: RANK == 0 and gap(x) < 1.0)
    assert found.reason == "until" and gap(found.x) < 1.0


@pytest.mark.mpi
def test_callbacks_hear_of_every_line_on_the_first_rank():
    heard = []
    found = pl.solve(PART, every=5, callbacks=[heard.append])
    assert (heard == found.history) if RANK == 0 else not heard
    assert RANK > 0 or [line["update"] for line in heard][:2] == [5, 10]


@pytest.mark.mpi
def test_errors_are_raised_by_all():
    kind = AgreedError if SIZE > 1 else ValueError
    with pytest.raises(kind, match="max_updates = 0 were given"):
        pl.solve(PART, max_updates=0 if SIZE - 1 == RANK else 5)
    with pytest.raises(AgreedError if SIZE > 1 else OPTIM.StepError, match="needs a step < 2/L"):
        pl.solve(PART, OPTIM.ProximalGradientDescent(step=3.0))
    if SIZE > 1:
        with pytest.raises(AgreedError, match=r"rank 1: ValueError: algorithm FISTA\(.*rank 0 has SAGA"):
            pl.solve(PART, OPTIM.FISTA() if RANK else OPTIM.SAGA())
        other = type(PART)(PART.rows[:, : 20 - RANK], PART.targets, PART.regularizer)
        with pytest.raises(AgreedError, match=r"unknowns of shape \(19,\) was given, rank 0 has \(20,\)"):
            pl.solve(other)


@pytest.mark.mpi
def test_letters_arrive_whole_and_once():
    with Grid(WORLD, SIZE, 1) as grid:
        if SIZE == 1:
            return
        box = MPITeam(grid).mailbox(np.zeros((3, 2), np.float32))
        others, got = [rank for rank in range(SIZE) if rank != RANK], []
        for n in range(20):
            for to in others:
                box.post(to, (RANK, n), None if n % 5 == 4 else np.full((3, 2), 100 * RANK + n, np.float32))
            for sender, head, body in box.collect():
                assert sender == head[0] and (body == 100 * sender + head[1]).all()
                assert body.size == (0 if head[1] % 5 == 4 else 6)
                got.append((sender, int(head[1])))
        while len(got) < 20 * len(others):
            got += [(sender, int(head[1])) for sender, head, _ in box.collect(0.05)]
        assert sorted(got) == [(sender, n) for sender in others for n in range(20)]
        assert box.bytes_sent == len(others) * (20 * 32 + 16 * 24)
        with pytest.raises(ValueError, match="5 numbers was posted, expected at most 4"):
            box.post(others[0], range(5))
        box.post(others[0], (0,))  # nobody collects it
        box.close()


@pytest.mark.mpi
def test_sums_gathers_and_swaps():
    with Grid(WORLD, SIZE, 1) as grid:
        if SIZE == 1:
            return
        team = MPITeam(grid)
        x = np.full((2, 3), float(RANK))
        team.sum(x)
        assert (x == SIZE * (SIZE - 1) / 2).all()
        turned = np.arange(6.0).reshape(2, 3).T
        team.sum(turned)
        assert (turned == SIZE * np.arange(6.0).reshape(2, 3).T).all()
        assert team.sums(1.0, RANK) == [SIZE, SIZE * (SIZE - 1) / 2] and team.largest(RANK) == SIZE - 1
        assert [int(a[0]) for a in team.gather(np.array([RANK]))] == list(range(SIZE))
        first = np.array([RANK + 5.0])
        team.from_first(first)
        assert first[0] == 5.0
        near = sorted({(RANK - 1) % SIZE, (RANK + 1) % SIZE} - {RANK})
        assert {k: float(a[0]) for k, a in team.swap(near, np.array([10.0 * RANK])).items()} == {k: 10.0 * k for k in near}
        assert team.bytes_sent > 0
