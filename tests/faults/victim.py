"""A run that is to be killed: python victim.py METHOD STAGES OUT RESUME SURVIVE, on any number of ranks.

The batches take a few milliseconds each, so that a random moment meets training, evaluation and checkpoints alike.
"""

import sys
import time
from pathlib import Path

import numpy as np
from mpi4py import MPI

import paralift as pl
from paralift.methods import Hard, Method, ProximalGradient
from paralift.parallel.plan import Plan, block_costs
from paralift.parallel.split import split

EPOCHS, PAUSE = 10, 0.006
HALO = Method(clamp=Hard(), inference=ProximalGradient(2, "two_colour", persistent=True))
METHODS = {"flush": (pl.methods.nudged(), "flush"), "unflushed": (pl.methods.nudged(), "unflushed"), "halo": (HALO, "flush")}

TECHNIQUES = {
    "augment": [pl.data.Noise(0.1)], "clip": 0.3, "freeze": ["linear3.weight"], "ema": 0.9,
    "stop_early": pl.EarlyStopping(EPOCHS, "loss"),
}  # fmt: skip
"""What has arrays of its own, which must come through a fault, too."""


class Slow(pl.optim.SGD):
    """SGD that takes its time."""

    def step(self, *arguments, **more):
        time.sleep(PAUSE)
        return super().step(*arguments, **more)


def train(method, comm, stages, out=None, resume=None, survive=False):
    network = pl.Sequential(
        pl.Linear(6, 9), pl.Tanh(), pl.Dropout(0.1), pl.Linear(9, 8), pl.ReLU(), pl.Linear(8, 7), pl.Softplus(),
        pl.Linear(7, 4), pl.Softmax(),
    )  # fmt: skip
    rng = np.random.default_rng(1)
    data = rng.standard_normal((96, 6)), rng.integers(0, 4, 96)
    method, schedule = METHODS[method]
    size = 1 if comm is None else comm.Get_size()
    plan = Plan(size // stages, stages, split(block_costs(network), stages), 2 if stages == 1 else 6, schedule)
    return pl.fit(
        network, data, test=data, method=method, optimizer=Slow(0.05, momentum=0.5), epochs=EPOCHS, batch_size=8,
        dtype="float64", comm=comm, plan=plan, out=out, resume=resume, patience=20.0, survive=survive,
        progress=False, **TECHNIQUES,
    )  # fmt: skip


if __name__ == "__main__":
    name, stages, out, resume, survive = sys.argv[1:]
    found = train(name, MPI.COMM_WORLD, int(stages), out, resume or None, survive == "yes")
    arrays = {f"{block}/{key}": a for block, own in found.params.items() for key, a in own.items()}
    final = Path(f"{out}/final-{MPI.COMM_WORLD.Get_rank()}.npz")  # any rank may be dead
    np.savez(final, **arrays)
