"""One training step of PyTorch's DistributedDataParallel on two processes, half of the batch on each, fused Adam.

Tried are several sizes of the buckets in which gradients are summed, and the memory formats of images.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch
from loop import RATE
from torch.nn.parallel import DistributedDataParallel
from torch_pair import Way, arguments, main
from torch_problem import Problem, find, mean_loss

BUCKETS = (0.25, 1.0, 4.0, 25.0)
"""Megabytes; 25 is PyTorch's own choice."""


def build(problem: Problem, batch: int, format_: str, bucket: float, compiled: bool) -> Callable[[], None]:
    """Return the step on this process's share of the batch."""
    model = DistributedDataParallel(
        problem.module(format_), bucket_cap_mb=bucket, gradient_as_bucket_view=True, static_graph=True,
        broadcast_buffers=False,  # running statistics of shards need not be equal before they are used
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), RATE, fused=True)
    batches = problem.ready(batch, format_)
    module = torch.compile(model) if compiled else model

    def step() -> None:
        x, y = next(batches)
        optimizer.zero_grad(set_to_none=True)
        mean_loss(module(x), y).backward()
        optimizer.step()

    return step


def start() -> None:
    """Read the arguments and go."""
    args = arguments().parse_args()
    problem = find(args)

    def ways(rank: int) -> list[Way]:
        own = (args.batch + 1 - rank) // 2
        return [
            Way({"format": format_, "bucket_mb": bucket}, lambda compiled, format_=format_, bucket=bucket: build(
                problem, own, format_, bucket, compiled))
            for format_, bucket in product(problem.formats, BUCKETS)
        ]  # fmt: skip

    main(args, ways)


if __name__ == "__main__":
    start()
