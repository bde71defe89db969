"""The race's run of PyTorch: the same weights and batches, fused Adam, eager or compiled."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from paralift.bench.lateness import BATCH_SIZE, BRANCHES, initial, network, samples
from paralift.data import Sampler, load_shard


class Residual(torch.nn.Module):
    """40-64, residual branches 64-128-64, 64-10."""

    def __init__(self, layers: list[torch.nn.Linear]) -> None:
        super().__init__()
        self.first, self.last = layers[0], layers[-1]
        self.inner, self.outer = torch.nn.ModuleList(layers[1:-1:2]), torch.nn.ModuleList(layers[2:-1:2])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        x = self.first(x)
        for inner, outer in zip(self.inner, self.outer, strict=True):
            x = x + outer(torch.relu(inner(x)))
        return self.last(x)


def build(seed: int) -> Residual:
    """Return the network with the weights that ParaLift starts from."""
    net = network()
    params, layers = initial(net, seed), []
    for arrays in (params[b.name] for b in net.blocks if b.name in params):
        layer = torch.nn.Linear(*arrays["weight"].shape)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(arrays["weight"].T)))
            layer.bias.copy_(torch.from_numpy(arrays["bias"]))
        layers.append(layer)
    assert len(layers) == 2 + 2 * BRANCHES
    return Residual(layers)


class Trainer:
    """The training step."""

    def __init__(self, model: Residual, compiled: bool) -> None:
        self.model, self.criterion = model, torch.nn.CrossEntropyLoss()
        self.optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
        self.evaluate: Callable[..., torch.Tensor] = torch.compile(self.loss, dynamic=False) if compiled else self.loss

    def loss(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the mean cross-entropy."""
        return self.criterion(self.model(x), y)

    def step(self, x: torch.Tensor, y: torch.Tensor) -> None:
        """Take one step."""
        self.optimizer.zero_grad(set_to_none=True)
        self.evaluate(x, y).backward()
        self.optimizer.step()

    def warm_up(self, batches: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Compile and allocate on `batches`, then go back to the start."""
        start = {k: v.clone() for k, v in self.model.state_dict().items()}
        for x, y in batches:
            self.step(x, y)
        self.model.load_state_dict(start)
        self.optimizer.state.clear()


def main() -> None:
    """Compile, then train with a clock."""
    seed, epochs, n_samples, cores = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4].split(",")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, set(map(int, cores)))
    torch.set_num_threads(len(cores))
    data = samples(n_samples)
    x, y = map(torch.from_numpy, load_shard(data.train, 0, data.train.n_samples, np.float32))
    tests: Any = data.test
    xt, yt = map(torch.from_numpy, load_shard(tests, 0, tests.n_samples, np.float32))
    sampler = Sampler(data.train.n_samples, BATCH_SIZE, seed)
    model = build(seed)
    trainer = Trainer(model, "--compile" in sys.argv)
    order = list(sampler.epoch(0))
    trainer.warm_up([(x[rows], y[rows]) for rows in (*order[:5], order[-1])])
    found = []
    for epoch in range(epochs):
        batches = [torch.from_numpy(rows.copy()) for rows in sampler.epoch(epoch)]
        began = time.perf_counter()
        for rows in batches:
            trainer.step(x[rows], y[rows])
        seconds = time.perf_counter() - began
        with torch.no_grad():
            accuracy = (model(xt).argmax(1) == yt).float().mean().item()
        found.append({"seconds": seconds, "accuracy": accuracy})
    print(json.dumps({"epochs": found}), flush=True)


if __name__ == "__main__":
    main()
