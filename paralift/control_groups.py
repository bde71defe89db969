"""What Linux lets a process use, as its control group (versions 1 and 2) and all groups above it say."""

from __future__ import annotations

from pathlib import Path


def files(controller: str, name: str, unified: str, root: Path = Path("/")) -> list[Path]:
    """Return the files that may limit this process, innermost group first; not all of them need to exist.

    Parameters
    ----------
    controller : str
        Of version 1, such as ``memory``.
    name, unified : str
        The file's name in version 1 and in version 2.
    root : Path
        Under which ``proc`` and ``sys`` are mounted.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found, mount = [], root / "sys/fs/cgroup"
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top, file = (mount / controller, name) if controllers else (mount, unified)
        own = top / path.strip("/")
        found += [folder / file for folder in (own, *own.parents) if folder == top or top in folder.parents]
    return found


def quota(root: Path = Path("/")) -> float | None:
    """Return how many cores' time this process may take, the least of its group and all above; None without a limit.

    Parameters
    ----------
    root : Path
        As for `files`.
    """
    found = []
    for file in files("cpu", "cpu.cfs_quota_us", "cpu.max", root):
        try:
            time, *rest = file.read_text().split()
            period = rest[0] if rest else file.with_name("cpu.cfs_period_us").read_text()
            if time != "max" and float(time) > 0:  # version 1 says -1 for none
                found.append(float(time) / float(period))
        except (OSError, ValueError, ZeroDivisionError):
            continue
    return min(found, default=None)
