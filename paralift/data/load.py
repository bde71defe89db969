"""The one place where samples are cast, scaled and checked, whatever source they come from.

One rule holds for all sources: uint8 inputs are intensities and become x / 255 in [0, 1]; then every input
becomes (x - mean) / std with the two numbers of its source (0 and 1 by default).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from paralift.data.source import DataError, Source


def load_shard(source: Source, start: int, stop: int, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """Read samples start <= i < stop, cast once, scaled and checked.

    Parameters
    ----------
    source : Source
        Where to read.
    start, stop : int
        The range, 0 <= start <= stop <= source.n_samples.
    dtype : dtype
        Float type of the inputs, and of the targets unless they are labels.

    Returns
    -------
    x : ndarray, shape (stop - start, *sample_shape)
        Contiguous and finite. Shares memory with an array in memory that needs neither cast nor scaling.
    y : ndarray, shape (stop - start, *target_shape)
        int64 labels, 0 <= y < n_classes, or finite float targets.

    Raises
    ------
    DataError
        If a value is nan, inf or too large for `dtype`, or a label is outside its range: the text names data
        set, file, sample (counted over the whole source) and feature; or if the file is damaged.
    ValueError, TypeError
        If the range is outside the source, or `dtype` is no float type.
    """
    return load_inputs(source, start, stop, dtype), load_targets(source, start, stop, dtype)


def load_inputs(source: Source, start: int, stop: int, dtype: Any) -> np.ndarray:
    """Read the inputs alone, as :func:`load_shard` does, for a rank that needs no targets."""
    dtype = _float_type(dtype)
    _check_range(source, start, stop)
    raw = _as_promised(source, source.read_inputs(start, stop), (stop - start, *source.sample_shape))
    unit = 255.0 if source.x_dtype == np.uint8 else 1.0
    mean, std = unit * source.mean, unit * source.std
    with np.errstate(over="ignore"):  # what does not fit becomes inf and is reported as such below
        x = raw.astype(dtype, order="C", copy=mean != 0.0 or std != 1.0)
        if mean != 0.0:
            x -= mean
        if std != 1.0:
            x /= std
    _check_finite(x, raw, source, source.inputs.where, "feature", start)
    return x


def load_targets(source: Source, start: int, stop: int, dtype: Any) -> np.ndarray:
    """Read the targets alone, as :func:`load_shard` does, for a rank that needs no inputs."""
    dtype = _float_type(dtype)
    _check_range(source, start, stop)
    raw = source.read_targets(start, stop)
    if source.labels:
        return _labels(_as_promised(source, raw, (stop - start, *source.target_shape)), source, start)
    if raw.ndim == 1:
        raw = raw[:, None]
    raw = _as_promised(source, raw, (stop - start, *source.target_shape))
    with np.errstate(over="ignore"):
        y = raw.astype(dtype, order="C", copy=False)
    _check_finite(y, raw, source, source.targets.where, "target entry", start)
    return y


def _labels(raw: np.ndarray, source: Source, start: int) -> np.ndarray:
    limit = np.iinfo(np.int64).max if source.n_classes is None else source.n_classes
    wrong = (raw < 0) | (raw >= limit)
    if wrong.any():
        i, *place = (int(k) for k in np.argwhere(wrong)[0])
        bound = "0 or more" if source.n_classes is None else f"0 to {limit - 1}"
        token = f", position {place[0] if len(place) == 1 else tuple(place)}," if place else ""
        raise DataError(
            f"data set {source.name!r}, {source.targets.where}: the label of sample {start + i}{token} is "
            f"{int(raw[(i, *place)])}, expected {bound}; number the classes from 0, or give the right n_classes"
        )
    return raw.astype(np.int64)


def _check_finite(
    out: np.ndarray, raw: np.ndarray, source: Source, where: str, what: str, start: int
) -> None:
    rows = max(1, (1 << 18) // max(1, out[:1].size))  # in pieces: the mask of a whole shard is large
    for low in range(0, len(out), rows):
        finite = np.isfinite(out[low : low + rows])
        if finite.all():
            continue
        i, *feature = (int(k) for k in np.argwhere(~finite)[0])
        value, place = raw[(low + i, *feature)], feature[0] if len(feature) == 1 else tuple(feature)
        found = f"{value}" + (f", too large for {out.dtype}" if np.isfinite(value) else "")
        raise DataError(
            f"data set {source.name!r}, {where}: sample {start + low + i}, {what} {place} is {found}; "
            "expected finite numbers: repair or remove the sample (both numbers count from 0)"
        )


def _float_type(dtype: Any) -> np.dtype:
    kind = np.dtype(dtype)
    if kind.kind != "f":
        raise TypeError(f"dtype={kind} was given, expected a float type such as float32 or float64")
    return kind


def _check_range(source: Source, start: int, stop: int) -> None:
    if not 0 <= start <= stop <= source.n_samples:
        raise ValueError(
            f"samples {start} to {stop} of data set {source.name!r} were asked for, expected "
            f"0 <= start <= stop <= {source.n_samples}"
        )


def _as_promised(source: Source, raw: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if raw.shape != shape:
        raise DataError(
            f"data set {source.name!r}: {type(source).__name__} read an array of shape {raw.shape}, expected "
            f"{shape} from its description; was the file changed since it was opened?"
        )
    return raw
