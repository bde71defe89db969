"""A run over two hosts: python crossing.py METHOD WIDTH EPOCHS PATIENCE OUT, on two ranks.

The first rank leaves the seconds of a step, and all parameters, in ``OUT/final.npz``.
"""

import sys
import time

import numpy as np
from mpi4py import MPI
from victim import METHODS

import paralift as pl
from paralift.parallel.plan import Plan

BATCH, BATCHES = 60, 200


class Timed(pl.optim.SGD):
    """SGD that notes when it is called."""

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.moments = []

    def step(self, *arguments, **more):
        self.moments.append(time.perf_counter())
        return super().step(*arguments, **more)


def train(method, width, epochs, patience, out):
    blocks = [pl.Linear(6, width), pl.Tanh(), pl.Linear(width, width), pl.ReLU()]
    blocks += [pl.Linear(width, width), pl.Softplus(), pl.Linear(width, 4), pl.Softmax()]
    rng = np.random.default_rng(1)
    data = rng.standard_normal((BATCH * BATCHES, 6)), rng.integers(0, 4, BATCH * BATCHES)
    (method, schedule), rule = METHODS[method], Timed(0.05, momentum=0.5)
    found = pl.fit(
        pl.Sequential(*blocks), data, method=method, optimizer=rule, epochs=epochs, batch_size=BATCH, dtype="float64",
        plan=Plan(1, 2, (0, 2, 4), 4, schedule), out=out, checkpoint_every=epochs, patience=patience, progress=False,
    )  # fmt: skip
    return found, np.diff(rule.moments)


if __name__ == "__main__":
    name, width, epochs, patience, out = sys.argv[1:]
    found, seconds = train(name, int(width), int(epochs), float(patience), out)
    if MPI.COMM_WORLD.Get_rank() == 0:
        params = {f"{b}/{k}": a for b, arrays in found.params.items() for k, a in arrays.items()}
        np.savez(f"{out}/final.npz", seconds=seconds, **params)
