"""A resumed run continues bit for bit on the same ranks, and to rounding on another grid."""

import numpy as np
import pytest
from mpi4py import MPI

import paralift as pl
from paralift.methods import Hard, Method, ProximalGradient
from paralift.parallel.plan import block_costs
from paralift.parallel.split import split

WORLD = MPI.COMM_WORLD
SIZE = WORLD.Get_size()
METHODS = {
    "nudged": pl.methods.nudged(),
    "persistent": Method(clamp=Hard(), inference=ProximalGradient(1, "two_colour", persistent=True)),
    "dual": Method(clamp=Hard(), inference=ProximalGradient(1, "two_colour", "dual", persistent=True)),
    "nesterov": pl.methods.lifted_bregman_bcd("nesterov", order="two_colour"),
}


def network():
    layers = [pl.Linear(5, 8), pl.Tanh(), pl.Linear(8, 8), pl.BatchNorm(8), pl.ReLU(), pl.Linear(8, 6), pl.ReLU()]
    return pl.Sequential(*layers, pl.Linear(6, 3), pl.Softmax())


def plan(stages):
    bounds = split(block_costs(network()), stages)
    return pl.Plan(SIZE // stages, stages, bounds, micro_batches=6)


def fit(method, out, epochs, resume=None, stages=1):
    rng = np.random.default_rng(0)
    data = rng.standard_normal((50, 5)), rng.integers(0, 3, 50)
    rule = pl.optim.Adam(pl.optim.Cosine(1e-2, steps=30))
    return pl.fit(
        network(), data, test=data, method=METHODS[method], optimizer=rule, epochs=epochs, batch_size=16, dtype="float64",
        comm=WORLD, plan=plan(stages), out=out, resume=resume, progress=False,
    )  # fmt: skip


@pytest.mark.mpi
@pytest.mark.parametrize("stages", [s for s in range(1, SIZE + 1) if SIZE % s == 0 and (s > 1 or SIZE == 1)])
@pytest.mark.parametrize("method", METHODS)
def test_resume_bit_for_bit(tmp_path_factory, method, stages):
    folder = WORLD.bcast(str(tmp_path_factory.mktemp("run")) if WORLD.Get_rank() == 0 else None)
    whole = fit(method, None, 6, stages=stages)
    fit(method, folder, 3, stages=stages)
    rest = fit(method, folder, 6, resume="auto", stages=stages)
    assert [r["epoch"] for r in rest.history] == [1, 2, 3, 4, 5, 6]
    for block, arrays in whole.params.items():
        for name, a in arrays.items():
            np.testing.assert_array_equal(rest.params[block][name], a)
    again = fit(method, folder, 6, resume="auto", stages=stages)
    assert again.reason is pl.Reason.NOTHING_LEFT


@pytest.mark.mpi
def test_resume_on_another_grid(tmp_path_factory):
    folder = WORLD.bcast(str(tmp_path_factory.mktemp("run")) if WORLD.Get_rank() == 0 else None)
    first = fit("nudged", folder, 3, stages=1)
    other = fit("nudged", folder, 3, resume="auto", stages=SIZE)
    for block, arrays in first.params.items():
        for name, a in arrays.items():
            np.testing.assert_array_equal(other.params[block][name], a)
