"""Penalties: how far a lifted variable may be from sigma(z) (docs/method.md, section 1)."""

from __future__ import annotations

from collections.abc import Mapping

from paralift.lifted.penalties.base import Penalty
from paralift.lifted.penalties.bregman import Bregman
from paralift.lifted.penalties.constrained import Constrained
from paralift.lifted.penalties.fenchel import Fenchel
from paralift.lifted.penalties.quadratic import Quadratic

PENALTIES: Mapping[str, Penalty] = {
    "bregman": Bregman(),
    "quadratic": Quadratic(),
    "constrained": Constrained(),
    "fenchel": Fenchel(),
}
"""Those that have a name."""


def penalty_of(given: str | Penalty) -> Penalty:
    """Return a penalty by its name, or as it is.

    Raises
    ------
    ValueError
        If no penalty has this name.
    """
    if isinstance(given, Penalty):
        return given
    if given not in PENALTIES:
        raise ValueError(f"penalty is {given!r}, expected one of {tuple(PENALTIES)}, or a Penalty")
    return PENALTIES[given]


__all__ = ["PENALTIES", "Bregman", "Constrained", "Fenchel", "Penalty", "Quadratic", "penalty_of"]
