"""A run whose checkpoints are timed: python checkpoint_fit.py WIDTH BATCHES EPOCHS FOLDER; no folder, no checkpoints."""

from __future__ import annotations

import json
import sys

import numpy as np

import paralift as pl
from paralift.training import checkpoints

BATCH = 64


def main() -> None:
    """Train, and print what it cost."""
    width, batches, epochs, out = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] or None
    rng = np.random.default_rng(0)
    data = rng.standard_normal((BATCH * batches, width), np.float32), rng.integers(0, 10, BATCH * batches)
    layers = [layer for _ in range(3) for layer in (pl.Linear(width, width), pl.ReLU())]
    network = pl.Sequential(*layers, pl.Linear(width, 10), pl.Softmax())
    found = pl.fit(network, data, epochs=epochs, batch_size=BATCH, plan="counted", out=out, progress=False)
    names = ("save_seconds", "train_seconds", "peak_memory_bytes", "memory_bytes")
    size = sum(path.stat().st_size for path in checkpoints.latest(out).iterdir()) if out is not None else 0
    print(json.dumps({"bytes": size, **{name: found.summary[name] for name in names}}), flush=True)


if __name__ == "__main__":
    main()
