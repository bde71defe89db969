"""Grey pictures cut into patches, and white noise on them: data for denoising. No patch is kept, pictures are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from paralift.data.source import DataError, Source, Stored


class PatchSource(Source):
    """Patches of grey pictures, of shape (patch, patch, 1) with values in [0, 1]: noisy ones, and clean ones as targets.

    Patches are counted along the lines of one picture after another. The noise of a patch is a function of `seed` and the
    patch's number: whoever reads it finds the same.

    Parameters
    ----------
    pictures : sequence of array
        Each of shape (height, width) and type uint8, no side smaller than `patch`.
    patch : int
        Side of a patch, in pixels.
    stride : int
        Pixels from patch to patch; what is left at the right and the lower edge belongs to none.
    sigma : float
        Standard deviation of the noise, in grey values of 255; noisy values are not clipped.
    seed : int
        Of the noise.
    where : str
        Where the pictures come from, for messages.

    Raises
    ------
    DataError
        If a picture is no such picture.
    ValueError
        If a number is outside its range.
    """

    def __init__(
        self, pictures: Sequence[Any], patch: int, stride: int, sigma: float, seed: int = 0, where: str = "pictures in memory"
    ) -> None:
        if patch < 1 or stride < 1 or not 0.0 <= sigma < np.inf or seed < 0:
            raise ValueError(
                f"patch={patch}, stride={stride}, sigma={sigma}, seed={seed} were given, expected whole numbers of at least 1 "
                "for patch and stride, a finite sigma of at least 0 and a seed of at least 0"
            )
        self._pictures = [_checked(np.asarray(p), k, patch, where) for k, p in enumerate(pictures)]
        if not self._pictures:
            raise DataError(f"{where}: holds no pictures, expected one at least")
        self._patch, self._stride, self._sigma, self._seed = patch, stride, sigma, seed
        self._grids = [tuple((side - patch) // stride + 1 for side in p.shape) for p in self._pictures]
        self._ends = np.cumsum([rows * columns for rows, columns in self._grids])
        shape, kind = (int(self._ends[-1]), patch, patch, 1), np.dtype(np.float32)
        self.describe(Stored(f"{where}, noisy patches", shape, kind), Stored(f"{where}, clean patches", shape, kind))

    def read_inputs(self, start: int, stop: int) -> np.ndarray:
        """Return the noisy patches start <= i < stop."""
        noisy = self.read_targets(start, stop)
        for i in range(start, stop if self._sigma > 0 else start):
            rng = np.random.Generator(np.random.Philox(key=[self._seed, i]))
            noisy[i - start] += np.float32(self._sigma / 255.0) * rng.standard_normal(noisy.shape[1:], np.float32)
        return noisy

    def read_targets(self, start: int, stop: int) -> np.ndarray:
        """Return the clean patches start <= i < stop."""
        side, found = self._patch, np.empty((stop - start, self._patch, self._patch, 1), np.float32)
        for i in range(start, stop):
            k = int(np.searchsorted(self._ends, i, side="right"))
            row, column = divmod(i - (int(self._ends[k - 1]) if k else 0), self._grids[k][1])
            top, left = row * self._stride, column * self._stride
            np.divide(self._pictures[k][top : top + side, left : left + side, None], np.float32(255), out=found[i - start])
        return found


def _checked(picture: np.ndarray, k: int, patch: int, where: str) -> np.ndarray:
    if picture.dtype != np.uint8 or picture.ndim != 2 or min(picture.shape) < patch:
        raise DataError(
            f"{where}, picture {k}: has type {picture.dtype} and shape {picture.shape}, expected grey values of type uint8 and "
            f"shape (height, width) of at least ({patch}, {patch}); take smaller patches, or leave it out"
        )
    return picture
