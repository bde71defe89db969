"""Recorded operations become a network and its parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from paralift.interop.optional import UnsupportedError
from paralift.interop.values import Entry, Op
from paralift.lifted.layers import Graph, Sequential
from paralift.lifted.maps import Tied
from paralift.lifted.maps.base import Shape
from paralift.lifted.network import Network

Params = dict[str, dict[str, np.ndarray]]


def assemble(ops: Sequence[Op], output: int, input_shape: Shape, dtype: np.dtype) -> tuple[Network, Params]:
    """Return the network whose output is operation number `output`, and its parameters.

    Chains become one node; a single chain is a `Sequential`, anything else a `Graph`. Blocks that share arrays are tied.
    """
    nodes = _chains(ops, output)
    net = _network(nodes, input_shape)
    given = _given(nodes, net)
    owners: dict[Any, str] = {}
    tied: dict[int, Tied] = {}
    for block in net.blocks:
        sources = tuple(id(e.source) for e in given[block.name] if e.name in block.trained() and e.source is not None)
        if sources and sources in owners:
            tied[id(block.map)] = Tied(block.map, to=owners[sources])
        elif any(s in known for s in sources for known in owners):
            raise UnsupportedError(f"{block.name} shares a part of its parameters with another layer; supported: all or none")
        elif sources:
            owners[sources] = block.name
    if tied:
        found: set[int] = set()
        nodes = [replace(n, layers=[_tie(layer, tied, found) for layer in n.layers]) for n in nodes]
        if found != set(tied):
            raise UnsupportedError("layers within a transformer's encoder share parameters; supported: layers of their own")
        net = _network(nodes, input_shape)
    arrays = {
        name: {e.name: np.ascontiguousarray(e.array, dtype) for e in entries} for name, entries in given.items() if entries
    }
    return net, arrays


def _tie(layer: Any, tied: dict[int, Tied], found: set[int]) -> Any:
    if id(layer) in tied:
        found.add(id(layer))
    return tied.get(id(layer), layer)


def _chains(ops: Sequence[Op], output: int) -> list[Op]:
    """Return the operations that lead to the output, each joined to the one it follows if nothing else reads that one."""
    needed, stack = {output}, [output]
    while stack:
        fresh = [p for p in ops[stack.pop() - 1].parents if p and p not in needed]
        needed |= set(fresh)
        stack += fresh
    readers = {k: [c for c in needed for p in ops[c - 1].parents if p == k] for k in needed}
    nodes: dict[int, Op] = {}
    node_of = {0: 0}
    for k in sorted(needed):
        op = ops[k - 1]
        before = op.parents[0]
        if len(op.parents) == 1 and before and len(readers[before]) == 1:
            node_of[k] = node_of[before]
            head = nodes[node_of[k]]
            head.layers, head.entries = head.layers + op.layers, head.entries + op.entries
        else:
            node_of[k] = k
            nodes[k] = replace(op, parents=tuple(node_of[p] for p in op.parents))
    return [replace(op, name=f"n{k}_{op.name}" if k else op.name, parents=op.parents) for k, op in nodes.items()]


def _network(nodes: Sequence[Op], input_shape: Shape) -> Network:
    if len(nodes) == 1 and nodes[0].parents == (0,):
        return Sequential(*nodes[0].layers, input_shape=input_shape)
    names = {0: "input"} | {int(n.name.split("_", 1)[0][1:]): n.name for n in nodes}
    return Graph(input_shape=input_shape, **{n.name: ([names[p] for p in n.parents], *n.layers) for n in nodes})


def _given(nodes: Sequence[Op], net: Network) -> dict[str, list[Entry]]:
    """Return each block's arrays: blocks take theirs in the order of the layers."""
    stream = iter([e for n in nodes for e in n.entries])
    given: dict[str, list[Entry]] = {}
    for block in net.blocks:
        wanted = block.trained() | block.tracked()
        given[block.name] = [next(stream) for _ in wanted]
        found = {e.name: e.array.shape for e in given[block.name]}
        assert found == wanted, (block.name, found, wanted)
    assert next(stream, None) is None
    return given
