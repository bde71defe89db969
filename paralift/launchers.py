"""What the launchers of the MPIs understand: environment, options, signals. Which one it is, a launcher says itself."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

DEADLINE = 10.0
"""Seconds that a launcher has to say its version; it takes a few milliseconds."""


@dataclass(frozen=True)
class Launcher:
    """A kind of launcher; all of them take ``-n N COMMAND``, and hand the environment of this machine on.

    Parameters
    ----------
    name : str
    words : tuple of str
        Of which one is in what ``--version`` prints.
    settings, one_host : mapping of str to str
        Variables that it needs here, and those for jobs of one host.
    survive : tuple of str or None
        Options by which the death of a rank does not end the job (ULFM); None where there are none.
    stop : signal
        What it hands on to its ranks as their wish to save and stop.
    """

    name: str
    words: tuple[str, ...]
    settings: Mapping[str, str] = field(default_factory=dict)
    one_host: Mapping[str, str] = field(default_factory=dict)
    survive: tuple[str, ...] | None = None
    stop: signal.Signals = signal.SIGUSR2


OPEN_MPI = Launcher(
    "Open MPI",
    ("Open MPI", "OpenRTE", "PRRTE"),
    {
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
        "PRTE_MCA_hwloc_default_binding_policy": "none",
        "OMPI_MCA_pml": "ob1",
        "OMPI_MCA_osc": "^ucx",
    },
    {"OMPI_MCA_btl": "self,sm"},
    ("--with-ft", "ulfm"),
)
"""The Open MPI of the Python package index needs settings in a container (root, few cores, no UCX).

Ranks are not bound to cores: Open MPI counts cores from the first one on, whatever a batch system or another run on the
machine has been given. On one host shared memory is enough: ranks start ten times faster, but cannot reach another host.
It kills its ranks at SIGTERM, and hands SIGUSR2 on.
"""
HYDRA = Launcher("Hydra", ("HYDRA", "Intel(R) MPI"), stop=signal.SIGTERM)
"""That of MPICH and of its relatives: no settings, no binding by itself. It dies of SIGUSR2, and hands SIGTERM on."""
UNKNOWN = Launcher("unknown", (), OPEN_MPI.settings, OPEN_MPI.one_host)
"""Settings of Open MPI do no harm to others, and a site's own script may well start that; options would."""


@lru_cache
def kind_of(path: Path) -> Launcher:
    """Return the kind of the launcher in a file; `UNKNOWN` if it does not say, or is not there."""
    try:
        command = [str(path), "--version"]
        found = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=DEADLINE
        )
    except (OSError, subprocess.TimeoutExpired):
        return UNKNOWN
    said = found.stdout + found.stderr
    return next((kind for kind in (OPEN_MPI, HYDRA) if any(word in said for word in kind.words)), UNKNOWN)
