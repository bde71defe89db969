"""What is simulated: seconds of every stage's work, bytes between stages and shards, the links, the schedule.

A batch is what enters the wave together and has a gradient of its own: without a flush half a batch of the training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Numbers = Sequence[float] | np.ndarray
SCHEDULES = ("unflushed", "flush")


@dataclass(frozen=True)
class Link:
    """What connects two ranks.

    Parameters
    ----------
    latency : float
        Seconds from the departure of a message's first byte to its arrival.
    bandwidth : float
        Bytes a second of one direction; may be infinite.
    overhead : float
        Seconds that a message takes from the processor of each of its sides.
    shared : bool
        Whether a rank has one link out and one link in for all its messages, forward, back and sums; otherwise each of the
        three has its own. A link carries one message after another, first come, first served.
    """

    latency: float = 0.0
    bandwidth: float = np.inf
    overhead: float = 0.0
    shared: bool = True

    def __post_init__(self) -> None:
        if not (self.latency >= 0 and self.overhead >= 0 and self.bandwidth > 0 and np.isfinite(self.latency + self.overhead)):
            raise ValueError(f"{self!r}: expected latency and overhead of 0 s or more, and a bandwidth above 0")


@dataclass(frozen=True)
class Pipeline:
    """A grid of `shards` x S stages with the work of each stage; every shard is alike.

    Parameters
    ----------
    forward, back : sequence of S floats
        Seconds of one micro-batch.
    gradient, update : sequence of S floats
        Seconds once a batch.
    up, down : sequence of S - 1 floats
        Bytes of one micro-batch's message across each cut, forward and back.
    sum_bytes : sequence of S floats
        Bytes of a stage's gradient, summed over the shards in a ring.
    micro_batches : int
        M, of one batch on one shard.
    link : Link
    shards : int
    schedule : {"unflushed", "flush"}
    buckets : int
        Messages of a hop around the ring, each with its overhead. Where the sum travels beside other tasks, the processor's
        part of it, overhead x buckets x 2 (shards - 1), makes the update longer; where nothing else is done, the hops.
    lead : int
        Micro-batches that a stage is ahead of the next one, when there are enough: stage s of S goes lead (S - 1 - s) forward
        before it takes the first one back. 1 is the least that keeps all stages at work; more gives messages time.
        Unflushed, what a pass reads lacks the gradient of one batch and no more only if M >= lead (S - 1).

    Raises
    ------
    ValueError
        If lengths differ, a number is negative or not finite, or there are too few micro-batches.
    """

    forward: Numbers
    back: Numbers
    gradient: Numbers
    update: Numbers
    up: Numbers
    down: Numbers
    sum_bytes: Numbers
    micro_batches: int
    link: Link = Link()
    shards: int = 1
    schedule: str = "unflushed"
    buckets: int = 1
    lead: int = 1

    def __post_init__(self) -> None:
        n = len(self.forward)
        if n < 1:
            raise ValueError("pipeline: no stages were given, expected at least one")
        wanted = {"forward": n, "back": n, "gradient": n, "update": n, "sum_bytes": n, "up": n - 1, "down": n - 1}
        for name, length in wanted.items():
            values = np.asarray(getattr(self, name), float)
            if values.shape != (length,) or not (np.isfinite(values) & (values >= 0)).all():
                raise ValueError(f"pipeline: {name} is {values}, expected {length} finite numbers of 0 or more for {n} stages")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"pipeline: schedule is {self.schedule!r}, expected one of {SCHEDULES}")
        if min(self.shards, self.lead, self.buckets, self.micro_batches) < 1:
            raise ValueError(
                f"pipeline: {self.shards} shards, lead {self.lead}, {self.buckets} buckets, {self.micro_batches} "
                "micro-batches; expected at least 1 of each"
            )
        if self.schedule == "unflushed" and self.micro_batches < self.lead * (n - 1):
            raise ValueError(
                f"pipeline: {self.micro_batches} micro-batches for {n} stages with lead {self.lead}, expected at least "
                f'{self.lead * (n - 1)}, so that no pass lacks more than one gradient; give more, or schedule="flush"'
            )

    @property
    def stages(self) -> int:
        """S."""
        return len(self.forward)

    @property
    def ranks(self) -> int:
        """Shards x stages."""
        return self.shards * self.stages

    def ahead(self, stage: int) -> int:
        """Return how many micro-batches `stage` takes forward before the first one back."""
        return min(self.lead * (self.stages - 1 - stage), self.micro_batches)

    def messages(self) -> np.ndarray:
        """Return how many messages a pass on each stage handles, forward or back, shape (S,)."""
        count = np.full(self.stages, 2)
        count[0] -= 1
        count[-1] -= 1
        return count

    def hops(self) -> int:
        """Return how many hops a sum over the shards takes."""
        return 2 * (self.shards - 1)

    def work(self) -> np.ndarray:
        """Return the seconds of computation of a batch on each stage, without any message, shape (S,)."""
        forward, back = np.asarray(self.forward, float), np.asarray(self.back, float)
        return self.micro_batches * (forward + back) + np.asarray(self.gradient, float) + np.asarray(self.update, float)
