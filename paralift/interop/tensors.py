"""Parameters in files of the safetensors format, which other libraries read; no code is in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from paralift.data.source import require_file
from paralift.interop.optional import load
from paralift.kernels.arrays import to_host
from paralift.lifted.network import Network, Params, check_params

MOST_NAMES = 5
"""Names that an error lists."""


def save_safetensors(path: str | Path, params: Params) -> None:
    """Write parameters, each as ``block.name``.

    Parameters
    ----------
    path : str or Path
        Written whole or not at all.
    params : mapping
        In the structure of ``net.init()``; float32 or float64, finite.

    Raises
    ------
    ImportError
        If the safetensors package is not installed.
    ValueError
        If a number is not finite.
    """
    numpy = load("safetensors.numpy", "save_safetensors")
    flat = {f"{b}.{n}": np.ascontiguousarray(to_host(a)) for b, arrays in params.items() for n, a in arrays.items()}
    for name, array in flat.items():
        _check_finite("save_safetensors", name, array)
    path = Path(path)
    beside = path.with_name(f".{path.name}.part")
    try:
        beside.write_bytes(numpy.save(flat))
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def load_safetensors(path: str | Path, net: Network) -> dict[str, dict[str, np.ndarray]]:
    """Return the parameters of a network from a file, checked against it.

    Parameters
    ----------
    path : str or Path
    net : Network
        It says which names and shapes are expected.

    Returns
    -------
    params : mapping
        In the structure of ``net.init()``.

    Raises
    ------
    ImportError
        If the safetensors package is not installed.
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no such file, or names, shapes or types are not the network's, or a number is not finite.
    """
    library, numpy = (load(module, "load_safetensors") for module in ("safetensors", "safetensors.numpy"))
    path = require_file(path)
    try:
        found: Mapping[str, Any] = numpy.load_file(path)
    except (library.SafetensorError, KeyError) as error:  # KeyError: a type that NumPy does not have
        raise ValueError(f"load_safetensors: {path} is no file of safetensors that NumPy reads: {error!r}") from None
    expected = {f"{b.name}.{n}": (b.name, n, s) for b in net.blocks for n, s in (b.trained() | b.tracked()).items()}
    missing, extra = sorted(set(expected) - set(found))[:MOST_NAMES], sorted(set(found) - set(expected))[:MOST_NAMES]
    if missing or extra:
        raise ValueError(
            f"load_safetensors: {path}: missing {missing}, unknown {extra}; expected the {len(expected)} names of the network, "
            f"such as {next(iter(expected), None)!r}"
        )
    params: dict[str, dict[str, np.ndarray]] = {}
    kinds = {str(a.dtype) for a in found.values()}
    if len(kinds) > 1 or not kinds <= {"float32", "float64"}:
        raise ValueError(f"load_safetensors: {path} holds {sorted(kinds)}, expected float32 or float64 for all")
    for name, (block, key, shape) in expected.items():
        array = found[name]
        if array.shape != shape:
            raise ValueError(f"load_safetensors: {path}: {name} has shape {array.shape}, expected {shape}")
        _check_finite(f"load_safetensors: {path}", name, array)
        params.setdefault(block, {})[key] = array
    check_params(net, params)
    return params


def _check_finite(where: str, name: str, array: np.ndarray) -> None:
    if not np.isfinite(array).all():
        raise ValueError(f"{where}: {name} has {np.count_nonzero(~np.isfinite(array))} numbers that are not finite")
