"""Losses: value, pull and target on their output, in every array library; which losses fit which output."""

from __future__ import annotations

import array_api_strict as strict
import numpy as np
import pytest

import paralift as pl
from paralift.kernels import clamp as clamp_kernels
from paralift.losses import Absolute, BinaryCrossEntropy, BregmanLoss, CrossEntropy, Huber, Squared

ROWS, WIDTH = 8, 5
WEIGHTS = (1.0, 0.5, 2.0, 0.0, 3.0)
LABELS = np.array([0, 4, 2, 2, 1, 3, 0, 4])


def logits(seed=0):
    return 2.0 * np.random.default_rng(seed).standard_normal((ROWS, WIDTH))


def probabilities(seed=1):
    return pl.Softmax().sigma(logits(seed))


def cross_entropy(z, y):
    z = z - z.max(axis=1, keepdims=True)
    return -(y * (z - np.log(np.exp(z).sum(axis=1, keepdims=True)))).sum()


def tanh_penalty(z, y):
    return (y * (np.arctanh(y) - z) + 0.5 * np.log(1 - y * y) + np.log(np.cosh(z))).sum()


def huber(d, delta):
    return np.where(np.abs(d) <= delta, 0.5 * d * d, delta * np.abs(d) - 0.5 * delta**2).sum()


CASES = {
    "labels": (CrossEntropy(), pl.Softmax(), LABELS, lambda z, y: cross_entropy(z, np.eye(WIDTH)[y])),
    "probabilities": (CrossEntropy(), pl.Softmax(), probabilities(), cross_entropy),
    "one-hot rows": (CrossEntropy(), pl.Softmax(), np.eye(WIDTH)[LABELS], cross_entropy),
    "smoothed labels": (
        CrossEntropy(smoothing=0.1), pl.Softmax(), LABELS, lambda z, y: cross_entropy(z, 0.9 * np.eye(WIDTH)[y] + 0.02)
    ),
    "smoothed and weighted labels": (
        CrossEntropy(0.2, WEIGHTS), pl.Softmax(), LABELS,
        lambda z, y: cross_entropy(z, np.array(WEIGHTS) * (0.8 * np.eye(WIDTH)[y] + 0.04)),
    ),
    "weighted probabilities": (
        CrossEntropy(0.2, WEIGHTS), pl.Softmax(), probabilities(),
        lambda z, y: cross_entropy(z, np.array(WEIGHTS) * (0.8 * y + 0.04)),
    ),
    "squared": (Squared(), pl.Identity(), logits(2), lambda z, y: 0.5 * ((z - y) ** 2).sum()),
    "binary": (
        BinaryCrossEntropy(), pl.Sigmoid(), np.random.default_rng(3).random((ROWS, WIDTH)),
        lambda z, y: (-y * np.log(1 / (1 + np.exp(-z))) - (1 - y) * np.log(1 / (1 + np.exp(z)))).sum(),
    ),
    "bregman": (BregmanLoss(), pl.Tanh(), np.tanh(logits(4)), tanh_penalty),
    "bregman of the identity": (BregmanLoss(), pl.Identity(), logits(4), lambda z, y: 0.5 * ((z - y) ** 2).sum()),
    "huber": (Huber(0.7), pl.Identity(), logits(5), lambda z, y: huber(z - y, 0.7)),
    "absolute": (Absolute(), pl.Identity(), logits(6), lambda z, y: np.abs(z - y).sum()),
}  # fmt: skip
BREGMAN = [name for name in CASES if name not in ("huber", "absolute", "bregman")]


@pytest.fixture(params=CASES, ids=str)
def case(request):
    return CASES[request.param]


def test_value(case):
    loss, activation, y, reference = case
    expected = reference(logits(), y)
    if loss == BregmanLoss() and isinstance(activation, pl.Tanh):  # B(y, z) is zero at y = tanh z
        assert reference(np.arctanh(y), y) == pytest.approx(0.0, abs=1e-12)
    z, x, g = logits(), activation.sigma(logits()), np.empty((ROWS, WIDTH))
    assert loss.value(activation, z, x, y) == pytest.approx(expected, rel=1e-12)
    assert loss.pull(activation, z, x, y, 0.3, g) == pytest.approx(expected, rel=1e-12)


def test_small_pulls_are_the_gradient(case):
    """beta times the loss pulls like its gradient, whatever its scale (the error of a proximal loss is O(beta))."""
    loss, activation, y, reference = case
    z, direction, h = logits(), np.random.default_rng(9).standard_normal((ROWS, WIDTH)), 1e-6
    slope = (reference(z + h * direction, y) - reference(z - h * direction, y)) / (2 * h)
    for beta in (1e-6, -1e-6):
        g = np.full_like(z, np.nan)
        loss.pull(activation, z, activation.sigma(z), y, beta, g)
        assert np.vdot(g, direction) / beta == pytest.approx(slope, rel=1e-4)


@pytest.mark.parametrize("name", ["labels", "probabilities", "squared", "binary", "bregman"])
def test_bregman_pulls_are_linear_in_beta_and_may_overwrite_x(name):
    loss, activation, y, _ = CASES[name]
    z = logits()
    x = activation.sigma(z)
    hot = np.eye(WIDTH)[y] if name == "labels" else y
    for beta in (1.0, 0.3, -0.5):
        g = x.copy()
        loss.pull(activation, z, g, y, beta, g)
        np.testing.assert_allclose(g, beta * (x - hot), atol=1e-14)
    np.testing.assert_allclose(loss.target(activation, z, x, y, 1.0), hot, atol=1e-14)
    np.testing.assert_allclose(loss.target(activation, z, x, y, 0.25), 0.75 * x + 0.25 * hot, atol=1e-14)


@pytest.mark.parametrize("loss", [Huber(0.7), Absolute()], ids=repr)
@pytest.mark.parametrize("beta", [0.1, 1.0, 3.0])
def test_proximal_losses_take_the_minimiser(loss, beta):
    """x_L = target minimises |x - z|^2/2 + beta l(x)."""
    z, y, activation = logits(), logits(5), pl.Identity()

    def objective(x):
        return 0.5 * ((x - z) ** 2).sum() + beta * loss.value(activation, x, x, y)

    best = loss.target(activation, z, z, y, beta)
    rng = np.random.default_rng(0)
    for size in (1.0, 0.1, 1e-3):
        assert all(objective(best + size * rng.standard_normal(z.shape)) > objective(best) for _ in range(20))


def test_huber_and_absolute_by_hand():
    z, y = np.array([[0.5, -3.0, 2.0]]), np.zeros((1, 3))
    assert Huber().value(pl.Identity(), z, z, y) == pytest.approx(0.125 + 2.5 + 1.5)
    np.testing.assert_allclose(Huber().target(pl.Identity(), z, z, y, 1.0), [[0.25, -2.0, 1.0]])
    np.testing.assert_allclose(Absolute().target(pl.Identity(), z, z, y, 1.0), [[0.0, -2.0, 1.0]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_labels_kernel_and_formula_agree(dtype):
    z = logits().astype(dtype)
    x = pl.Softmax().sigma(z)
    g, h = np.empty_like(z), np.empty_like(z)
    kernel = clamp_kernels.cross_entropy(z, x, LABELS, 0.3, g)
    formula = clamp_kernels.cross_entropy_formula(z, x, LABELS, 0.3, h)
    np.testing.assert_allclose(g, h, atol=1e-7)
    assert kernel == pytest.approx(float(formula), rel=1e-6) and g.dtype == dtype


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_labels_of_huge_logits(dtype):
    z = np.array([[1e4, 0.0, -1e4]] * 3, dtype)
    x, g = pl.Softmax().sigma(z), np.empty_like(z)
    assert CrossEntropy().pull(pl.Softmax(), z, x, np.array([0, 1, 2]), 1.0, g) == pytest.approx(3e4)
    np.testing.assert_allclose(g, [[0, 0, 0], [1, -1, 0], [1, 0, -1]])
    z[1, 2] = np.nan
    assert np.isnan(CrossEntropy().value(pl.Softmax(), z, pl.Softmax().sigma(z), np.array([0, 1, 2])))


@pytest.mark.parametrize("labels", [np.int8, np.uint8, np.int32, np.int64])
def test_types_of_labels(labels):
    z, g = logits(), np.empty((ROWS, WIDTH))
    value = CrossEntropy().pull(pl.Softmax(), z, pl.Softmax().sigma(z), LABELS.astype(labels), 1.0, g)
    assert value == pytest.approx(cross_entropy(z, np.eye(WIDTH)[LABELS]))


def test_on_a_device(case):
    loss, activation, y, _ = case
    device = strict.Device("device1")
    z = logits()
    x, g = activation.sigma(z), np.empty_like(z)
    dz, dx, dg, dy = (
        strict.asarray(a.tolist(), dtype=getattr(strict, str(a.dtype)), device=device)
        for a in (z, x, np.zeros_like(z), y)
    )
    value, found = loss.pull(activation, z, x, y, 0.3, g), loss.pull(activation, dz, dx, dy, 0.3, dg)
    cpu = strict.Device("CPU_DEVICE")
    assert dg.device == device
    np.testing.assert_allclose(np.asarray(dg.to_device(cpu)), g, atol=1e-13)
    assert float(found.to_device(cpu)) == pytest.approx(float(value), rel=1e-12)


@pytest.mark.parametrize(
    ("loss", "activation", "word"),
    [
        (CrossEntropy(), pl.Identity(), "Softmax()"),
        (Squared(), pl.Softmax(), "Identity()"),
        (BinaryCrossEntropy(), pl.Tanh(), "Sigmoid()"),
        (Huber(), pl.ReLU(), "Identity()"),
        (Absolute(), pl.Softmax(), "Identity()"),
    ],
)
def test_losses_that_do_not_fit(loss, activation, word):
    with pytest.raises(ValueError) as error:
        loss.check(activation)
    assert word in str(error.value) and repr(activation) in str(error.value) and repr(loss) in str(error.value)


def test_default_losses():
    from paralift.lifted.losses import default_loss

    assert default_loss(pl.Softmax()) == CrossEntropy() and default_loss(pl.Identity()) == Squared()
    assert default_loss(pl.Sigmoid()) == BinaryCrossEntropy() and default_loss(pl.Tanh()) == BregmanLoss()
    assert CrossEntropy().takes_labels() and not Squared().takes_labels() and not Huber().takes_labels()
    with pytest.raises(ValueError, match=r"delta is 0\.0"):
        Huber(0.0)


def test_weights_and_smoothing_of_labels_kernel_and_formula_agree_and_keep_digits():
    loss, z = CrossEntropy(0.1, WEIGHTS), 30.0 * logits()
    x = pl.Softmax().sigma(z)
    g, h = x.copy(), np.empty_like(z)
    kernel = clamp_kernels.soft_cross_entropy(z, g, LABELS, 0.3, 0.1, WEIGHTS, g)  # g may be x
    formula = clamp_kernels.soft_cross_entropy_formula(z, x, LABELS, 0.3, 0.1, WEIGHTS, h)
    np.testing.assert_allclose(g, h, atol=1e-14)
    assert kernel == pytest.approx(float(formula), rel=1e-12)
    rows = loss.value(pl.Softmax(), z, x, np.eye(WIDTH)[LABELS])
    assert rows == pytest.approx(kernel, rel=1e-12)
    huge = np.array([[1e4, 0.0, -1e4, 0.0, 0.0]], np.float32)
    found = loss.value(pl.Softmax(), huge, pl.Softmax().sigma(huge), np.array([2]))
    assert found == pytest.approx(0.9 * 2.0 * 2e4 + 0.02 * (0.5e4 + 2.0 * 2e4 + 3e4), rel=1e-6)


def test_proximal_gradient_iterations_descend_with_large_weights():
    """Steps know how steep the loss is: E falls at every iteration."""
    network = pl.Sequential(pl.Linear(4, 6), pl.ReLU(), pl.Linear(6, WIDTH), pl.Softmax())
    x = np.random.default_rng(0).standard_normal((ROWS, 4))
    roles = {"input": pl.Clamped(x), "output": pl.Clamped(LABELS)}
    loss = CrossEntropy(0.1, tuple(50.0 * w for w in WEIGHTS))
    found = pl.infer(network, network.init(0, "float64"), roles, pl.methods.ProximalGradient(30), loss=loss)
    assert (np.diff(found.energy) <= 1e-12).all() and found.energy[-1] < found.energy[0]


def test_the_text_of_a_cross_entropy_makes_it_again():
    assert repr(CrossEntropy()) == "CrossEntropy()"
    for loss in (CrossEntropy(0.1), CrossEntropy(weights=(1, 2.5)), CrossEntropy(0.3, [1.0])):
        assert eval(repr(loss)) == loss


@pytest.mark.parametrize(
    ("build", "error", "words"),
    [
        (lambda: CrossEntropy(1.0), ValueError, "smoothing = 1.0"),
        (lambda: CrossEntropy(-0.1), ValueError, "smoothing = -0.1"),
        (lambda: CrossEntropy(weights=3.0), TypeError, "weights = 3.0"),
        (lambda: CrossEntropy(weights=()), TypeError, "one number for each class"),
        (lambda: CrossEntropy(weights=(1.0, -1.0)), ValueError, r"weights\[1\] is -1.0"),
        (lambda: CrossEntropy(weights=(1.0, "2")), ValueError, r"weights\[1\] is '2'"),
        (lambda: CrossEntropy(weights=(1.0, 2.0)).check(pl.Softmax(), 3), ValueError, "2 weights, the network has 3 outputs"),
    ],
)
def test_cross_entropies_that_cannot_be(build, error, words):
    with pytest.raises(error, match=words):
        build()
