"""Shared batch normalisation: shards that sum their moments do what one does with all rows."""

import threading

import numpy as np
import pytest

from paralift.lifted.activations import BatchNormalise
from paralift.lifted.activations.shared import SharedBatchNormalise, over_shards

WIDTH = 4
SIZES = [(5, 7), (1, 0, 6), (0, 3)]
"""Rows of the shards."""


class Sums:
    """The sum over several threads that all call it."""

    def __init__(self, n):
        self.barrier, self.parts = threading.Barrier(n, timeout=20.0), {}

    def __call__(self, values):
        self.parts[threading.get_ident()] = values
        self.barrier.wait()
        total = sum(self.parts.values())
        self.barrier.wait()
        return total


def on_shards(sizes, work):
    """Run ``work(activation, rows)`` for each shard in a thread; return the results."""
    act = over_shards(BatchNormalise(eps=1e-3, momentum=0.3, shared=True), Sums(len(sizes)))
    assert isinstance(act, SharedBatchNormalise)
    ends = np.cumsum([0, *sizes])
    found = {}
    parts = [slice(i, j) for i, j in zip(ends, ends[1:], strict=False)]
    threads = [threading.Thread(target=lambda k=k, p=p: found.update({k: work(act, p)})) for k, p in enumerate(parts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [found[k] for k in range(len(sizes))]


def arrays(sizes):
    rng = np.random.default_rng(0)
    n = sum(sizes)
    return 3.0 + rng.standard_normal((n, WIDTH)), rng.standard_normal((n, WIDTH)), rng.standard_normal(WIDTH)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_the_pass_forward_and_the_running_statistics(sizes):
    z, _, offset = arrays(sizes)
    one, x = {"mean": np.ones(WIDTH), "variance": np.ones(WIDTH)}, np.empty_like(z)
    BatchNormalise(eps=1e-3, momentum=0.3).bound_train(z.copy(), offset, x, one)()

    def work(act, rows):
        own, out = {"mean": np.ones(WIDTH), "variance": np.ones(WIDTH)}, np.empty_like(z[rows])
        act.bound_train(z[rows].copy(), offset, out, own)()
        return out, own

    found = on_shards(sizes, work)
    np.testing.assert_allclose(np.concatenate([out for out, _ in found]), x, atol=1e-12)
    for _, own in found:
        np.testing.assert_allclose(own["mean"], one["mean"], rtol=1e-12)
        np.testing.assert_allclose(own["variance"], one["variance"], rtol=1e-12)


@pytest.mark.parametrize("scales", [(0.5, 0.5, 0.0), (0.0, 1.0, 0.0), (0.5, 0.5, 0.01), None], ids=str)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_the_pass_back(sizes, scales):
    """`None` is the residual of backpropagation."""
    z, g, _ = arrays(sizes)
    one, total = g.copy(), np.zeros(WIDTH)

    def residual(act, z, g, total):
        if scales is None:
            act.pull_back(z, g, total)
        else:
            act.difference(z, g, *scales, total)

    residual(BatchNormalise(eps=1e-3), z, one, total)

    def work(act, rows):
        own, sums = g[rows].copy(), np.zeros(WIDTH)
        residual(act, z[rows], own, sums)
        return own, sums

    found = on_shards(sizes, work)
    np.testing.assert_allclose(np.concatenate([own for own, _ in found]), one, atol=1e-9)
    np.testing.assert_allclose(sum(sums for _, sums in found), total, atol=1e-9)


def test_alone_it_is_batch_normalisation():
    act = BatchNormalise(shared=True)
    assert over_shards(act, None) is act
    own = BatchNormalise()
    assert over_shards(own, Sums(2)) is own
