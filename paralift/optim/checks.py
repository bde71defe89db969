"""Checks of the fields of rules, schedules and regularisers: errors name the object, field and range.

Checked numbers are kept as plain ``float`` and ``int``, so that the repr of an object is Python that makes it
again (a NumPy scalar would not be); configurations are stored that way.
"""

from __future__ import annotations

import math
import operator


def set_number(owner: object, name: str, low: float = 0.0, below: float = math.inf) -> None:
    """Keep a field as a float with low <= value < below; raise TypeError or ValueError if it is none."""
    value = getattr(owner, name)
    where = f"{type(owner).__name__}: {name} = {value!r} was given, expected"
    try:
        result = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{where} a number") from None
    if not low <= result < below:
        raise ValueError(f"{where} a finite number >= {low:g}" + (f" and < {below:g}" if below < math.inf else ""))
    object.__setattr__(owner, name, result)


def set_count(owner: object, name: str, least: int) -> None:
    """Keep a field as an int >= least; raise TypeError or ValueError if it is none."""
    value = getattr(owner, name)
    where = f"{type(owner).__name__}: {name} = {value!r} was given, expected"
    try:
        result = operator.index(value)
    except TypeError:
        raise TypeError(f"{where} a whole number") from None
    if result < least:
        raise ValueError(f"{where} at least {least}")
    object.__setattr__(owner, name, result)
