"""What work costs: seconds of a block's parts, of a message, of a sum over shards.

All are straight lines, start + each x amount: a call or a message has a price of its own, then every row or byte has one.
`count` derives them from the number of operations and round constants, so that a plan made of them is the same on every
machine; `paralift.parallel.measure` measures them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from paralift.lifted.network import Network


@dataclass(frozen=True)
class Line:
    """Seconds of an amount of work: start + each x amount.

    Parameters
    ----------
    start, each : float
        In s, and in s for one row or byte.
    """

    start: float
    each: float

    def __call__(self, amount: float) -> float:
        """Return the seconds of `amount` rows or bytes."""
        return self.start + self.each * amount


NOTHING = Line(0.0, 0.0)


@dataclass(frozen=True)
class BlockCost:
    """Seconds of one block.

    Parameters
    ----------
    forward : Line
        Of rows: the product, bias and activation.
    back : Line
        Of rows: the residual, and what it pulls on its parents (nothing on the network's input).
    gradient : Line
        Of rows: the gradient of its parameters.
    update : float
        Of the optimiser on its parameters, once a batch.
    forecast : float
        Of what an unflushed wave does once a batch besides: it adds the gradients of both halves and forecasts parameters.
    """

    forward: Line
    back: Line
    gradient: Line
    update: float
    forecast: float = 0.0


@dataclass(frozen=True)
class Costs:
    """What a plan is made of.

    Parameters
    ----------
    blocks : tuple of BlockCost
        In the network's order.
    message : Line
        Of bytes: one message between neighbouring stages, from its start to its arrival.
    sum : Line
        Of bytes: one hop of a sum over shards; a ring of n ranks takes 2 (n - 1) hops of 1/n of the bytes.
    handling, sum_handling : Line, optional
        The part of `message` and `sum` that keeps the processor of each side busy, so that nothing hides it: by default
        the start of each, where the network moves the bytes. In shared memory processors move them.
    load : Line
        Of bytes: gathering the samples of a batch, on the first stage.
    step : float
        Software once a batch on every rank, in s.
    turn : float
        Software once a micro-batch, forward and back, in s.
    """

    blocks: tuple[BlockCost, ...]
    message: Line
    sum: Line
    handling: Line | None = None
    sum_handling: Line | None = None
    load: Line = NOTHING
    step: float = 0.0
    turn: float = 0.0

    @property
    def busy_message(self) -> Line:
        """What one message costs the processor of each side."""
        return Line(self.message.start, 0.0) if self.handling is None else self.handling

    @property
    def busy_sum(self) -> Line:
        """What one hop of a sum costs the processor."""
        return Line(self.sum.start, 0.0) if self.sum_handling is None else self.sum_handling


FLOP_RATE = 5e10
"""Operations a second of one rank; a round figure for one core."""
NUMBER_SECONDS = 4e-10
"""Seconds for every number that an activation, its difference or an optimiser's state takes from memory."""
CALL_SECONDS = 2e-6
"""Seconds that a call costs however few rows it is for."""
STEP_SECONDS = 3e-5
"""Seconds of software once a batch."""
TURN_SECONDS = 5e-6
"""Seconds of software once a micro-batch."""
MESSAGE = Line(5e-6, 1 / 5e9)
"""5 us and 5 GB/s."""


def count(network: Network, states: int = 2, link: Line = MESSAGE) -> Costs:
    """Return costs by counting operations. The same on every machine.

    Parameters
    ----------
    network : Network
    states : int
        Arrays of optimiser state.
    link : Line
        Of messages and of the hops of sums.
    """
    blocks = []
    for b in network.blocks:
        product = b.flops() / FLOP_RATE
        touch = float(math.prod(b.shape)) * NUMBER_SECONDS
        pulled = not network.unmoved.issuperset(b.parents)
        numbers = sum(math.prod(shape) for shape in b.trained().values())
        blocks.append(
            BlockCost(
                Line(CALL_SECONDS, product + touch),
                Line(CALL_SECONDS, (product if pulled else 0.0) + touch),
                Line(CALL_SECONDS if numbers else 0.0, product if numbers else 0.0),
                numbers * (2 + states) * NUMBER_SECONDS / 2,
                numbers * (3 + states) * NUMBER_SECONDS / 2,
            )
        )
    return Costs(tuple(blocks), link, link, step=STEP_SECONDS, turn=TURN_SECONDS)
