"""`solve`: one call for any problem f + r and any algorithm, on one rank or many."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from paralift.kernels import arrays
from paralift.kernels.arrays import Array, namespace
from paralift.optim.algorithms import FISTA, Algorithm
from paralift.optim.algorithms.run import Diverged, Run, StepError, Stop
from paralift.optim.problems.composite import CompositeProblem
from paralift.optim.solution import Live, Solution
from paralift.optim.team import Alone, Team
from paralift.parallel.grid import Grid
from paralift.parallel.stall import StallWatch
from paralift.parallel.team import MPITeam
from paralift.parallel.watch import guard
from paralift.parallel.world import WORLD, find_world

LINES = 50
"""Updates between two lines of the history, where they are wanted to be told and no number is given."""


def solve(
    problem: CompositeProblem,
    algorithm: Algorithm | None = None,
    *,
    split: bool = False,
    start: Array | None = None,
    comm: Any = WORLD,
    tolerance: float = 1e-6,
    max_updates: int = 10_000,
    seconds: float = math.inf,
    until: Callable[[Array], bool] | None = None,
    every: int = 0,
    callbacks: Sequence[Callable[[dict[str, Any]], None]] = (),
    progress: bool = False,
    patience: float = 300.0,
    seed: int = 0,
) -> Solution:
    """Minimise f(x) + r(x), f summed over the ranks' parts.

    Parameters
    ----------
    problem : CompositeProblem
        This rank's part; shapes, dtype and regulariser are the same on all ranks. `ARock`, which is `replicated`, wants
        all of it on each.
    algorithm : Algorithm, optional
        `FISTA()` by default.
    split : bool
        Whether `problem` is the whole, the same on all ranks, of which each takes its part.
    start : Array, optional
        Where to begin, the same on all ranks; the problem's own start by default.
    comm : mpi4py.MPI.Comm or None
        Ranks that solve it together, the launcher's world by default; None to be alone. It is duplicated.
    tolerance : float
        On the algorithm's residual, for most |x - prox_{t r}(x - t grad f(x))| / t; 0 for never.
    max_updates : int
    seconds : float
    until : callable, optional
        ``until(x)`` is true where x is good enough; asked of the first rank.
    every : int
        Updates between two lines of the history; 0 for none.
    callbacks : sequence of callable
        Each is called with every line of the history, on the first rank.
    progress : bool
        Tell of lines of the history, every half second at most; of every 50th update, if `every` is 0.
    patience : float
        Seconds that a rank waits for another before all are told which waits for what.
    seed : int
        Of algorithms that draw samples.

    Returns
    -------
    Solution

    Raises
    ------
    StepError
        If a parameter of the algorithm breaks a condition of its theory.
    Diverged
        If the unknowns or the objective are not finite.
    ValueError
        If arguments do not fit.
    AgreedError
        On several ranks instead of these: on all of them, with the text of the first that failed.
    """
    comm = find_world() if comm is WORLD else comm
    algorithm = FISTA() if algorithm is None else algorithm
    size = 1 if comm is None else comm.Get_size()
    with StallWatch(comm, patience), Grid(comm, size, 1) as grid, guard(grid):
        x = grid.together(lambda: _checked(problem, algorithm, start, every, max_updates))
        if split and size > 1 and not algorithm.replicated:
            problem = _own_part(grid, problem)
        _alike(grid, problem, algorithm)
        told: list[Callable[[dict[str, Any]], None]] = [*callbacks]
        if progress:
            told.append(Live())
        team: Team = Alone() if size == 1 else MPITeam(grid)
        run = Run(
            problem, team, x, Stop(tolerance, max_updates, seconds, until), every or (LINES if progress else 0),
            told if grid.rank == 0 else (), seed, algorithm.replicated,
        )  # fmt: skip
        error = None
        try:
            algorithm.run(run)
        except (StepError, Diverged) as found:  # from numbers that all ranks have: all raise it
            error = found
        grid.agree(error)
        took = run.elapsed
        return Solution(run.x, run.objective(run.x), run.reason, run.updates, took, run.history, run.facts, grid.rank)


def _checked(problem: Any, algorithm: Any, start: Array | None, every: int, max_updates: int) -> Array:
    """Return where to begin, an array of its own."""
    if not isinstance(problem, CompositeProblem):
        raise TypeError(f"a problem of type {type(problem).__name__} was given, expected a CompositeProblem")
    if not isinstance(algorithm, Algorithm):
        raise TypeError(
            f"an algorithm of type {type(algorithm).__name__} was given, expected one of paralift.optim, such as FISTA()"
        )
    if every < 0 or max_updates < 1:
        raise ValueError(f"every = {every}, max_updates = {max_updates} were given, expected every >= 0 and max_updates >= 1")
    like = problem.start
    x = arrays.empty(like.shape, like)
    if start is not None and (start.shape != like.shape or start.dtype != like.dtype):
        raise ValueError(f"start of shape {start.shape}, dtype {start.dtype} was given, expected {like.shape}, {like.dtype}")
    x[...] = like if start is None else start
    if not bool(namespace(x).isfinite(x).all()):
        raise ValueError("start has a NaN or an infinite number")
    return x


def _own_part(grid: Grid, whole: CompositeProblem) -> CompositeProblem:
    """Return this rank's part of a problem; collective."""
    part = grid.together(lambda: whole.split(grid.size)[grid.rank])
    assert part is not None
    return part


def _alike(grid: Grid, problem: CompositeProblem, algorithm: Algorithm) -> None:
    """Raise on all ranks if they do not have parts of one problem, or not the same algorithm; collective."""
    if grid.world is None:
        return
    mine = {
        "unknowns of shape": problem.start.shape, "dtype": str(problem.start.dtype), "r": repr(problem.regularizer),
        "algorithm": re.sub(r" at 0x[0-9a-f]+", "", repr(algorithm)),  # where a function lies differs from rank to rank
    }  # fmt: skip
    first = grid.world.bcast(mine, root=0)
    error = None
    for what, value in mine.items():
        if value != first[what]:
            error = ValueError(f"{what} {value} was given, rank 0 has {first[what]}; all ranks need the same")
            break
    grid.agree(error)
