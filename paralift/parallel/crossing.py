"""What crosses each cut of a network: the variables that blocks above it read from below."""

from __future__ import annotations

import math
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from paralift.lifted.network import Network


@dataclass(frozen=True)
class Crossing:
    """Arrays of shape (n_blocks + 1,), one entry for the cut after each number of blocks.

    Attributes
    ----------
    n_up, n_down : ndarray
        Variables whose x goes up, and whose pull comes down: all but the network's input.
    width_up, width_down : ndarray
        Their numbers for one sample.
    """

    n_up: np.ndarray
    n_down: np.ndarray
    width_up: np.ndarray
    width_down: np.ndarray


_KNOWN: WeakKeyDictionary[Network, Crossing] = WeakKeyDictionary()


def crossing(network: Network) -> Crossing:
    """Return what crosses every cut, in one pass over the variables; kept for the next call."""
    if network not in _KNOWN:
        _KNOWN[network] = _crossing(network)
    return _KNOWN[network]


def _crossing(network: Network) -> Crossing:
    n = len(network.blocks)
    found = np.zeros((4, n + 2))
    for v, readers in enumerate(network.children):
        if readers:
            width = float(math.prod(network.shapes[v]))
            change = np.array([1.0, float(v > 0), width, width * (v > 0)])
            found[:, v] += change
            found[:, readers[-1]] -= change
    return Crossing(*found.cumsum(axis=1)[:, : n + 1])
