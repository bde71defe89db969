"""One training step of JAX at its best: loss, gradient and Adam in one jitted function that may reuse its arguments."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import cycle

import jax
import jax.numpy as jnp
from jax_problem import Problem, find
from loop import N_BATCHES, RATE, arguments, serve


def main() -> None:
    """Build the network, then answer."""
    args = arguments().parse_args()
    run = build(find(args), args.batch)

    def timed(n: int) -> float:
        start = time.perf_counter()
        run(n)
        return time.perf_counter() - start

    serve(timed, args.block, {"jax": jax.__version__, "devices": [str(d) for d in jax.devices()]})


def build(problem: Problem, batch: int) -> Callable[[int], None]:
    """Return a function that takes n steps on batches that lie ready, and waits for them."""
    start, *keys = jax.random.split(jax.random.PRNGKey(0), 1 + N_BATCHES)
    theta, statistics = problem.init(start)
    batches = cycle([problem.batch(key, batch) for key in keys])

    def loss(theta, statistics, x, y):  # type: ignore[no-untyped-def]
        logits, statistics = problem.apply(theta, statistics, x)
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[..., None], -1).mean(), statistics

    def adam(theta, m, v, statistics, t, x, y):  # type: ignore[no-untyped-def]
        g, statistics = jax.grad(loss, has_aux=True)(theta, statistics, x, y)
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
        a, b = RATE / (1 - 0.9**t), 1 / (1 - 0.999**t)
        theta = jax.tree.map(lambda p, m, v: p - a * m / (jnp.sqrt(b * v) + 1e-8), theta, m, v)
        return theta, m, v, statistics

    step = jax.jit(adam, donate_argnums=(0, 1, 2, 3))
    state = [theta, jax.tree.map(jnp.zeros_like, theta), jax.tree.map(jnp.zeros_like, theta), statistics]
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
