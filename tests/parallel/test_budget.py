"""Sizes as users write them, and the memory that there is for a rank."""

import os

import numpy as np
import pytest

from paralift.parallel.budget import SHARE, memory_limit, read_bytes, states_budget

TOTAL = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("text", "expected"),
    [(0, 0), (2**40, 2**40), ("0", 0), ("4GiB", 2**32), ("4 GiB", 2**32), ("1.5kB", 1500), (" 3TB ", 3 * 10**12)],
)
def test_sizes(text, expected):
    assert read_bytes(text) == expected


@pytest.mark.parametrize("wrong", [-1, "-1GiB", "4 apples", "GiB", "", "nan", "infGiB", 1.5, True, None, [1]])
def test_what_is_no_size(wrong):
    with pytest.raises(ValueError, match="expected a whole number of bytes"):
        read_bytes(wrong)


def test_budget():
    like = np.zeros(1)
    assert states_budget("1GiB", None, like) == 2**30
    assert states_budget(0, None, like) == 0
    assert states_budget(None, None, like) == int(SHARE * memory_limit())


def group(root, lines, limits):
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(lines)
    for path, text in limits.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return memory_limit(root)


def test_memory_without_control_groups(tmp_path):
    assert memory_limit(tmp_path) == TOTAL


def test_the_least_limit_of_a_group_and_those_above_it(tmp_path):
    top = "sys/fs/cgroup/"
    limits = {top + "a/b/memory.max": "5000\n", top + "a/memory.max": "4000\n", top + "memory.max": "max\n"}
    assert group(tmp_path / "1", "0::/a/b\n", limits) == 4000
    assert group(tmp_path / "2", "0::/a/b\n", {top + "a/b/memory.max": "max"}) == TOTAL
    assert group(tmp_path / "3", "0::/a\n", limits) == 4000
    assert group(tmp_path / "4", "0::/other\n", limits) == TOTAL


def test_limits_of_the_first_version(tmp_path):
    top = "sys/fs/cgroup/memory/"
    lines = "9:name=systemd:/\n4:memory:/job/step\n0::/\n"
    limits = {top + "job/step/memory.limit_in_bytes": "7000", top + "memory.limit_in_bytes": "9223372036854771712"}
    assert group(tmp_path, lines, limits) == 7000
