"""Inference on its own: parameters fixed, any lifted variable clamped, nudged, free or regularised.

With the output clamped and the input free under a regulariser this is the inversion of a network (docs/method.md, section 3;
Wang et al., arXiv 2510.09796).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paralift.kernels.arrays import Array, namespace
from paralift.lifted.exchange import Walls
from paralift.lifted.gradient import check_targets
from paralift.lifted.inference.estimate import check_penalty, check_products, variable_names
from paralift.lifted.inference.lifted import LiftedState, LiftedWindow, Roles
from paralift.lifted.inference.norms import Norms
from paralift.lifted.inference.proxgrad import ProximalGradient, iterate
from paralift.lifted.inference.regularised import check_pair
from paralift.lifted.losses import Loss, default_loss
from paralift.lifted.network import Network, Params, check_input, check_params
from paralift.lifted.penalties import Penalty, penalty_of
from paralift.lifted.stage import Stage

WALLS = Walls()


@dataclass(frozen=True)
class Clamped:
    """The variable has this value: an array of shape (n, *shape), or labels (n,) at the output."""

    value: Array


@dataclass(frozen=True)
class Nudged:
    """weight |x - target|^2/2 is added to E; at the output, `weight` times the loss of the target."""

    target: Array
    weight: float = 1.0


@dataclass(frozen=True)
class Free:
    """The variable is found, from `start` if that is given (needed for the input), under a regulariser if there is one."""

    start: Array | None = None
    regularizer: Any = None


Role = Clamped | Nudged | Free


@dataclass(frozen=True)
class Inferred:
    """Outcome of `infer`.

    Attributes
    ----------
    variables : dict
        Arrays by block name, with "input" and "output".
    energy : list of float
        E, summed over the samples, at the start and after each iteration.
    """

    variables: Mapping[str, Array]
    energy: list[float]


def infer(
    network: Network,
    params: Params,
    roles: Mapping[str, Role],
    settings: ProximalGradient | None = None,
    *,
    loss: Loss | None = None,
    penalty: str | Penalty = "bregman",
) -> Inferred:
    """Find the lifted variables that minimise E with the parameters fixed, by proximal gradient iterations.

    Parameters
    ----------
    network : Network
    params : mapping
        As from ``network.init()``, of the dtype of the arrays in `roles`.
    roles : mapping of name to Clamped, Nudged or Free
        By block name; "input" (must be named) and "output". Variables that are not named are free.
    settings : ProximalGradient, optional
        100 Gauss-Seidel iterations by default.
    loss : Loss, optional
        Of a clamped or nudged output; by default the one that belongs to the last activation.
    penalty : {"bregman", "quadratic", "constrained"}, or Penalty

    Returns
    -------
    Inferred

    Raises
    ------
    ValueError, TypeError
        If a name is unknown, a shape does not fit, a regulariser has no prox together with its activation, or blocks
        multiply variables, as attention does.
    """
    settings = ProximalGradient(100) if settings is None else settings
    measure = penalty_of(penalty)
    check_products(network)
    check_penalty(network, measure)
    names = variable_names(network)
    check_params(network, params)
    by_variable = _by_variable(names, roles)
    start = _start_of(by_variable[0])
    check_input(network, start)
    _check_geometry(settings, measure, [r for v, r in by_variable.items() if 0 < v < len(network.blocks)])
    stage = Stage(network, 0, len(network.blocks), start, free_input=not isinstance(by_variable[0], Clamped))
    stage.load(params)
    loss = default_loss(network.blocks[-1].activation) if loss is None else loss
    window = LiftedState(stage, start.shape[0]).window(start.shape[0])
    window.roles = _roles(network, by_variable, settings, loss, penalty, start)
    _set_start(window, by_variable, start)
    weight = abs(window.roles.beta) * loss.steepness if window.roles.loss is not None else 1.0
    constants = Norms(stage).lipschitz(weight, steep=measure.lipschitz)
    window.stale.update(window.own)
    energy = [float(window.energy())]
    for _ in range(settings.iterations):
        iterate(window, WALLS, settings, constants, iterations=1)
        energy.append(float(window.energy()))
    found = {b.name: window.x[b.index] for b in network.blocks}
    if window.roles.loss is not None:
        found[network.blocks[-1].name] = _output(window)
    return Inferred({**found, "input": window.x[0], "output": found[network.blocks[-1].name]}, energy)


def _check_geometry(settings: ProximalGradient, penalty: Penalty, hidden: Sequence[Role]) -> None:
    """Raise ValueError where the dual geometry, which knows variables by their pre-activations, has no such step."""
    if settings.geometry == "euclidean":
        return
    plain = all(isinstance(r, Free) and r.start is None and r.regularizer is None for r in hidden)
    if settings.geometry not in penalty.geometries or not plain:
        raise ValueError(
            'geometry="dual" knows free hidden variables and the Bregman penalty only: take geometry="euclidean" for '
            'another penalty and for hidden variables that are clamped, nudged, regularised or given a start'
        )


def _by_variable(names: Mapping[str, int], roles: Mapping[str, Role]) -> dict[int, Role]:
    unknown = sorted(set(roles) - set(names))
    if unknown:
        raise ValueError(f"roles: no variable is called {unknown}; this network has {sorted(names, key=names.__getitem__)}")
    wrong = {k: r for k, r in roles.items() if not isinstance(r, Clamped | Nudged | Free)}
    if wrong:
        raise TypeError(f"roles: {wrong}, expected Clamped(...), Nudged(...) or Free(...)")
    if "input" not in roles:
        raise ValueError('roles: "input" is missing: pass Clamped(x), or Free(start) to find it')
    return {names[name]: role for name, role in roles.items()}


def _start_of(role: Role) -> Array:
    value = role.value if isinstance(role, Clamped) else role.target if isinstance(role, Nudged) else role.start
    if value is None:
        raise ValueError('roles: the input is Free without a start: pass Free(start), an array of shape (n, *input_shape)')
    return value


def _roles(
    network: Network, roles: Mapping[int, Role], settings: ProximalGradient, loss: Loss, penalty: str | Penalty, x: Array
) -> Roles:
    last, n = len(network.blocks), x.shape[0]
    output = roles.get(last)
    targeted = isinstance(output, Clamped | Nudged)
    if targeted:
        loss.check(network.blocks[-1].activation, network.output_shape[-1])
        check_targets(network, loss, x, output.value if isinstance(output, Clamped) else output.target)  # type: ignore[union-attr]
    for v, role in roles.items():
        value = role.value if isinstance(role, Clamped) else role.target if isinstance(role, Nudged) else role.start
        if value is not None and v != last and tuple(value.shape) != (n, *network.shapes[v]):
            raise ValueError(f"roles: variable {v} is given shape {tuple(value.shape)}, expected {(n, *network.shapes[v])}")
        if isinstance(role, Free) and role.regularizer is not None and v:
            check_pair(network.blocks[v - 1].activation, role.regularizer)
    return Roles(
        loss if targeted else None,
        output.weight if isinstance(output, Nudged) else 1.0,
        penalty,
        settings.geometry,
        {v: r.regularizer for v, r in roles.items() if isinstance(r, Free) and r.regularizer is not None},
        {v: (r.target, r.weight) for v, r in roles.items() if isinstance(r, Nudged) and v != last},
        frozenset(v for v, r in roles.items() if isinstance(r, Clamped) and v != last),
    )


def _set_start(window: LiftedWindow, roles: Mapping[int, Role], x: Array) -> None:
    last = window.last
    window.x[0][...] = x
    if last in roles and isinstance(roles[last], Clamped | Nudged):
        role = roles[last]
        window.state.y = role.value if isinstance(role, Clamped) else role.target  # type: ignore[union-attr]
    for block in window.stage.blocks:
        window.start(block)
        role = roles.get(block.index)  # type: ignore[assignment]
        value = role.value if isinstance(role, Clamped) else role.start if isinstance(role, Free) else None
        if value is not None and (block.index != last or isinstance(role, Free)):
            window.x[block.index][...] = value


def _output(window: LiftedWindow) -> Array:
    """Return x of a clamped or nudged output: sigma(z) minus the pull."""
    block = window.stage.output
    window.refresh(block.index)
    z = window.z[block.index]
    flat = namespace(z).reshape(z, (-1, z.shape[-1]))
    sigma = namespace(z).reshape(block.activation.sigma(flat), z.shape)
    return sigma - window.r[block.index]
