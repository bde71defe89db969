"""Delay-tolerant averaging of proximal gradients: asynchronous, without a server, with steps that no delay shortens.

Each rank keeps the mean of all ranks' x_i as far as it knows it, and moves its own:

    z = prox_{gamma r}(mean_j x_j),    x_i <- z - gamma n grad f_i(z),    the change of x_i / n goes to all others

0 < gamma <= 2 / (mu + L) with constants of n f_i. Each move is a contraction in the largest distance of the x_j, whatever is
known of the others, so that any delays and any order of letters lead to the same point (totally asynchronous iterations:
Bertsekas & Tsitsiklis, 1989).

References
----------
Mishchenko, Iutzeler, Malick & Amini, A delay-tolerant proximal-gradient algorithm for distributed learning, ICML 2018; SIAM
J. Optim. 30, 2020.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from paralift.kernels import arrays
from paralift.optim.algorithms.algorithm import Algorithm
from paralift.optim.algorithms.run import Run, checked_step, length

CHANGE, END = 0.0, 1.0
"""Kinds of letters; the end says how many changes came before it."""
SAFETY = 0.95
WAIT = 0.05
AHEAD = 2
"""Letters on their way to a rank above which changes are held back and added up: a slow rank is not flooded."""


@dataclass(frozen=True)
class AveragedProximalGradient(Algorithm):
    """Delay-tolerant averaging of proximal gradients (DAve-PG).

    Parameters
    ----------
    step : float, optional
        gamma; 0.95 of 2 / (mu + L) of the worst rank by default: at the limit it is a contraction only if mu > 0.
    """

    step: float | None = None

    def run(self, run: Run) -> None:
        """Move until the first rank wants to stop.

        The residual is |z - prox_{gamma r}(z - gamma grad f(z))| / gamma; the first rank asks all others for it when its own
        changes have been shorter since it heard of each of them.
        """
        lipschitz = run.team.size * run.team.largest(run.problem.lipschitz())
        convexity = -run.team.size * run.team.largest(-run.problem.strong_convexity())
        limit = 2.0 / (lipschitz + convexity)
        text = f"delay-tolerant averaging needs a step <= 2 / (mu + L), L = {lipschitz:g} of the worst rank times the ranks"
        step = checked_step(self.step, SAFETY * limit, limit * (1 + 1e-9), text)
        run.facts["step"] = step
        _Averaging(run, step).run()


class _Averaging:
    def __init__(self, run: Run, step: float) -> None:
        self.it, self.step, self.size, self.rank = run, step, run.team.size, run.team.rank
        self.letters = run.team.mailbox(run.x)
        self.mean, self.own, self.change, self.gradient = (arrays.empty(run.x.shape, run.x) for _ in range(4))
        self.mean[...] = run.x
        self.own[...] = run.x
        others = [rank for rank in range(self.size) if rank != self.rank]
        self.held = {rank: arrays.zeros(run.x.shape, run.x) for rank in others}
        self.sent = dict.fromkeys(others, 0)
        self.taken = dict.fromkeys(others, 0)
        self.announced: dict[int, int] = {}
        self.holding: set[int] = set()

    def run(self) -> None:
        moves = 0
        while True:
            moves += self._round()
            self._drain()
            self._point()
            if self._found():
                break
        self.letters.close()
        self.it.settle(moves, self.letters.bytes_sent)

    def _round(self) -> int:
        """Move until the first rank wants to stop; return how often."""
        run, moves, longest = self.it, 0, 0.0
        heard: set[int] = set()
        while True:
            heard |= self._collect(0.0)
            if self.announced:
                return moves
            longest = max(longest, self._move())
            moves += 1
            if self.rank == 0:
                known = len(heard) == self.size - 1
                if not run.goes_on_alone(run.x, longest if known else math.inf, bytes=self.letters.bytes_sent):
                    return moves
                if known:
                    heard, longest = set(), 0.0

    def _found(self) -> bool:
        """Return whether to stop: not where the first rank thought to be near enough, and the residual says no; collective."""
        run, team = self.it, self.it.team
        if not team.largest(float(self.rank == 0 and run.reason == "tolerance")):
            return True
        team.from_first(run.x)  # the others' means differ from it by rounding, and all must find the same
        run.gradient(run.x, self.gradient)
        self.change[...] = run.x
        self.change -= self.step * self.gradient
        run.problem.prox(self.change, self.step)
        self.change -= run.x
        if length(self.change) / self.step <= run.stop.tolerance:
            return True
        self.sent, self.taken, self.announced = dict.fromkeys(self.sent, 0), dict.fromkeys(self.taken, 0), {}
        return False

    def _point(self) -> None:
        """Write z into ``run.x``."""
        self.it.x[...] = self.mean
        self.it.problem.prox(self.it.x, self.step)

    def _move(self) -> float:
        """Move the own x_i and tell the others; return the length of the change over gamma."""
        run = self.it
        self._point()
        run.problem.gradient(run.x, self.gradient)
        self.gradient *= self.step * self.size
        self.change[...] = run.x
        self.change -= self.gradient
        self.change -= self.own
        self.own += self.change
        residual = length(self.change) / self.step
        self.change /= self.size
        self.mean += self.change
        for rank in self.held:
            self.held[rank] += self.change
            self.holding.add(rank)
        self._hand_out(AHEAD)
        return residual

    def _hand_out(self, ahead: float) -> None:
        """Send what is held back to those that have taken enough of what was sent."""
        for rank in sorted(self.holding):
            if self.letters.pending(rank) < ahead:
                self.letters.post(rank, (CHANGE,), self.held[rank])
                self.held[rank][...] = 0.0
                self.sent[rank] += 1
                self.holding.discard(rank)

    def _collect(self, wait: float) -> set[int]:
        """Take what has come; return of whom."""
        heard = set()
        for sender, head, body in self.letters.collect(wait):
            if head[0] == END:
                self.announced[sender] = int(head[1])
            else:
                self.mean += body
                self.taken[sender] += 1
                heard.add(sender)
        return heard

    def _drain(self) -> None:
        """Send what is held back and the end; take all that the others have sent."""
        self._hand_out(float("inf"))
        for rank, n in self.sent.items():
            self.letters.post(rank, (END, n))
        while any(self.announced.get(rank) != n for rank, n in self.taken.items()):
            self._collect(WAIT)
