"""One training step of PyTorch at its best: cross-entropy, fused Adam, eager or compiled."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from itertools import cycle, pairwise

import torch
from loop import N_BATCHES, RATE, serve


def main() -> None:
    """Build the network, then answer."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--widths", required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--block", type=float, required=True)
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    step = build([int(width) for width in args.widths.split("-")], args.batch, args.compile)

    def timed(n: int) -> float:
        start = time.perf_counter()
        for _ in range(n):
            step()
        return time.perf_counter() - start

    capability = torch.backends.cpu.get_cpu_capability()
    serve(timed, args.block, {"torch": torch.__version__, "threads": torch.get_num_threads(), "capability": capability})


def build(widths: list[int], batch: int, compiled: bool) -> Callable[[], None]:
    """Return the step, on batches that lie ready: nothing but the training itself."""
    model = perceptron(widths)
    optimizer = torch.optim.Adam(model.parameters(), RATE, fused=True)
    batches = ready(widths, batch)
    criterion = torch.nn.CrossEntropyLoss()

    def loss(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return criterion(model(x), y)

    evaluate = torch.compile(loss) if compiled else loss

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        evaluate(*next(batches)).backward()
        optimizer.step()

    return step


def perceptron(widths: list[int]) -> torch.nn.Sequential:
    """Return a perceptron with ReLU between its layers."""
    layers: list[torch.nn.Module] = []
    for a, b in pairwise(widths):
        layers += [torch.nn.Linear(a, b), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def ready(widths: list[int], batch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield random batches that lie ready, over and over."""
    xs, ys = torch.randn(N_BATCHES, batch, widths[0]), torch.randint(0, widths[-1], (N_BATCHES, batch))
    return cycle(list(zip(xs, ys, strict=True)))


if __name__ == "__main__":
    main()
