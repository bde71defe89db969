"""One training step of PyTorch at its best: cross-entropy, fused Adam, eager or compiled, images in the faster format."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from loop import RATE, arguments, serve, trial
from torch_problem import Problem, find, mean_loss


def main() -> None:
    """Build the network, choose its memory format, then answer."""
    parser = arguments()
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    problem = find(args)
    ways = {format_: timer(build(problem, args.batch, format_, args.compile)) for format_ in problem.formats}
    facts: dict[str, Any] = {"torch": torch.__version__, "threads": torch.get_num_threads(),
             "capability": torch.backends.cpu.get_cpu_capability()}  # fmt: skip
    tried = trial(ways, args.block)
    chosen = min(tried, key=tried.__getitem__)
    serve(ways[chosen], args.block, {**facts, "format": chosen, "tried": tried})


def timer(step: Callable[[], None]) -> Callable[[int], float]:
    """Return a function that takes steps and returns their seconds."""

    def timed(n: int) -> float:
        start = time.perf_counter()
        for _ in range(n):
            step()
        return time.perf_counter() - start

    return timed


def build(problem: Problem, batch: int, format_: str, compiled: bool) -> Callable[[], None]:
    """Return the step, on batches that lie ready: nothing but the training itself."""
    model = problem.module(format_)
    optimizer = torch.optim.Adam(model.parameters(), RATE, fused=True)
    batches = problem.ready(batch, format_)

    def loss(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return mean_loss(model(x), y)

    evaluate = torch.compile(loss) if compiled else loss

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        evaluate(*next(batches)).backward()
        optimizer.step()

    return step


if __name__ == "__main__":
    main()
