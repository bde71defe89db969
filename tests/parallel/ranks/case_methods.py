"""Methods of the literature on shards and stages find what one rank finds."""

import numpy as np
import pytest
from mpi4py import MPI

import paralift as pl
from paralift.methods import dual_propagation, equilibrium_propagation, fenchel, lpom, mac

WORLD = MPI.COMM_WORLD
SIZE = WORLD.Get_size()
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((24, 5)), RNG.integers(0, 3, 24)
NETWORK = pl.Sequential(
    pl.Linear(5, 6), pl.ReLU(), pl.Linear(6, 6), pl.Tanh(), pl.Linear(6, 4), pl.ReLU(), pl.Linear(4, 3), pl.Softmax()
)


def params(method, comm, stages, **options):
    settings = {"epochs": 2, "batch_size": 12, "dtype": "float64", "progress": False, "plan": "counted", "seed": 1}
    return pl.fit(NETWORK, (X, Y), method=method, comm=comm, stages=stages, **{**settings, **options}).params


def check(method, stages, tolerance=1e-9, **options):
    one, many = params(method, None, 1, **options), params(method, WORLD, stages, **options)
    for block, arrays in one.items():
        for name, a in arrays.items():
            np.testing.assert_allclose(many[block][name], a, rtol=tolerance, atol=tolerance, err_msg=f"{block}.{name}")


@pytest.mark.mpi
@pytest.mark.parametrize("method", [mac(tau=None), lpom()], ids=["mac", "lpom"])
def test_gram_matrices_summed_over_shards(method):
    check(method, 1, batch_size=None)


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("method", "tolerance"),
    [(mac(order="two_colour"), 1e-9), (fenchel(order="two_colour", iterations=2), 1e-9),
     (equilibrium_propagation(order="two_colour", iterations=60, tolerance=1e-9), 1e-7)], ids=["mac", "fenchel", "EP"],
)  # fmt: skip
def test_shards_of_stages(method, tolerance):
    check(method, 2 if SIZE % 2 == 0 else SIZE, tolerance)


@pytest.mark.mpi
def test_dual_propagation_takes_ranks_as_shards():
    check(dual_propagation(0.5, 0.3), None)
