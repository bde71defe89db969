"""From a batch to dE/dtheta by proximal gradient iterations, for any clamp."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from paralift.kernels.arrays import Array, zeros
from paralift.lifted.exchange import Neighbours
from paralift.lifted.inference.lifted import LiftedState, LiftedWindow, Roles
from paralift.lifted.inference.norms import Norms
from paralift.lifted.inference.proxgrad import ProximalGradient, iterate, start_forward
from paralift.lifted.inference.regularised import check_pair
from paralift.lifted.inference.sweep import rows_of
from paralift.lifted.losses import Loss
from paralift.lifted.methods import Method
from paralift.lifted.network import Network
from paralift.lifted.penalties import Penalty
from paralift.lifted.stage import Stage, matrix

Start = Callable[[LiftedWindow, Neighbours], None]


class Estimator:
    """The lifted state of one stage, and what finds it for a method.

    Parameters
    ----------
    stage : Stage
    capacity : int
        Largest number of samples of a batch on this rank.
    method : Method
        Whose inference is `ProximalGradient`.
    loss : Loss
    neighbours : Neighbours
    cuts : sequence of int
        The plan's cuts.
    """

    def __init__(
        self, stage: Stage, capacity: int, method: Method, loss: Loss, neighbours: Neighbours, cuts: Sequence[int] = ()
    ) -> None:
        if not isinstance(method.inference, ProximalGradient):
            raise TypeError(f"{method.inference!r}: expected ProximalGradient")
        self.stage = stage
        self.method = method
        self.settings = method.inference
        self.loss = loss
        self.neighbours = neighbours
        self.cuts = tuple(cuts)
        self.norms = Norms(stage)
        self.state = LiftedState(stage, capacity, training=True)
        self.regularizers = state_regularizers(stage.network, method)
        check_steps(stage.network)
        check_penalty(stage.network, method.measure)
        self.weights: dict[int, float] = {}  # of penalties, where they are not 1
        self.total = zeros((stage.layout.size,), stage.like)

    def lipschitz(self) -> np.ndarray:
        """Return the Lipschitz constants of the pulls at the present parameters, the same on all stages."""
        weight = self.loss.steepness * max(abs(beta) for _, beta in self.method.clamp.phases)
        return self.neighbours.sum_stages(self.norms.lipschitz(weight, self.weights, self.method.measure.lipschitz))

    def roles(self, beta: float) -> Roles:
        """Return the roles of training: input fixed, output clamped or nudged by `beta`."""
        return Roles(
            self.loss, beta, self.method.penalty, self.settings.geometry, self.regularizers, weights=self.weights
        )

    def gradient(self, n: int, start: Start = start_forward) -> Array:
        """Find the lifted variables of `n` samples and write dE/dtheta, summed over them, into the stage's gradient.

        Returns
        -------
        array without axes
            The summed loss at the start (0 where the stage has no output).
        """
        window, constants = self.state.window(n), self.lipschitz()
        value: Array = 0.0
        phases = self.method.clamp.phases
        for k, (weight, beta) in enumerate(phases):
            window.roles = self.roles(beta)
            start(window, self.neighbours)
            if k == 0:
                value = self.loss_sum(window)
            iterate(window, self.neighbours, self.settings, constants, self.cuts)
            window.gradients()
            if len(phases) > 1:
                self.total[...] = weight * self.stage.gradient + (self.total if k else 0.0)
            elif weight != 1.0:
                self.stage.gradient[...] = weight * self.stage.gradient
        if len(phases) > 1:
            self.stage.gradient[...] = self.total
        return value

    def loss_sum(self, window: LiftedWindow) -> Array:
        """Return the loss of the output at the variables' present values, summed; 0 without the output."""
        if not self.stage.has_output:
            return 0.0
        block = self.stage.output
        window.refresh(block.index)
        z = matrix(window.z[block.index])
        x = block.activation.sigma(z)
        return self.loss.value(block.activation, z, x, rows_of(window.y, x))


def check_steps(network: Network) -> None:
    """Raise TypeError unless proximal gradient iterations have a step for every block."""
    check_products(network)
    for block in network.blocks:
        if not np.isfinite(block.activation.lipschitz):
            raise TypeError(
                f"{block.name}: {block.activation!r} is not continuous, so that proximal gradient iterations have no step "
                "for the blocks below it: use it with methods.nudged(beta=...)"
            )


def check_penalty(network: Network, penalty: Penalty) -> None:
    """Raise TypeError unless the hidden blocks may have the penalty."""
    for block in network.blocks[:-1]:
        penalty.check(block.activation, block.name)


def check_products(network: Network) -> None:
    """Raise TypeError if a block multiplies variables: the norms of its map are not known before these have moved."""
    for block in network.blocks:
        if block.map.bilinear:
            raise TypeError(
                f"{block.name}: the parents of {block.map!r} multiply each other, so that proximal gradient iterations have no "
                "step for them: use attention with methods.nudged() or methods.backprop()"
            )


def state_regularizers(network: Network, method: Method) -> dict[int, object]:
    """Return the method's regularisers on lifted variables by variable; raise ValueError for names it does not know."""
    index = variable_names(network)
    unknown = sorted(set(method.states) - set(index))
    if unknown:
        raise ValueError(f"states: no block is called {unknown}; this network has {sorted(index, key=index.__getitem__)}")
    result = {index[name]: regularizer for name, regularizer in method.states.items()}
    last = len(network.blocks)
    if last in result:
        raise ValueError("states: the output has a loss; put a regulariser on a block before it")
    for v, regularizer in result.items():
        if v:
            check_pair(network.blocks[v - 1].activation, regularizer)
    return result


def variable_names(network: Network) -> dict[str, int]:
    """Return the number of every variable by its block's name; "input" and "output" name the first and the last."""
    return {"input": 0, **{b.name: b.index for b in network.blocks}, "output": len(network.blocks)}
