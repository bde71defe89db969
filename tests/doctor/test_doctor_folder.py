"""File systems: a real folder, and what would be said of bad ones."""

from __future__ import annotations

import fcntl
import importlib.util
import os
from pathlib import Path

import h5py
import pytest

from paralift.ask import LATE
from paralift.doctor import folder

SPEC = importlib.util.spec_from_file_location("folder_trial", folder.PROGRAM)
trial = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(trial)

GOOD = {
    "folder": "/runs", "mount": ["ext4", "/", "rw,relatime"], "size": 100 * 2**30, "free": 50 * 2**30, "files": 1000,
    "flock": "works", "hdf5": "works", "rename": "works", "fsync": 0.001,
}  # fmt: skip
BAD = {
    "full": ({"free": 2**20}, "warning", "make room"),
    "no more files": ({"files": 0}, "warning", "no more files"),
    "no flock": ({"flock": "[Errno 38] Function not implemented"}, "warning", "two runs"),
    "flock of one host": ({"mount": ["lustre", "/", "rw,localflock"]}, "warning", "localflock"),
    "no HDF5 locks": ({"hdf5": "ignored"}, "warning", "HDF5_USE_FILE_LOCKING=FALSE"),
    "renames in parts": ({"rename": "a reader found a part of a file"}, "warning", "neither old nor new"),
    "no fsync": ({"fsync": "[Errno 22] Invalid argument"}, "warning", "power failure"),
    "slow": ({"fsync": 2.0}, "warning", "save less often"),
    "not writable": ({"error": "[Errno 30] Read-only file system"}, "warning", "give --out a folder to write to"),
    "nfs": ({"mount": ["nfs4", "/", "rw,vers=4.2"]}, "ok", "seconds late"),
    "lustre": ({"mount": ["lustre", "/", "rw,flock"]}, "ok", "small files"),
    "gpfs": ({"mount": ["gpfs", "/", "rw"]}, "ok", "each rank's own file"),
    "memory": ({"mount": ["tmpfs", "/", "rw"]}, "ok", "this is memory"),
    "fuse": ({"mount": ["fuse.sshfs", "/", "rw"]}, "ok", "if there is a network behind it"),
}


def test_a_real_folder(tmp_path):
    check = folder.check_folder(tmp_path / "runs" / "new")
    assert f"{tmp_path}: " in check.found and "GiB free" in check.found
    assert "renames under a reader: works" in check.found
    assert list(tmp_path.iterdir()) == []


def test_a_good_file_system():
    check = folder.judge(GOOD)
    assert (check.state, check.way_out) == ("ok", "")
    assert check.found.startswith("/runs: ext4, 50.0 GiB free of 100.0; flock: works") and "fsync: 1.0 ms" in check.found


@pytest.mark.parametrize(("bad", "state", "words"), BAD.values(), ids=BAD)
def test_a_bad_file_system(bad, state, words):
    check = folder.judge({**GOOD, **bad})
    assert check.state == state and words in check.way_out


def test_a_type_that_is_not_known():
    assert "unknown type" in folder.judge({**GOOD, "mount": []}).found


def test_a_dead_server(monkeypatch):
    monkeypatch.setattr(folder, "ask", lambda *_: (LATE, "", "no answer within 30 s"))
    check = folder.check_folder("/dead")
    assert check.state == "warning" and "hangs" in check.way_out
    monkeypatch.setattr(folder, "ask", lambda *_: (1, "", "OSError: [Errno 116] Stale file handle"))
    assert "Stale file handle" in folder.check_folder("/dead").found


def test_a_folder_that_refuses(monkeypatch, tmp_path, capsys):
    def refused(**_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(trial.tempfile, "TemporaryDirectory", refused)
    trial.main(str(tmp_path))
    assert "Read-only file system" in capsys.readouterr().out


MOUNTS = """\
20 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
31 20 0:40 / /home rw,nosuid shared:2 - nfs4 server:/home rw,vers=4.2,local_lock=none
32 31 0:41 / /home/my\\040data rw - lustre 10.0.0.1@tcp:/scratch rw,localflock
33 20 0:42 / /homes rw - xfs /dev/sdb rw
"""


@pytest.mark.parametrize(
    ("place", "kind"),
    [("/", "ext4"), ("/home/me/runs", "nfs4"), ("/home/my data/x", "lustre"), ("/homes/you", "xfs"), ("/var", "ext4")],
)
def test_the_mount_of_a_folder(tmp_path, place, kind):
    (tmp_path / "mountinfo").write_text(MOUNTS)
    assert trial.mount(Path(place), tmp_path / "mountinfo")[0] == kind
    assert trial.mount(Path(place), tmp_path / "none") == []


def test_locks_are_felt(tmp_path, monkeypatch):
    monkeypatch.delenv("HDF5_USE_FILE_LOCKING", raising=False)
    assert trial.locks(tmp_path) == {"flock": "works", "hdf5": "works"}


def test_locks_that_nobody_feels(tmp_path, monkeypatch):
    """As on a file system that accepts them and does nothing."""
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    whole = h5py.File
    monkeypatch.setattr(h5py, "File", lambda path, mode, locking: whole(path, mode, locking=False))
    assert trial.locks(tmp_path) == {"flock": "ignored", "hdf5": "ignored"}


def test_locks_that_are_refused(tmp_path, monkeypatch):
    def refused(*_, **__):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refused)
    monkeypatch.setattr(h5py, "File", refused)
    assert all("not implemented" in said for said in trial.locks(tmp_path).values())


def test_renames(tmp_path, monkeypatch):
    trial.rename(tmp_path)

    def slowly(source, target):
        os.remove(target)
        while not seen:
            pass
        os.rename(source, target)

    seen = []
    whole = Path.read_bytes

    def read(path):
        try:
            return whole(path)
        except OSError:
            seen.append(path)
            raise

    monkeypatch.setattr(Path, "read_bytes", read)
    monkeypatch.setattr(trial.os, "replace", slowly)
    with pytest.raises(OSError, match="a reader found no file"):
        trial.rename(tmp_path)


def test_fsync_that_is_refused(tmp_path, monkeypatch):
    assert trial.fsync(tmp_path) > 0

    def refused(handle):
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refused)
    assert "Invalid argument" in trial._said(lambda: trial.fsync(tmp_path))
