"""Steps by Gram matrices: the minimum of what they claim to minimise, and never more energy."""

from __future__ import annotations

import numpy as np
import pytest
from problems import problem

import paralift as pl
from paralift.lifted.exchange import Walls
from paralift.lifted.inference.least_squares import check_least_squares, least_squares
from paralift.lifted.inference.lifted import LiftedState, Roles
from paralift.lifted.stage import Stage
from paralift.methods import LeastSquares, askari, lpom, mac

WALLS = Walls()
RNG = np.random.default_rng(4)
X, Y = RNG.standard_normal((30, 4)), RNG.standard_normal((30, 3))
ONES = np.concatenate([X, np.ones((30, 1))], axis=1)


def fitted(method, **options):
    """The parameters (W; b) of one affine block after one step on the whole of X and Y."""
    network = pl.Sequential(pl.Linear(4, 3))
    rule = pl.optim.SGD(1.0, regularizer=options.pop("regularizer", None))
    run = pl.fit(
        network, (X, Y), method=method, optimizer=rule, epochs=1, batch_size=None, dtype="float64", comm=None, progress=False,
        seed=3, plan="counted", **options,
    )  # fmt: skip
    found = run.params["linear1"]
    return np.vstack([found["weight"], found["bias"]]), network.init(3, np.float64)["linear1"]


@pytest.mark.parametrize("method", [mac(tau=None), askari(tau=None), lpom(tau=None)], ids=["mac", "askari", "lpom"])
def test_an_affine_network_is_linear_least_squares(method):
    theta, _ = fitted(method)
    np.testing.assert_allclose(theta, np.linalg.lstsq(ONES, Y, rcond=None)[0], atol=1e-10)


def test_a_ridge_counts_for_weights():
    theta, _ = fitted(mac(tau=None), regularizer=pl.optim.Ridge(0.3))
    penalty = 30 * 0.3 * np.diag([1.0, 1, 1, 1, 0])
    np.testing.assert_allclose(theta, np.linalg.solve(ONES.T @ ONES + penalty, ONES.T @ Y), atol=1e-10)


def test_tau_holds_the_parameters_and_frozen_ones_stay():
    theta, old = fitted(mac(tau=0.5))
    start = np.vstack([old["weight"], old["bias"]])
    expected = np.linalg.solve(ONES.T @ ONES / 30 + 2 * np.eye(5), ONES.T @ Y / 30 + 2 * start)
    np.testing.assert_allclose(theta, expected, atol=1e-10)
    theta, old = fitted(mac(tau=None), freeze=["linear1.bias"])
    np.testing.assert_array_equal(theta[4], old["bias"])
    np.testing.assert_allclose(theta[:4], np.linalg.lstsq(X, Y - old["bias"], rcond=None)[0], atol=1e-10)
    theta, old = fitted(mac(tau=None), freeze=["linear1.weight"])
    np.testing.assert_allclose(theta[4], (Y - X @ old["weight"]).mean(axis=0), atol=1e-10)


def test_directions_that_no_sample_has_stay():
    """Pixels that are always zero: the Gram matrix is singular."""
    blank = X.copy()
    blank[:, 1] = 0.0
    network = pl.Sequential(pl.Linear(4, 3))
    run = pl.fit(
        network, (blank, Y), method=mac(tau=None), epochs=1, batch_size=None, dtype="float64", comm=None, progress=False,
        plan="counted",
    )  # fmt: skip
    start = network.init(0, np.float64)["linear1"]["weight"]
    np.testing.assert_allclose(run.params["linear1"]["weight"][1], start[1], rtol=1e-12)


# On lifted variables at random


def window_of(p, penalty, beta=1.0, seed=0):
    stage = Stage(p.network, 0, len(p.network.blocks), np.zeros(1))
    stage.load(p.params)
    window = LiftedState(stage, len(p.x)).window(len(p.x))
    window.x[0][...], window.state.y, window.roles = p.x, p.y, Roles(p.loss, beta, penalty)
    rng = np.random.default_rng(seed)
    for b in stage.blocks:
        window.x[b.index][...] = b.activation.sigma(rng.standard_normal(window.x[b.index].shape))
    return window


def step(window):
    before = float(window.energy())
    window.gradients()
    least_squares(window, WALLS, window.n)
    window.stale.update(window.own)
    return before, float(window.energy())


def chain(activation, end):
    return pl.Sequential(pl.Linear(3, 5), activation, pl.Linear(5, 4), activation, pl.Linear(4, 3), end)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("end", [pl.Identity(), pl.Softmax()], ids=repr)
@pytest.mark.parametrize(
    ("penalty", "activation"),
    [("bregman", pl.ReLU()), ("bregman", pl.Tanh()), ("quadratic", pl.ReLU()), ("quadratic", pl.Tanh()),
     ("quadratic", pl.Softmax()), ("constrained", pl.ReLU()), ("constrained", pl.Hardtanh())],
)  # fmt: skip
def test_no_step_raises_the_energy(penalty, activation, end, seed):
    window = window_of(problem(chain(activation, end), n=9, seed=seed), penalty, (1.0, 0.1)[seed % 2], seed)
    before, after = step(window)
    assert after <= before + 1e-10 * (1 + before)
    again, last = step(window)
    assert last <= again + 1e-10 * (1 + again) and last < before


def test_hidden_blocks_of_the_constrained_penalty_are_fitted_exactly():
    window = window_of(problem(chain(pl.ReLU(), pl.Softmax()), n=30), "constrained")
    step(window)
    for v, name in ((1, "linear1"), (2, "linear2")):
        design = np.concatenate([window.x[v - 1], np.ones((30, 1))], axis=1)
        expected = np.linalg.lstsq(design, window.x[v], rcond=None)[0]
        found = window.stage.params[name]
        np.testing.assert_allclose(np.vstack([found["weight"], found["bias"]]), expected, atol=1e-9)


def test_a_wide_block_moves_as_far_as_its_numbers_allow():
    """More parameters than samples: the fit is exact, however many solutions there are."""
    window = window_of(problem(pl.Sequential(pl.Linear(12, 7), pl.ReLU(), pl.Linear(7, 2), pl.Identity()), n=6), "constrained")
    step(window)
    window.refresh(1)
    np.testing.assert_allclose(window.z[1], window.x[1], atol=1e-6)


@pytest.mark.parametrize(
    ("network", "regularizer", "words"),
    [
        (pl.Sequential(pl.Linear(4, 3), pl.LayerNorm(3)), None, ["diagonal1", "Gram", "BlockDescent"]),
        (pl.Sequential(pl.Linear(4, 3)), pl.optim.L1(0.1), ["L1", "Ridge", "BlockDescent"]),
        (pl.Sequential(pl.Linear(4, 4), pl.ReLU(), pl.Tied(pl.Linear(4, 4), "linear1")), None, ["share", "BlockDescent"]),
    ],
)
def test_what_cannot_be_fitted_is_said_before_anything_is_built(network, regularizer, words):
    with pytest.raises((TypeError, ValueError)) as error:
        check_least_squares(network, regularizer)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_tau_is_positive():
    with pytest.raises(ValueError, match="tau"):
        LeastSquares(0.0)
