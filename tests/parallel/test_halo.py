"""What stages exchange: each receives what its neighbour sends, and all that its moves read."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import problems

from paralift.lifted.inference.orders import ORDERS, phases
from paralift.lifted.stage import Stage
from paralift.parallel.halo import exchange_of


def stages(network, cuts):
    bounds = (0, *cuts, len(network.blocks))
    return [Stage(network, a, b, np.zeros(1)) for a, b in zip(bounds, bounds[1:], strict=False)]


@st.composite
def cases(draw):
    network = draw(problems()).network
    cuts = sorted(draw(st.sets(st.integers(1, len(network.blocks) - 1), min_size=1, max_size=4)))
    free = range(1, len(network.blocks))
    return network, cuts, phases(network, draw(st.sampled_from(ORDERS)), cuts, free)


def exchanges(network, cuts, moved, wanted):
    parts = stages(network, cuts)
    last = len(parts) - 1
    return parts, [exchange_of(s, moved, wanted, k > 0, k < last) for k, s in enumerate(parts)]


@given(cases())
@settings(deadline=None, max_examples=60, derandomize=True)
def test_neighbours_agree(case):
    network, cuts, found = case
    for k, phase in enumerate(found):
        parts, each = exchanges(network, cuts, found[k - 1].variables, phase.variables)
        for stage, below, above in zip(parts[1:], each, each[1:], strict=False):
            assert sorted(below.x_own + below.x_through) == sorted(above.x_in)
            assert sorted(above.g_early + above.g_late + above.g_through) == sorted(below.g_in)
            reads = {p for b in stage.blocks if set(b.parents) & set(above.g_early) for p in b.parents}
            assert reads.isdisjoint(above.x_in)  # an early pull reads nothing that is under way
        assert each[0].x_in == () and each[-1].g_in == ()


@given(cases())
@settings(deadline=None, max_examples=60, derandomize=True)
def test_inner_moves_meet_no_message(case):
    """While messages travel, neither the arrays that they fill nor those that they leave from are touched."""
    network, cuts, found = case
    for k, phase in enumerate(found):
        parts, each = exchanges(network, cuts, found[k - 1].variables, phase.variables)
        for stage, exchange in zip(parts, each, strict=True):
            own = {b.index: b for b in stage.blocks}
            for v in set(phase.inner) & set(own):
                readers = [b for b in stage.blocks if v in b.parents]
                read = {*own[v].parents, *(p for b in readers for p in b.parents)}
                assert read.isdisjoint(exchange.x_in)
                assert v not in exchange.g_in
                assert v not in exchange.x_own + exchange.next
