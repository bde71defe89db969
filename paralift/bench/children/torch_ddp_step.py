"""One training step of PyTorch's DistributedDataParallel on two processes, half of the batch on each, fused Adam.

Tried are several sizes of the buckets in which gradients are summed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from loop import RATE
from torch.nn.parallel import DistributedDataParallel
from torch_pair import Way, arguments, main
from torch_step import perceptron, ready

BUCKETS = (0.25, 1.0, 4.0, 25.0)
"""Megabytes; 25 is PyTorch's own choice."""


def build(widths: list[int], batch: int, bucket: float, compiled: bool) -> Callable[[], None]:
    """Return the step on this process's share of the batch."""
    model = DistributedDataParallel(perceptron(widths), bucket_cap_mb=bucket, gradient_as_bucket_view=True, static_graph=True)
    optimizer = torch.optim.Adam(model.parameters(), RATE, fused=True)
    criterion = torch.nn.CrossEntropyLoss()
    batches = ready(widths, batch)
    module = torch.compile(model) if compiled else model

    def step() -> None:
        x, y = next(batches)
        optimizer.zero_grad(set_to_none=True)
        criterion(module(x), y).backward()
        optimizer.step()

    return step


def start() -> None:
    """Read the arguments and go."""
    args = arguments().parse_args()
    widths = [int(width) for width in args.widths.split("-")]

    def ways(rank: int) -> list[Way]:
        own = (args.batch + 1 - rank) // 2
        return [
            Way({"bucket_mb": bucket}, lambda compiled, bucket=bucket: build(widths, own, bucket, compiled))
            for bucket in BUCKETS
        ]

    main(args, ways)


if __name__ == "__main__":
    start()
