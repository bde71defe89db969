"""Poolings: the values of the definition, adjoints to match, norms where they are stated."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from paralift.lifted.maps import (
    AdaptiveAveragePool1d,
    AdaptiveAveragePool2d,
    AveragePool1d,
    AveragePool2d,
    GlobalAverage,
    MaxPool1d,
    MaxPool2d,
    ShapeError,
    Upsample,
)

LINEAR = {
    "average": (AveragePool2d(2), (4, 6, 3)),
    "average, a line left over": (AveragePool2d(2), (5, 5, 2)),
    "average, overlapping and padded": (AveragePool2d(3, stride=2, padding=1), (6, 7, 2)),
    "average, same": (AveragePool2d((2, 3), stride=2, padding="same"), (5, 7, 2)),
    "average, gaps": (AveragePool2d(2, stride=3), (8, 8, 1)),
    "average of a series": (AveragePool1d(3, padding=1), (8, 2)),
    "adaptive": (AdaptiveAveragePool2d((2, 3)), (5, 7, 2)),
    "adaptive series": (AdaptiveAveragePool1d(3), (8, 2)),
    "global": (GlobalAverage(), (4, 3, 2)),
    "global series": (GlobalAverage(), (4, 2)),
    "upsample": (Upsample(3), (2, 3, 2)),
    "upsample a series": (Upsample(2), (4, 2)),
}
SELECTIONS = {
    "max": (MaxPool2d(2), (4, 6, 3)),
    "max, lines left over": (MaxPool2d(2), (5, 7, 2)),
    "max, overlapping and padded": (MaxPool2d(3, stride=2, padding=1), (7, 6, 2)),
    "max, same": (MaxPool2d(2, stride=2, padding="same"), (5, 5, 2)),
    "max of a series": (MaxPool1d(2), (9, 3)),
}
CASES = LINEAR | SELECTIONS
N = 2


def arrays(name, seed=0):
    map_, shape = CASES[name]
    rng = np.random.default_rng(seed)
    return map_, rng.standard_normal((N, *shape)), rng.standard_normal((N, *map_.output_shape(shape)))


def applied(map_, x):
    out = np.full((x.shape[0], *map_.output_shape(x.shape[1:])), np.nan, x.dtype)
    map_.apply({}, [x], out)
    return out


def pulled(map_, x, r):
    out = np.full_like(x, np.nan)
    map_.adjoint({}, [x], r, 0, out)
    return out


@pytest.mark.parametrize("name", CASES)
def test_adjoint_is_the_transpose(name):
    map_, x, r = arrays(name)
    assert np.vdot(applied(map_, x), r) == pytest.approx(np.vdot(x, pulled(map_, x, r)), rel=1e-12)


def windows(map_, shape):
    """The lines and columns of each window of an image, by the definition."""
    spans = []
    for n, k, s, p in zip(shape, *(v if isinstance(v, tuple) else (v, v) for v in (map_.kernel, map_.stride or map_.kernel)),
                          (map_.padding,) * 2, strict=True):  # fmt: skip
        if p == "same":
            outputs = -(-n // s)
            p = max(0, (outputs - 1) * s + k - n) // 2
        else:
            outputs = (n + 2 * p - k) // s + 1
        spans.append([slice(max(0, i * s - p), max(0, i * s - p + k)) for i in range(outputs)])
    return spans


@pytest.mark.parametrize("name", [n for n, (m, _) in CASES.items() if type(m) in (AveragePool2d, MaxPool2d)])
def test_values_are_those_of_the_definition(name):
    map_, x, _ = arrays(name)
    lines, columns = windows(map_, x.shape[1:3])
    kernel = map_.kernel if isinstance(map_.kernel, tuple) else (map_.kernel,) * 2
    found = applied(map_, x)
    assert found.shape[1:3] == (len(lines), len(columns))
    for i, j in itertools.product(range(len(lines)), range(len(columns))):
        box = x[:, lines[i], columns[j], :]
        expected = box.max(axis=(1, 2)) if isinstance(map_, MaxPool2d) else box.sum(axis=(1, 2)) / math.prod(kernel)
        np.testing.assert_allclose(found[:, i, j], expected, rtol=1e-12)


def test_adaptive_boxes_cover_the_image():
    x = np.arange(7.0)[None, :, None]
    assert applied(AdaptiveAveragePool1d(3), x).ravel().tolist() == [1.0, 3.0, 5.0]  # 0..2, 2..4, 4..6
    assert applied(AdaptiveAveragePool1d(7), x).ravel().tolist() == x.ravel().tolist()


def test_global_average_and_upsample():
    _, x, _ = arrays("global")
    np.testing.assert_allclose(applied(GlobalAverage(), x), x.mean(axis=(1, 2)), rtol=1e-12)
    _, x, _ = arrays("upsample")
    np.testing.assert_array_equal(applied(Upsample(3), x), x.repeat(3, axis=1).repeat(3, axis=2))


@pytest.mark.parametrize("name", SELECTIONS)
def test_a_selection_puts_back_where_the_largest_lies(name):
    map_, x, r = arrays(name)
    chosen = pulled(map_, x, np.ones_like(r))
    assert chosen.sum() == r.size and (chosen == chosen.round()).all()
    assert set(applied(map_, x).ravel()) == set(x[chosen > 0])


def test_the_first_of_equals_is_chosen_and_nan_stays():
    x = np.zeros((1, 2, 2, 1))
    assert pulled(MaxPool2d(2), x, np.ones((1, 1, 1, 1))).ravel().tolist() == [1, 0, 0, 0]
    x[0, 1, 0, 0] = np.nan
    assert np.isnan(applied(MaxPool2d(2), x)).all()
    x[0, 0, 0, 0], x[0, 1, 0, 0] = np.nan, 5.0
    assert np.isnan(applied(MaxPool2d(2), x)).all()


@pytest.mark.parametrize("name", CASES)
def test_norm_is_the_spectral_norm_of_a_linear_map_and_bounds_that_of_a_selection(name):
    map_, x, _ = arrays(name)
    known = map_.norm({}, 0)
    size = x[0].size
    if name in SELECTIONS:
        columns = [pulled(map_, x[:1], unit.reshape(1, *map_.output_shape(x.shape[1:]))).ravel()
                   for unit in np.eye(math.prod(map_.output_shape(x.shape[1:])))]  # fmt: skip
        assert np.linalg.norm(np.array(columns), 2) <= known * (1 + 1e-12)
    elif known is not None:
        matrix = applied(map_, np.eye(size).reshape(size, *x.shape[1:])).reshape(size, -1)
        assert known == pytest.approx(np.linalg.norm(matrix, 2), rel=1e-12)


def test_norms_that_are_stated():
    assert AveragePool2d(2).norm({}, 0) == 0.5 and MaxPool2d(2).norm({}, 0) == 1.0
    assert AveragePool2d(3, stride=2).norm({}, 0) is None and AveragePool2d(2, padding="same").norm({}, 0) is None


@pytest.mark.parametrize("name", ["average", "upsample", "max"])
def test_float32_stays_float32(name):
    map_, x, r = arrays(name)
    x32, r32 = x.astype(np.float32), r.astype(np.float32)
    np.testing.assert_allclose(applied(map_, x32), applied(map_, x), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(pulled(map_, x32, r32), pulled(map_, x, r), rtol=1e-5, atol=1e-6)


def test_output_shapes_and_costs():
    for map_, shape in CASES.values():
        assert len(map_.output_shape(shape)) in (1, 2, 3) and map_.cost(shape) > 0
    assert MaxPool2d(3, stride=2, padding=1).output_shape((7, 6, 2)) == (4, 3, 2)
    assert GlobalAverage().output_shape((4, 3, 2)) == (2,) and Upsample(2).output_shape((4, 2)) == (8, 2)
    assert MaxPool2d(2).cost((4, 4, 3)) == 4 * 12


@pytest.mark.parametrize(
    ("map_", "shape", "words"),
    [
        (MaxPool2d(2), (8, 8), ["MaxPool2d", "(height, width, channels)", "(8, 8)"]),
        (AveragePool1d(9), (8, 2), ["too small", "(8,)"]),
        (AdaptiveAveragePool2d(4), (3, 8, 2), ["fewer positions than boxes", "(3, 8)"]),
        (GlobalAverage(), (8,), ["(..., channels)", "(8,)"]),
        (Upsample(2), (8,), ["(height, width, channels)", "(8,)"]),
    ],
)
def test_shapes_that_do_not_fit(map_, shape, words):
    with pytest.raises(ShapeError) as error:
        map_.output_shape(shape)
    assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.parametrize(
    ("build", "word"),
    [
        (lambda: MaxPool2d(0), "kernel is 0"),
        (lambda: MaxPool2d(2, padding=2), "more than half a window"),
        (lambda: AveragePool1d(2, stride=(1, 1)), "stride is"),
        (lambda: AdaptiveAveragePool2d(0), "output is 0"),
        (lambda: Upsample(1.5), "factor is 1.5"),
    ],
)
def test_poolings_that_cannot_be(build, word):
    with pytest.raises(ValueError, match=word):
        build()
