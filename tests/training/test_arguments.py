"""What `fit` takes as data: pairs of arrays and sources, for training and for the test, in every combination."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import paralift as pl
from paralift.data import ArraySource
from paralift.training.arguments import as_dataset


def pair(n):
    rng = np.random.default_rng(n)
    return rng.standard_normal((n, 3)), rng.integers(0, 2, n)


@pytest.mark.parametrize(("train", "test"), list(itertools.product([pair, lambda n: ArraySource(*pair(n))], repeat=2)))
def test_pairs_and_sources(train, test):
    data = as_dataset(train(9), test(4))
    assert (data.train.n_samples, data.test.n_samples, data.n_classes) == (9, 4, 2)
    net = pl.Sequential(pl.Linear(3, 2), pl.Softmax())
    run = pl.fit(net, train(9), test=test(4), epochs=1, comm=None, progress=False)
    assert "test_accuracy" in run.history[-1]


def test_a_data_set_brings_its_own_test():
    data = pl.data.from_arrays(*pair(9), test=pair(4))
    assert as_dataset(data, None) is data
    assert as_dataset(pair(9), None).test is None


@pytest.mark.parametrize(("data", "test", "text"), [
    (3, None, "data is int, expected a data set, a source or a pair"),
    (pair(9), 3, "test is int, expected a source or a pair"),
    (pair(9), (1, 2, 3), "test is tuple"),
])  # fmt: skip
def test_what_is_no_data(data, test, text):
    with pytest.raises(TypeError, match=text):
        as_dataset(data, test)
