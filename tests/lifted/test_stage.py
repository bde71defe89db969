"""A stage: its parameters in one flat array, and its states and windows."""

from __future__ import annotations

import numpy as np
import pytest
from problems import problem, random_params, skips

import paralift as pl
from paralift.lifted.inference.sweep import backward, forward, gradients
from paralift.lifted.stage import Stage, matrix
from paralift.methods import backprop


def stage_of(network, start=0, stop=None, like=None):
    stop = len(network.blocks) if stop is None else stop
    return Stage(network, start, stop, np.zeros(1) if like is None else like)


def test_load_copies_into_the_flat_array():
    network = skips(pl.Tanh())
    stage, params = stage_of(network), random_params(network)
    stage.load(params)
    for block, arrays in params.items():
        for name, a in arrays.items():
            np.testing.assert_array_equal(stage.params[block][name], a)
            assert np.shares_memory(stage.params[block][name], stage.flat)
            assert not np.shares_memory(stage.params[block][name], a)
    used = sum(a.size for d in params.values() for a in d.values())
    assert np.count_nonzero(stage.flat) == used  # padding stays zero
    assert not stage.gradient.any() and stage.gradient.shape == stage.flat.shape


def test_types_of_the_arrays():
    stage = stage_of(skips(pl.Tanh()), like=np.zeros(1, np.float32))
    stage.init(0)
    state = stage.state(4)
    groups = [state.x.values(), state.z.values(), state.g.values(), [stage.flat, state.scratch((3,))]]
    assert all(a.dtype == np.float32 for group in groups for a in group)
    assert state.scratch((3,)) is state.scratch((3,)) and state.scratch((3,)).shape == (4, 3)


def test_inputs_and_outputs_of_a_stage():
    network = skips(pl.Tanh())
    n = len(network.blocks)
    whole, lower, upper = stage_of(network), stage_of(network, 0, 3), stage_of(network, 3, n)
    assert (whole.inputs, whole.outputs) == ((0,), ()) and whole.has_input and whole.has_output
    assert lower.outputs == upper.inputs == (0, 1, 3) and lower.has_input and not lower.has_output
    assert not upper.has_input and upper.has_output and upper.output is network.blocks[-1]
    assert 0 not in upper.pulled and {1, 3} <= upper.pulled  # the input is data
    assert 0 in Stage(network, 0, 3, np.zeros(1), free_input=True).pulled


def test_two_stages_by_hand_give_the_gradient_of_one():
    """What crosses the cut: x of the live variables upwards, their pulls downwards."""
    p = problem(skips(pl.Tanh()), n=5)
    network, n = p.network, len(p.network.blocks)
    _, expected = pl.value_and_grad(network, backprop())(p.params, p.x, p.y)
    from paralift.lifted.gradient import displacement_of
    from paralift.lifted.inference.sweep import clamp

    displacement = displacement_of(backprop())
    for cut in range(1, n):
        lower, upper = stage_of(network, 0, cut), stage_of(network, cut, n)
        windows = []
        for stage in (lower, upper):
            stage.load(p.params)
            windows.append(stage.state(5).window(0, 5))
        below, above = windows
        below.x[0][...] = p.x
        forward(below)
        for v in upper.inputs:
            above.x[v][...] = below.x[v]
        above.state.y = p.y
        forward(above)
        clamp(above, p.loss, 1.0)
        backward(above, displacement)
        for v in lower.outputs:
            if v:
                below.g[v][...] = above.g[v]
        backward(below, displacement)
        gradients(below)
        gradients(above)
        for block, arrays in expected.items():
            own = lower if block in lower.gradients else upper
            for name, g in arrays.items():
                np.testing.assert_allclose(own.gradients[block][name] / 5, g, rtol=1e-10, atol=1e-14)


def test_nothing_is_pulled_on_what_no_parameter_moves():
    network = pl.Sequential(pl.Reshape(2, 2), pl.Flatten(), pl.Linear(4, 3), pl.Tanh(), pl.Linear(3, 2), pl.Softmax(),
                            input_shape=(4,))  # fmt: skip
    rng = np.random.default_rng(0)
    x, y, params = rng.standard_normal((5, 4)), np.array([0, 1, 1, 0, 1]), random_params(network)
    from paralift.lifted.gradient import displacement_of
    from paralift.lifted.inference.sweep import clamp

    pulls, found = {}, {}
    for free in (False, True):
        stage = Stage(network, 0, len(network.blocks), np.zeros(1), free_input=free)
        stage.load(params)
        window = stage.state(5).window(0, 5)
        for g in window.g.values():
            g[...] = np.nan
        window.x[0][...], window.state.y = x, y
        forward(window)
        clamp(window, pl.losses.CrossEntropy(), 1.0)
        backward(window, displacement_of(backprop()))
        gradients(window)
        pulls[free] = {v: np.isfinite(g).all() for v, g in window.g.items()}
        found[free] = stage.gradient
    assert pulls[False] == {1: False, 2: False, 3: True, 4: True}
    assert pulls[True] == dict.fromkeys(range(5), True)  # an input that moves takes what is made of it along
    np.testing.assert_array_equal(found[False], found[True])
    assert found[True].any()


def test_windows_are_views_and_kept():
    stage = stage_of(skips(pl.Tanh()))
    state = stage.state(6)
    window = state.window(2, 5)
    assert window is state.window(2, 5) and window is not state.window(0, 5)
    assert window.n == 3 and not window.first and state.window(0, 2).first
    assert np.shares_memory(window.x[1], state.x[1]) and window.x[1].shape == (3, 4)
    for start, stop in ((-1, 3), (4, 3), (0, 7)):
        with pytest.raises(ValueError, match=f"rows {start}:{stop}.*6 samples"):
            state.window(start, stop)


def test_targets_must_have_come():
    window = stage_of(skips(pl.Tanh())).state(3).window(0, 3)
    with pytest.raises(RuntimeError, match="no targets"):
        _ = window.y


def test_matrix_is_a_view():
    a = np.zeros((2, 3, 4))
    matrix(a)[...] = 1.0
    assert a.all() and matrix(a).shape == (6, 4) and matrix(np.zeros((0, 3, 4))).shape == (0, 4)


def test_running_statistics_follow_training_passes_only():
    network = pl.Sequential(pl.Linear(4, 3), pl.BatchNorm(3, momentum=0.5), pl.Linear(3, 2))
    p = problem(network, n=8)
    stage = stage_of(network)
    stage.load(p.params)
    assert stage.tracks and not stage_of(skips(pl.Tanh())).tracks
    z = p.x @ p.params["linear1"]["weight"] + p.params["linear1"]["bias"]
    evaluating, training = stage.state(8, training=False).window(0, 8), stage.state(8).window(0, 8)
    for window in (evaluating, training):
        window.x[0][...] = p.x
        forward(window)
    np.testing.assert_allclose(evaluating.x[3], network.apply(p.params, p.x), atol=1e-12)
    np.testing.assert_allclose(stage.params["linear1"]["mean"], 0.5 * z.mean(axis=0), atol=1e-14)
    np.testing.assert_allclose(stage.params["linear1"]["variance"], 0.5 + 0.5 * z.var(axis=0, ddof=1))
    np.testing.assert_allclose(training.x[1], (z - z.mean(axis=0)) / np.sqrt(z.var(axis=0) + 1e-5))


def test_running_statistics_of_images_are_over_samples_and_positions():
    network = pl.Sequential(pl.Conv2d(2, 3, 3, padding=1), pl.BatchNorm(3, momentum=0.5), input_shape=(4, 5, 2))
    p = problem(network, n=6)
    stage = stage_of(network)
    stage.load(p.params)
    window = stage.state(6).window(0, 6)
    window.x[0][...] = p.x
    forward(window)
    z, theta = np.empty((6, 4, 5, 3)), p.params["conv2d1"]
    network.blocks[0].map.apply(theta, [p.x], z)
    z += theta["bias"]
    np.testing.assert_allclose(stage.params["conv2d1"]["mean"], 0.5 * z.mean(axis=(0, 1, 2)), atol=1e-14)
    np.testing.assert_allclose(stage.params["conv2d1"]["variance"], 0.5 + 0.5 * z.reshape(-1, 3).var(axis=0, ddof=1))
    expected = (z - z.mean(axis=(0, 1, 2))) / np.sqrt(z.var(axis=(0, 1, 2)) + 1e-5)
    np.testing.assert_allclose(window.x[1], expected, atol=1e-12)
