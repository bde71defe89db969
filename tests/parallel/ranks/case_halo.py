"""The halo schedule on P stages finds what one rank finds in the order of the same cuts, for random graphs and cuts."""

import numpy as np
import pytest
from mpi4py import MPI
from threadpoolctl import threadpool_limits

import paralift as pl
from paralift.lifted.exchange import Walls
from paralift.lifted.inference.estimate import Estimator
from paralift.lifted.losses import CrossEntropy
from paralift.lifted.stage import Stage
from paralift.methods import Hard, Method, Nudge, ProximalGradient
from paralift.parallel import persistent, requests
from paralift.parallel.grid import Grid
from paralift.parallel.halo import Halo

WORLD = MPI.COMM_WORLD
SIZE, RANK = WORLD.Get_size(), WORLD.Get_rank()
WAYS = [(order, geometry) for order in ("gauss_seidel", "two_colour", "jacobi") for geometry in ("euclidean", "dual")]
LIKE = np.zeros(1)
WIDTH = 4


def graph(seed):
    """A random graph of 4 to 8 layers; each reads up to three of those before it and the last all that nobody reads."""
    rng = np.random.default_rng(seed)
    names, layers, unread = ["input"], {}, set()
    for k in range(rng.integers(4, 9)):
        some = rng.choice(names[-4:] if rng.random() < 0.7 else names, size=min(len(names), rng.integers(1, 4)), replace=False)
        parents = [str(p) for p in some] if k else ["input"]
        activation = [pl.Tanh(), pl.ReLU(), pl.Softplus()][rng.integers(3)]
        combine = [pl.Add()] if len(parents) > 1 else []
        layers[f"b{k}"] = (parents, *combine, pl.Linear(WIDTH, WIDTH), activation)
        unread = (unread - set(parents)) | {f"b{k}"}
        names.append(f"b{k}")
    combine = [pl.Add()] if len(unread) > 1 else []
    return pl.Graph(**layers, end=(sorted(unread), *combine, pl.Linear(WIDTH, 3), pl.Softmax()))


def chain(depth, width=WIDTH):
    hidden = [layer for _ in range(depth - 1) for layer in (pl.Linear(width, width), pl.Tanh())]
    return pl.Sequential(*hidden, pl.Linear(width, 3), pl.Softmax())


def any_bounds(network, seed):
    rng, n = np.random.default_rng([seed, 1]), len(network.blocks)
    return (0, *sorted(int(c) for c in rng.choice(np.arange(1, n), SIZE - 1, replace=False)), n)


def estimator(network, method, start, stop, neighbours, cuts, capacity=7):
    stage = Stage(network, start, stop, LIKE)
    rng = np.random.default_rng(5)
    params = network.init(0, np.float64)
    params = {b: {k: a + 0.3 * rng.standard_normal(a.shape) for k, a in arrays.items()} for b, arrays in params.items()}
    stage.load({b.name: params[b.name] for b in stage.blocks if b.name in params})
    return Estimator(stage, capacity, method, CrossEntropy(), neighbours, cuts)


def gradient(found, rows):
    rng = np.random.default_rng(rows)
    window = found.state.window(rows)
    if found.stage.has_input:
        window.x[0][...] = rng.standard_normal(window.x[0].shape)
    found.state.y = np.random.default_rng(rows + 100).integers(0, 3, found.state.capacity)
    found.gradient(rows)
    return window


def check(network, bounds, method, batches=(7, 3, 0, 7)):  # whole, short and empty batches, in turn
    cuts = bounds[1:-1]
    with Grid(WORLD, 1, SIZE) as grid, threadpool_limits(limits=1, user_api="blas"):
        neighbours = Halo(grid)
        many = estimator(network, method, bounds[RANK], bounds[RANK + 1], neighbours, cuts, max(batches))
        one = estimator(network, method, 0, len(network.blocks), Walls(), cuts, max(batches))
        for rows in batches:
            here, whole = gradient(many, rows), gradient(one, rows)
            hidden = [v for v in here.x if v != len(network.blocks)]
            for v in hidden:
                np.testing.assert_allclose(here.x[v], whole.x[v], rtol=1e-10, atol=1e-12, err_msg=f"x{v}, {rows} rows")
            for block, arrays in many.stage.gradients.items():
                for name, a in arrays.items():
                    np.testing.assert_allclose(a, one.stage.gradients[block][name], rtol=1e-9, atol=1e-11)
        assert (neighbours.n_messages > 0) == (SIZE > 1)
        values = {v: here.x[v].copy() for v in hidden}
        neighbours.finish()
        WORLD.Barrier()
        neighbours.free()
    return values


@pytest.mark.mpi
@pytest.mark.parametrize(("order", "geometry"), WAYS)
@pytest.mark.parametrize("seed", range(8))
def test_random_graphs_and_cuts(seed, order, geometry):
    network = graph(seed)
    check(network, any_bounds(network, seed), Method(clamp=Hard(), inference=ProximalGradient(3, order, geometry)))


@pytest.mark.mpi
@pytest.mark.parametrize(("order", "geometry"), WAYS)
@pytest.mark.parametrize("spare", [0, 1, 5])
def test_chains_with_stages_of_a_single_block(spare, order, geometry):
    """As many blocks as stages; or all that is left over on the last stage."""
    network = chain(SIZE + spare)
    bounds = (*range(SIZE), SIZE + spare)
    check(network, bounds, Method(clamp=Nudge(0.5), inference=ProximalGradient(2, order, geometry)))


@pytest.mark.mpi
def test_a_block_that_reads_two_variables_of_the_stage_below():
    network = pl.Graph(
        a=(["input"], pl.Linear(WIDTH, WIDTH), pl.Tanh()),
        b=(["a"], pl.Linear(WIDTH, WIDTH), pl.Tanh()),
        c=(["b", "a"], pl.Add()),
        d=(["c", "b", "a"], pl.Add()),
        e=(["d", "a"], pl.Concatenate(), pl.Linear(2 * WIDTH, 3), pl.Softmax()),
    )
    bounds = {1: (0, 6), 2: (0, 2, 6), 3: (0, 2, 3, 6), 4: (0, 2, 3, 4, 6)}[SIZE]
    check(network, bounds, Method(clamp=Hard(), inference=ProximalGradient(4)))


@pytest.mark.mpi
@pytest.mark.parametrize("order", ["gauss_seidel", "jacobi"])
def test_pieces_and_looks_change_nothing(monkeypatch, order):
    network = graph(3)
    method = Method(clamp=Hard(), inference=ProximalGradient(3, order))
    expected = check(network, any_bounds(network, 3), method)
    monkeypatch.setattr(requests, "PIECE", 24)
    monkeypatch.setattr(persistent, "LARGE", 0)
    found = check(network, any_bounds(network, 3), method)
    for v, x in expected.items():
        np.testing.assert_array_equal(found[v], x)


@pytest.mark.mpi
@pytest.mark.parametrize("order", ["gauss_seidel", "two_colour", "jacobi"])
def test_messages_that_do_not_leave_at_once(order):
    """A large message goes when the receiver is there: until then its array must stay as it is."""
    network = chain(SIZE + 2, width=64)
    method = Method(clamp=Hard(), inference=ProximalGradient(3, order))
    check(network, (*range(SIZE), SIZE + 2), method, (300, 299, 300))


@pytest.mark.mpi
def test_a_chain_sends_each_edge_once_an_iteration():
    network, n = chain(4 * SIZE), 10
    bounds = tuple(range(0, 4 * SIZE + 1, 4))
    with Grid(WORLD, 1, SIZE) as grid:
        neighbours, counts = Halo(grid), []
        for iterations in (1, 1 + n):
            method = Method(clamp=Hard(), inference=ProximalGradient(iterations))
            found = estimator(network, method, bounds[RANK], bounds[RANK + 1], neighbours, bounds[1:-1])
            before = neighbours.n_messages
            gradient(found, 7)
            counts.append(neighbours.n_messages - before)
        neighbours.finish()
        WORLD.Barrier()
        neighbours.free()
    sides = (RANK > 0) + (RANK + 1 < SIZE)
    assert counts[1] - counts[0] == 2 * n * sides  # one x up and one pull down through each side
