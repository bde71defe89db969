"""Tied parameters: one parameter in several blocks. What is found for a network with replicas is found for one without."""

from __future__ import annotations

import numpy as np
import pytest

import paralift as pl
from paralift.lifted.maps import ShapeError
from paralift.methods import BlockDescent, Hard, Method, ProximalGradient

X, Y = np.random.default_rng(0).standard_normal((6, 4)), np.random.default_rng(1).integers(0, 3, 6)


def network(tied=True):
    second = pl.Tied(pl.Linear(4, 4), to="linear1") if tied else pl.Linear(4, 4)
    return pl.Sequential(pl.Linear(4, 4), pl.Tanh(), second, pl.Tanh(), pl.Linear(4, 3), pl.Softmax())


def test_replicas_start_as_their_owner():
    found, free = network().init(3), network(tied=False).init(3)
    for name in ("weight", "bias"):
        np.testing.assert_array_equal(found["linear2"][name], found["linear1"][name])
        np.testing.assert_array_equal(found["linear1"][name], free["linear1"][name])
    assert found["linear2"]["weight"] is not found["linear1"]["weight"]
    assert network().n_parameters == network(tied=False).n_parameters - 20


@pytest.mark.parametrize("method", [pl.methods.nudged(), pl.methods.backprop(), pl.methods.lifted_bregman()], ids=repr)
def test_each_replica_gets_the_sum_of_all_gradients(method):
    params = network().init(0, np.float64)
    value, grads = pl.value_and_grad(network(), method)(params, X, Y)
    expected, free = pl.value_and_grad(network(tied=False), method)(params, X, Y)
    assert value == expected
    for name in ("weight", "bias"):
        np.testing.assert_allclose(grads["linear1"][name], free["linear1"][name] + free["linear2"][name], rtol=1e-12)
        np.testing.assert_array_equal(grads["linear2"][name], grads["linear1"][name])
    np.testing.assert_array_equal(grads["linear3"]["weight"], free["linear3"]["weight"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "rule",
    [pl.optim.AdamW(1e-2, weight_decay=0.1), pl.optim.Adam(1e-2, regularizer=pl.optim.L1(1e-3)), pl.optim.SGD(0.1)],
    ids=repr,
)
@pytest.mark.parametrize("width", [5, 37])
def test_replicas_stay_equal_bit_for_bit(rule, dtype, width):
    """Wherever they lie in the flat array, whatever instructions a compiler takes for its end."""
    net = pl.networks.transformer(7, 3, width=width, depth=1, heads=1)
    rng = np.random.default_rng(0)
    data = rng.integers(0, 7, (64, 3)).astype(float), rng.integers(0, 7, (64, 3))
    run = pl.fit(net, data, optimizer=rule, epochs=3, batch_size=16, dtype=dtype, comm=None, progress=False)
    a, b = run.params["embedding1"]["weight"], run.params["readout1"]["weight"]
    np.testing.assert_array_equal(a, b)
    assert (a != net.init(0, dtype)["embedding1"]["weight"]).any()


def test_steps_that_minimise_e_count_the_curvature_of_all_replicas():
    method = Method(clamp=Hard(), inference=ProximalGradient(2), update=BlockDescent())
    run = pl.fit(network(), (X, Y), method=method, epochs=5, batch_size=None, dtype="float64", comm=None, progress=False)
    energies = [record["energy"] for record in run.history]
    assert all(b <= a for a, b in zip(energies, energies[1:], strict=False))
    np.testing.assert_array_equal(run.params["linear1"]["weight"], run.params["linear2"]["weight"])


def test_a_regulariser_counts_what_is_shared_once():
    l1, settings = pl.optim.L1(0.1), {"epochs": 1, "batch_size": None, "dtype": "float64", "comm": None, "progress": False}
    run = pl.fit(network(), (X, Y), optimizer=pl.optim.SGD(0.1, regularizer=l1), **settings)
    weights = [run.params[b]["weight"] for b in ("linear1", "linear3")]
    record = run.history[-1]
    assert record["energy"] - record["loss"] == pytest.approx(0.1 * sum(np.abs(w).sum() for w in weights))


def test_a_resumed_run_repeats_the_uninterrupted_one(tmp_path):
    settings = {"batch_size": 2, "comm": None, "progress": False}
    whole = pl.fit(network(), (X, Y), epochs=3, **settings)
    pl.fit(network(), (X, Y), epochs=1, out=tmp_path, **settings)
    resumed = pl.fit(network(), (X, Y), epochs=3, out=tmp_path, resume="auto", **settings)
    for block, arrays in whole.params.items():
        for name, a in arrays.items():
            np.testing.assert_array_equal(a, resumed.params[block][name])


def test_replicas_that_differ_are_refused():
    params = network().init(0, np.float64)
    params["linear2"]["bias"] = params["linear2"]["bias"] + 1.0
    words = r"params\['linear2'\]\['bias'\] differs from params\['linear1'\]\['bias'\]"
    for use in (
        lambda: network().apply(params, X),
        lambda: pl.value_and_grad(network())(params, X, Y),
        lambda: pl.fit(network(), (X, Y), params=params, comm=None, progress=False),
    ):
        with pytest.raises(ValueError, match=words):
            use()


@pytest.mark.parametrize(
    ("tied", "words"),
    [
        (lambda: pl.Tied(pl.Linear(4, 4), to="linear2"), r"tied to 'linear2', expected an earlier block: \['linear1'\]"),
        (lambda: pl.Tied(pl.Linear(4, 3), to="linear1"), r"'weight' of shape \(4, 3\)"),
        (lambda: pl.Tied(pl.Diagonal(4), to="linear1"), "'gain'"),
    ],
)
def test_ties_that_cannot_be(tied, words):
    with pytest.raises(ShapeError, match=words):
        pl.Sequential(pl.Linear(4, 4), tied(), pl.Softmax())


def test_a_tie_to_a_tie_names_the_owner():
    tie = pl.Tied(pl.Linear(4, 4), to="linear1")
    with pytest.raises(ShapeError, match="tie it to 'linear1'"):
        pl.Sequential(pl.Linear(4, 4), tie, pl.Tied(pl.Linear(4, 4), to="linear2"), pl.Softmax())


def test_the_source_builds_the_network_again():
    assert repr(eval(network().source, vars(pl))) == network().source
