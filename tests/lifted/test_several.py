"""Several outputs and their losses: sums over the heads, gradients, training, and targets that fit no head."""

from __future__ import annotations

import numpy as np
import pytest

import paralift as pl
from paralift.losses import CrossEntropy, Huber, Several, Squared

HEADS = pl.Heads((pl.Softmax(), 4), (pl.Identity(), 2), (pl.Tanh(), 1))
ROWS = 9


def arrays(seed=0):
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((ROWS, 7))
    labels, values = rng.integers(0, 4, ROWS), rng.standard_normal((ROWS, 2))
    y = np.column_stack([labels, values, np.tanh(rng.standard_normal(ROWS))])
    return z, y, labels, values


def network():
    return pl.Sequential(pl.Linear(5, 12), pl.ReLU(), pl.Linear(12, 7), HEADS)


def data(n=60):
    """Targets that a network can learn."""
    rng = np.random.default_rng(1)
    x, (_, y, _, _) = rng.standard_normal((n, 5)), arrays()
    y = np.resize(y, (n, 4))
    y[:, 0], y[:, 1:3], y[:, 3] = np.argmax(x[:, :4], axis=1), x[:, 1:3], np.tanh(x[:, 4])
    return x, y


def test_the_activation_acts_on_its_parts():
    z, *_ = arrays()
    x, w = HEADS.sigma(z), np.full((ROWS, 7), 0.3)
    np.testing.assert_array_equal(x[:, :4], pl.Softmax().sigma(z[:, :4]))
    np.testing.assert_array_equal(x[:, 4:6], z[:, 4:6])
    np.testing.assert_array_equal(x[:, 6:], np.tanh(z[:, 6:]))
    parts = [(pl.Softmax(), slice(0, 4)), (pl.Identity(), slice(4, 6)), (pl.Tanh(), slice(6, 7))]
    np.testing.assert_allclose(HEADS.phi(z), sum(a.phi(z[:, p]) for a, p in parts))
    np.testing.assert_allclose(HEADS.psi(x), sum(a.psi(x[:, p]) for a, p in parts))
    np.testing.assert_allclose(HEADS.prox(w, 0.5), np.hstack([a.prox(w[:, p], 0.5) for a, p in parts]))
    np.testing.assert_allclose(HEADS.penalty(x, z), 0.0, atol=1e-12)


def test_the_loss_is_the_weighted_sum_and_its_pull_the_gradient():
    z, y, labels, values = arrays()
    loss = Several(CrossEntropy(smoothing=0.1), Huber(0.5), Squared(), weights=(1.0, 0.25, 2.0))
    heads = pl.Heads((pl.Softmax(), 4), (pl.Identity(), 2), (pl.Identity(), 1))
    loss.check(heads, 7)
    assert loss.target_width(heads, 7) == y.shape[1]
    x, g = heads.sigma(z), np.empty_like(z)
    expected = (
        CrossEntropy(smoothing=0.1).value(pl.Softmax(), z[:, :4], x[:, :4], labels)
        + 0.25 * Huber(0.5).value(pl.Identity(), z[:, 4:6], z[:, 4:6], values)
        + 2.0 * Squared().value(pl.Identity(), z[:, 6:], z[:, 6:], y[:, 3:])
    )
    assert loss.value(heads, z, x, y) == pytest.approx(expected, rel=1e-12)
    assert loss.gradient(heads, z, x, y, 0.5, g) == pytest.approx(expected, rel=1e-12)
    h, along = 1e-6, np.random.default_rng(3).standard_normal(z.shape)
    above, below = (loss.value(heads, w, heads.sigma(w), y) for w in (z + h * along, z - h * along))
    assert np.vdot(g, along) / 0.5 == pytest.approx((above - below) / (2 * h), rel=1e-6)


def test_whole_targets():
    _, y, labels, values = arrays()
    whole = pl.losses.Several(CrossEntropy(), Squared(), Squared()).whole(HEADS, y)
    np.testing.assert_array_equal(whole[:, :4], np.eye(4)[labels])
    np.testing.assert_array_equal(whole[:, 4:], y[:, 1:])


@pytest.mark.parametrize("method", [pl.methods.nudged(), pl.methods.lifted_bregman(tau=0.5)], ids=["nudged", "lifted"])
def test_training_lowers_every_loss(method):
    x, y = data()
    net = network()
    rule = pl.optim.Adam(1e-2)
    run = pl.fit(net, (x, y), method=method, optimizer=rule, epochs=60, batch_size=30, comm=None, progress=False)
    before, after = net.apply(net.init(0), x.astype("f4")), net.apply(run.params, x.astype("f4"))

    def wrong(out):
        return (out[:, :4].argmax(axis=1) != y[:, 0]).mean(), ((out[:, 4:6] - y[:, 1:3]) ** 2).mean()

    assert all(a < 0.6 * b for a, b in zip(wrong(after), wrong(before), strict=True))
    assert run.evaluate((x, y))["error"] < 0.6


def test_gradients_are_those_of_backpropagation():
    x, y = data()
    net = network()
    params = net.init(0, np.float64)
    (value, nudged), (same, exact) = (
        pl.value_and_grad(net, method)(params, x, y) for method in (pl.methods.nudged(beta=1e-3), pl.methods.backprop())
    )
    assert value == pytest.approx(same, rel=1e-12)
    for block, found in nudged.items():
        for name, a in found.items():
            b = exact[block][name]
            assert np.vdot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)) > 0.999


@pytest.mark.parametrize("label", [-1.0, 4.0, 0.5, np.nan])
def test_classes_that_no_head_has(label):
    x, y = data()
    y[7, 0] = label
    with pytest.raises(ValueError, match="row 7, column 0.*expected the number of one of the 4 classes of Softmax"):
        pl.value_and_grad(network())(network().init(0, np.float64), x, y)
    with pytest.raises(ValueError, match="row 7|sample 7"):
        pl.fit(network(), (x, y), comm=None, progress=False)


def test_targets_of_another_width():
    x, y = data()
    with pytest.raises(ValueError, match=r"targets have shape \(3,\), expected \(4,\)"):
        pl.fit(network(), (x, y[:, :3]), comm=None, progress=False)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: pl.Heads(), "at least one pair"),
        (lambda: pl.Heads(pl.ReLU()), "pairs of an activation and its width"),
        (lambda: pl.Heads((pl.ReLU(), 0)), "width 0"),
        (lambda: pl.Heads((pl.BatchNorm(3).expand()[0], 3)), "couples samples"),
        (lambda: pl.Sequential(pl.Linear(3, 6), HEADS), "has 7 outputs, its map gives 6"),
        (lambda: Several(), "losses, one for each part"),
        (lambda: Several(Squared(), weights=(0.0,)), "1 positive numbers"),
        (lambda: Several(Squared()).check(HEADS, 7), "1 losses for the 3 parts"),
        (lambda: Several(Squared(), Squared(), Squared()).check(HEADS, 7), r"needs Softmax|needs Identity"),
        (lambda: Several(Squared()).check(pl.ReLU(), 7), "needs Heads"),
    ],
)
def test_errors(make, text):
    with pytest.raises((TypeError, ValueError), match=text):
        make()


def test_source_is_python_that_makes_it_again():
    assert eval(repr(HEADS), vars(pl)) == HEADS  # noqa: S307
    loss = Several(CrossEntropy(), Squared(), weights=(1.0, 0.5))
    assert eval(repr(loss), vars(pl.losses)) == loss  # noqa: S307
