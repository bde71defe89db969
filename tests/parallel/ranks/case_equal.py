"""On P ranks, for any grid of shards and stages, a run equals the one-rank run: 1e-10 relative in float64."""

import numpy as np
import pytest
from mpi4py import MPI

import paralift as pl
from paralift.methods import Hard, Method, Nudge, ProximalGradient
from paralift.parallel.plan import Plan, block_costs
from paralift.parallel.split import split

SIZE = MPI.COMM_WORLD.Get_size()
TOLERANCE = 1e-10


def chain():
    return pl.Sequential(
        pl.Linear(6, 9), pl.Tanh(), pl.Linear(9, 8), pl.ReLU(), pl.Linear(8, 7), pl.Softplus(),
        pl.Linear(7, 7), pl.LayerNorm(7), pl.ReLU(), pl.Linear(7, 4), pl.Softmax(),
    )  # fmt: skip


def skips():
    """Skip connections over several cuts, the input's and a hidden one's, and a branch."""
    return pl.Graph(
        a=(["input"], pl.Linear(6, 8), pl.ReLU()),
        b=(["a"], pl.Linear(8, 8), pl.Tanh()),
        c=(["b"], pl.Linear(8, 8), pl.ReLU()),
        d=(["c", "a", "input"], pl.Concatenate(), pl.Linear(22, 8), pl.ReLU()),
        e=(["d", "a"], pl.Add(), pl.Linear(8, 4), pl.Softmax()),
    )


def transformer():
    """Attention, and a parameter that the first and the last block share: on the first and the last stage."""
    return pl.networks.transformer(5, 3, width=8, depth=1, heads=2)


def tied():
    """Shared parameters within a stage or across two, for iterations, which know no attention."""
    return pl.Sequential(
        pl.Linear(6, 8), pl.Tanh(), pl.Linear(8, 8), pl.ReLU(), pl.Tied(pl.Linear(8, 8), to="linear2"), pl.ReLU(),
        pl.Tied(pl.Linear(8, 8), to="linear2"), pl.Tanh(), pl.Linear(8, 4), pl.Softmax(),
    )  # fmt: skip


def images():
    """A residual block with a projection, which cuts of two and more stages go through."""
    branch = [pl.Conv2d(2, 4, 3, padding=1), pl.ReLU(), pl.Conv2d(4, 4, 3, stride=2, padding=1)]
    return pl.Sequential(
        pl.Reshape(3, 2, 1), pl.Conv2d(1, 2, 3, padding=1), pl.ReLU(),
        pl.Parallel(branch, pl.Conv2d(2, 4, 1, stride=2)), pl.ReLU(),
        pl.Residual(pl.Conv2d(4, 4, (3, 1), padding=(1, 0)), pl.Tanh()), pl.GlobalAverage(), pl.Linear(4, 4), pl.Softmax(),
        input_shape=(6,),
    )  # fmt: skip


NETWORKS = {"chain": chain, "skips": skips}
METHODS = {
    "nudged": lambda cuts: pl.methods.nudged(),
    "relative": lambda cuts: pl.methods.nudged(relative=0.01),
    "backprop": lambda cuts: pl.methods.backprop(),
    "gauss_seidel": lambda cuts: Method(clamp=Hard(), inference=ProximalGradient(2, cuts=cuts)),
    "two_colour": lambda cuts: Method(clamp=Nudge(0.5), inference=ProximalGradient(2, "two_colour")),
    "jacobi_dual": lambda cuts: Method(clamp=Hard(), inference=ProximalGradient(2, "jacobi", "dual")),
    "persistent": lambda cuts: Method(clamp=Hard(), inference=ProximalGradient(1, persistent=True, cuts=cuts)),
    "implicit": lambda cuts: Method(
        clamp=Hard(), inference=ProximalGradient(1, cuts=cuts), update=pl.methods.Implicit(0.5, 2)
    ),
    "descent": lambda cuts: Method(
        clamp=Hard(), inference=ProximalGradient(1, "two_colour"), update=pl.methods.BlockDescent("nesterov")
    ),
}
GRIDS = [(SIZE // s, s) for s in range(1, SIZE + 1) if SIZE % s == 0]


def data(n=110):
    rng = np.random.default_rng(1)
    return rng.standard_normal((n, 6)), rng.integers(0, 4, n)


def tokens(n=110):
    rng = np.random.default_rng(1)
    return rng.integers(0, 5, (n, 3)).astype(float), rng.integers(0, 5, (n, 3))


def train(network, method, comm, plan, batch_size=24, data=data):
    # Adam divides small gradients by their own size and so amplifies rounding; it is left to the sweeps.
    l1 = pl.optim.L1(1e-4)
    sweeps = not isinstance(method.inference, ProximalGradient)
    rule = pl.optim.Adam(1e-2, regularizer=l1) if sweeps else pl.optim.SGD(0.05, momentum=0.9, regularizer=l1)
    return pl.fit(
        network, data(), test=data(11), method=method, optimizer=rule,
        epochs=4, batch_size=batch_size, seed=3, dtype="float64", comm=comm, plan=plan, progress=False,
    )  # fmt: skip


def assert_equal(many, one):
    for block, arrays in one.params.items():
        for name, expected in arrays.items():
            found = many.params[block][name]
            error = np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-3)
            assert error <= TOLERANCE, (block, name, error)
    for a, b in zip(many.history, one.history, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-9)
        assert a["energy"] == pytest.approx(b["energy"], rel=1e-9)
        assert a["test_accuracy"] == b["test_accuracy"]


@pytest.mark.mpi
@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", NETWORKS)
def test_equals_one_rank(kind, method, grid):
    network = NETWORKS[kind]()
    shards, stages = grid
    n = len(network.blocks)
    bounds = split(block_costs(network), stages)
    chosen = METHODS[method](bounds[1:-1])
    many = train(network, chosen, MPI.COMM_WORLD, Plan(shards, stages, bounds, micro_batches=3, schedule="flush"))
    one = train(network, chosen, None, Plan(1, 1, (0, n), micro_batches=3))
    assert_equal(many, one)


def assert_tied(params, network):
    """Replicas are equal bit for bit."""
    assert network.ties
    for tie in network.ties:
        for block in tie.blocks:
            np.testing.assert_array_equal(params[block][tie.name], params[tie.blocks[0]][tie.name])


@pytest.mark.mpi
@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize(
    ("kind", "method"), [("transformer", "nudged"), ("tied", "relative"), ("tied", "gauss_seidel"), ("tied", "descent")]
)
def test_tied_parameters_equal_one_ranks_and_each_other(kind, method, grid):
    network, samples = (transformer(), tokens) if kind == "transformer" else (tied(), data)
    shards, stages = grid
    bounds = split(block_costs(network), stages)
    chosen = METHODS[method](bounds[1:-1])
    many = train(network, chosen, MPI.COMM_WORLD, Plan(shards, stages, bounds, 3, schedule="flush"), data=samples)
    one = train(network, chosen, None, Plan(1, 1, (0, len(network.blocks)), micro_batches=3), data=samples)
    assert_equal(many, one)
    assert_tied(many.params, network)


@pytest.mark.mpi
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_convolutions_equal_one_rank(grid):
    network, method = images(), pl.methods.nudged()
    shards, stages = grid
    n = len(network.blocks)
    bounds = split(block_costs(network), stages)
    if stages == 2:
        bounds = (0, 3, n)  # between the branch's convolutions
        assert len(network.live(3)) == 2
    many = train(network, method, MPI.COMM_WORLD, Plan(shards, stages, bounds, micro_batches=3, schedule="flush"))
    assert_equal(many, train(network, method, None, Plan(1, 1, (0, n), micro_batches=3)))


@pytest.mark.mpi
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_shared_batch_normalisation_equals_one_rank(grid):
    """Statistics of a whole batch, whatever part a shard has. An offset before them would have no gradient but rounding."""
    network = pl.Sequential(
        pl.Linear(6, 8, bias=False), pl.BatchNorm(8, shared=True), pl.ReLU(),
        pl.Linear(8, 8, bias=False), pl.BatchNorm(8, shared=True),
        pl.Tanh(), pl.Linear(8, 4), pl.Softmax(),
    )  # fmt: skip
    shards, stages = grid
    n = len(network.blocks)
    plan = Plan(shards, stages, split(block_costs(network), stages), micro_batches=1, schedule="flush")
    many = train(network, pl.methods.nudged(), MPI.COMM_WORLD, plan)
    assert_equal(many, train(network, pl.methods.nudged(), None, Plan(1, 1, (0, n), micro_batches=1)))


@pytest.mark.mpi
def test_chosen_plan_with_more_ranks_than_blocks_and_samples():
    network = pl.Sequential(pl.Linear(6, 4), pl.Softmax())
    many = train(network, pl.methods.nudged(), MPI.COMM_WORLD, None, batch_size=3)
    one = train(network, pl.methods.nudged(), None, None, batch_size=3)
    assert many.summary["stages"] == 1 and many.summary["shards"] == SIZE
    assert_equal(many, one)


@pytest.mark.mpi
def test_same_ranks_same_bits():
    """Measured costs may choose another plan in each run."""
    runs = [train(chain(), pl.methods.nudged(), MPI.COMM_WORLD, "counted") for _ in range(2)]
    for block, arrays in runs[0].params.items():
        for name, a in arrays.items():
            np.testing.assert_array_equal(a, runs[1].params[block][name])
