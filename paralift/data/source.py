"""The contract of all sources: samples with their targets, read by ranges; and the source in memory."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class DataError(ValueError):
    """Data are not what they must be: the text names file, find, expectation and the way out."""


class Stored(NamedTuple):
    """An array as it lies in a file or in memory."""

    where: str
    """Its place, for messages."""
    shape: tuple[int, ...]
    """Its shape, the samples first."""
    dtype: np.dtype
    """Its type."""


class Source:
    """Base of all sources: samples with their targets, read by ranges.

    A subclass calls :meth:`describe` and gives :meth:`read_inputs` and :meth:`read_targets`. Opening a source
    reads headers only; reading keeps no more of a file in memory than was asked for.

    Attributes
    ----------
    n_samples : int
        Number of samples.
    sample_shape : tuple of int
        Shape of one sample.
    target_shape : tuple of int
        Shape of one target: () for integer class labels, (T,) for a label of each of T tokens; float targets have one
        dimension at least.
    x_dtype, y_dtype : numpy.dtype
        Types as stored.
    inputs, targets : Stored
        Where the two arrays lie.
    name : str
        Name in messages, such as ``"mnist train"``.
    n_classes : int or None
        Labels must be smaller than this; None where targets are floats or the number is not known.
    mean, std : float
        Inputs are standardised by these when they are loaded.
    """

    name: str = "unnamed"
    n_classes: int | None = None
    mean: float = 0.0
    std: float = 1.0
    inputs: Stored
    targets: Stored
    n_samples: int
    sample_shape: tuple[int, ...]
    target_shape: tuple[int, ...]
    x_dtype: np.dtype
    y_dtype: np.dtype

    def describe(
        self,
        inputs: Stored,
        targets: Stored,
        sample_shape: tuple[int, ...] | None = None,
        mean: float = 0.0,
        std: float = 1.0,
    ) -> None:
        """Check that the two arrays belong together and set all attributes but `name` and `n_classes`.

        Raises
        ------
        DataError
            If a type is not numeric, a shape is empty, the lengths differ, or (mean, std) cannot standardise.
        """
        _check_stored(inputs, "inputs")
        _check_stored(targets, "targets")
        _check_lengths(inputs, targets)
        if not (np.isfinite(mean) and np.isfinite(std) and std > 0):
            raise DataError(f"{inputs.where}: got mean={mean}, std={std}, expected finite numbers, std > 0")
        self.inputs, self.targets = inputs, targets
        self.n_samples, self.x_dtype, self.y_dtype = inputs.shape[0], inputs.dtype, targets.dtype
        self.sample_shape = inputs.shape[1:] if sample_shape is None else sample_shape
        self.target_shape = _target_shape(targets)
        self.mean, self.std = float(mean), float(std)

    @property
    def labels(self) -> bool:
        """Whether targets are integer labels rather than floats."""
        return self.y_dtype.kind != "f"

    def read_inputs(self, start: int, stop: int) -> np.ndarray:
        """Return the inputs of samples start <= i < stop as stored, shape (stop - start, *sample_shape)."""
        raise NotImplementedError

    def read_targets(self, start: int, stop: int) -> np.ndarray:
        """Return the targets of samples start <= i < stop as stored, shape (stop - start, ...)."""
        raise NotImplementedError

    def read(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs and targets of samples start <= i < stop as stored."""
        return self.read_inputs(start, stop), self.read_targets(start, stop)

    def named(self, name: str, n_classes: int | None) -> Source:
        """Return a copy that bears this name and knows this number of classes; it reads the same data."""
        twin = copy.copy(self)
        twin.name, twin.n_classes = name, n_classes
        return twin


class ArraySource(Source):
    """Samples in memory.

    Parameters
    ----------
    x : array_like
        Inputs, shape (n_samples, ...), a real type; uint8 is scaled to [0, 1] when loaded.
    y : array_like
        Integer labels, shape (n_samples,) or one for each token, or float targets, shape (n_samples, ...).
    mean, std : float
        Inputs are loaded as (x - mean) / std.

    Raises
    ------
    DataError
        If the two arrays are not what they must be.
    """

    def __init__(self, x: Any, y: Any, *, mean: float = 0.0, std: float = 1.0) -> None:
        self._x, self._y = np.asarray(x), np.asarray(y)
        inputs = Stored("the array x in memory", self._x.shape, self._x.dtype)
        targets = Stored("the array y in memory", self._y.shape, self._y.dtype)
        self.describe(inputs, targets, mean=mean, std=std)

    def read_inputs(self, start: int, stop: int) -> np.ndarray:
        """Return a view of rows start <= i < stop of x."""
        return self._x[start:stop]

    def read_targets(self, start: int, stop: int) -> np.ndarray:
        """Return a view of rows start <= i < stop of y."""
        return self._y[start:stop]


def require_file(path: str | Path) -> Path:
    """Return `path` with ``~`` expanded, or raise FileNotFoundError that says where it was looked for."""
    given = Path(path).expanduser()
    if not given.is_file():
        found = "is a folder" if given.is_dir() else "does not exist"
        start = "" if given.is_absolute() else f" (relative paths start at {Path.cwd()})"
        raise FileNotFoundError(f"{given} {found}, expected a data file; give the right path{start}")
    return given


def _check_stored(stored: Stored, what: str) -> None:
    if stored.dtype.kind not in "biuf":
        way = "split real and imaginary parts into features" if stored.dtype.kind == "c" else "store numbers"
        raise DataError(f"{stored.where}: the {what} have type {stored.dtype}, expected real numbers; {way}")
    if not stored.shape or min(stored.shape) < 1:
        raise DataError(
            f"{stored.where}: the {what} have shape {stored.shape}, expected at least one sample of at least "
            "one number; check how the array was made"
        )


def _check_lengths(inputs: Stored, targets: Stored) -> None:
    if len(inputs.shape) < 2:
        raise DataError(
            f"{inputs.where}: the inputs have shape {inputs.shape}, expected (samples, features) or more "
            "dimensions; reshape to (samples, 1) if a sample is one number"
        )
    if inputs.shape[0] != targets.shape[0]:
        raise DataError(
            f"{inputs.where} has {inputs.shape[0]} samples and {targets.where} has {targets.shape[0]} "
            "targets, expected as many of each; do the two belong together (train and test mixed up, say)?"
        )


def _target_shape(targets: Stored) -> tuple[int, ...]:
    if targets.dtype.kind == "f":
        return targets.shape[1:] or (1,)
    return targets.shape[1:]
