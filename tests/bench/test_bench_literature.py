"""The NumPy block coordinate descent that studies stand beside, and the studies' tables."""

from __future__ import annotations

import numpy as np

from paralift.bench import bcd_reference as bcd
from paralift.bench import learning, literature

RNG = np.random.default_rng(0)


def test_the_step_of_a_rectifier_is_the_least_of_a_grid():
    v, centre = RNG.standard_normal(200), RNG.standard_normal(200)
    found = bcd.relu_step(v, centre, 1.7)

    def value(u):
        return (bcd.relu(u) - v) ** 2 + 1.7 * (u - centre) ** 2

    grid = np.linspace(-4, 4, 2001)[:, None]
    assert (value(found) <= value(grid + 0 * v).min(axis=0) + 1e-12).all()


def test_layers_and_activations_are_minima():
    u, v, w, b = (RNG.standard_normal(shape) for shape in ((30, 3), (30, 4), (4, 3), 3))

    def layer(weight, bias):
        near = np.sum((weight - w) ** 2) + np.sum((bias - b) ** 2)
        return bcd.RHO * np.sum((u - v @ weight - bias) ** 2) + 5.0 * near

    weight, bias = bcd.fit_layer(u, v, w, b, 5.0)
    inner = RNG.standard_normal((30, 4))
    best = bcd.activations(inner, u, w, b)

    def hidden(a):
        return bcd.GAMMA * np.sum((a - bcd.relu(inner)) ** 2) + bcd.RHO * np.sum((u - b - a @ w) ** 2)

    for _ in range(10):
        d, e, f = 0.01 * RNG.standard_normal((4, 3)), 0.01 * RNG.standard_normal(3), 0.01 * RNG.standard_normal((30, 4))
        assert layer(weight, bias + e) > layer(weight, bias)
        assert layer(weight + d, b) > layer(weight, b)  # W first, with the bias as it was
        assert hidden(best + f) > hidden(best)


def test_every_pass_lowers_the_objective_and_learns():
    labels = RNG.integers(0, 3, 120)
    x = (np.eye(3)[labels] @ RNG.standard_normal((3, 6)) + 0.1 * RNG.standard_normal((120, 6))).astype(np.float32)
    points = list(bcd.train(x, labels, (x, labels), (6, 20, 20, 3), 15, seed=1, alpha=5.0))
    energy = np.array([point["energy"] for point in points])
    assert (np.diff(energy) <= 1e-6).all() and energy[-1] < 0.5 * energy[0]
    assert [point["passes"] for point in points] == list(range(1, 16)) and points[-1]["test_accuracy"] > 0.9


def test_studies_train_what_they_name(monkeypatch, capsys):
    from paralift.data import from_arrays

    labels = RNG.integers(0, 10, 64)
    x = RNG.standard_normal((64, 784)).astype(np.float32)
    data = from_arrays(x, labels, test=(x, labels), name="small", n_classes=10)
    monkeypatch.setattr(literature, "_mnist", lambda quick: data)
    monkeypatch.setattr(literature, "WAYS", {k: w for k, w in literature.WAYS.items() if k in ("nudged()", "lpom(), batches")})
    record = literature._all("literature", (784, 6, 10), quick=True)
    assert set(record["results"]) == {"nudged()", "lpom(), batches"}
    record = literature._published("literature-bcd", (784, 6, 10), 50, 5.0, 3, ("nudged()", "lpom(), batches"), quick=True)
    assert list(record["results"])[0] == literature.REFERENCE
    for runs in record["results"].values():
        assert len(runs) == 1 and len(runs[0]["curve"]) == 2 and 0 <= runs[0]["accuracy"] <= 1
    assert "literature-bcd" in capsys.readouterr().out
    assert {"literature", "literature-deep", "literature-bcd", "literature-bcd-deep"} < set(learning.STUDIES)
