"""Limits of this shell, and its locale: what ends a process or garbles its text for no reason that it could name."""

from __future__ import annotations

import locale
import sys
from pathlib import Path

from paralift.ask import ask, last_line
from paralift.doctor.check import Check, judged

FILES = 1024
CORE_PATTERN = Path("/proc/sys/kernel/core_pattern")
INFINIBAND = Path("/dev/infiniband")
LOCKED = 1 << 30
"""Bytes of locked memory that a fast network wants at least."""
LOCALE_QUESTION = "import locale; locale.setlocale(locale.LC_ALL, '')"


def check_limits() -> Check:
    """Return the limits of open files, memory, locked memory and core files."""
    import resource

    def soft(name: int) -> int | None:
        value = resource.getrlimit(name)[0]
        return None if value == resource.RLIM_INFINITY else value

    files, memory = soft(resource.RLIMIT_NOFILE), soft(resource.RLIMIT_AS)
    core, locked = soft(resource.RLIMIT_CORE), soft(resource.RLIMIT_MEMLOCK)
    sizes = {"memory -v": memory, "locked -l": locked, "core -c": core}
    found = f"files -n {'unlimited' if files is None else files}, "
    found += ", ".join(f"{name} {'unlimited' if size is None else f'{size / 2**20:,.0f} MiB'}" for name, size in sizes.items())
    complaints = []
    if files is not None and files < FILES:
        complaints.append(f"ranks and shards open many files and sockets: ulimit -n {FILES}")
    if memory is not None:
        complaints.append("kernels, MPI and CUDA reserve addresses that they never use, and fail: ulimit -v unlimited")
    if core != 0 and _cores_are_files():
        complaints.append("each rank that crashes writes all of its memory into a file: ulimit -c 0, unless you look at them")
    if locked is not None and locked < LOCKED and INFINIBAND.exists():
        complaints.append("InfiniBand needs locked memory: ulimit -l unlimited")
    return judged("limits", found, complaints)


def _cores_are_files() -> bool:
    try:
        return not CORE_PATTERN.read_text().startswith("|")
    except OSError:
        return False


def check_locale() -> Check:
    """Return whether text is UTF-8, and whether the locale that is set is there."""
    text, names, output = locale.getpreferredencoding(False), sys.getfilesystemencoding(), sys.stdout.encoding or "utf-8"
    encodings = {"text": text, "file names": names, "output": output}
    wrong = {what: name for what, name in encodings.items() if name.lower().replace("-", "") != "utf8"}
    if wrong:
        found = ", ".join(f"{what} {name}" for what, name in wrong.items())
        return Check("locale", "warning", found, "tables and names of files may fail: export LC_ALL=C.UTF-8 PYTHONUTF8=1")
    code, _, err = ask([sys.executable, "-c", LOCALE_QUESTION])
    if code != 0:
        return Check("locale", "warning", f"UTF-8, but {last_line(err)}", "programs complain: export LC_ALL=C.UTF-8")
    return Check("locale", "ok", "UTF-8")
