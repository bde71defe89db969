"""Without a flush, P ranks give what one rank gives by the same forecasts: 1e-10 relative in float64."""

from dataclasses import replace

import numpy as np
import pytest
from case_equal import GRIDS, NETWORKS, SIZE, assert_equal, assert_tied, data, tokens, transformer
from mpi4py import MPI

import paralift as pl
from paralift.methods import nudged
from paralift.parallel import reduce, requests
from paralift.parallel.plan import Plan, block_costs
from paralift.parallel.split import split
from paralift.training.fit import DivergedError

METHODS = {
    "nudged": nudged(),
    "fixed": nudged(beta=0.5),
    "backprop": pl.methods.backprop(),
    "sparse_states": nudged(beta=0.5, states={"input": pl.optim.L1(0.01)}),
}
RULES = {
    "adam": pl.optim.Adam(1e-2, regularizer=pl.optim.L1(1e-4)),
    "groups": pl.optim.SGD(0.05, momentum=0.9, regularizer=pl.optim.GroupL1(1e-4)),
    "sgd": pl.optim.SGD(0.05),
}


def train(network, comm, plan, method=METHODS["nudged"], rule=RULES["adam"], epochs=3, **settings):
    arguments = {"batch_size": 24, "seed": 3, "dtype": "float64", "test": data(11), "progress": False, **settings}
    return pl.fit(
        network, arguments.pop("data", data()), method=method, optimizer=rule, epochs=epochs, comm=comm, plan=plan,
        **arguments,
    )  # fmt: skip


def plans(network, grid, micro_batches=6):
    shards, stages = grid
    bounds = split(block_costs(network), stages)
    many = Plan(shards, stages, bounds, micro_batches, "unflushed")
    return many, Plan(1, 1, (0, len(network.blocks)), 2, "unflushed")


@pytest.mark.mpi
@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize(("method", "rule"), [("nudged", "adam"), ("fixed", "groups"), ("backprop", "sgd")])
@pytest.mark.parametrize("kind", NETWORKS)
def test_equals_one_rank(kind, method, rule, grid):
    network = NETWORKS[kind]()
    many, one = plans(network, grid)
    settings = {"method": METHODS[method], "rule": RULES[rule]}
    assert_equal(train(network, MPI.COMM_WORLD, many, **settings), train(network, None, one, **settings))


@pytest.mark.mpi
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_a_transformer_with_tied_weights_equals_one_ranks(grid):
    """Its first and last block share a parameter: gradients meet across stages while the next batch passes through."""
    network = transformer()
    many, one = plans(network, grid, micro_batches=8)
    settings = {"data": tokens(), "test": tokens(11)}
    found = train(network, MPI.COMM_WORLD, many, **settings)
    assert_equal(found, train(network, None, one, **settings))
    assert_tied(found.params, network)


@pytest.mark.mpi
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_tied_weights_above_a_frozen_block_equal_one_ranks(grid):
    """No block of the first stage says that it was the last one to be final: the sum over shards starts all the same."""
    layers = [pl.Linear(6, 9), pl.Tanh(), pl.Linear(9, 9), pl.Tanh(), pl.Linear(9, 9), pl.Tanh(), pl.Linear(9, 9), pl.Tanh()]
    tied = pl.Tied(pl.Linear(9, 9), "linear2")
    network = pl.Sequential(*layers, tied, pl.Tanh(), pl.Linear(9, 5), pl.Softmax())
    many, one = plans(network, grid)
    settings = {"freeze": ["linear1"]}
    found = train(network, MPI.COMM_WORLD, many, **settings)
    assert_equal(found, train(network, None, one, **settings))
    assert_tied(found.params, network)


@pytest.mark.mpi
@pytest.mark.parametrize("batch_size", [1, 5, 110])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_batches_with_empty_micro_batches_and_shards(grid, batch_size):
    """Fewer rows than micro-batches or shards, and one batch that is the whole data set."""
    network = NETWORKS["chain"]()
    many, one = plans(network, grid, micro_batches=8)
    settings = {"batch_size": batch_size, "data": data(11), "epochs": 2}
    assert_equal(train(network, MPI.COMM_WORLD, many, **settings), train(network, None, one, **settings))


@pytest.mark.mpi
def test_the_default_with_several_stages():
    network = NETWORKS["chain"]()
    stages = min(SIZE, 4)
    if SIZE % stages:
        stages = 1
    found = train(network, MPI.COMM_WORLD, None, stages=stages)
    assert found.summary["plan"]["schedule"] == ("unflushed" if stages > 1 else "flush")
    kept = train(network, MPI.COMM_WORLD, None, stages=stages, schedule="flush")
    assert kept.summary["plan"]["schedule"] == "flush"
    assert_equal(kept, train(network, None, None))


@pytest.mark.mpi
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_one_batch_an_epoch_is_the_synchronous_step(grid):
    """The pipe is empty before: both halves read the parameters."""
    network = NETWORKS["skips"]()
    many, _ = plans(network, grid)
    late = train(network, MPI.COMM_WORLD, many, batch_size=None)
    assert_equal(late, train(network, None, Plan(1, 1, (0, len(network.blocks))), batch_size=None))


@pytest.mark.mpi
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_same_ranks_same_bits_and_resumed_ones_too(grid, tmp_path_factory):
    network = NETWORKS["chain"]()
    many, _ = plans(network, grid)
    out = MPI.COMM_WORLD.bcast(str(tmp_path_factory.mktemp("run")))
    whole = train(network, MPI.COMM_WORLD, many, epochs=4)
    train(network, MPI.COMM_WORLD, many, epochs=2, out=out)
    resumed = train(network, MPI.COMM_WORLD, many, epochs=4, out=out, resume="auto")
    for block, arrays in whole.params.items():
        for name, a in arrays.items():
            np.testing.assert_array_equal(a, resumed.params[block][name])


@pytest.mark.mpi
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_divergence_raises_on_all_ranks_with_messages_in_flight(grid):
    network = NETWORKS["chain"]()
    many, _ = plans(network, grid)
    wild = pl.optim.SGD(1e200)
    with pytest.raises(DivergedError, match="the loss became"):
        train(network, MPI.COMM_WORLD, many, rule=wild, batch_size=1, data=data(350), epochs=1)
    train(network, MPI.COMM_WORLD, many, epochs=1)  # and the communicator serves the next run


@pytest.mark.mpi
@pytest.mark.parametrize("schedule", ["unflushed", "flush"])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_messages_in_pieces_give_the_same_bits(grid, schedule, monkeypatch):
    """As messages beyond the size that an MPI can count, and sums in many buckets, would travel."""
    network = NETWORKS["skips"]()
    many = replace(plans(network, grid)[0], schedule=schedule)
    whole = train(network, MPI.COMM_WORLD, many, epochs=1)
    monkeypatch.setattr(requests, "PIECE", 64)
    monkeypatch.setattr(reduce, "BUCKET", 8)
    parts = train(network, MPI.COMM_WORLD, many, epochs=1)
    for block, arrays in whole.params.items():
        for name, a in arrays.items():
            if grid[0] <= 2:  # more shards: the order of a sum may depend on its length
                np.testing.assert_array_equal(a, parts.params[block][name])
            np.testing.assert_allclose(a, parts.params[block][name], rtol=0, atol=1e-12)
