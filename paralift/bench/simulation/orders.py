"""In which order a stage works: forward, back, gradient, update of numbered micro-batches and batches.

A task is written as one integer, 4 x number + kind, so that a whole run of a stage is one array. Micro-batches are numbered
through all batches. The orders are those of `paralift.parallel.schedule`:

flush      1F1B within a batch; gradient and update before the next batch starts
unflushed  forward(i), then back(i - ahead); the gradient follows the last micro-batch of its (half) batch. The update follows
           at once if there is nothing to sum; otherwise before the first forward of the next but one batch
"""

from __future__ import annotations

import numpy as np

from paralift.bench.simulation.pipeline import Pipeline
from paralift.parallel.schedule import one_forward_one_back

FORWARD, BACK, GRADIENT, UPDATE = range(4)
KINDS = ("forward", "back", "gradient", "update")


def orders(pipeline: Pipeline, batches: int) -> np.ndarray:
    """Return the tasks of every stage, shape (stages, batches x (2 M + 2)), int32."""
    order = _flushed if pipeline.schedule == "flush" else _unflushed
    return np.stack([order(pipeline, stage, batches) for stage in range(pipeline.stages)])


def _flushed(pipeline: Pipeline, stage: int, batches: int) -> np.ndarray:
    m = pipeline.micro_batches
    one = [_task(FORWARD if f else BACK, i) for f, i in one_forward_one_back(stage, stage + 1 + pipeline.ahead(stage), m)]
    passes = np.array(one, np.int32)[None, :] + 4 * m * np.arange(batches, dtype=np.int32)[:, None]
    ends = np.array([GRADIENT, UPDATE], np.int32)[None, :] + 4 * np.arange(batches, dtype=np.int32)[:, None]
    return np.concatenate([passes, ends], axis=1).ravel()


def _unflushed(pipeline: Pipeline, stage: int, batches: int) -> np.ndarray:
    m, ahead = pipeline.micro_batches, pipeline.ahead(stage)
    i, t = np.arange(m * batches), np.arange(batches)
    last = ahead + m * (t + 1) - 1  # the turn in which the last micro-batch of batch t comes back
    if pipeline.shards == 1:
        update = last + 0.75
    else:
        update = np.where(t + 2 < batches, m * (t + 2) - 0.25, last[-1] + 0.5 + 0.25 * (t + 3 - batches))
    turns = np.concatenate([i, i + ahead + 0.25, last + 0.5, update])  # forward, back, gradient, update share a turn's parts
    tasks = np.concatenate([_task(FORWARD, i), _task(BACK, i), _task(GRADIENT, t), _task(UPDATE, t)])
    return tasks[np.argsort(turns, kind="stable")].astype(np.int32)


def _task(kind: int, number: int | np.ndarray) -> int | np.ndarray:
    return 4 * number + kind
