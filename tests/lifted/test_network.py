"""Networks: what is built from layers, its errors, its parameters, its forward pass, its cuts and its layout."""

from __future__ import annotations

import array_api_strict as strict
import numpy as np
import pytest
from hypothesis import given, settings
from problems import problems, random_params, skips

import paralift as pl
from paralift.lifted.activations import BatchNormalise, Normalise
from paralift.lifted.layout import ALIGNMENT, Layout
from paralift.lifted.maps import Keep, ShapeError
from paralift.lifted.network import Network, check_params
from paralift.lifted.stage import Stage

few = settings(deadline=None, max_examples=25, derandomize=True)


def parents(network):
    return [b.parents for b in network.blocks]


def kinds(network):
    return [(b.name, type(b.activation).__name__) for b in network.blocks]


# From layers to blocks


def test_a_map_and_its_activation_are_one_block():
    network = pl.Sequential(pl.Linear(4, 3), pl.Tanh(), pl.Linear(3, 2), pl.Linear(2, 5), pl.Softmax())
    assert kinds(network) == [("linear1", "Tanh"), ("linear2", "Identity"), ("linear3", "Softmax")]
    assert parents(network) == [(0,), (1,), (2,)]
    assert network.shapes == ((4,), (3,), (2,), (5,)) and network.output_shape == (5,)
    assert network.children == ((1,), (2,), (3,), ())


def test_an_activation_alone_keeps_its_parent():
    network = pl.Sequential(pl.ReLU(), pl.Tanh(), input_shape=(2, 3))
    assert kinds(network) == [("keep1", "ReLU"), ("keep2", "Tanh")]
    assert all(isinstance(b.map, Keep) for b in network.blocks) and network.output_shape == (2, 3)


@pytest.mark.parametrize(
    ("layer", "activation"),
    [
        (pl.LayerNorm(3, 1e-3), Normalise(True, 1e-3)),
        (pl.RMSNorm(3), Normalise(False)),
        (pl.BatchNorm(3, 1e-4, 0.2), BatchNormalise(1e-4, 0.2)),
    ],
)
def test_normalisation_is_an_activation_and_a_diagonal_map(layer, activation):
    network = pl.Sequential(pl.Linear(4, 3), layer, pl.ReLU())
    assert [b.activation for b in network.blocks] == [activation, pl.ReLU()]
    assert [b.name for b in network.blocks] == ["linear1", "diagonal1"]


def test_residual_and_parallel():
    network = pl.Sequential(pl.Linear(4, 4), pl.Residual(pl.Linear(4, 3), pl.ReLU(), pl.Linear(3, 4)), pl.Tanh())
    assert kinds(network)[1:] == [("linear2", "ReLU"), ("linear3", "Identity"), ("add1", "Tanh")]
    assert parents(network) == [(0,), (1,), (2,), (1, 3)]
    network = pl.Sequential(pl.Parallel([pl.Linear(4, 3), pl.ReLU()], pl.Linear(4, 2), combine="concatenate"))
    assert parents(network) == [(0,), (0,), (1, 2)] and network.output_shape == (5,)
    network = pl.Sequential(pl.Parallel(pl.Linear(4, 3), pl.Linear(4, 3), pl.Linear(4, 3)))
    assert parents(network)[-1] == (1, 2, 3) and network.blocks[-1].name == "add1"


def test_residual_of_the_input_and_of_nothing_but_an_activation():
    network = pl.Sequential(pl.Residual(pl.ReLU()), input_shape=(3,))
    x = np.array([[-1.0, 0.0, 2.0]])
    np.testing.assert_array_equal(network.apply({}, x), [[-1.0, 0.0, 4.0]])


def test_graph():
    network = skips(pl.ReLU())
    assert parents(network) == [(0,), (1,), (2, 1), (3,), (4, 1, 0), (5,), (6, 4), (7,)]
    assert network.shapes[5] == (4 + 4 + 5,) and network.output_shape == (3,)


def test_a_graph_reads_a_node_twice():
    network = pl.Graph(input_shape=(3,), a=(["input", "input"], pl.Add()), b=(["a", "a"], pl.Concatenate()))
    x = np.array([[1.0, 2.0, 3.0]])
    np.testing.assert_array_equal(network.apply({}, x), [[2.0, 4.0, 6.0, 2.0, 4.0, 6.0]])


def test_the_last_node_of_a_graph_is_its_output():
    network = pl.Graph(a=(["input"], pl.Linear(3, 4)), b=(["a"], pl.Linear(4, 5)), out=(["b", "b"], pl.Add()))
    assert network.output_shape == (5,)
    with pytest.raises(ValueError, match="'b'|out"):  # nobody reads b: it would be the output, or have no pull
        pl.Graph(a=(["input"], pl.Linear(3, 4)), b=(["a"], pl.Linear(4, 5)), out=(["a"],))


def test_nodes_that_nothing_reads_are_refused():
    with pytest.raises(ValueError, match="dead"):
        pl.Graph(a=(["input"], pl.Linear(3, 4), pl.Tanh()), dead=(["a"], pl.Linear(4, 5)), out=(["a"], pl.Linear(4, 2)))


# The input's shape


@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        ([pl.Linear(4, 3)], (4,)),
        ([pl.ReLU(), pl.Linear(4, 3)], (4,)),
        ([pl.Diagonal(4), pl.ReLU()], (4,)),
        ([pl.LayerNorm(4), pl.ReLU()], (4,)),
        ([pl.Residual(pl.Linear(4, 4))], (4,)),
        ([pl.Residual(pl.Residual(pl.Linear(4, 4)))], (4,)),
        ([pl.Parallel([pl.Linear(4, 4)], pl.Linear(4, 4))], (4,)),
        ([pl.Sequential(pl.Linear(4, 3)), pl.ReLU()], (4,)),
    ],
)
def test_first_layers_that_say_the_input_shape(layers, shape):
    assert pl.Sequential(*layers).input_shape == shape


@pytest.mark.parametrize("layers", [[pl.ReLU()], [pl.Flatten(), pl.Linear(4, 3)], [pl.Ball()], []])
def test_input_shapes_that_must_be_given(layers):
    with pytest.raises(ShapeError, match="input_shape"):
        pl.Sequential(*layers)
    if layers:
        assert pl.Sequential(*layers[:1], input_shape=[2, 3]).input_shape == (2, 3)


def test_tokens():
    network = pl.Sequential(pl.Linear(4, 3), pl.LayerNorm(3), pl.Linear(3, 2), pl.Softmax(), input_shape=(5, 4))
    params, x = random_params(network), np.random.default_rng(0).standard_normal((6, 5, 4))
    assert network.output_shape == (5, 2)
    alone = pl.Sequential(pl.Linear(4, 3), pl.LayerNorm(3), pl.Linear(3, 2), pl.Softmax())
    np.testing.assert_allclose(
        network.apply(params, x).reshape(30, 2), alone.apply(params, x.reshape(30, 4)), atol=1e-14
    )


# Errors of building


@pytest.mark.parametrize(
    ("build", "error", "words"),
    [
        (lambda: pl.Sequential(pl.Linear(4, 3), pl.Linear(5, 2)), ShapeError, ["block 2", "5 features", "(3,)"]),
        (lambda: pl.Sequential(pl.Linear(4, 3), input_shape=(5,)), ShapeError, ["block 1", "4 features", "(5,)"]),
        (lambda: pl.Sequential(pl.Linear(4, 3), pl.LayerNorm(5)), ShapeError, ["block 2", "5 features", "(3,)"]),
        (lambda: pl.Sequential(pl.Residual(pl.Linear(4, 3))), ShapeError, ["block 2", "add1", "(4,), (3,)"]),
        (lambda: pl.Sequential(pl.Linear(4, 3), pl.GroupSoftThreshold(1.0, 2)), ShapeError, ["block 1", "width of 3"]),
        (lambda: pl.Sequential(pl.Linear(4, 3), pl.Add()), ShapeError, ["block 2", "two or more", "(3,)"]),
        (lambda: pl.Sequential(pl.Linear(4, 3), "relu"), TypeError, ["'relu'", "expected a map"]),
        (lambda: pl.Sequential(pl.Linear(4, 3), skips(pl.ReLU())), TypeError, ["expected a map"]),
        (lambda: pl.Sequential(pl.ReLU(), input_shape=()), ShapeError, ["at least one axis"]),
        (lambda: pl.Residual(), ValueError, ["at least one layer"]),
        (lambda: pl.Parallel(pl.ReLU()), ValueError, ["two or more branches", "given 1"]),
        (lambda: pl.Parallel(pl.ReLU(), pl.ReLU(), combine="mean"), ValueError, ["'mean'", "add", "concatenate"]),
        (lambda: pl.Graph(), ValueError, ["at least one node"]),
        (lambda: pl.Graph(a=(["b"], pl.Linear(4, 3))), ValueError, ["'a'", "['b']", "input"]),
        (lambda: pl.Graph(a=(["input", "input"], pl.ReLU()), input_shape=(3,)), ShapeError, ["2 parents", "Add()"]),
        (lambda: pl.Graph(a=([], pl.Linear(3, 3))), ShapeError, ["0"]),
        (lambda: Network((), (3,), ""), ValueError, ["at least one layer"]),
    ],
)  # fmt: skip
def test_networks_that_cannot_be(build, error, words):
    with pytest.raises(error) as found:
        build()
    assert all(word in str(found.value) for word in words), str(found.value)


# The expression that builds it


@given(problems())
@few
def test_repr_builds_the_same_blocks(problem):
    again = eval(repr(problem.network), dict(vars(pl)))
    assert again.blocks == problem.network.blocks and again.input_shape == problem.network.input_shape
    assert repr(again) == repr(problem.network)


@pytest.mark.parametrize(
    "network",
    [
        pl.Sequential(pl.Flatten(), pl.Linear(12, 6), pl.Reshape(2, 3), pl.RMSNorm(3, 1e-6), input_shape=(3, 4)),
        pl.Sequential(pl.Parallel(pl.BatchNorm(4, momentum=0.5), [pl.Linear(4, 4), pl.Ball(2.0)]), input_shape=(4,)),
        pl.Sequential(pl.Sequential(pl.Linear(4, 4, bias=False), pl.Hardtanh(0, 1)), pl.Sparsemax()),
        pl.Graph(input_shape=(3, 4), a=(["input"], pl.Tanh()), b=(["a", "input"], pl.Concatenate(), pl.Diagonal(8))),
    ],
    ids=repr,
)
def test_repr_with_every_kind_of_layer(network):
    assert eval(repr(network), dict(vars(pl))).blocks == network.blocks


# Parameters


@given(problems())
@few
def test_names_and_shapes_of_parameters(problem):
    network, params = problem.network, problem.network.init(0)
    names = [b.name for b in network.blocks]
    assert len(set(names)) == len(names)
    check_params(network, params)
    assert network.n_parameters == sum(a.size for arrays in params.values() for a in arrays.values())
    assert all(a.dtype == np.float32 for arrays in params.values() for a in arrays.values())


@given(problems())
@few
def test_start_does_not_depend_on_stages(problem):
    network = problem.network
    expected, n = network.init(3, np.float64), len(network.blocks)
    for cut in range(1, n):
        found = {}
        for start, stop in ((0, cut), (cut, n)):
            stage = Stage(network, start, stop, np.zeros(1))
            stage.init(3)
            found |= stage.params
        assert list(found) == list(expected)
        for block, arrays in expected.items():
            for name, array in arrays.items():
                np.testing.assert_array_equal(found[block][name], array)


def test_seeds():
    network = skips(pl.ReLU())
    same, again, other = network.init(1), network.init(1), network.init(2)
    for block, arrays in same.items():
        np.testing.assert_array_equal(arrays["weight"], again[block]["weight"])
        assert (arrays["weight"] != other[block]["weight"]).all()
    weights = [a["weight"].ravel()[:12] for a in same.values()]
    assert len({w.tobytes() for w in weights}) == len(weights)


def test_gain_of_the_activation():
    wide = pl.Sequential(pl.Linear(300, 300), pl.ReLU(), pl.Linear(300, 300), pl.Tanh())
    params = wide.init(0, np.float64)
    ratio = params["linear1"]["weight"].var() / params["linear2"]["weight"].var()
    assert ratio == pytest.approx(wide.blocks[0].activation.init_gain / wide.blocks[1].activation.init_gain, rel=0.05)


def test_running_statistics_are_no_trained_parameters():
    network = pl.Sequential(pl.Linear(4, 3), pl.BatchNorm(3), pl.ReLU())
    params = network.init(0)
    assert set(params["linear1"]) == {"weight", "bias", "mean", "variance"}
    assert network.n_parameters == 4 * 3 + 3 + 3 + 3


def test_apply_of_batch_normalisation_uses_the_running_statistics():
    network = pl.Sequential(pl.Linear(4, 3), pl.BatchNorm(3))
    params, x = random_params(network), np.random.default_rng(0).standard_normal((6, 4))
    first = params["linear1"]
    first["mean"][...], first["variance"][...] = [1.0, 2.0, 3.0], [0.5, 1.5, 2.5]
    z = x @ first["weight"] + first["bias"]
    x1 = (z - first["mean"]) / np.sqrt(first["variance"] + 1e-5)
    expected = params["diagonal1"]["gain"] * x1 + params["diagonal1"]["shift"]
    np.testing.assert_allclose(network.apply(params, x), expected, atol=1e-13)
    np.testing.assert_allclose(network.apply(params, x[:1]), expected[:1], atol=1e-13)


@pytest.mark.parametrize("dtype", [np.float16, np.int32, "complex128"])
def test_types_of_parameters(dtype):
    with pytest.raises(TypeError, match="expected float32 or float64"):
        pl.Sequential(pl.Linear(2, 2)).init(0, dtype)


# The forward pass


def test_apply_by_hand():
    network = pl.Sequential(
        pl.Linear(4, 5), pl.ReLU(), pl.Residual(pl.Linear(5, 5), pl.Tanh()), pl.Linear(5, 3), pl.Softmax()
    )
    params, x = random_params(network), np.random.default_rng(0).standard_normal((6, 4))
    w = {name: (a["weight"], a["bias"]) for name, a in params.items()}
    h = np.maximum(x @ w["linear1"][0] + w["linear1"][1], 0)
    h = h + np.tanh(h @ w["linear2"][0] + w["linear2"][1])
    z = h @ w["linear3"][0] + w["linear3"][1]
    expected = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    before = x.copy()
    np.testing.assert_allclose(network.apply(params, x), expected, rtol=1e-12)
    np.testing.assert_array_equal(x, before)
    assert len(network.variables(params, x)) == len(network.blocks) + 1


@given(problems())
@few
def test_apply_treats_samples_alone(problem):
    network, params, x = problem.network, problem.params, problem.x
    whole = network.apply(params, x)
    np.testing.assert_allclose(np.concatenate([network.apply(params, row[None]) for row in x]), whole, atol=1e-12)
    assert network.apply(params, x[:0]).shape == (0, *network.output_shape)


def test_apply_keeps_the_type():
    network, x = skips(pl.ReLU()), np.random.default_rng(0).standard_normal((6, 5))
    for dtype in (np.float32, np.float64):
        assert network.apply(network.init(0, dtype), x.astype(dtype)).dtype == dtype


def test_params_of_another_type_than_the_samples():
    network = pl.Sequential(pl.Linear(4, 3))
    with pytest.raises(TypeError) as found:
        network.apply(network.init(0), np.zeros((2, 4)))
    assert "float32" in str(found.value) and "float64" in str(found.value)


def test_apply_on_a_device():
    network, device = skips(pl.Tanh()), strict.Device("device1")
    params, x = random_params(network), np.random.default_rng(0).standard_normal((6, 5))

    def to_device(a):
        return strict.asarray(a.tolist(), dtype=strict.float64, device=device)

    on_device = {b: {k: to_device(a) for k, a in arrays.items()} for b, arrays in params.items()}
    found = network.apply(on_device, to_device(x))
    assert found.device == device
    host = np.asarray(found.to_device(strict.Device("CPU_DEVICE")))
    np.testing.assert_allclose(host, network.apply(params, x), atol=1e-12)


@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        (np.zeros((2, 5)), ValueError, ["(2, 5)", "(n, 4)"]),
        (np.zeros(4), ValueError, ["(4,)", "(n, 4)"]),
        (np.zeros((2, 3, 4)), ValueError, ["(2, 3, 4)", "(n, 4)"]),
        (np.zeros((2, 4), int), TypeError, ["int64", "float32 or float64"]),
    ],
)
def test_samples_that_do_not_fit(x, error, words):
    network = pl.Sequential(pl.Linear(4, 3))
    with pytest.raises(error) as found:
        network.apply(network.init(0), x)
    assert all(word in str(found.value) for word in words), str(found.value)


def test_params_that_do_not_fit():
    network = pl.Sequential(pl.Linear(4, 3), pl.ReLU(), pl.Linear(3, 2))
    params, x = network.init(0, np.float64), np.zeros((2, 4))
    first, second = params["linear1"], params["linear2"]
    wrong = {
        "missing ['linear2']": {"linear1": first},
        "unknown ['linear3']": {**params, "linear3": first},
        "(3, 2)": {"linear1": first, "linear2": {"weight": second["weight"].T, "bias": second["bias"]}},
        "expected {'weight'": {"linear1": {"weight": first["weight"]}, "linear2": second},
        "'scale'": {"linear1": {**first, "scale": first["bias"]}, "linear2": second},
    }
    for word, bad in wrong.items():
        with pytest.raises(ValueError) as found:
            network.apply(bad, x)
        assert word in str(found.value) and "params" in str(found.value)


# Cuts and layout


@given(problems())
@few
def test_live_variables_are_what_the_blocks_above_need(problem):
    network = problem.network
    values = network.variables(problem.params, problem.x)
    for cut in range(len(network.blocks) + 1):
        live = network.live(cut)
        needed = {p for b in network.blocks[cut:] for p in b.parents if p <= cut}
        assert set(live) == needed and list(live) == sorted(live)
        for b in network.blocks[cut:]:
            assert all(p in live or p > cut for p in b.parents)
    assert network.live(0) == ((0,) if network.children[0] else ())
    assert network.live(len(network.blocks)) == () and len(values) == len(network.shapes)


def test_variables_that_no_parameter_moves():
    assert skips(pl.ReLU()).unmoved == {0}
    branches = pl.Parallel([pl.ReLU()], [pl.Linear(4, 4)])  # variable 4 moves, and with it the sum
    network = pl.Sequential(pl.Reshape(2, 2), pl.Flatten(), branches, pl.Softmax(), input_shape=(4,))
    assert parents(network) == [(0,), (1,), (2,), (2,), (3, 4)]
    assert network.unmoved == {0, 1, 2, 3}


def test_live_variables_of_skips():
    network = skips(pl.ReLU())
    assert [network.live(c) for c in range(4)] == [(0,), (0, 1), (0, 1, 2), (0, 1, 3)]


@given(problems())
@few
def test_layout(problem):
    layout = Layout(problem.network.blocks)
    flat = np.zeros(layout.size)
    views = layout.views(flat)
    assert {b: {k: a.shape for k, a in arrays.items()} for b, arrays in views.items()} == {
        b.name: b.trained() | b.tracked() for b in problem.network.blocks if b.trained() or b.tracked()
    }
    for arrays in views.values():
        for a in arrays.values():
            assert np.shares_memory(a, flat)
            a += 1.0  # every entry belongs to one parameter
    assert flat.max() == 1.0 and flat.sum() == sum(a.size for arrays in views.values() for a in arrays.values())
    for s in layout.segments:
        assert s.start % ALIGNMENT == 0 and s.stop - s.start == np.prod(s.shape)
        start, stop = layout.span(s.block)
        assert start <= s.start < s.stop <= stop
    assert layout.span("nothing") == (0, 0)


def test_statistics_lie_behind_the_trained_parameters():
    network = pl.Sequential(pl.Linear(4, 3), pl.BatchNorm(3), pl.Linear(3, 2), pl.BatchNorm(2))
    layout = Layout(network.blocks)
    assert all(s.stop <= layout.trained for s in layout.segments)
    assert all(s.start >= layout.trained for s in layout.tracked) and len(layout.tracked) == 4
    assert layout.size % ALIGNMENT == 0 and layout.trained % ALIGNMENT == 0


def test_stages_that_cannot_be():
    network = skips(pl.ReLU())
    for start, stop in ((-1, 2), (2, 2), (0, 99)):
        with pytest.raises(ValueError, match=f"{start}:{stop}"):
            Stage(network, start, stop, np.zeros(1))
