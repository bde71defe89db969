"""Implicit stochastic gradient: each rank solves a damped problem on a minibatch of its own, and ranks take the mean.

With N samples in all, N_i of them on rank i, a batch S_i of b samples and w_i = n N_i / N,

    x_i = argmin_x  w_i/b f_{S_i}(x) + r(x)/N + |x - x_k|^2 / (2 tau_k),   x_{k+1} = mean of x_i,   tau_k = tau / (1 + decay k)

The mean over ranks and draws of the functions that are damped is F/N, so tau is the step for the mean over samples. The
gradient is that at the new point: no tau is too long. For one sample of least squares
x+ = x + tau a (b - a x) / (1 + tau |a|^2).

With a constant tau x comes to rest only if all samples have a minimum in common; else a tau_k of order 1/k gives errors
E|x - x*|^2 of order 1/k for a strongly convex f.

References
----------
Toulis & Airoldi, Ann. Statist. 45, 2017 (explicit and implicit steps); Wang & Benning, JMLR 24 (232), 2023 (lifted networks);
Bianchi, SIAM J. Optim. 26, 2016 (convergence); Li, Sahu, Zaheer, Sanjabi, Talwalkar & Smith, MLSys 2020 (the mean over ranks).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from paralift.kernels import arrays
from paralift.kernels.arrays import Array
from paralift.optim.algorithms.algorithm import Algorithm
from paralift.optim.algorithms.inexact import summable
from paralift.optim.algorithms.inner import approach
from paralift.optim.algorithms.run import Run, StepError, length
from paralift.optim.checks import set_count, set_number
from paralift.optim.problems.composite import Nothing

REDUCTION = 0.1
"""Of an inner loop's bound at the first update; it falls as k^-2.1."""


@dataclass(frozen=True)
class ISGM(Algorithm):
    """Implicit stochastic gradient method; one sum over ranks an update.

    Parameters
    ----------
    tau : float
        Any number greater than 0.
    decay : float
        At least 0; 0 for a constant tau.
    batch : int
        Samples of each rank that an update takes; a rank goes through all of its samples in random order, again and again.
    """

    tau: float
    decay: float = 0.0
    batch: int = 1

    def __post_init__(self) -> None:
        set_number(self, "tau", low=1e-300)
        set_number(self, "decay")
        set_count(self, "batch", 1)

    def run(self, run: Run) -> None:
        """Update until the run stops.

        The residual is the largest |x+ - x| / tau_k of as many updates as visit each sample at least once, as one sample may be
        content where others are not. It becomes small only if samples have a minimum in common.
        """
        least = -run.team.largest(-run.problem.n_samples)
        if self.batch > least:
            raise StepError(f"ISGM: batch = {self.batch} was given, but a rank has {least:.0f} samples only")
        draw = _shuffled(run.problem.n_samples, self.batch, [run.seed, run.team.rank])
        solve, before = _Batch(run), arrays.empty(run.x.shape, run.x)
        visits = 2 * math.ceil(run.team.largest(run.problem.n_samples) / self.batch)
        residual, worst = math.inf, 0.0
        while True:
            tau = self.tau / (1.0 + self.decay * run.updates)
            before[...] = run.x
            solve(next(draw), tau, before, run.x)
            run.mean(run.x)
            before -= run.x
            run.facts["tau"] = tau
            moved = length(before) / tau
            worst = moved if math.isnan(moved) else max(worst, moved)
            if math.isnan(worst) or (run.updates + 1) % visits == 0:
                residual, worst = worst, 0.0
            if not run.goes_on(run.x, residual):
                return


def _shuffled(n: int, batch: int, seed: list[int]) -> Iterator[np.ndarray]:
    """Yield rows, `batch` at a time, of one random order of range(n) after the other."""
    draw, waiting = np.random.default_rng(seed), np.empty(0, dtype=np.int64)
    while True:
        if len(waiting) < batch:
            waiting = np.concatenate([waiting, draw.permutation(n)])
        rows, waiting = waiting[:batch], waiting[batch:]
        yield rows


class _Batch:
    """Solves for x_i: in closed form, else by an inner loop."""

    def __init__(self, run: Run) -> None:
        self.run, self.problem = run, run.problem
        self.total = run.n_samples()
        self.weight = run.team.size * self.problem.n_samples / self.total
        self.bend = 0.0

    def __call__(self, rows: np.ndarray, tau: float, centre: Array, x: Array) -> None:
        """Move `x`, which is at `centre`, to the minimum of f_S + r b / (w N) + rho/2 |x - centre|^2 with rho = b / (w tau)."""
        share = len(rows) / self.weight
        plain = isinstance(self.problem.regularizer, Nothing)
        if plain and self.problem.nearest(centre, share / tau, x, rows):
            return
        self.bend = self.bend or self.problem.sample_lipschitz()

        def gradient(y: Array, out: Array) -> None:
            self.problem.gradient(y, out, rows)

        def prox(y: Array, step: float) -> None:
            self.problem.prox(y, step * share / self.total)

        reduction = summable(self.run.updates + 1, 2.1, REDUCTION)
        approach(gradient, None if plain else prox, centre, share / tau, len(rows) * self.bend, x, reduction)
