"""One training step of PyTorch's own pipeline on two processes: GPipe or 1F1B, fused Adam on each stage.

Tried are the even split by layers and the best split by operations, each with several numbers of micro-batches.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from itertools import pairwise
from typing import Any

import torch
from loop import RATE
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe
from torch_pair import Way, arguments, main
from torch_problem import Problem, find

SCHEDULES = {"GPipe": ScheduleGPipe, "1F1B": Schedule1F1B}


def cuts(widths: tuple[int, ...]) -> list[int]:
    """Return where the network may be cut in two: after half of the layers, and where the slower part is fastest."""
    flops = [3.0 * a * b for a, b in pairwise(widths)]
    flops[0] *= 2 / 3  # nothing is pulled on the input
    even = (len(flops) + 1) // 2
    best = min(range(1, len(flops)), key=lambda cut: max(sum(flops[:cut]), sum(flops[cut:])))
    return sorted({even, best})


def build(
    rank: int, problem: Problem, batch: int, schedule: str, cut: int, parts: int, compiled: bool
) -> Callable[[], None]:
    """Return the step of one stage, on batches that lie ready at the two ends of the pipeline."""
    layers: Any = problem.build()
    stage = layers[: 2 * cut] if rank == 0 else layers[2 * cut :]
    optimizer = torch.optim.Adam(stage.parameters(), RATE, fused=True)
    module: Any = torch.compile(stage) if compiled else stage
    pipe: Any = SCHEDULES[schedule](
        PipelineStage(module, rank, 2, torch.device("cpu")), parts, loss_fn=torch.nn.CrossEntropyLoss()
    )
    # Outputs are nobody's affair; older versions put them together all the same.
    options = {"return_outputs": False} if "return_outputs" in signature(pipe.step).parameters else {}
    batches = problem.ready(batch)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        x, y = next(batches)
        if rank == 0:
            pipe.step(x, **options)
        else:
            pipe.step(target=y, **options)
        optimizer.step()

    return step


def start() -> None:
    """Read the arguments and go."""
    parser = arguments()
    parser.add_argument("--schedule", choices=tuple(SCHEDULES), required=True)
    parser.add_argument("--micro-batches", default="1,2,4,8", help="1F1B takes no fewer than stages")
    args = parser.parse_args()
    problem, widths = find(args), args.widths or ()
    least = 2 if args.schedule == "1F1B" else 1
    counts = [n for n in map(int, args.micro_batches.split(",")) if args.batch % n == 0 and n >= least]
    if not counts or len(widths) < 3:
        parser.error(f"no number of micro-batches of {args.micro_batches} divides {args.batch}, or no perceptron of two layers")

    def ways(rank: int) -> list[Way]:
        found = []
        for cut in cuts(widths):
            for parts in counts:
                facts = {"bounds": [0, cut, len(widths) - 1], "micro_batches": parts}
                found.append(Way(facts, lambda compiled, cut=cut, parts=parts: build(
                    rank, problem, args.batch, args.schedule, cut, parts, compiled)))  # fmt: skip
        return found

    main(args, ways)


if __name__ == "__main__":
    start()
