"""The test problem U2, whose solution is known, by every method that minimises E (docs/method.md, section 7)."""

from __future__ import annotations

import numpy as np
import pytest
from problems import U2, MatrixU2, moved, problem, random_direction

import paralift as pl
from paralift.methods import lifted_bregman, lifted_bregman_bcd

SCALAR, MATRIX = U2(), MatrixU2()


def run(case, method, epochs, start, lam=None):
    ridge = pl.optim.Ridge(case.lam if lam is None else lam)
    return pl.fit(
        case.network(), case.data(), method=method, optimizer=pl.optim.SGD(1.0, regularizer=ridge), epochs=epochs,
        batch_size=None, dtype="float64", comm=None, progress=False, params={"linear1": {"weight": np.array(start)}},
    )  # fmt: skip


def energies(result):
    return np.array([record["energy"] for record in result.history])


def weight(result):
    return result.params["linear1"]["weight"]


def test_the_answer_is_a_minimum():
    assert (SCALAR.w, SCALAR.x, SCALAR.contraction) == pytest.approx((1.2, 2.7, 4 / 9))
    assert SCALAR.energy(SCALAR.x, SCALAR.w) == pytest.approx(0.45)
    assert max(SCALAR.w * SCALAR.a, 0) == pytest.approx(2.4)  # and not x*
    for h in (1e-3, -1e-3):
        assert SCALAR.energy(SCALAR.x + h, SCALAR.w) > 0.45 and SCALAR.energy(SCALAR.x, SCALAR.w + h) > 0.45


@pytest.mark.parametrize("order", ["gauss_seidel", "two_colour"])
@pytest.mark.parametrize("geometry", ["euclidean", "dual"])
def test_block_coordinate_descent_is_exact(order, geometry):
    result = run(SCALAR, lifted_bregman_bcd(order=order, geometry=geometry), 60, [[0.3]])
    assert weight(result)[0, 0] == pytest.approx(SCALAR.w, abs=1e-10)
    assert energies(result)[-1] == pytest.approx(0.45, abs=1e-10)


def test_it_contracts_by_four_ninths():
    found = [abs(weight(run(SCALAR, lifted_bregman_bcd(), k, [[0.3]]))[0, 0] - SCALAR.w) for k in (1, 2, 3, 8)]
    assert found[0] == pytest.approx(0.9 * SCALAR.contraction, rel=1e-10)
    assert found[1] / found[0] == pytest.approx(SCALAR.contraction, rel=1e-10)
    assert found[3] / found[2] == pytest.approx(SCALAR.contraction**5, rel=1e-8)


def test_the_history_is_the_energy_after_each_epoch():
    """E of the variables and the parameters as the epoch left them."""
    w, expected = 0.3, []
    for _ in range(6):
        x = (w * SCALAR.a + SCALAR.y) / 2
        w = SCALAR.a * x / (SCALAR.a**2 + SCALAR.lam)
        expected.append(SCALAR.energy(x, w))
    found = energies(run(SCALAR, lifted_bregman_bcd(), 6, [[0.3]]))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_matrix_form():
    """fit's E is a mean over the samples, and so is its regulariser's share: lam / n."""
    n = len(MATRIX.inputs)
    result = run(MATRIX, lifted_bregman_bcd(), 500, np.full((3, 2), 0.5), lam=MATRIX.lam / n)
    np.testing.assert_allclose(weight(result), MATRIX.w, atol=1e-10)
    assert energies(result)[-1] == pytest.approx(MATRIX.energy / n, abs=1e-10)
    found = pl.infer(
        MATRIX.network(), result.params, {"input": pl.Clamped(MATRIX.data()[0]), "output": pl.Clamped(MATRIX.data()[1])}
    )
    np.testing.assert_allclose(found.variables["linear1"], MATRIX.x, atol=1e-9)


@pytest.mark.parametrize(
    ("acceleration", "momentum", "epochs"), [("nesterov", 0.9, 150), ("nesterov", 0.3, 60), ("heavy_ball", 0.3, 80)]
)
def test_accelerations_reach_it(acceleration, momentum, epochs):
    result = run(SCALAR, lifted_bregman_bcd(acceleration, momentum), epochs, [[0.3]])
    assert weight(result)[0, 0] == pytest.approx(SCALAR.w, abs=1e-9)
    assert energies(result)[-1] == pytest.approx(0.45, abs=1e-9)


def test_nesterov_is_faster_on_the_matrix_form():
    n, start = len(MATRIX.inputs), np.full((3, 2), 0.5)
    errors = [
        np.abs(weight(run(MATRIX, lifted_bregman_bcd(kind, 0.7), 40, start, lam=MATRIX.lam / n)) - MATRIX.w).max()
        for kind in ("none", "nesterov")
    ]
    assert errors[1] < 0.1 * errors[0]


@pytest.mark.parametrize("method", [lifted_bregman(), lifted_bregman(0.3, 5, 2), lifted_bregman(100.0, 1)], ids=repr)
def test_implicit_steps_reach_it(method):
    result = run(SCALAR, method, 150, [[0.3]])
    assert weight(result)[0, 0] == pytest.approx(SCALAR.w, abs=1e-9)


def test_adam_on_the_energy_reaches_it():
    result = pl.fit(
        SCALAR.network(), SCALAR.data(), method=lifted_bregman_bcd("adam"),
        optimizer=pl.optim.SGD(0.2, regularizer=pl.optim.Ridge(0.5)), epochs=200, batch_size=None, dtype="float64",
        comm=None, progress=False, params={"linear1": {"weight": np.array([[0.3]])}},
    )  # fmt: skip
    assert weight(result)[0, 0] == pytest.approx(SCALAR.w, abs=1e-9)


# Descent on networks without a known answer


@pytest.mark.parametrize("order", ["gauss_seidel", "two_colour"])
@pytest.mark.parametrize("geometry", ["euclidean", "dual"])
@pytest.mark.parametrize("end", [pl.Identity(), pl.Softmax()], ids=repr)
def test_every_epoch_lowers_the_energy(order, geometry, end):
    network = pl.Sequential(
        pl.Linear(3, 5), pl.ReLU(), pl.Residual(pl.Linear(5, 5), pl.Tanh()), pl.Diagonal(5), pl.Softplus(),
        pl.Linear(5, 2), end,
    )  # fmt: skip
    p = problem(network, n=12)
    for regularizer in (None, pl.optim.L1(0.01), pl.optim.Ridge(0.1, on="all")):
        result = pl.fit(
            network, (p.x, p.y), method=lifted_bregman_bcd(order=order, geometry=geometry), params=p.params, epochs=25,
            optimizer=pl.optim.SGD(1.0, regularizer=regularizer), batch_size=None, dtype="float64", comm=None,
            progress=False,
        )  # fmt: skip
        energy = energies(result)
        assert (np.diff(energy) <= 1e-10 * (1 + energy[:-1])).all() and energy[-1] < 0.9 * energy[0]


def test_start_that_is_the_solution_stays():
    result = run(SCALAR, lifted_bregman_bcd(iterations=200), 3, [[SCALAR.w]])
    assert weight(result)[0, 0] == pytest.approx(SCALAR.w, abs=1e-12)
    assert energies(result) == pytest.approx([0.45] * 3, abs=1e-12)


def test_problems_helpers():
    """The directions of the numerical derivatives leave running statistics alone."""
    network = pl.Sequential(pl.Linear(3, 4), pl.BatchNorm(4))
    params = network.init(0, np.float64)
    along = random_direction(network, params)
    assert not along["linear1"]["mean"].any() and along["linear1"]["weight"].all()
    assert moved(params, along, 0.5)["diagonal1"]["gain"] == pytest.approx(1 + 0.5 * along["diagonal1"]["gain"])
