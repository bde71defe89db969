"""Samples that an object gives one by one, by their number: PyTorch's map-style Datasets, and all that behave like them."""

from __future__ import annotations

from typing import Any

import numpy as np

from paralift.data.loaders import is_iterable_style
from paralift.data.source import DataError, Source, Stored


class ItemSource(Source):
    """Read (x, y) pairs by ``dataset[i]``, i from 0 to ``len(dataset) - 1``.

    The first item says of what shape and type all are: y is a label if it is a whole number, labels if it is an array of
    them, else a target. A rank reads its own samples once, at the start of a run, and keeps them: what a Dataset draws at
    random it draws then, so that augmentation belongs to ``augment`` of `fit`. To find the number of classes all labels are
    read, and kept; ``Dataset("name", ItemSource(dataset), n_classes=10)`` saves that.

    Parameters
    ----------
    dataset : object with ``__len__`` and ``__getitem__``
        Items are pairs of what NumPy takes as an array: tensors on the CPU, arrays, numbers, images.
    channels_first : bool
        Whether samples are (channels, height, width), as PyTorch's are, and are to be read as (height, width, channels).

    Raises
    ------
    DataError
        If the data set is iterable-style or empty, or items are no such pairs; when it is read, if one cannot be read or
        differs in shape or type from the first.
    """

    def __init__(self, dataset: Any, *, channels_first: bool = False) -> None:
        self._dataset, self._name, self._channels_first = dataset, type(dataset).__name__, channels_first
        n = self._length()
        if n < 1:
            raise DataError(f"{self._name}: holds no samples, expected one at least")
        x, y = self._first = self._item(0)
        if channels_first and x.ndim < 2:
            shape = f"samples have shape {x.shape}"
            raise DataError(f"{self._name}: {shape}, expected channels and more axes: leave channels_first out")
        self._labels = np.zeros(n, np.int64) if y.ndim == 0 and y.dtype.kind in "biu" else None
        self._seen = np.zeros(n if self._labels is not None else 0, bool)
        inputs = Stored(f"inputs of {self._name}", (n, *self._moved(x).shape), x.dtype)
        self.describe(inputs, Stored(f"targets of {self._name}", (n, *y.shape), y.dtype))

    def read_inputs(self, start: int, stop: int) -> np.ndarray:
        """Return the inputs of samples start <= i < stop; labels that come with them are kept."""
        found = np.empty((stop - start, *self.sample_shape), self.x_dtype)
        for i in range(start, stop):
            found[i - start] = self._moved(self._checked(i)[0])
        return found

    def read_targets(self, start: int, stop: int) -> np.ndarray:
        """Return the targets of samples start <= i < stop; of items that were read before, labels are known."""
        if self._labels is not None:
            for unseen in np.flatnonzero(~self._seen[start:stop]):
                self._checked(start + int(unseen))
            return self._labels[start:stop].astype(self.y_dtype)
        found = np.empty((stop - start, *self.targets.shape[1:]), self.y_dtype)
        for i in range(start, stop):
            found[i - start] = self._checked(i)[1]
        return found

    def _length(self) -> int:
        if is_iterable_style(self._dataset):
            raise DataError(
                f"{self._name} is an iterable-style data set, whose samples have no numbers: ranks cannot share them; give a "
                "map-style one, such as list(dataset) as two arrays"
            )
        try:
            return len(self._dataset)
        except (TypeError, NotImplementedError) as error:
            raise DataError(f"{self._name} has no length ({error}), expected a data set with __len__ and __getitem__") from None

    def _checked(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Return an item that is like the first one."""
        item = self._item(i)
        for what, found, first in zip(("inputs", "targets"), item, self._first, strict=True):
            if found.shape != first.shape or not np.can_cast(found.dtype, first.dtype, "same_kind"):
                raise DataError(
                    f"{self._name}, sample {i}: the {what} have shape {found.shape} and type {found.dtype}, those of sample 0 "
                    f"{first.shape} and {first.dtype}; expected the same of all samples: bring them to one size and type in "
                    "the data set"
                )
        if self._labels is not None:
            self._labels[i], self._seen[i] = item[1], True
        return item

    def _item(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        try:
            item = self._dataset[i]
        except Exception as error:  # whatever a data set raises, all ranks hear of it
            raise DataError(f"{self._name}, sample {i}: cannot be read ({type(error).__name__}: {error})") from error
        if not isinstance(item, tuple | list) or len(item) != 2:
            parts = f" of {len(item)} parts" if isinstance(item, tuple | list) else ""
            keys = f" with the keys {list(item)}" if isinstance(item, dict) else ""
            raise DataError(
                f"{self._name}, sample {i}: is {type(item).__name__}{parts}{keys}, expected a pair (x, y); wrap the data set "
                "in one that returns it"
            )
        return self._array(item[0], i, "input"), self._array(item[1], i, "target")

    def _array(self, value: Any, i: int, what: str) -> np.ndarray:
        try:
            found = np.asarray(value)
        except Exception as error:  # a tensor on a device, a ragged list
            raise DataError(
                f"{self._name}, sample {i}: the {what} is {type(value).__name__}, which NumPy does not take ({error}); return "
                "tensors on the CPU, without gradients"
            ) from error
        if found.dtype.kind not in "biuf":
            raise DataError(
                f"{self._name}, sample {i}: the {what} is {type(value).__name__} of type {found.dtype}, expected numbers; make "
                "it a tensor or an array in the data set"
            )
        return found

    def _moved(self, x: np.ndarray) -> np.ndarray:
        return np.moveaxis(x, 0, -1) if self._channels_first else x
