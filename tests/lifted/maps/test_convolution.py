"""Convolutions: the values of the definition, adjoints and gradients to match, for all strides, paddings, dilations, groups."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from paralift.lifted.maps import Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d, ShapeError

CASES = {
    "plain": (Conv2d(2, 3, 3), (5, 6, 2)),
    "one pixel": (Conv2d(3, 5, 1), (4, 3, 3)),
    "one pixel, strided": (Conv2d(3, 2, 1, stride=2), (5, 4, 3)),
    "padded": (Conv2d(2, 4, (3, 5), padding=(1, 2), bias=False), (4, 7, 2)),
    "same": (Conv2d(1, 6, 4, padding="same"), (7, 9, 1)),
    "same, strided": (Conv2d(2, 3, 3, stride=2, padding="same"), (7, 8, 2)),
    "strided past the kernel": (Conv2d(2, 3, 2, stride=(3, 4)), (9, 10, 2)),
    "dilated": (Conv2d(2, 2, 3, padding=2, dilation=(2, 3)), (6, 9, 2)),
    "strided and dilated": (Conv2d(2, 2, 3, stride=2, padding=3, dilation=3), (8, 7, 2)),
    "groups": (Conv2d(4, 6, 3, padding=1, groups=2), (5, 5, 4)),
    "depthwise": (Conv2d(3, 6, 3, stride=2, padding=1, groups=3), (6, 7, 3)),
    "many channels": (Conv2d(5, 37, 3, padding=1), (6, 21, 5)),
    "many channels back": (Conv2d(37, 5, 3, padding=1), (5, 18, 37)),
    "few outputs": (Conv2d(9, 2, (3, 2), padding=1, dilation=(1, 2)), (5, 6, 9)),
    "one output, strided": (Conv2d(8, 1, 3, stride=(2, 3), padding="same"), (6, 7, 8)),
    "few inputs, strided": (Conv2d(2, 9, 3, stride=2, padding=1), (6, 5, 2)),
    "transposed to one": (ConvTranspose2d(10, 1, 5, padding="same"), (4, 6, 10)),
    "series": (Conv1d(2, 3, 3, stride=2, padding=1), (9, 2)),
    "series, same": (Conv1d(2, 4, 5, padding="same", dilation=2, groups=2), (7, 2)),
    "transposed": (ConvTranspose2d(3, 2, 3), (4, 3, 3)),
    "transposed, strided": (ConvTranspose2d(2, 3, 4, stride=2, padding=1), (4, 5, 2)),
    "transposed, same": (ConvTranspose2d(2, 3, 3, stride=2, padding="same"), (4, 5, 2)),
    "transposed, groups": (ConvTranspose2d(4, 2, 2, stride=3, groups=2, bias=False), (3, 2, 4)),
    "transposed series": (ConvTranspose1d(2, 3, 3, stride=2, padding=1), (5, 2)),
}
N = 2


@pytest.fixture(params=CASES, ids=str)
def case(request):
    return CASES[request.param]


def arrays(map_, shape, seed=0):
    rng = np.random.default_rng(seed)
    x, r = rng.standard_normal((N, *shape)), rng.standard_normal((N, *map_.output_shape(shape)))
    return x, r, {name: rng.standard_normal(s) for name, s in map_.parameters().items()}


def applied(map_, theta, x):
    out = np.full((x.shape[0], *map_.output_shape(x.shape[1:])), np.nan, x.dtype)
    map_.apply(theta, [x], out)
    return out


def pair(value):
    return value if isinstance(value, tuple) else (value, value)


def by_definition(map_, weight, x):
    """z[i, j, o] = sum over entries of the kernel and channels of the group, for images; no line of it is in the package."""
    (kh, kw, inputs, outputs), (n, height, width, _) = weight.shape, x.shape
    (sy, sx), (dy, dx) = pair(map_.stride), pair(map_.dilation)
    high, wide, _ = map_.output_shape(x.shape[1:])
    if map_.padding == "same":
        top = max(0, (high - 1) * sy + dy * (kh - 1) + 1 - height) // 2
        left = max(0, (wide - 1) * sx + dx * (kw - 1) + 1 - width) // 2
    else:
        top, left = pair(map_.padding)
    z = np.zeros((n, high, wide, outputs))
    for i, j, s, t in itertools.product(range(high), range(wide), range(kh), range(kw)):
        y, u = i * sy - top + s * dy, j * sx - left + t * dx
        if 0 <= y < height and 0 <= u < width:
            for o in range(outputs):
                first = o // (outputs // map_.groups) * inputs
                z[:, i, j, o] += x[:, y, u, first : first + inputs] @ weight[s, t, :, o]
    return z


@pytest.mark.parametrize("name", [name for name, (m, _) in CASES.items() if type(m) is Conv2d])
def test_values_are_those_of_the_definition(name):
    map_, shape = CASES[name]
    x, _, theta = arrays(map_, shape)
    np.testing.assert_allclose(applied(map_, theta, x), by_definition(map_, theta["weight"], x), atol=1e-12)


@pytest.mark.parametrize("name", ["series", "series, same"])
def test_a_series_is_an_image_of_one_line(name):
    map_, shape = CASES[name]
    x, _, theta = arrays(map_, shape)
    image = Conv2d(
        map_.in_channels, map_.out_channels, (1, map_.kernel), (1, map_.stride),
        "same" if map_.padding == "same" else (0, map_.padding), (1, map_.dilation), map_.groups,
    )  # fmt: skip
    expected = by_definition(image, theta["weight"][None], x[:, None])
    np.testing.assert_allclose(applied(map_, theta, x), expected[:, 0], atol=1e-12)


@pytest.mark.parametrize("name", [name for name, (m, _) in CASES.items() if type(m) is ConvTranspose2d])
def test_a_transposed_convolution_is_the_adjoint_of_the_convolution(name):
    map_, shape = CASES[name]
    x, _, theta = arrays(map_, shape)
    forward = Conv2d(
        map_.out_channels, map_.in_channels, map_.kernel, map_.stride, map_.padding, map_.dilation, map_.groups
    )
    u = np.random.default_rng(5).standard_normal((N, *map_.output_shape(shape)))
    assert forward.output_shape(u.shape[1:]) == shape
    z = by_definition(forward, theta["weight"], u)
    assert np.vdot(applied(map_, theta, x), u) == pytest.approx(np.vdot(x, z), rel=1e-12)


def test_adjoint_is_the_transpose(case):
    map_, shape = case
    x, r, theta = arrays(map_, shape)
    pull = np.full_like(x, np.nan)
    map_.adjoint(theta, [x], r, 0, pull)
    assert np.vdot(applied(map_, theta, x), r) == pytest.approx(np.vdot(x, pull), rel=1e-12)


def test_gradient_is_the_transpose_in_the_weight(case):
    map_, shape = case
    x, r, theta = arrays(map_, shape)
    gradient = {name: np.full_like(a, np.nan) for name, a in theta.items()}
    map_.gradient([x], r, gradient)
    assert np.vdot(applied(map_, theta, x), r) == pytest.approx(np.vdot(theta["weight"], gradient["weight"]), rel=1e-12)
    if map_.bias:
        assert np.isnan(gradient["bias"]).all()


def test_work_is_bound_to_its_arrays(case):
    """The same call again sees what the arrays hold now, and leaves nothing of what they held before."""
    map_, shape = case
    x, r, theta = arrays(map_, shape)
    out, pull, gradient = np.empty_like(r), np.empty_like(x), {"weight": np.empty_like(theta["weight"])}
    works = (
        map_.bound_apply(theta, [x], out),
        map_.bound_adjoint(theta, [x], r, 0, pull),
        map_.bound_gradient([x], r, gradient),
    )
    other_x, other_r, other_theta = arrays(map_, shape, seed=1)
    for _ in range(2):
        for work in works:
            work()
        x[...], r[...], theta["weight"][...] = other_x, other_r, other_theta["weight"]
    expected = np.empty_like(x)
    map_.adjoint(other_theta, [other_x], other_r, 0, expected)
    np.testing.assert_array_equal(out, applied(map_, other_theta, other_x))
    np.testing.assert_array_equal(pull, expected)
    map_.gradient([other_x], other_r, other_theta)
    np.testing.assert_array_equal(gradient["weight"], other_theta["weight"])


def test_arrays_that_are_not_contiguous():
    map_, shape = CASES["padded"]
    x, r, theta = arrays(map_, shape)
    apart = np.zeros((N, *shape, 2))[..., 0]
    apart[...] = x
    out = np.full((*r.shape, 2), np.nan)[..., 1]
    map_.apply(theta, [apart], out)
    np.testing.assert_array_equal(out, applied(map_, theta, x))


def test_no_samples_pull_nothing(case):
    map_, shape = case
    _, _, theta = arrays(map_, shape)
    x, r = np.empty((0, *shape)), np.empty((0, *map_.output_shape(shape)))
    map_.apply(theta, [x], r)
    map_.adjoint(theta, [x], r, 0, x)
    map_.gradient([x], r, theta)
    assert not theta["weight"].any()


def test_curvature_bounds_the_gram_matrix_of_theta(case):
    map_, shape = case
    x, _, theta = arrays(map_, shape)
    z = [applied(map_, {"weight": unit.reshape(theta["weight"].shape)}, x).ravel() for unit in np.eye(theta["weight"].size)]
    if map_.bias:
        z += [np.broadcast_to(unit, (N, *map_.output_shape(shape))).ravel() for unit in np.eye(map_.out_channels)]
    largest = np.linalg.norm(np.array(z), 2) ** 2
    np.testing.assert_allclose(sum(map_.curvature([x[i : i + 1]]) for i in range(N)), map_.curvature([x]))
    assert largest <= map_.curvature([x]).max() * (1 + 1e-12)


def test_float32_stays_float32():
    map_, shape = CASES["many channels"]
    x, r, theta = arrays(map_, shape)
    x32, r32, theta32 = x.astype(np.float32), r.astype(np.float32), {k: a.astype(np.float32) for k, a in theta.items()}
    np.testing.assert_allclose(applied(map_, theta32, x32), applied(map_, theta, x), rtol=1e-4, atol=1e-4)
    pull, pull32 = np.empty_like(x), np.empty_like(x32)
    map_.adjoint(theta, [x], r, 0, pull)
    map_.adjoint(theta32, [x32], r32, 0, pull32)
    np.testing.assert_allclose(pull32, pull, rtol=1e-4, atol=1e-4)
    map_.gradient([x], r, theta)
    map_.gradient([x32], r32, theta32)
    np.testing.assert_allclose(theta32["weight"], theta["weight"], rtol=1e-4, atol=1e-3)


def test_start_has_the_gain_of_the_fan_in():
    start = Conv2d(8, 50, 5, groups=2).init(np.random.default_rng(0), 2.0)
    assert start["weight"].shape == (5, 5, 4, 50) and start["weight"].var() == pytest.approx(2.0 / 100, rel=0.05)
    assert not start["bias"].any()
    spread = ConvTranspose2d(16, 20, 4, stride=2).init(np.random.default_rng(0), 1.0)
    assert spread["weight"].var() == pytest.approx(4.0 / 256, rel=0.05)


def test_shapes_and_costs():
    assert Conv2d(3, 8, 3, stride=2, padding=1).output_shape((32, 32, 3)) == (16, 16, 8)
    assert Conv2d(3, 8, 4, stride=3, padding="same").output_shape((10, 11, 3)) == (4, 4, 8)
    assert Conv1d(3, 8, 3, dilation=2).output_shape((10, 3)) == (6, 8)
    assert ConvTranspose2d(3, 8, 4, stride=2, padding=1).output_shape((7, 8, 3)) == (14, 16, 8)
    assert Conv2d(4, 6, 3, padding=1, groups=2).cost((5, 7, 4)) == 2 * 9 * 2 * 6 * 35
    assert ConvTranspose2d(4, 6, 3, stride=2).cost((5, 7, 4)) == 2 * 9 * 4 * 6 * 35


@pytest.mark.parametrize(
    ("map_", "shapes", "words"),
    [
        (Conv2d(3, 4, 3), [(8, 8, 1)], ["Conv2d", "3 channels", "(8, 8, 1)"]),
        (Conv2d(1, 4, 3), [(784,)], ["(height, width, 1 channels)", "(784,)", "Reshape"]),
        (Conv1d(3, 4, 3), [(8, 8, 3)], ["(length, 3 channels)", "(8, 8, 3)"]),
        (Conv2d(3, 4, 5), [(4, 8, 3)], ["too small", "(4, 8)", "padding"]),
        (Conv2d(3, 4, 5), [(8, 8, 3), (8, 8, 3)], ["reads 1 parent", "2 given"]),
        (ConvTranspose2d(3, 4, 2, padding=2), [(1, 2, 3)], ["too small", "(1, 2)"]),
    ],
)
def test_shapes_that_do_not_fit(map_, shapes, words):
    with pytest.raises(ShapeError) as error:
        map_.output_shape(*shapes)
    assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.parametrize(
    ("build", "word"),
    [
        (lambda: Conv2d(0, 3, 3), "in_channels is 0"),
        (lambda: Conv2d(1, 3, 0), "kernel is 0"),
        (lambda: Conv2d(1, 3, (3, 3, 3)), "kernel is"),
        (lambda: Conv1d(1, 3, (3, 3)), "kernel is"),
        (lambda: Conv2d(1, 3, 3, stride=True), "stride is True"),
        (lambda: Conv2d(1, 3, 3, padding="valid"), 'padding is \'valid\', expected .* or "same"'),
        (lambda: Conv2d(1, 3, 3, padding=-1), "padding is -1"),
        (lambda: Conv2d(4, 6, 3, groups=3), "3 groups do not divide 4 channels into 6"),
    ],
)
def test_convolutions_that_cannot_be(build, word):
    with pytest.raises(ValueError, match=word):
        build()
