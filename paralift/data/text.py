"""A text file as characters: samples of consecutive tokens, each with the token that follows it as its label."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from paralift.data.dataset import Dataset
from paralift.data.source import DataError, Source, Stored, require_file

TRAIN = 0.9
"""Part of a text that is trained on: its beginning."""


class TextSource(Source):
    """Characters `start` to `stop` of a text, in samples of `length` tokens; labels are the tokens one further on.

    Parameters
    ----------
    where : str
        For messages.
    tokens : ndarray of shape (n,)
        Numbers of characters.
    length : int
    vocabulary : str
        The characters by their numbers.

    Attributes
    ----------
    vocabulary : str
    """

    def __init__(self, where: str, tokens: np.ndarray, length: int, vocabulary: str) -> None:
        self.vocabulary, self._length = vocabulary, length
        n = (len(tokens) - 1) // length
        self._tokens = tokens[: n * length + 1]
        stored = Stored(where, (n, length), np.dtype(np.uint32))
        self.describe(stored, stored)

    def read_inputs(self, start: int, stop: int) -> np.ndarray:
        """Return the tokens of samples start <= i < stop, shape (stop - start, length)."""
        return self._part(start, stop, 0)

    def read_targets(self, start: int, stop: int) -> np.ndarray:
        """Return the tokens that follow those of samples start <= i < stop, shape (stop - start, length)."""
        return self._part(start, stop, 1)

    def _part(self, start: int, stop: int, shift: int) -> np.ndarray:
        part = self._tokens[start * self._length + shift : stop * self._length + shift]
        return part.reshape(stop - start, self._length)


def text(path: str | Path, length: int = 64) -> Dataset:
    """Return a text file as a data set of characters: the first 90 % to train on, the rest to test.

    Samples are `length` consecutive characters and do not overlap; the label of each is the one that follows. Characters are
    numbered in the order of their code points: ``data.train.vocabulary[k]`` is number k, ``data.n_classes`` their count.

    Parameters
    ----------
    path : path
        In UTF-8.
    length : int
        Tokens of a sample, at least 1.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DataError
        If it is not UTF-8, or shorter than a sample for training and one for the test.
    ValueError
        If `length` is no integer of at least 1.
    """
    if not isinstance(length, int) or length < 1:
        raise ValueError(f"text: length is {length!r}, expected an integer of at least 1")
    file = require_file(path)
    try:
        characters = file.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"file {file}: byte {error.start} is no UTF-8 ({error.reason}); convert the file, with iconv -t UTF-8 say"
        ) from None
    cut = int(TRAIN * len(characters))
    if min(cut, len(characters) - cut) < length + 1:
        raise DataError(
            f"file {file}: {len(characters)} characters, expected more: the last tenth must hold a sample of {length} tokens "
            "and the one behind it; take a longer text or a smaller length"
        )
    points = np.frombuffer(characters.encode("utf-32-le"), np.uint32)
    known, tokens = np.unique(points, return_inverse=True)
    vocabulary, tokens = "".join(map(chr, known)), tokens.astype(np.uint32)
    train, test = (TextSource(f"file {file}", part, length, vocabulary) for part in (tokens[:cut], tokens[cut:]))
    return Dataset(file.name, train, test, n_classes=len(vocabulary))
