"""All subjects, one after the other, and what is printed of them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

import paralift
from paralift.doctor.binding import check_binding
from paralift.doctor.blas import check_blas
from paralift.doctor.check import Check
from paralift.doctor.cores import check_cores
from paralift.doctor.folder import check_folder
from paralift.doctor.gpu import check_gpu
from paralift.doctor.hdf5 import check_hdf5
from paralift.doctor.installation import check_data, check_numba, check_packages, check_python
from paralift.doctor.limits import check_limits, check_locale
from paralift.doctor.mpi import check_launcher, check_mpi, check_path, check_ulfm
from paralift.doctor.shared_memory import check_shared_memory

STYLES = {"ok": "green", "warning": "yellow", "missing": "cyan", "broken": "red"}
CHECKS: Sequence[Callable[[], Check]] = (
    check_python, check_packages, check_cores, check_blas, check_numba, check_hdf5, check_mpi, check_launcher, check_path,
    check_ulfm, check_binding, check_shared_memory, check_gpu, check_limits, check_locale, check_data,
)  # fmt: skip


def main(console: Console | None = None, folder: str | Path = ".", as_json: bool = False) -> int:
    """Print the table, or one line of JSON; return 0, or 1 if something that ParaLift needs is broken.

    Parameters
    ----------
    console : Console, optional
    folder : path
        Where runs are to be kept.
    as_json : bool
        An object with ``paralift`` (version), ``code``, ``seconds``, and ``checks`` with the fields of `Check`.
    """
    console = Console() if console is None else console
    start = time.perf_counter()
    with nullcontext() if as_json else Console(stderr=True).status("looking; trying jobs"):  # shown on terminals only
        checks = examine(folder)
    seconds, code = time.perf_counter() - start, int(any(check.state == "broken" for check in checks))
    if as_json:
        record = {"paralift": paralift.__version__, "code": code, "seconds": round(seconds, 3)}
        console.file.write(json.dumps({**record, "checks": [vars(check) for check in checks]}) + "\n")
        return code
    table = Table(title="paralift doctor", title_justify="left")
    for column in ("", "state", "found", "what hurts, and the way out"):
        table.add_column(column, overflow="fold")
    for check in checks:
        style = STYLES[check.state]
        table.add_row(check.what, f"[{style}]{check.state}[/{style}]", escape(check.found), escape(check.way_out))
    console.print(table)
    console.print(f"{seconds:.1f} s", highlight=False)
    return code


def examine(folder: str | Path = ".") -> list[Check]:
    """Return all checks; one that fails itself becomes a line that says so."""
    return [*(_safely(check) for check in CHECKS), _safely(check_folder, folder)]


def _safely(check: Callable[..., Check], *arguments: object) -> Check:
    try:
        return check(*arguments)
    except Exception as error:
        what = check.__name__.removeprefix("check_").replace("_", " ")
        way_out = "reinstall ParaLift: pip install --force-reinstall paralift"
        return Check(what, "broken", f"{type(error).__name__}: {error}", way_out)
