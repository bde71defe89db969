"""Stochastic gradients that remember: SAG and SAGA keep the last gradient of every sample, SVRG a point and its whole gradient.

For the mean of N samples, phi = (f + r) / N, with B a minibatch of b samples, alpha_j the gradient kept of sample j, abar their mean:

    SAGA   v = (1/b) sum_B (grad f_j(x) - alpha_j) + abar
    SAG    v = (1/N) sum_B (grad f_j(x) - alpha_j) + abar
    SVRG   v = (1/b) sum_B (grad f_j(x) - grad f_j(y)) + grad f(y) / N,    y the mean point of the last stage
           x+ = prox_{gamma r / N}(x - gamma v)

Tables stay where the samples are, and keep what the problem calls a sample's residuals; one sum over ranks a minibatch. All ranks draw the same
minibatches, and the same for any number of ranks.

References
----------
Schmidt, Le Roux & Bach, Math. Program. 162, 2017; Defazio, Bach & Lacoste-Julien, NIPS 2014; Xiao & Zhang, SIAM J. Optim. 24, 2014.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from paralift.kernels import arrays
from paralift.kernels.arrays import Array
from paralift.optim.algorithms.algorithm import Algorithm
from paralift.optim.algorithms.run import Run, checked_step, length
from paralift.optim.algorithms.sampling import Minibatches, expected_smoothness
from paralift.optim.checks import set_count


@dataclass(frozen=True)
class _Sampled(Algorithm):
    """What all three share.

    Parameters
    ----------
    step : float, optional
        gamma, of the mean over samples.
    batch_size : int
        Samples of a minibatch, of all ranks together.
    """

    step: float | None = None
    batch_size: int = 1

    def __post_init__(self) -> None:
        set_count(self, "batch_size", 1)

    def _smoothness(self, run: Run, batches: Minibatches) -> float:
        """Return the constant of the mean through minibatches; collective."""
        largest = run.team.largest(run.problem.sample_lipschitz())
        if batches.size == 1:
            return largest
        return expected_smoothness(batches.n_samples, batches.size, run.lipschitz() / batches.n_samples, largest)


@dataclass(frozen=True)
class SAGA(_Sampled):
    """SAGA: unbiased. E|x_k - x*|^2 shrinks by 1 - min(1 / (4 N), mu / (3 L)) a step of one sample.

    The step is 1 / (3 L) for single samples, 1 / (4 L_b) for minibatches, L_b their expected smoothness.
    """

    def run(self, run: Run) -> None:
        """Take passes until the run stops: an update of the run is a pass; its residual that of the mean of the table."""
        batches = Minibatches(run, self.batch_size)
        smooth = self._smoothness(run, batches)
        step = checked_step(self.step, self._default(smooth), 1.0 / smooth, f"SAGA needs a step < 1/L, L = {smooth:g} of a sample")
        _remember(run, batches, step, 1.0 / batches.size)

    def _default(self, smooth: float) -> float:
        return 1.0 / (3.0 * smooth) if self.batch_size == 1 else 1.0 / (4.0 * smooth)


@dataclass(frozen=True)
class SAG(_Sampled):
    """SAG: biased, with less variance.

    The step is 1 / (16 L) by default: what is proven, for a smooth objective (r = 0); 1 / L is often possible.
    """

    def run(self, run: Run) -> None:
        """Take passes until the run stops: an update of the run is a pass; its residual that of the mean of the table."""
        batches = Minibatches(run, self.batch_size)
        smooth = self._smoothness(run, batches)
        step = checked_step(self.step, 1.0 / (16.0 * smooth), 2.0 / smooth, f"SAG needs a step < 2/L, L = {smooth:g} of a sample")
        _remember(run, batches, step, 1.0 / batches.n_samples)


def _remember(run: Run, batches: Minibatches, step: float, weight: float) -> None:
    """Run SAG or SAGA, which differ in the weight of a minibatch's news."""
    problem, n, x = run.problem, batches.n_samples, run.x
    everything = np.arange(problem.n_samples)
    table = problem.residuals(x, everything)
    mean, news = arrays.empty(x.shape, x), arrays.empty(x.shape, x)
    problem.pull(table, everything, mean)
    run.team.sum(mean)
    mean /= n
    run.facts.update(step=step, batch_size=batches.size)
    while True:
        for rows in batches.one_pass():
            _news(problem, x, rows, table, news)
            run.team.sum(news)
            x -= step * (weight * news + mean)
            problem.prox(x, step / n)
            news /= n
            mean += news
        if not run.goes_on(x, _residual(run, x, mean, step, n)):
            return


def _news(problem: object, x: Array, rows: np.ndarray, table: Array, out: Array) -> None:
    """Write the sum of what the gradients of `rows` have changed by into `out`, and the new ones into the table."""
    if not len(rows):
        out[...] = 0.0
        return
    fresh = problem.residuals(x, rows)  # type: ignore[attr-defined]
    problem.pull(fresh - table[rows], rows, out)  # type: ignore[attr-defined]
    table[rows] = fresh


def _residual(run: Run, x: Array, mean: Array, step: float, n: int) -> float:
    """Return |x - prox(x - gamma mean)| N / gamma, in units of f + r."""
    moved = x - step * mean
    run.problem.prox(moved, step / n)
    moved -= x
    return length(moved) * n / step


@dataclass(frozen=True)
class ProxSVRG(_Sampled):
    """Prox-SVRG: stages of `inner` steps from a point whose whole gradient is known; each ends at the mean of its points.

    E F shrinks by rho = 1 / (mu eta (1 - 4 L eta) m) + 4 L eta (m + 1) / ((1 - 4 L eta) m) a stage; `rate` computes it. The step is eta = 1 / (10 L).

    Parameters
    ----------
    step, batch_size
        See above.
    inner : int, optional
        m, steps of a stage; two passes by default.
    """

    inner: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.inner is not None:
            set_count(self, "inner", 1)

    def run(self, run: Run) -> None:
        """Take stages until the run stops: an update of the run is a stage; its residual that at the stage's start."""
        batches = Minibatches(run, self.batch_size)
        smooth = self._smoothness(run, batches)
        text = f"prox-SVRG needs a step < 1/(4 L), L = {smooth:g} of a sample"
        step = checked_step(self.step, 0.1 / smooth, 0.25 / smooth, text)
        problem, n, x, inner = run.problem, batches.n_samples, run.x, self.inner or 2 * batches.per_pass
        anchor, whole, news, mean = (arrays.empty(x.shape, x) for _ in range(4))
        everything = np.arange(problem.n_samples)
        run.facts.update(step=step, inner=inner, batch_size=batches.size)
        while True:
            anchor[...] = x
            table = problem.residuals(anchor, everything)
            problem.pull(table, everything, whole)
            run.team.sum(whole)
            whole /= n
            residual = _residual(run, anchor, whole, step, n)
            mean[...] = 0.0
            for _ in range(inner):
                rows = batches.draw()
                if len(rows):
                    problem.pull(problem.residuals(x, rows) - table[rows], rows, news)
                else:
                    news[...] = 0.0
                run.team.sum(news)
                x -= step * (news / batches.size + whole)
                problem.prox(x, step / n)
                mean += x
            x[...] = mean
            x /= inner
            if not run.goes_on(x, residual):
                return


def rate(lipschitz: float, convexity: float, step: float, inner: int) -> float:
    """Return rho, by which prox-SVRG shrinks E F - F* a stage; infinity where the theory says nothing (Xiao & Zhang, theorem 1)."""
    margin = 1.0 - 4.0 * lipschitz * step
    if margin <= 0 or convexity <= 0:
        return math.inf
    return 1.0 / (convexity * step * margin * inner) + 4.0 * lipschitz * step * (inner + 1) / (margin * inner)
