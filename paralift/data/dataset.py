"""A data set: where to train, where to test, and how many classes there are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from paralift.data.load import load_targets
from paralift.data.source import DataError, Source


@dataclass(frozen=True)
class Dataset:
    """A training source and, where there is one, a test source.

    Parameters
    ----------
    name : str
        Name of the data set, in tables and messages.
    train, test : Source
        The samples; the data set keeps copies of the two that bear its name and the number of classes.
    n_classes : int, optional
        Number of classes. Not given, it is 1 + the largest label of both sources, for which all labels are
        read once; give it where labels lie in a very large file. None for float targets.

    Raises
    ------
    DataError
        If train and test differ in the shapes of samples or targets, or n_classes does not fit.
    """

    name: str
    train: Source
    test: Source | None = None
    n_classes: int | None = None

    def __post_init__(self) -> None:
        sources = [self.train] if self.test is None else [self.train, self.test]
        for what in ("sample_shape", "target_shape"):
            shapes = [getattr(source, what) for source in sources]
            if shapes[0] != shapes[-1]:
                raise DataError(
                    f"data set {self.name!r}: {what} is {shapes[0]} in {self.train.inputs.where} and "
                    f"{shapes[-1]} in {sources[-1].inputs.where}, expected the same for train and test; "
                    "do the two belong together?"
                )
        classes = self._classes(sources)
        object.__setattr__(self, "n_classes", classes)
        object.__setattr__(self, "train", self.train.named(f"{self.name} train", classes))
        if self.test is not None:
            object.__setattr__(self, "test", self.test.named(f"{self.name} test", classes))

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return self.train.sample_shape

    @property
    def target_shape(self) -> tuple[int, ...]:
        """Shape of one target: () for class labels, (T,) for a label of each token."""
        return self.train.target_shape

    @property
    def labels(self) -> bool:
        """Whether targets are integer labels rather than floats."""
        return self.train.labels

    def _classes(self, sources: list[Source]) -> int | None:
        if not self.labels:
            if self.n_classes is not None:
                raise DataError(
                    f"data set {self.name!r}: n_classes={self.n_classes} was given but "
                    f"{self.train.targets.where} holds {self.train.y_dtype} targets, expected labels; "
                    "leave n_classes out, or give integer labels"
                )
            return None
        if self.n_classes is None:
            return 1 + max(_largest_label(source.named(self.name, None)) for source in sources)
        if self.n_classes < 1:
            raise DataError(
                f"data set {self.name!r}: n_classes={self.n_classes} was given, expected n_classes >= 1"
            )
        return self.n_classes


def _largest_label(source: Source, chunk: int = 1 << 20) -> int:
    starts = range(0, source.n_samples, chunk)
    ends = (min(start + chunk, source.n_samples) for start in starts)
    return max(int(load_targets(source, a, b, np.float64).max()) for a, b in zip(starts, ends, strict=True))
