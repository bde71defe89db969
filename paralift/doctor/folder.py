"""The file system of run folders: room, locks, renames, and what network file systems are known for."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paralift.ask import LATE, ask, last_line
from paralift.doctor.check import Check, judged

PROGRAM = Path(__file__).with_name("children") / "folder_trial.py"
DEADLINE = 30.0
ROOM = 1 << 30
"""Bytes below which a few checkpoints may fill a disk."""
SLOW = 0.5
"""Seconds of a small fsync from which checkpoints of many ranks are felt."""
OTHER_HOSTS = "other hosts may see new files seconds late: resume only after the job has ended everywhere"
NOTES = {
    "nfs": f"{OTHER_HOSTS}; keep data and stored variables on a local disk",
    "lustre": "many small files are slow: one run folder a job, and data in few large files",
    "gpfs": "files that several hosts write to are slow: each rank's own file, as ParaLift writes them, is right",
    "tmpfs": "this is memory: it counts as the job's, and its files go with the machine or container",
    "overlay": "files go with the container: mount a volume, and give --out a folder there",
    "cifs": f"{OTHER_HOSTS}; renames onto open files may fail: prefer another file system for --out",
}
NOTES |= {"nfs4": NOTES["nfs"], "beegfs": NOTES["lustre"], "smb3": NOTES["cifs"], "ramfs": NOTES["tmpfs"]}
UNKNOWN_NETWORK = ("fuse", "9p", "ceph", "afs", "virtiofs", "glusterfs", "pvfs", "orangefs")
"""Beginnings of types that may hide a network; no more is known of them than what was tried."""
ONE_HOST = ("localflock", "nolock", "noflock", "local_lock=all", "local_lock=flock")
"""Mount options by which locks are felt on one host only, or not at all."""


def check_folder(folder: str | Path = ".") -> Check:
    """Return what the file system of a folder offers; a folder that does not exist yet stands for the one it will lie in."""
    code, out, err = ask([sys.executable, str(PROGRAM), os.path.abspath(folder)], DEADLINE)
    if code == LATE:
        way_out = "the file system hangs (a dead server?): give --out another folder"
        return Check("folder", "warning", f"{folder}: {err}", way_out)
    if code != 0:
        return Check("folder", "warning", f"{folder} could not be tried: {last_line(err)}", "give --out another folder")
    return judge(json.loads(last_line(out)))


def judge(known: Mapping[str, Any]) -> Check:
    """Return the line for what was found in a folder."""
    kind, _, options = known["mount"] or ("unknown type", "", "")
    found = f"{known['folder']}: {kind}, {known['free'] / 2**30:,.1f} GiB free of {known['size'] / 2**30:,.1f}"
    if "error" in known:
        way_out = "no run can be kept here: give --out a folder to write to"
        return Check("folder", "warning", f"{found}; {known['error']}", way_out)
    synced = isinstance(known["fsync"], float)
    found += f"; flock: {known['flock']}, HDF5 locks: {known['hdf5']}, renames under a reader: {known['rename']}, "
    found += f"fsync: {1e3 * known['fsync']:.1f} ms" if synced else f"fsync: {known['fsync']}"
    return judged("folder", found, _complaints(known, options.split(",")), _note(kind))


def _complaints(known: Mapping[str, Any], options: list[str]) -> list[str]:
    found = []
    if known["free"] < ROOM:
        found.append("a few checkpoints may fill it: make room, keep fewer (checkpoints = N), or give --out another folder")
    if known["files"] == 0:
        found.append("no more files can be made, whatever room is left: remove some")
    if known["flock"] != "works":
        found.append("nothing keeps two runs from writing into the same folder: give each its own --out")
    elif told := [option for option in options if option in ONE_HOST]:
        found.append(f"mounted with {', '.join(told)}, locks bind one host at most: give runs on other hosts their own --out")
    if known["hdf5"] != "works":
        found.append("ParaLift locks no checkpoint, but other programs may refuse to read: export HDF5_USE_FILE_LOCKING=FALSE")
    if known["rename"] != "works":
        found.append("a crash may leave a checkpoint that is neither old nor new: give --out another file system")
    if not isinstance(known["fsync"], float):
        found.append("a power failure may lose checkpoints that were reported as written, or saving fails: another file system")
    elif known["fsync"] > SLOW:
        found.append("every checkpoint waits for the disk: save less often, or elsewhere")
    return found


def _note(kind: str) -> str:
    if kind in NOTES:
        return NOTES[kind]
    return f"{OTHER_HOSTS}, if there is a network behind it" if kind.startswith(UNKNOWN_NETWORK) else ""
