"""Proximal gradient steps that send messages of a compressor, and still end at the exact solution of a nonsmooth problem.

A rank i keeps h_i, what all others know of its gradient, and sends what is new, C(grad f_i(x) - h_i); every rank keeps the sum
of all that was ever said. Where x stands still the messages vanish, and with them their errors. Gradients compressed
as they are, or with the error of the last message fed back (EF14), lead a proximal map elsewhere, far from the solution.

| symbol | name here |
|---|---|
| f = sum_i f_i, L, L_i; r | the problem's, f a sum and no mean |
| g_i^t, h_i^t | `own` |
| sum over i of g_i^t, h_i^t | `known` |
| alpha, omega | `Compressor.contraction`, `Compressor.relative_variance` |
| gamma | `step` |

The steps are derived here. EF21: with G = sum_i |grad f_i(x) - g_i|^2, D = x+ - x, theta = 1 - sqrt(1 - alpha),
beta = (1 - alpha) / theta and S^2 = n sum_i L_i^2, the compressor gives G+ <= (1 - theta) G + beta sum_i L_i^2 |D|^2, and a
convex r gives

    F(x+) <= F(x) + <grad f(x) - sum_i g_i, D> - (1 / gamma - L/2) |D|^2,

so that F + n G / (2 S sqrt(beta theta)) falls as long as 1 / gamma > L/2 + S sqrt(beta / theta). (Without convexity of r,
1 / gamma in F(x+) becomes 1 / (2 gamma).) The default 1 / gamma = L + S sqrt(beta / theta) is that of smooth problems.

With unbiased messages and shifts h_i+ = h_i + a m_i, a <= 1 / (1 + omega), the estimate g = sum_i h_i + m_i of the gradient of
a sum of convex f_i has, with L_max = max L_i, B = f(x) - f(x*) - <grad f(x*), x - x*> and H = sum_i |h_i - grad f_i(x*)|^2,

    E |g - grad f(x*)|^2 <= 2 (L + 2 omega L_max) B + 2 omega H,   E H+ <= (1 - a) H + 2 a L_max B,

so that E |x - x*|^2 + (4 omega gamma^2 / a) H falls by the factor
max(1 - gamma mu, 1 - a / 2) an update for 1 / gamma >= L + 6 omega L_max; a lighter H serves down to L + 4 omega L_max.

References
----------
Richtarik, Sokolov & Fatkhullin, NeurIPS 2021 (EF21); Fatkhullin, Sokolov, Gorbunov, Li & Richtarik, J. Mach. Learn. Res.
26(189), 2025 (with a proximal map); Mishchenko, Gorbunov, Takac & Richtarik, 2019 (DIANA, the shifts); Gorbunov, Hanzely &
Richtarik, AISTATS 2020 (the way of proof); Condat, Yi & Richtarik, NeurIPS 2022 (both in one).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from paralift.kernels import arrays
from paralift.kernels.arrays import Array
from paralift.optim.algorithms.algorithm import Algorithm
from paralift.optim.algorithms.run import Run, StepError, checked_step, length
from paralift.optim.compression.compressor import Compressor, key


@dataclass(frozen=True)
class EF21(Algorithm):
    """Error feedback: g_i+ = g_i + C(grad f_i(x+) - g_i), x+ = prox_{t r}(x - t sum_i g_i), with a contractive C.

    With a tolerance, the residual is |x+ - x| / t + sum_i |grad f_i(x+) - g_i|, at least the length of a subgradient of F, and
    costs a sum of one number an update; without, the second term is left out.

    Parameters
    ----------
    compressor : Compressor
    step : float, optional
        Less than 1 / (L/2 + S sqrt(beta / theta)); 1 / (L + S sqrt(beta / theta)) by default.
    """

    compressor: Compressor
    step: float | None = None

    def run(self, run: Run) -> None:
        """Take steps until the run stops."""
        alpha = self.compressor.contraction(run.x.size)
        if alpha is None:
            raise StepError(
                f"EF21: {self.compressor} is unbiased, expected a contractive compressor (TopK, RandomK, or a Quantizer that "
                "rounds to the nearest level); CompressedGradient takes unbiased ones"
            )
        run.facts["step"] = step = self._step(run, alpha)
        wire = _Wire(run, self.compressor)
        own, known, ahead = (arrays.zeros(run.x.shape, run.x) for _ in range(3))
        run.problem.gradient(run.x, ahead)
        while True:
            mine = wire.send(ahead, known)
            self.compressor.add(mine, own)
            moved = _descend(run, known, step)
            run.problem.gradient(run.x, ahead)
            ahead -= own
            if not run.goes_on(run.x, moved / step + wire.unknown(ahead)):
                return

    def _step(self, run: Run, alpha: float) -> float:
        theta = 1.0 - math.sqrt(1.0 - alpha)
        lipschitz, own = run.lipschitz(), run.problem.lipschitz()
        size = math.sqrt(run.team.size * run.team.sums(own * own)[0])
        lag = size * math.sqrt(1.0 - alpha) / theta  # sqrt(beta / theta) = sqrt(1 - alpha) / theta
        text = f"EF21 with alpha = {alpha:g} needs a step < 1 / (L/2 + S sqrt(beta / theta)), L = {lipschitz:g}, S = {size:g}"
        return checked_step(self.step, 1.0 / (lipschitz + lag), 1.0 / (0.5 * lipschitz + lag), text)


@dataclass(frozen=True)
class CompressedGradient(Algorithm):
    """Unbiased messages m_i = C(grad f_i(x) - h_i): x+ = prox_{t r}(x - t sum_i (h_i + m_i)), h_i+ = h_i + a m_i.

    For a strongly convex f the expected square of the distance from the solution falls by max(1 - t mu, 1 - a / 2) an update.
    Without shifts, a = 0, it ends near the solution, in noise as large as the messages: for comparisons. The residual is that
    of `EF21`, with h_i + m_i for g_i.

    Parameters
    ----------
    compressor : Compressor
    step : float, optional
        Less than 1 / (L + 4 omega L_max); 1 / (L + 6 omega L_max) by default.
    shift : float, optional
        a, from 0 to 1 / (1 + omega), the default.
    """

    compressor: Compressor
    step: float | None = None
    shift: float | None = None

    def run(self, run: Run) -> None:
        """Take steps until the run stops."""
        omega = self.compressor.relative_variance(run.x.size)
        if omega is None:
            raise StepError(
                f"CompressedGradient: {self.compressor} is contractive, expected an unbiased compressor (a Quantizer that "
                "rounds at random, RandomK(unbiased=True)); EF21 takes contractive ones"
            )
        shift, step = self._shift(omega), self._step(run, omega)
        run.facts.update(step=step, shift=shift)
        wire = _Wire(run, self.compressor)
        own, known, said, heard, ahead, total = (arrays.zeros(run.x.shape, run.x) for _ in range(6))
        run.problem.gradient(run.x, ahead)
        while True:
            ahead -= own
            heard[...] = 0
            self.compressor.decode(wire.send(ahead, heard), said)
            total[...] = known
            total += heard
            moved = _descend(run, total, step)
            heard *= shift
            known += heard
            run.problem.gradient(run.x, ahead)
            unknown = ahead - own - said if wire.measures else ahead
            if not run.goes_on(run.x, moved / step + wire.unknown(unknown)):
                return
            said *= shift
            own += said

    def _shift(self, omega: float) -> float:
        limit = 1.0 / (1.0 + omega)
        shift = limit if self.shift is None else self.shift
        if not 0 <= shift <= limit * (1.0 + 1e-9):
            raise StepError(
                f"CompressedGradient: shift = {shift:g} was given, but shifts contract for a <= 1 / (1 + omega), "
                f"omega = {omega:g}: expected a number from 0 to {limit:g}"
            )
        return shift

    def _step(self, run: Run, omega: float) -> float:
        lipschitz, largest = run.lipschitz(), run.team.largest(run.problem.lipschitz())
        constants = f"L = {lipschitz:g}, L_max = {largest:g}, omega = {omega:g}"
        text = f"unbiased messages need a step < 1 / (L + 4 omega L_max), {constants}"
        limit = 1.0 / (lipschitz + 4.0 * omega * largest)
        return checked_step(self.step, 1.0 / (lipschitz + 6.0 * omega * largest), limit, text)


class _Wire:
    """Messages of one run: every rank's, of the same size, an update."""

    def __init__(self, run: Run, compressor: Compressor) -> None:
        self.run, self.compressor = run, compressor
        self.message = compressor.message(run.x)
        self.seed = key(run.seed, 0, run.team.rank)  # ranks draw independently
        self.measures = run.stop.tolerance > 0
        run.facts["message_bytes"] = len(self.message)

    def send(self, vector: Array, total: Array) -> Array:
        """Add what all ranks' messages say to `total`; return this rank's message.

        What is no number goes out as such: all ranks learn of it together.
        """
        self.compressor.write(vector, self.message, self.run.updates, self.seed)
        for message in self.run.team.gather(self.message):
            self.compressor.add(message, total)
        return self.message

    def unknown(self, vector: Array) -> float:
        """Return the sum of the lengths of all ranks' vectors, 0 where no tolerance asks for it."""
        return self.run.team.sums(length(vector))[0] if self.measures else 0.0


def _descend(run: Run, gradient: Array, step: float) -> float:
    """Overwrite x by prox_{t r}(x - t gradient); return how far it moved."""
    old = run.x.copy()
    run.x -= step * gradient
    run.problem.prox(run.x, step)
    old -= run.x
    return length(old)
