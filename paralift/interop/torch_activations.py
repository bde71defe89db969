"""Activations of PyTorch, as modules and as functions, in ParaLift."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from paralift.interop.optional import UnsupportedError
from paralift.lifted import activations as sigma
from paralift.lifted import maps

Layers = list[Any]


def _softplus(m: nn.Softplus) -> Layers:
    if m.beta != 1:
        raise UnsupportedError(f"beta is {m.beta}, supported: 1")
    return [sigma.Softplus()]


def _dropout(m: nn.Dropout) -> Layers:
    if m.p == 1.0:
        raise UnsupportedError("p is 1, supported: rates less than 1")
    return [maps.Dropout(m.p)] if m.p else []


def _celu(m: nn.CELU) -> Layers:
    if m.alpha != 1:
        raise UnsupportedError(f"alpha is {m.alpha}, supported: 1")
    return [sigma.ELU()]


MODULES: dict[type, Callable[[Any], Layers]] = {
    nn.ReLU: lambda m: [sigma.ReLU()],
    nn.ReLU6: lambda m: [sigma.Hardtanh(0.0, 6.0)],
    nn.LeakyReLU: lambda m: [sigma.LeakyReLU(m.negative_slope) if m.negative_slope else sigma.ReLU()],
    nn.Hardtanh: lambda m: [sigma.Hardtanh(float(m.min_val), float(m.max_val))],
    nn.Tanh: lambda m: [sigma.Tanh()],
    nn.Sigmoid: lambda m: [sigma.Sigmoid()],
    nn.Softsign: lambda m: [sigma.Softsign()],
    nn.ELU: lambda m: [sigma.ELU(m.alpha)],
    nn.CELU: _celu,
    nn.Softplus: _softplus,
    nn.Softshrink: lambda m: [sigma.SoftThreshold(m.lambd)],
    nn.SiLU: lambda m: [sigma.SiLU()],
    nn.GELU: lambda m: [sigma.GELU(exact=m.approximate == "none")],
    nn.Identity: lambda m: [],
    nn.Dropout: _dropout,
}

FUNCTIONS: dict[Any, type] = {
    **dict.fromkeys((F.relu, torch.relu, torch.relu_, F.relu_, "relu", "relu_"), nn.ReLU),
    **dict.fromkeys((torch.tanh, F.tanh, "tanh"), nn.Tanh),
    **dict.fromkeys((torch.sigmoid, F.sigmoid, "sigmoid"), nn.Sigmoid),
    F.relu6: nn.ReLU6,
    F.leaky_relu: nn.LeakyReLU,
    F.hardtanh: nn.Hardtanh,
    F.elu: nn.ELU,
    F.celu: nn.CELU,
    F.softplus: nn.Softplus,
    F.softsign: nn.Softsign,
    F.softshrink: nn.Softshrink,
    F.silu: nn.SiLU,
    F.gelu: nn.GELU,
}
"""Functions and tensors' methods, by the module that does the same with the same arguments behind the first."""


def of_module(module: nn.Module) -> Layers:
    """Return the layers that an activation stands for: one, or none for the identity."""
    try:
        return MODULES[type(module)](module)
    except UnsupportedError:
        raise
    except ValueError as error:  # a slope above 1, say, which no proximal map has
        raise UnsupportedError(str(error)) from None


def of_function(function: Any) -> Layers:
    """Return the layers of an activation that is given as a module or as a function without further arguments."""
    if isinstance(function, nn.Module):
        if type(function) in MODULES:
            return of_module(function)
    elif function in FUNCTIONS:
        return of_module(FUNCTIONS[function]())
    raise UnsupportedError(f"its activation is {function!r}, supported: {', '.join(sorted(k.__name__ for k in MODULES))}")


def hidden_scores(mask: Any, length: int) -> bool:
    """Return whether a mask is the causal one; raise UnsupportedError unless it is that or None."""
    if mask is None:
        return False
    causal = torch.ones(length, length, dtype=torch.bool).triu(1)
    expected = causal if mask.dtype == torch.bool else torch.zeros(length, length).masked_fill(causal, -math.inf)
    if mask.shape == expected.shape and bool((mask.cpu() == expected).all()):
        return True
    raise UnsupportedError("its mask is not the causal one, supported: None, or a mask that hides what comes later")
