"""What an examination finds about one subject."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One line of the table.

    Parameters
    ----------
    what : str
    state : {"ok", "warning", "missing", "broken"}
        Only "broken" makes ParaLift unusable; "missing" is a thing that not everybody needs.
    found : str
    way_out : str
        What will hurt and how to mend it; empty where nothing needs to be done.
    """

    what: str
    state: str
    found: str
    way_out: str = ""


def judged(what: str, found: str, complaints: list[str], note: str = "") -> Check:
    """Return a warning if there are complaints, else a line that is well; the note is said in both cases."""
    return Check(what, "warning" if complaints else "ok", found, "; ".join([*complaints, *([note] if note else [])]))
