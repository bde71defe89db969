"""Proximal gradient iterations over lifted variables: the general method (docs/method.md, section 4).

    x_l <- argmin_x B(x, z_l) + <g_l, x> + |x - x_l|^2 / (2 tau),     tau <= 1/lip,  lip = sum_c |A_c|_2^2 Lip(sigma_c)
    dual geometry: p_l <- (1 - omega) p_l + omega (z_l - g_l),  x_l = sigma_l(p_l),  omega = 1/(1 + lip)

Every move of one variable lowers E; so do Gauss-Seidel and coloured orders. All variables at once (Jacobi) needs damping.

References
----------
Wang & Benning, JMLR 24(232), 2023, section 4; Bolte, Sabach & Teboulle, Math. Program. 146, 2014 (PALM).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from paralift.lifted.exchange import Neighbours, Walls
from paralift.lifted.inference.lifted import LiftedWindow
from paralift.lifted.inference.orders import ORDERS, Phase, phases

GEOMETRIES = ("euclidean", "dual")
WALLS = Walls()


@dataclass(frozen=True)
class ProximalGradient:
    """Inference by proximal gradient iterations.

    Parameters
    ----------
    iterations : int
        Visits of every variable for each batch.
    order : {"gauss_seidel", "two_colour", "jacobi"}
        Gauss-Seidel runs inside all stages at once, then over their edges by colours. The results of the other two do
        not depend on how many stages there are.
    geometry : {"euclidean", "dual"}
    damping : float, optional
        Share of the step that Jacobi takes; by default 1/(1 + lip) of each variable.
    persistent : bool
        Keep every sample's variables from visit to visit instead of starting from the forward pass.
    cuts : tuple of int, optional
        Between the parts of Gauss-Seidel; the cuts of the plan are added. With the cuts of a plan of P stages, one rank
        finds what P ranks find.
    """

    divisible: ClassVar[bool] = True
    """Whether stages on several ranks may divide the network."""
    carries: ClassVar[bool] = False
    """Whether gradients are taken at the mean of a sweep's displaced states; of sweeps only."""

    iterations: int = 3
    order: str = "gauss_seidel"
    geometry: str = "euclidean"
    damping: float | None = None
    persistent: bool = False
    cuts: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.iterations, int) or self.iterations < 1:
            raise ValueError(f"ProximalGradient: iterations is {self.iterations!r}, expected an integer of at least 1")
        if self.order not in ORDERS:
            raise ValueError(f"ProximalGradient: order is {self.order!r}, expected one of {ORDERS}")
        if self.geometry not in GEOMETRIES:
            raise ValueError(f"ProximalGradient: geometry is {self.geometry!r}, expected one of {GEOMETRIES}")
        if self.damping is not None and not 0 < self.damping <= 1:
            raise ValueError(f"ProximalGradient: damping is {self.damping}, expected a number in (0, 1]")

    def before(self, window: LiftedWindow) -> None:
        """Do what the end of iterations needs before each; nothing here."""

    def settled(self, window: LiftedWindow, neighbours: Neighbours) -> bool:
        """Return whether iterations may end before they are all done, the same on all ranks; never here."""
        return False


def start_forward(window: LiftedWindow, neighbours: Neighbours) -> None:
    """Set every variable to the forward pass."""
    neighbours.receive_inputs(window)
    for block in window.stage.blocks:
        window.start(block)
    neighbours.send_outputs(window)


def iterate(
    window: LiftedWindow,
    neighbours: Neighbours,
    settings: ProximalGradient,
    lipschitz: np.ndarray,
    cuts: Sequence[int] = (),
    iterations: int | None = None,
) -> None:
    """Run proximal gradient iterations on all stages together.

    Parameters
    ----------
    window : LiftedWindow
        Variables at their start; `roles` set.
    neighbours : Neighbours
    settings : ProximalGradient
    lipschitz : ndarray of shape (n_variables,)
        Of the pull on each variable, summed over all stages.
    cuts : sequence of int
        The plan's cuts; those of the settings count too.
    iterations : int, optional
        Instead of those of the settings.
    """
    window.stale.update(window.own)  # parameters or variables may have changed since the last visit
    moved: tuple[int, ...] = ()
    for _ in range(settings.iterations if iterations is None else iterations):
        settings.before(window)
        for phase, inner, edge in visits(window, settings, cuts):
            neighbours.start(window, moved, phase.variables)
            if settings.order == "jacobi":
                pull_together(window, inner, neighbours)
                neighbours.wait()
                pull_together(window, edge)
                move_together(window, inner + edge, lipschitz, settings.damping)
            else:
                move_in_turn(window, inner, lipschitz, neighbours)
                neighbours.wait()
                move_in_turn(window, edge, lipschitz)
            moved = phase.variables
        if settings.settled(window, neighbours):
            break
    neighbours.start(window, moved, ())
    neighbours.wait()


def visits(
    window: LiftedWindow, settings: ProximalGradient, cuts: Sequence[int]
) -> list[tuple[Phase, tuple[int, ...], tuple[int, ...]]]:
    """Return the phases of an iteration, each with its inner and edge variables on this stage; found once for a window."""
    every_cut = tuple(sorted({*cuts, *(settings.cuts or ())}))
    key = (settings.order, every_cut, window.roles.fixed, window.roles.loss is None)
    if key not in window.visits:
        network = window.stage.network
        clamped = {len(network.blocks)} if window.roles.loss is not None else set()
        free = [v for v in range(len(network.shapes)) if v not in window.roles.fixed | clamped]
        mine = set(window.own) | ({0} if window.stage.has_input else set())
        window.visits[key] = [
            (phase, tuple(v for v in phase.inner if v in mine), tuple(v for v in phase.edge if v in mine))
            for phase in phases(network, settings.order, every_cut, free)
        ]
    return window.visits[key]


def move_in_turn(
    window: LiftedWindow, variables: Sequence[int], lipschitz: np.ndarray, neighbours: Neighbours = WALLS
) -> None:
    """Move one variable after the other, each by its pull at the state that the others left."""
    for v in variables:
        window.pull(v)
        window.move(v, float(lipschitz[v]))
        neighbours.advance()


def pull_together(window: LiftedWindow, variables: Sequence[int], neighbours: Neighbours = WALLS) -> None:
    """Compute what a common move of `variables` reads: their pulls and their z."""
    for v in variables:
        window.pull(v)
        if v:
            window.refresh(v)
        neighbours.advance()


def move_together(window: LiftedWindow, variables: Sequence[int], lipschitz: np.ndarray, damping: float | None) -> None:
    """Move `variables` from one and the same state, at which `pull_together` was called, damped."""
    stale = set(window.stale)
    for v in variables:
        window.stale.clear()  # the z of the common state serve every move
        together = max(len(b.parents) + 1 for b in window.stage.network.blocks if v in (b.index, *b.parents))
        blend = min(1.0 / (1.0 + float(lipschitz[v])), 1.0 / together) if damping is None else damping
        window.move(v, float(lipschitz[v]), blend)
        stale |= window.stale | ({v} & set(window.own))
    window.stale |= stale
