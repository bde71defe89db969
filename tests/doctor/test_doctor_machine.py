"""Cores, BLAS, binding, shared memory, limits: each in a good and in a bad environment."""

from __future__ import annotations

import json
import os
import resource

import pytest

from paralift.doctor import binding, blas, cores, limits, shared_memory
from paralift.launch import LaunchError

MIB = 2**20


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Return a function that pretends a machine: usable processors, two threads a core, a quota of version 1 or 2."""

    def pretend(processors: set[int], quota: tuple[str, ...] = ()) -> None:
        for number in range(8):
            folder = tmp_path / f"sys/devices/system/cpu/cpu{number}/topology"
            folder.mkdir(parents=True)
            (folder / "thread_siblings_list").write_text(f"{number % 4},{number % 4 + 4}\n")
        (tmp_path / "proc/self").mkdir(parents=True)
        old = len(quota) == 2
        (tmp_path / "proc/self/cgroup").write_text("4:cpu,cpuacct:/job/step\n" if old else "0::/job/step\n")
        group = tmp_path / ("sys/fs/cgroup/cpu/job" if old else "sys/fs/cgroup/job")
        group.mkdir(parents=True)
        for name, text in zip(("cpu.cfs_quota_us", "cpu.cfs_period_us") if old else ("cpu.max",), quota, strict=False):
            (group / name).write_text(f"{text}\n")
        monkeypatch.setattr(cores, "ROOT", tmp_path)
        monkeypatch.setattr(cores, "usable", lambda: processors)
        monkeypatch.setattr(os, "cpu_count", lambda: 8)

    return pretend


@pytest.mark.parametrize("quota", [(), ("max 100000",), ("-1", "100000")], ids=["none", "2", "1"])
def test_cores_without_a_quota(machine, quota):
    machine(set(range(8)), quota)
    check = cores.check_cores()
    assert (check.state, check.way_out) == ("ok", "")
    assert "8 usable of 8, 4 physical" in check.found and "no quota; 4 ranks fit" in check.found


@pytest.mark.parametrize("quota", [("250000 100000",), ("250000", "100000")], ids=["2", "1"])
def test_a_quota_of_the_group_above(machine, quota):
    machine(set(range(8)), quota)
    check = cores.check_cores()
    assert check.state == "warning" and "quota of 2.5 cores; 2 ranks fit" in check.found
    assert "OMP_NUM_THREADS=2" in check.way_out


def test_cores_given_by_affinity(machine):
    machine({1, 5})
    check = cores.check_cores()
    assert check.state == "ok" and "2 usable of 8, 1 physical" in check.found and "1 rank fits" in check.found
    assert "taskset" in check.way_out


def test_the_least_quota_leaves_one_rank(machine):
    machine({0, 1}, ("50000 100000",))
    assert cores.ranks() == 1 and cores.quota() == 0.5


@pytest.fixture
def library(monkeypatch):
    """Return a function that pretends a BLAS on a machine of four cores, and what its kernels cost."""

    def pretend(threads: int, **seconds: float) -> None:
        for name in (blas.KERNEL, *blas.THREADS):
            monkeypatch.delenv(name, raising=False)
        pool = {"internal_api": "openblas", "version": "0.3", "architecture": "Zen", "num_threads": threads}
        monkeypatch.setattr(blas, "_pool", lambda: pool)
        monkeypatch.setattr(cores, "usable", lambda: {0, 1, 2, 3})
        monkeypatch.setattr(cores, "ranks", lambda: 4)

        def answer(command, environment):
            kernel = environment.get(blas.KERNEL, "Zen")
            return 0, json.dumps({"kernel": kernel, "seconds": seconds[kernel]}), ""

        monkeypatch.setattr(blas, "ask", answer)

    return pretend


def test_blas_as_it_is():
    check = blas.check_blas()
    assert "kernel" in check.found and "thread" in check.found


def test_blas_without_pins(library):
    library(4)
    assert blas.check_blas().state == "ok"


def test_a_slow_kernel_is_a_warning_with_its_price(library, monkeypatch):
    library(4, Prescott=3.0, Zen=1.5)
    monkeypatch.setenv(blas.KERNEL, "Prescott")
    check = blas.check_blas()
    assert check.state == "warning" and "OPENBLAS_CORETYPE=Prescott" in check.found
    assert "2.0 times as long as with kernel Zen" in check.way_out and "unset OPENBLAS_CORETYPE" in check.way_out


def test_a_pin_that_costs_nothing(library, monkeypatch):
    library(4, Haswell=1.0, Zen=1.0)
    monkeypatch.setenv(blas.KERNEL, "Haswell")
    check = blas.check_blas()
    assert check.state == "ok" and "OPENBLAS_CORETYPE=Haswell" in check.found


def test_a_kernel_that_crashes(library, monkeypatch):
    library(4)
    monkeypatch.setenv(blas.KERNEL, "SapphireRapids")
    monkeypatch.setattr(blas, "ask", lambda command, environment: (-4, "", "Illegal instruction"))
    check = blas.check_blas()
    assert check.state == "warning" and "Illegal instruction" in check.way_out


@pytest.mark.parametrize(
    ("threads", "words"), [(64, "64 threads compete for 4 cores"), (1, "a single rank would use 1 of 4 cores")]
)
def test_pinned_threads(library, monkeypatch, threads, words):
    library(threads)
    monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
    check = blas.check_blas()
    assert check.state == "warning" and words in check.way_out and "unset OMP_NUM_THREADS" in check.way_out


def test_blas_that_is_not_known(monkeypatch):
    monkeypatch.setattr(blas, "_pool", lambda: None)
    assert blas.check_blas().state == "warning"


BINDINGS = {
    "own cores": ([{0}, {1}], {0, 1}, "ok", "each rank on a core of its own"),
    "two threads of a core": ([{0, 2}, {1, 3}], {0, 1, 2, 3}, "ok", "0,2 | 1,3"),
    "cores of others": ([{0}], {1}, "warning", "core 0 is not ours"),
    "unbound": ([{0, 1}, {0, 1}], {0, 1}, "warning", "ranks share cores"),
    "a rank is silent": ([{0}], {0, 1}, "warning", "of 2 ranks answered"),
}


@pytest.mark.parametrize(("bound", "own", "state", "words"), BINDINGS.values(), ids=BINDINGS)
def test_binding(bound, own, state, words):
    check = binding.judge(bound, own, 2 if words.startswith("of") else len(bound))
    assert check.state == state and words in check.found
    assert bool(check.way_out) is (state == "warning")


def test_binding_that_is_refused(monkeypatch):
    monkeypatch.setattr(binding, "mpirun_command", lambda n: ["mpirun", "-n", str(n)])
    text = "-----\nA request was made to bind that would require\nmore cpus than are available:\n\nmore\n-----\n"
    monkeypatch.setattr(binding, "ask", lambda command, deadline: (213, "", text))
    check = binding.check_binding()
    assert check.state == "warning" and "code 213" in check.found
    assert "would require more cpus than are available" in check.found and "--bind-to none" in check.way_out


def test_binding_without_a_launcher(monkeypatch):
    def absent(n):
        raise LaunchError("no MPI launcher")

    monkeypatch.setattr(binding, "mpirun_command", absent)
    assert binding.check_binding().state == "missing"


@pytest.mark.parametrize(
    ("free", "state", "words"),
    [(1024, "ok", ""), (64, "warning", "enough for 4 of 8 ranks"), (10, "warning", "cannot reach each other")],
)
def test_shared_memory(monkeypatch, tmp_path, free, state, words):
    monkeypatch.setenv(shared_memory.BACKING, str(tmp_path))
    monkeypatch.setattr(cores, "ranks", lambda: 8)
    status = os.statvfs_result((4096, 4096, 1024 * MIB // 4096, 0, free * MIB // 4096, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda folder: status)
    check = shared_memory.check_shared_memory()
    assert check.state == state and f"{free:,} MiB free of 1,024" in check.found and words in check.way_out


def test_no_shared_memory(monkeypatch, tmp_path):
    monkeypatch.delenv(shared_memory.BACKING, raising=False)
    monkeypatch.setattr(shared_memory, "FOLDER", tmp_path / "none")
    check = shared_memory.check_shared_memory()
    assert check.state == "warning" and shared_memory.BACKING in check.way_out


GOOD = {"NOFILE": 4096, "AS": resource.RLIM_INFINITY, "CORE": 0, "MEMLOCK": 8 * MIB}
LIMITS = {
    "well": ({}, "core", False, ""),
    "few files": ({"NOFILE": 256}, "core", False, "ulimit -n 1024"),
    "little memory": ({"AS": 2**30}, "core", False, "ulimit -v unlimited"),
    "core files": ({"CORE": resource.RLIM_INFINITY}, "core", False, "ulimit -c 0"),
    "core files for a program": ({"CORE": resource.RLIM_INFINITY}, "|/bin/keep", False, ""),
    "InfiniBand": ({}, "core", True, "ulimit -l unlimited"),
}


@pytest.mark.parametrize(("bad", "pattern", "infiniband", "words"), LIMITS.values(), ids=LIMITS)
def test_limits(monkeypatch, tmp_path, bad, pattern, infiniband, words):
    values = {getattr(resource, f"RLIMIT_{name}"): value for name, value in {**GOOD, **bad}.items()}
    monkeypatch.setattr(resource, "getrlimit", lambda name: (values[name], values[name]))
    (tmp_path / "pattern").write_text(pattern)
    monkeypatch.setattr(limits, "CORE_PATTERN", tmp_path / "pattern")
    monkeypatch.setattr(limits, "INFINIBAND", tmp_path if infiniband else tmp_path / "none")
    check = limits.check_limits()
    assert check.state == ("warning" if words else "ok")
    assert (words in check.way_out) if words else check.way_out == ""


def test_locale(monkeypatch):
    monkeypatch.setattr(limits.locale, "getpreferredencoding", lambda _: "UTF-8")
    monkeypatch.setattr(limits, "ask", lambda command: (0, "", ""))
    assert limits.check_locale().state == "ok"
    monkeypatch.setattr(limits, "ask", lambda command: (1, "", "locale.Error: unsupported locale setting"))
    check = limits.check_locale()
    assert check.state == "warning" and "unsupported locale" in check.found
    monkeypatch.setattr(limits.locale, "getpreferredencoding", lambda _: "ANSI_X3.4-1968")
    check = limits.check_locale()
    assert check.state == "warning" and "text ANSI_X3.4-1968" in check.found and "LC_ALL=C.UTF-8" in check.way_out
