"""One training step of JAX at its best: loss, gradient and Adam in one jitted function that may reuse its arguments."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import cycle, pairwise

import jax
import jax.numpy as jnp
from loop import N_BATCHES, RATE, serve


def main() -> None:
    """Build the network, then answer."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--widths", required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--block", type=float, required=True)
    args = parser.parse_args()
    run = build([int(width) for width in args.widths.split("-")], args.batch)

    def timed(n: int) -> float:
        start = time.perf_counter()
        run(n)
        return time.perf_counter() - start

    serve(timed, args.block, {"jax": jax.__version__, "devices": [str(d) for d in jax.devices()]})


def build(widths: list[int], batch: int) -> Callable[[int], None]:
    """Return a function that takes n steps on batches that lie ready, and waits for them."""
    keys = jax.random.split(jax.random.PRNGKey(0), len(widths) + 1)
    theta = [
        (jax.random.normal(key, (a, b)) * (2 / a) ** 0.5, jnp.zeros(b))
        for key, (a, b) in zip(keys, pairwise(widths), strict=False)
    ]
    xs = jax.random.normal(keys[-2], (N_BATCHES, batch, widths[0]))
    ys = jax.random.randint(keys[-1], (N_BATCHES, batch), 0, widths[-1])
    batches = cycle([(x, y) for x, y in zip(xs, ys, strict=True)])

    def loss(theta, x, y):  # type: ignore[no-untyped-def]
        for weight, bias in theta[:-1]:
            x = jax.nn.relu(x @ weight + bias)
        weight, bias = theta[-1]
        return -jnp.take_along_axis(jax.nn.log_softmax(x @ weight + bias), y[:, None], 1).mean()

    def adam(theta, m, v, t, x, y):  # type: ignore[no-untyped-def]
        g = jax.grad(loss)(theta, x, y)
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
        a, b = RATE / (1 - 0.9**t), 1 / (1 - 0.999**t)
        theta = jax.tree.map(lambda p, m, v: p - a * m / (jnp.sqrt(b * v) + 1e-8), theta, m, v)
        return theta, m, v

    step = jax.jit(adam, donate_argnums=(0, 1, 2))
    state = [theta, jax.tree.map(jnp.zeros_like, theta), jax.tree.map(jnp.zeros_like, theta)]
    count = 0.0

    def run(n: int) -> None:
        nonlocal count
        for _ in range(n):
            count += 1.0
            state[:] = step(*state, count, *next(batches))
        jax.block_until_ready(state)

    return run


if __name__ == "__main__":
    main()
