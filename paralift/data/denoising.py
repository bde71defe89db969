"""Pictures for denoising: patches to train on, whole pictures to test on."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from paralift.data.dataset import Dataset
from paralift.data.folders import folder_of
from paralift.data.npz import open_npz_array
from paralift.data.patches import PatchSource
from paralift.data.source import DataError, require_file
from paralift.data.streams import damage_as_data_error

TRAIN, TEST = "train400", "set12"
"""File names without their ending: 400 pictures of 180 x 180 pixels, and 12 well-known ones."""


def denoising(
    folder: str | Path | None = None, patch: int = 40, stride: int = 20, sigma: float = 25.0, seed: int = 0
) -> Dataset:
    """Return patches of grey pictures with white noise, and the clean ones as targets.

    Patches of ``train400.npz`` are for training, those of ``set12.npz``, which do not overlap, for the test. Values lie in
    [0, 1]; the noise of each patch is always the same (`fit` adds new one with ``augment=[Noise(...)]`` where ``sigma=0``).

    Parameters
    ----------
    folder : path, optional
        Where the files lie. Not given, it is ``grey-denoise`` in the folder that PARALIFT_DATA names.
    patch, stride : int
        Side of a patch, and pixels from patch to patch.
    sigma : float
        Standard deviation of the noise in grey values of 255.
    seed : int
        Of the noise.

    Raises
    ------
    FileNotFoundError
        If a file is not there.
    DataError
        If one is not what it must be.

    References
    ----------
    K. Zhang et al., "Beyond a Gaussian Denoiser", IEEE Trans. Image Process. 26(7), 2017, for the division.
    """
    train = PatchSource(pictures(TRAIN, folder), patch, stride, sigma, seed, TRAIN)
    test = PatchSource(pictures(TEST, folder), patch, patch, sigma, seed + 1, TEST)
    return Dataset("denoising", train, test)


def pictures(name: str, folder: str | Path | None = None) -> list[np.ndarray]:
    """Return the grey pictures of a file ``name.npz``, in the order of their names: arrays (height, width), uint8.

    An array of three axes counts as many pictures of one size; arrays of other types than uint8 are no pictures. `folder` and
    errors are those of :func:`denoising`.
    """
    path = require_file(folder_of("grey-denoise", folder, f"{name}.npz") / f"{name}.npz")
    if not zipfile.is_zipfile(path):
        raise DataError(f"file {path}: is no npz file or is truncated, expected one written by numpy.savez; fetch it again")
    with damage_as_data_error(f"file {path}"), zipfile.ZipFile(path) as archive:
        keys = sorted(key.removesuffix(".npy") for key in archive.namelist())
    found: list[np.ndarray] = []
    for key in keys:
        array = open_npz_array(path, key)
        if array.dtype != np.uint8:
            continue
        whole = array.read(0, array.shape[0] if array.shape else 0)
        found += list(whole) if whole.ndim == 3 else [whole]
    return found
