"""Gossip: ranks come near to their mean by words with neighbours alone.

A round is one exchange of arrays. Differences from the mean shrink by the factor rho of the weights in a round of plain
gossip; Chebyshev's polynomials need the square root of the number of rounds; the one-peer exponential graph needs log2 n.

References
----------
Scaman, Bach, Bubeck, Lee & Massoulie, ICML 2017, algorithm 2 (Chebyshev); Ying, Yuan, Chen, Hu, Pan & Yin, NeurIPS 2021 (one
peer); Xiao & Boyd, Syst. Control Lett. 53, 2004 (plain).
"""

from __future__ import annotations

import numpy as np

from paralift.kernels import arrays
from paralift.kernels.arrays import Array
from paralift.optim.graphs import jumps, spectrum
from paralift.optim.team import Team


class Mixing:
    """Products of a matrix (n, n) with the arrays of n ranks: each rank gets its own row's.

    Parameters
    ----------
    team : Team
    matrix : ndarray of shape (n, n)
        Ranks i and j are neighbours where one of the entries ij and ji is not 0.

    Raises
    ------
    ValueError
        If the matrix does not have the size of the team.
    """

    def __init__(self, team: Team, matrix: np.ndarray) -> None:
        if matrix.shape != (team.size, team.size):
            raise ValueError(f"weights of shape {matrix.shape} were given, expected {(team.size, team.size)}: one row a rank")
        rank = team.rank
        touched = (matrix[rank] != 0) | (matrix[:, rank] != 0)
        self.team, self.own = team, float(matrix[rank, rank])
        self.neighbours = [int(k) for k in np.flatnonzero(touched) if k != rank]
        self.weights = [float(matrix[rank, k]) for k in self.neighbours]

    def __call__(self, x: Array, out: Array) -> None:
        """Write sum_j matrix_ij x_j into `out`, another array than `x`; one round."""
        others = self.team.swap(self.neighbours, x)
        out[...] = x
        out *= self.own
        for weight, k in zip(self.weights, self.neighbours, strict=True):
            if weight:
                out += weight * others[k]


def gossip(team: Team, weights: np.ndarray, x: Array, rounds: int) -> None:
    """Overwrite `x` by this rank's part of W^rounds X."""
    mix, out = Mixing(team, weights), arrays.empty(x.shape, x)
    for _ in range(rounds):
        mix(x, out)
        x[...] = out


def chebyshev(team: Team, laplacian: np.ndarray, x: Array, rounds: int) -> None:
    """Overwrite `x` by this rank's part of P(Lap) X, with P of degree `rounds` and P(0) = 1, least from lambda_2 to lambda_max.

    With gam = lambda_2 / lambda_max and c = (1 - sqrt gam) / (1 + sqrt gam), differences from the mean become as short as
    2 c^rounds / (1 + c^(2 rounds)) of what they were, or shorter.

        x_1 = x_0 - s Lap x_0,   x_(k+1) = m_k (x_k - s Lap x_k) + (1 - m_k) x_(k-1),   s = 2 / (lambda_2 + lambda_max),
        m_k = 2 / (2 - t b_(k-1)),   b_k = t / (2 - t b_(k-1)),   b_0 = t = (1 - gam) / (1 + gam)

    This is the published recursion divided by its normaliser a_k = T_k(1/t), which would overflow; b_k = a_k / a_(k+1).
    """
    if team.size == 1 or rounds < 1:
        return
    low, high = spectrum(laplacian)
    t, scale = (high - low) / (high + low), 2.0 / (low + high)
    spread = Mixing(team, laplacian)
    flow, before, now = (arrays.empty(x.shape, x) for _ in range(3))
    ratio, factor = t, 1.0
    now[...] = x
    before[...] = x
    for _ in range(rounds):
        spread(now, flow)
        flow *= -scale
        flow += now
        flow -= before
        flow *= factor
        flow += before
        before, now, flow = now, flow, before
        factor = 2.0 / (2.0 - t * ratio)
        ratio = t / (2.0 - t * ratio)
    x[...] = now


def one_peer_exponential(team: Team, x: Array, rounds: int | None = None) -> None:
    """In round k, average `x` with that of the rank 2^k ahead; the mean of all after log2 n rounds if n is a power of 2.

    For other n a round keeps the mean, but log2 n rounds leave differences.

    Parameters
    ----------
    team : Team
    x : Array
    rounds : int, optional
        ceil(log2 n) by default; more start again at a distance of 1.

    Notes
    -----
    An exchange goes both ways, so a rank writes to the ranks 2^k ahead and 2^k behind; the mean takes one of the two.
    """
    distances = jumps(team.size)
    for k in range(len(distances) if rounds is None else rounds):
        if not distances:
            return
        jump = distances[k % len(distances)]
        ahead, behind = (team.rank + jump) % team.size, (team.rank - jump) % team.size
        others = team.swap(sorted({ahead, behind}), x)
        x += others[ahead]
        x *= 0.5
