"""The race's run of JAX: the same weights and batches, one jitted step with donated arguments."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

cores = sys.argv[4].split(",")
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, set(map(int, cores)))  # before JAX starts its threads

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from paralift.bench.lateness import BATCH_SIZE, initial, network, samples  # noqa: E402
from paralift.data import Sampler, load_shard  # noqa: E402

Theta = list[tuple[jax.Array, jax.Array]]


def logits(theta: Theta, x: jax.Array) -> jax.Array:
    """Return the output before the softmax."""
    (first, offset), *branches, (last, shift) = theta
    x = x @ first + offset
    for (w1, b1), (w2, b2) in zip(branches[::2], branches[1::2], strict=True):
        x = x + jax.nn.relu(x @ w1 + b1) @ w2 + b2
    return x @ last + shift


def loss(theta: Theta, x: jax.Array, y: jax.Array) -> jax.Array:
    """Return the mean cross-entropy."""
    return -jnp.take_along_axis(jax.nn.log_softmax(logits(theta, x)), y[:, None], 1).mean()


def adam(theta: Any, m: Any, v: Any, t: Any, x: Any, y: Any) -> Any:
    """Return parameters and moments after one step."""
    g = jax.grad(loss)(theta, x, y)
    m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
    v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
    a, b = 1e-3 / (1 - 0.9**t), 1 / (1 - 0.999**t)
    return jax.tree.map(lambda p, m, v: p - a * m / (jnp.sqrt(b * v) + 1e-8), theta, m, v), m, v


def main() -> None:
    """Compile for both batch sizes, then train with a clock."""
    seed, epochs, n_samples = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    data = samples(n_samples)
    x, y = load_shard(data.train, 0, data.train.n_samples, np.float32)
    tests: Any = data.test
    xt, yt = load_shard(tests, 0, tests.n_samples, np.float32)
    net = network()
    params = initial(net, seed)
    theta: Theta = [
        (jnp.asarray(params[b.name]["weight"]), jnp.asarray(params[b.name]["bias"])) for b in net.blocks if b.name in params
    ]
    sampler, step, accuracy = Sampler(len(x), BATCH_SIZE, seed), jax.jit(adam, donate_argnums=(0, 1, 2)), jax.jit(logits)
    zeros = jax.tree.map(jnp.zeros_like, theta)
    order = list(sampler.epoch(0))
    for rows in (order[0], order[-1]):  # the sizes that will come
        copies = [jax.tree.map(jnp.copy, part) for part in (theta, zeros, zeros)]
        jax.block_until_ready(step(*copies, 1.0, x[rows], y[rows]))
    state, t, found = (theta, jax.tree.map(jnp.copy, zeros), jax.tree.map(jnp.copy, zeros)), 0.0, []
    for epoch in range(epochs):
        order = list(sampler.epoch(epoch))
        began = time.perf_counter()
        for rows in order:
            t += 1.0
            state = step(*state, t, x[rows], y[rows])
        jax.block_until_ready(state)
        seconds = time.perf_counter() - began
        found.append({"seconds": seconds, "accuracy": float((np.asarray(accuracy(state[0], xt)).argmax(1) == yt).mean())})
    print(json.dumps({"epochs": found}), flush=True)


if __name__ == "__main__":
    main()
