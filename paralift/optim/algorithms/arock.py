"""Asynchronous block coordinate descent: each rank moves blocks of its own, with what it knows of the others'.

    x_j <- x_j - eta (S xhat)_j,    S = I - T,   T(x) = prox_{t r}(x - t grad f(x))

xhat is an older x, of which blocks may be differently old.

For blocks that are drawn uniformly, and delays of at most tau updates, eta < 1 / (1 + 2 tau / sqrt m), m blocks, converges
almost surely.

Every rank has the whole problem and owns every size-th block; it tells the others what it has moved.

References
----------
Peng, Xu, Yan & Yin, ARock, SIAM J. Sci. Comput. 38, 2016.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from paralift.kernels import arrays
from paralift.kernels.arrays import Array
from paralift.optim.algorithms.algorithm import Algorithm
from paralift.optim.algorithms.run import Run, StepError, checked_step, length
from paralift.optim.checks import set_count
from paralift.optim.delays import DelayCounts
from paralift.optim.problems.blocks import BlockProblem

MOVE, END = 0.0, 1.0
WAIT = 0.05
NAP = 1e-3
"""Seconds between two looks at whether a slow rank has taken its letters."""
USUAL = 4
AHEAD = 2
"""Letters on their way to a rank above which a rank waits for it: delays stay bounded."""


@dataclass(frozen=True)
class ARock(Algorithm):
    """Asynchronous block coordinate descent on a problem in blocks, the same on all ranks.

    Parameters
    ----------
    delay_bound : int, optional
        tau, updates of all ranks between a look at x and the update that it leads to; by default 0 alone, and on several ranks
        four times as many as there are ranks. Nothing can enforce it: ``facts["delays"]`` has what ranks saw.
    relaxation : float, optional
        eta; 0.99 of the bound by default.
    step : float, optional
        t < 2/L; 1/L by default.
    delays : sequence of int, optional
        On one rank: how old x is at each update, repeated from the start where they end.
    """

    delay_bound: int | None = None
    relaxation: float | None = None
    step: float | None = None
    delays: Sequence[int] | None = field(default=None, repr=False)
    replicated = True

    def __post_init__(self) -> None:
        if self.delay_bound is not None:
            set_count(self, "delay_bound", 0)

    def run(self, run: Run) -> None:
        """Move blocks until the run stops; the residual is |S xhat| / t over the last m updates."""
        problem = run.problem
        if not isinstance(problem, BlockProblem):
            raise TypeError(
                f"ARock: a problem of type {type(problem).__name__} was given, expected a BlockProblem: LinearBlocks(model, n)"
            )
        if run.team.size > 1 and self.delays is not None:
            raise ValueError(f"ARock: delays were given, which are for one rank; expected none on {run.team.size} ranks")
        if len(problem.blocks) < run.team.size:
            raise ValueError(
                f"ARock: {len(problem.blocks)} blocks were given to {run.team.size} ranks, expected one each at least"
            )
        lipschitz = run.lipschitz()
        step = checked_step(self.step, 1.0 / lipschitz, 2.0 / lipschitz, f"ARock needs a step < 2/L, L = {lipschitz:g}")
        delay = self.delay_bound
        if delay is None:
            delay = 0 if run.team.size == 1 else USUAL * run.team.size
        bound = 1.0 / (1.0 + 2.0 * delay / math.sqrt(len(problem.blocks)))
        eta = 0.99 * bound if self.relaxation is None else self.relaxation
        if not 0 < eta <= bound:
            text = f"expected at most 1 / (1 + 2 tau / sqrt m) = {bound:g} for tau = {delay}"
            raise StepError(f"ARock: relaxation = {eta:g} was given, {text}")
        run.facts.update(step=step, relaxation=eta)
        if run.team.size > 1:
            _Ranks(run, problem, step, eta).run()
        else:
            self._alone(run, problem, step, eta, delay)

    def _alone(self, run: Run, problem: BlockProblem, step: float, eta: float, bound: int) -> None:
        delays = [0] if self.delays is None else [int(d) for d in self.delays]
        if min(delays, default=-1) < 0:
            raise ValueError(f"ARock: delays = {delays} were given, expected one at least, and whole numbers >= 0")
        if max(delays) > bound:
            raise StepError(f"ARock: a delay of {max(delays)} was given, expected at most delay_bound = {bound}")
        rng, x, m = np.random.default_rng(run.seed), run.x, len(problem.blocks)
        past = deque([x.copy()], maxlen=max(delays) + 1)
        lengths, k = np.full(m, np.inf), 0
        while True:
            j = int(rng.integers(m))
            seen = past[max(len(past) - 1 - delays[k % len(delays)], 0)]
            change = _change(problem, j, seen, step)
            x[problem.blocks[j]] -= eta * change
            lengths[j] = length(change) / step
            past.append(x.copy())
            k += 1
            if not run.goes_on(x, float(np.sqrt((lengths**2).sum()))):
                return


def _change(problem: BlockProblem, j: int, x: Array, step: float) -> Array:
    """Return (S x)_j."""
    block = problem.blocks[j]
    gradient = arrays.empty(x[block].shape, x)
    problem.begin(x)
    problem.block_gradient(j, x, gradient)
    moved = x[block] - step * gradient
    problem.parts[j].prox(moved, step)
    return x[block] - moved


class _Ranks:
    """A run over several ranks."""

    def __init__(self, run: Run, problem: BlockProblem, step: float, eta: float) -> None:
        self.it, self.problem, self.step, self.eta = run, problem, step, eta
        self.rank, self.size = run.team.rank, run.team.size
        self.own = list(range(self.rank, len(problem.blocks), self.size))
        self.letters = run.team.mailbox(arrays.empty((max(b.stop - b.start for b in problem.blocks),), run.x))
        self.others = [rank for rank in range(self.size) if rank != self.rank]
        self.sent, self.taken = dict.fromkeys(self.others, 0), dict.fromkeys(self.others, 0)
        self.newest = dict.fromkeys(range(len(problem.blocks)), -1)
        self.announced: dict[int, int] = {}
        self.delays = DelayCounts()

    def run(self) -> None:
        run, problem = self.it, self.problem
        rng = np.random.default_rng((run.seed, self.rank))
        lengths, moves = np.full(len(problem.blocks), np.inf), 0
        body = arrays.zeros((max(b.stop - b.start for b in problem.blocks),), run.x)
        problem.begin(run.x)
        while True:
            self._collect(0.0)
            if self.announced:
                break
            j = self.own[int(rng.integers(len(self.own)))]
            before = sum(self.taken.values())
            gradient = arrays.empty(run.x[problem.blocks[j]].shape, run.x)
            problem.block_gradient(j, run.x, gradient)
            self._collect(0.0)
            delay = sum(self.taken.values()) - before
            self.delays.add(delay)
            own = run.x[problem.blocks[j]]
            moved = own - self.step * gradient
            problem.parts[j].prox(moved, self.step)
            change = self.eta * (moved - own)
            own += change
            problem.moved(j, run.x, change)
            lengths[j] = length(change) / (self.eta * self.step)
            moves += 1
            body[: len(own)] = own
            for rank in self.others:
                while self.letters.pending(rank) >= AHEAD and not self.announced:
                    self._collect(NAP)
                self.letters.post(rank, (MOVE, j, moves), body)
                self.sent[rank] += 1
            if self.rank == 0 and not run.goes_on_alone(run.x, self._residual(lengths), bytes=self.letters.bytes_sent):
                break
        for rank in self.others:
            self.letters.post(rank, (END, self.sent[rank]))
        while any(self.announced.get(rank) != n for rank, n in self.taken.items()):
            self._collect(WAIT)
        self.letters.close()
        run.facts["delays"] = self.delays.facts()
        run.settle(moves, self.letters.bytes_sent)

    def _residual(self, lengths: np.ndarray) -> float:
        """Return the length of S at what this rank knows; infinity, without a look, while its own blocks move too much."""
        known = lengths[self.own]
        if np.isnan(known).any():
            return math.nan
        if not np.isfinite(known).all() or float(np.sqrt((known**2).sum())) > self.it.stop.tolerance:
            return math.inf
        problem, x = self.problem, self.it.x
        gradient = arrays.empty(x.shape, x)
        for j, block in enumerate(problem.blocks):
            problem.block_gradient(j, x, gradient[block])
        moved = x - self.step * gradient
        problem.prox(moved, self.step)
        moved -= x
        return length(moved) / self.step

    def _collect(self, wait: float) -> None:
        for sender, head, body in self.letters.collect(wait):
            if head[0] == END:
                self.announced[sender] = int(head[1])
                continue
            self.taken[sender] += 1
            j, number = int(head[1]), int(head[2])
            if number < self.newest[j]:  # an older one that was overtaken
                continue
            self.newest[j] = number
            own = self.it.x[self.problem.blocks[j]]
            change = body[: len(own)] - own
            own += change
            self.problem.moved(j, self.it.x, change)
