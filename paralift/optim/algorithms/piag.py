"""Proximal incremental aggregated gradients: each update uses the newest gradient of every part, however old some are.

    G_k = sum_i grad f_i(x_{k - tau_i}),        x_{k+1} = prox_{gamma_k r}(x_k - gamma_k G_k)

Over several ranks nobody waits for the slowest. The first rank keeps the table of gradients and x; it works on its own
samples, too, and looks for letters between pieces of them. Every other rank takes the gradient at the x that it has, sends it
with the number of that x, and gets the newest x back. On one rank the parts of its samples take turns, or come as late as a
list says.

References
----------
Aytekin, Feyzmahdavian & Johansson, arXiv:1610.05507, 2016; Vanli, Gurbuzbalaban & Ozdaglar, SIAM J. Optim. 28, 2018; steps:
`paralift.optim.delays`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from paralift.kernels import arrays
from paralift.kernels.arrays import Array
from paralift.optim.algorithms.algorithm import Algorithm
from paralift.optim.algorithms.run import Run, length
from paralift.optim.checks import set_count
from paralift.optim.delays import Constants, DelayCounts, PartwiseAdaptive, StepRule
from paralift.optim.problems.composite import CompositeProblem

RESUM = 1000
"""Updates between two sums of the table anew, against the drift of rounding."""
WAIT = 0.05
"""Seconds that a rank without work waits for a letter before it looks again."""
PIECES = 16
"""Pieces of the first rank's samples, between which it looks for letters."""
GRADIENT, POINT, END = 0.0, 1.0, 2.0
"""Kinds of letters."""


@dataclass(frozen=True)
class PIAG(Algorithm):
    """Proximal incremental aggregated gradients.

    Parameters
    ----------
    rule : StepRule
        Of steps; that by each part's own delay by default, which needs no bound.
    parts : int, optional
        On one rank: parts of its samples that take turns.
    delays : sequence of sequences of int, optional
        On one rank: ``delays[k % len(delays)][i]``, how late the gradient of part i is at update k.
    fresh : int, optional
        Of several ranks: new gradients that an update waits for, three quarters of the ranks by default. Each update that is
        not made leaves the late gradients less late; the slowest are not waited for.
    synchronous : bool
        Wait for all ranks at every update: proximal gradient descent with the steps of the rule.
    """

    rule: StepRule = PartwiseAdaptive()
    parts: int | None = None
    delays: Sequence[Sequence[int]] | None = field(default=None, repr=False)
    fresh: int | None = None
    synchronous: bool = False

    def __post_init__(self) -> None:
        if self.fresh is not None:
            set_count(self, "fresh", 1)

    def run(self, run: Run) -> None:
        """Take updates until the run stops; the residual is the largest |x+ - x| / gamma since the oldest gradient in use.

        Steps since then, weighted as rules weight them, sum to less than 2, so x has moved so little that those gradients are
        nearly as good as new ones: with these the residual would be at most three times as long.
        """
        several = run.team.size > 1
        if several and (self.parts is not None or self.delays is not None):
            raise ValueError(
                f"PIAG: parts or delays were given, which are for one rank; expected none on {run.team.size} ranks"
            )
        if several and self.fresh is not None and self.fresh > run.team.size:
            raise ValueError(f"PIAG: fresh = {self.fresh} was given, expected at most one of each of {run.team.size} ranks")
        if several and not self.synchronous:
            _Asynchronous(self, run).run()
        elif self.delays is not None:
            self._replay(run, np.asarray(self.delays))
        else:
            self._in_turn(run)

    def _in_turn(self, run: Run) -> None:
        parts = [run.problem] if self.parts is None else run.problem.split(self.parts)
        steps = self._updates(run, parts)
        table = _Table(len(parts), run.x)
        gradient = arrays.empty(run.x.shape, run.x)
        for i, part in enumerate(parts):
            part.gradient(run.x, table.slot(i))
        i, residual = 0, 0.0
        table.resum()
        while True:
            if run.team.size > 1:
                gradient[...] = table.total
                run.team.sum(gradient)
                residual = steps.take(run.x, gradient, [steps.k] * run.team.size)
            else:
                residual = steps.take(run.x, table.total, table.stamps)
            if not run.goes_on(run.x, residual):
                steps.tell()
                return
            parts[i].gradient(run.x, gradient)
            table.put(i, steps.k, gradient)
            i = (i + 1) % len(parts)

    def _replay(self, run: Run, delays: np.ndarray) -> None:
        if delays.ndim != 2 or delays.dtype.kind not in "iu" or not len(delays) or (delays < 0).any():
            raise ValueError(
                f"PIAG: delays of shape {delays.shape}, dtype {delays.dtype} were given, "
                "expected whole numbers >= 0 (updates, parts)"
            )
        parts = run.problem.split(delays.shape[1])
        steps, table = self._updates(run, parts), _Table(len(parts), run.x)
        past = np.zeros((int(delays.max()) + 1, *run.x.shape), run.x.dtype)
        gradient = arrays.empty(run.x.shape, run.x)
        while True:
            k = steps.k
            past[k % len(past)] = run.x
            for i, part in enumerate(parts):
                stamp = k - min(int(delays[k % len(delays), i]), k)
                if stamp != table.stamps[i] or k == 0:
                    part.gradient(past[stamp % len(past)], gradient)
                    table.put(i, stamp, gradient)
            if not run.goes_on(run.x, steps.take(run.x, table.total, table.stamps)):
                steps.tell()
                return

    def _updates(self, run: Run, parts: Sequence[CompositeProblem]) -> _Updates:
        """Return the updates of a run whose parts are this rank's, and those of others like them; collective."""
        constants: list[float] = []
        if self.rule.partwise:
            own = np.array([part.lipschitz() for part in parts])
            constants = [float(c) for of_rank in run.team.gather(own) for c in of_rank]
        return _Updates(self.rule, run, constants)


class _Table:
    """The newest gradient of every part, the number of the point where it was taken, and their sum."""

    def __init__(self, parts: int, like: Array) -> None:
        self.rows = arrays.zeros((parts, *like.shape), like)
        self.total = arrays.zeros(like.shape, like)
        self.stamps = [0] * parts
        self._changes = 0

    def slot(self, i: int) -> Array:
        return self.rows[i]

    def put(self, i: int, stamp: int, gradient: Array) -> None:
        """Replace the gradient of a part."""
        self.total += gradient
        self.total -= self.rows[i]
        self.rows[i] = gradient
        self.stamps[i] = stamp
        self._changes += 1
        if self._changes % (RESUM * len(self.stamps)) == 0:
            self.resum()

    def resum(self) -> None:
        self.total[...] = self.rows.sum(axis=0)


class _Updates:
    """The updates of x by a rule.

    Parameters
    ----------
    rule : StepRule
    run : Run
    parts : sequence of float
        Lipschitz constants of the parts, if the rule needs them.
    """

    def __init__(self, rule: StepRule, run: Run, parts: Sequence[float]) -> None:
        self.steps = rule.begin(Constants(run.lipschitz(), run.strong_convexity(), parts))
        self.problem, self.facts, self.delays = run.problem, run.facts, DelayCounts()
        self._old = arrays.empty(run.x.shape, run.x)
        self._lengths: deque[tuple[int, float]] = deque()  # those that nothing later exceeds, of each update with a step
        self._sum = 0.0

    @property
    def k(self) -> int:
        """Updates so far."""
        return self.steps.count

    def take(self, x: Array, gradient: Array, stamps: Sequence[int]) -> float:
        """Overwrite `x` by prox(x - gamma gradient); return the residual."""
        k, lengths = self.k, self._lengths
        oldest = min(stamps)
        step = self.steps.next(stamps)
        self.delays.add(k - oldest)
        self._sum += step
        if step > 0.0:
            self._old[...] = x
            x -= step * gradient
            self.problem.prox(x, step)
            self._old -= x
            moved = length(self._old) / step
            while lengths and not lengths[-1][1] > moved:
                lengths.pop()
            lengths.append((k, moved))
        while lengths and lengths[0][0] < oldest:
            lengths.popleft()
        return lengths[0][1] if lengths else math.inf

    def tell(self) -> None:
        self.facts.update(delays=self.delays.facts(), mean_step=self._sum / max(self.k, 1))


class _Asynchronous:
    """A run over several ranks: `lead` on the first, `follow` on the others."""

    def __init__(self, algorithm: PIAG, run: Run) -> None:
        self.it, self.team = run, run.team
        self.steps = algorithm._updates(run, [run.problem])
        self.letters = run.team.mailbox(run.x)
        self.gradient = arrays.empty(run.x.shape, run.x)
        self.gradients = 0
        self.least = algorithm.fresh or max(3 * run.team.size // 4, 1)

    def run(self) -> None:
        if self.team.rank == 0:
            self._lead()
            self.steps.tell()
        else:
            self._follow()
        self.letters.close()
        self.it.settle(self.gradients, self.letters.bytes_sent)

    def _lead(self) -> None:
        run, steps, table = self.it, self.steps, _Table(self.team.size, self.it.x)
        silent, reported = set(range(self.team.size)), set()  # never heard of; waiting for the next x
        own, due = self._own_gradients(), True
        while True:
            if due and next(own):
                table.put(0, self.stamp, self.gradient)
                reported.add(0)
                due = False  # the next one when somebody else has moved x: its own late partners shorten its steps
            for sender, head, body in self.letters.collect(0.0 if due or len(reported) >= self.least else WAIT):
                table.put(sender, int(head[1]), body)
                reported.add(sender)
                due = 0 not in reported
            silent -= reported
            if silent or len(reported) < self.least:  # no update before every part has a gradient
                continue
            delay = steps.k - min(table.stamps)
            residual = steps.take(run.x, table.total, table.stamps)
            if not run.goes_on_alone(run.x, residual, delay=delay, bytes=self.letters.bytes_sent):
                break
            due = due or reported != {0}
            for rank in reported - {0}:
                self.letters.post(rank, (POINT, steps.k), run.x)
            reported.clear()
        self._dismiss(reported - {0})

    def _dismiss(self, waiting: set[int]) -> None:
        """Answer every rank's last gradient with the end."""
        awaited = set(range(1, self.team.size))
        while awaited:
            for rank in waiting:
                self.letters.post(rank, (END,))
            awaited -= waiting
            waiting = {sender for sender, _, _ in self.letters.collect(WAIT)} if awaited else set()

    def _own_gradients(self) -> Iterator[bool]:
        """Take gradients of the own samples, piece by piece; yield whether one, at the x numbered `stamp`, is whole."""
        problem, x = self.it.problem, self.it.x
        pieces = _pieces(problem)
        point, piece_gradient = arrays.empty(x.shape, x), arrays.empty(x.shape, x)
        while True:
            point[...] = x
            self.stamp = self.steps.k
            self.gradient[...] = 0.0
            for n, piece in enumerate(pieces, 1):
                piece.gradient(point, piece_gradient)
                self.gradient += piece_gradient
                self.gradients += n == len(pieces)
                yield n == len(pieces)

    def _follow(self) -> None:
        run, stamp = self.it, 0
        while True:
            run.problem.gradient(run.x, self.gradient)
            self.gradients += 1
            self.letters.post(0, (GRADIENT, stamp), self.gradient)
            letters: list[Any] = []
            while not letters:
                letters = self.letters.collect(WAIT)
            _, head, body = letters[0]
            if head[0] == END:
                return
            run.x[...] = body
            stamp = int(head[1])


def _pieces(problem: CompositeProblem) -> list[CompositeProblem]:
    """Return the samples in pieces, or in one where a problem cannot be split."""
    try:
        return problem.split(min(PIECES, problem.n_samples))
    except NotImplementedError:
        return [problem]
