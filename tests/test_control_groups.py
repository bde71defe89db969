"""Quotas of control groups, version 1 and 2, and the cores that a run without -n takes by them."""

import os

import pytest

from paralift import advice, control_groups


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Return a function that writes the control group /job/step below another; eight cores are given."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)

    def write(group, above="max 100000", version=2):
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text("0::/job/step\n" if version == 2 else "4:cpu,cpuacct:/job/step\n")
        top = tmp_path / "sys/fs/cgroup" / ("" if version == 2 else "cpu") / "job"
        (top / "step").mkdir(parents=True)
        for folder, text in ((top / "step", group), (top, above)):
            if version == 2:
                (folder / "cpu.max").write_text(text)
            else:
                time, period = text.replace("max", "-1").split()
                (folder / "cpu.cfs_quota_us").write_text(time)
                (folder / "cpu.cfs_period_us").write_text(period)
        return tmp_path

    return write


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("group", "above", "quota", "cores"),
    [
        ("max 100000", "max 100000", None, 8),
        ("250000 100000", "max 100000", 2.5, 2),
        ("400000 100000", "150000 50000", 3.0, 3),
        ("50000 100000", "max 100000", 0.5, 1),
        ("1600000 100000", "max 100000", 16.0, 8),
    ],
)
def test_quota(root, version, group, above, quota, cores):
    """The least of all groups counts; part of a core is one."""
    folder = root(group, above, version)
    assert control_groups.quota(folder) == quota
    assert advice.cores(folder) == cores


def test_no_control_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5}, raising=False)
    assert control_groups.quota(tmp_path) is None and advice.cores(tmp_path) == 2


@pytest.mark.parametrize("text", ["", "nonsense", "100000 0", "max"])
def test_what_cannot_be_read_is_no_limit(root, text):
    assert control_groups.quota(root(text)) is None
