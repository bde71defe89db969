"""Numbers and arguments of PyTorch's modules as ParaLift wants them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from paralift.interop.optional import UnsupportedError
from paralift.interop.values import Entry


def array(tensor: torch.Tensor) -> np.ndarray:
    """Return a copy of a tensor's values."""
    if tensor.dtype not in (torch.float32, torch.float64):
        raise UnsupportedError(f"its numbers are {tensor.dtype}, supported: float32, float64; module.float() converts them")
    return tensor.detach().cpu().numpy().copy()


def affine(module: Any, order: np.ndarray) -> list[Entry]:
    """Return gain and shift of a normalisation in the order of its features; 1 and 0 where it has none."""
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    gain = np.ones(order.size) if weight is None else array(weight).reshape(-1)[order]
    shift = np.zeros(order.size) if bias is None else array(bias).reshape(-1)[order]
    return [Entry("gain", gain, weight), Entry("shift", shift, bias)]


def linear_entries(module: Any, order: Any = slice(None)) -> list[Entry]:
    """Return the arrays of a `Linear` whose inputs lie in this order."""
    entries = [Entry("weight", array(module.weight).T[order], module.weight)]
    return entries if module.bias is None else [*entries, Entry("bias", array(module.bias), module.bias)]


def size(value: Any) -> Any:
    """Return an integer, or a tuple of integers that differ."""
    numbers = tuple(int(n) for n in np.atleast_1d(value))
    return numbers[0] if len(set(numbers)) == 1 else numbers


def check_arguments(module: Any, wanted: dict[str, Any]) -> None:
    """Raise UnsupportedError unless the module's arguments, where it has them, are as wanted."""
    for argument, value in wanted.items():
        given = getattr(module, argument, value)
        if (size(given) if isinstance(given, tuple) else given) != value:
            raise UnsupportedError(f"{argument} is {given!r}, supported: {value!r}")
