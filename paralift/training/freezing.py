"""Which parameters stand still, by the names of blocks and parameters."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from paralift.expressions import known
from paralift.lifted.network import Network
from paralift.parallel.optimizer import Names


def frozen_parameters(network: Network, patterns: Any) -> Names:
    """Return the parameters that patterns name.

    Parameters
    ----------
    network : Network
    patterns : sequence of str
        A block (``"linear1"``), one of its parameters (``"linear1.bias"``), or several by ``*``, ``?`` and ``[...]``. What is
        tied to one of them stands still with it.

    Raises
    ------
    TypeError
        If it is no sequence of texts.
    ValueError
        If a pattern names nothing that is trained, or nothing is left to train.
    """
    if isinstance(patterns, str) or not isinstance(patterns, Sequence) or not all(isinstance(p, str) for p in patterns):
        raise TypeError(f'freeze is {patterns!r}, expected a list of names such as ["linear1", "linear2.bias"]')
    trained = [(b.name, name) for b in network.blocks for name in b.trained()]
    names = {block for block, _ in trained} | {f"{block}.{name}" for block, name in trained}
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(f"freeze: no parameter is called {pattern!r}; {known(pattern, names)}")
    found = {
        (block, name)
        for block, name in trained if any(fnmatchcase(n, p) for p in patterns for n in (block, f"{block}.{name}"))
    }  # fmt: skip
    for tie in network.ties:  # replicas stand still together
        if any((block, tie.name) in found for block in tie.blocks):
            found |= {(block, tie.name) for block in tie.blocks}
    if trained and len(found) == len(trained):
        raise ValueError(f"freeze = {list(patterns)!r} leaves nothing to train")
    return frozenset(found)


def still_blocks(network: Network, frozen: Names) -> list[str]:
    """Return the blocks of which all parameters are frozen."""
    return [b.name for b in network.blocks if b.trained() and all((b.name, name) in frozen for name in b.trained())]
