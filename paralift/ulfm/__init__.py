"""Do ranks here outlive another's death (User-Level Failure Mitigation, ULFM)? Found by trying: versions tell little.

One rank of a small job kills itself; the others must notice, revoke their communicator, shrink it, and go on. It all happens in
a session of its own that is killed at a deadline, since an MPI that cannot do it may hang instead of failing.
"""

from __future__ import annotations

from pathlib import Path

from paralift.ask import LATE, ask, first_paragraph, last_line
from paralift.launch import LaunchError, mpirun_command

PROGRAM = Path(__file__).with_name("trial.py")
SAYS = "ulfm: "
"""How a rank's own complaint begins."""


def works(deadline: float = 20.0, ranks: int = 2) -> str:
    """Try it on this machine; return why survivors do not go on, empty if they do.

    Parameters
    ----------
    deadline : float
        Seconds; it takes about a third of one.
    ranks : int
        Of which the last dies.

    Raises
    ------
    ValueError
        If fewer than two ranks are asked for: nobody would survive.
    """
    if ranks < 2:
        raise ValueError(f"ranks is {ranks}, expected at least 2: one dies, the others go on")
    try:
        start = mpirun_command(ranks, survive=True)
    except LaunchError as error:
        return str(error)
    code, out, err = ask([*start, str(PROGRAM)], deadline)
    went_on = f"went on with {ranks - 1}" in out.splitlines()
    if went_on and code == 0:
        return ""
    if code == LATE:
        return f"survivors went on, but the job hung at its end: {err}" if went_on else f"the job hung: {err}"
    if went_on:
        return f"survivors went on, but the launcher ended with code {code}: {last_line(err)}"
    said = [line.removeprefix(SAYS) for line in err.splitlines() if line.startswith(SAYS)]
    words = first_paragraph(err) or first_paragraph(out) or "without a word"
    return said[0] if said else f"the job ended with code {code}: {words}"
