"""Timings, their statistics, the description of the machine, and the clean environment."""

import json
import math
import os

import pytest

from paralift.bench import clean, machine, protocol, report


def test_statistics_of_known_times():
    timing = protocol.Timing((4.0, 1.0, 2.0, 3.0, 5.0))
    assert timing.median == 3.0
    assert timing.minimum == 1.0
    assert timing.spread == pytest.approx(2.0 / 3.0)  # quartiles 2 and 4
    assert timing.record()["raw_s"] == [4.0, 1.0, 2.0, 3.0, 5.0]
    assert protocol.Timing((7.0,)).spread == 0.0


def test_a_timing_needs_a_time():
    with pytest.raises(ValueError, match="at least one"):
        protocol.Timing(())


def test_measure_prepares_and_waits_around_every_run():
    calls = []
    timing = protocol.measure(
        lambda: calls.append("work"),
        repeats=3,
        warm_up=2,
        prepare=lambda: calls.append("prepare"),
        barrier=lambda: calls.append("barrier"),
    )
    assert calls == ["prepare", "barrier", "work", "barrier"] * 5
    assert len(timing.seconds) == 3


def test_clean_takes_out_what_pins_kernels_and_fixes_threads():
    base = {"OPENBLAS_CORETYPE": "Haswell", "XLA_FLAGS": "--a", "OMP_NUM_THREADS": "7", "HOME": "/h"}
    found = clean.clean(base, threads=2)
    assert "OPENBLAS_CORETYPE" not in found and "XLA_FLAGS" not in found
    assert found["OMP_NUM_THREADS"] == found["OPENBLAS_NUM_THREADS"] == "2"
    assert found["HOME"] == "/h"
    note = json.loads(found[clean.MARK])
    assert note["re_executed"] and note["removed"] == {"OPENBLAS_CORETYPE": "Haswell", "XLA_FLAGS": "--a"}


def test_start_clean_starts_once_and_hands_on_the_exit_code(tmp_path, monkeypatch):
    (tmp_path / "ends_with.py").write_text(
        "import os, sys\n"
        "from paralift.bench.clean import MARK, changes, start_clean\n"
        "assert start_clean('ends_with', ['9']) is None  # a process in a clean environment starts no other\n"
        "assert 'OPENBLAS_CORETYPE' not in os.environ and changes()['removed']['OPENBLAS_CORETYPE'] == 'Haswell'\n"
        "sys.exit(int(sys.argv[1]))\n"
    )
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.delenv(clean.MARK, raising=False)
    assert clean.changes() == {"re_executed": False, "removed": {}, "set": {}}
    assert clean.start_clean("ends_with", ["5"]) == 5


def test_the_machine_is_described():
    found = machine.describe(["paralift", "bench"])
    assert found["command"] == ["paralift", "bench"]
    assert found["cpu"] and found["cores"] >= found["usable_cores"] >= 1
    assert {"paralift", "numpy", "numba"} <= set(found["versions"])
    assert found["blas"] and {"internal_api", "architecture", "num_threads"} <= set(found["blas"][0])
    json.dumps(found)


def test_rates_are_positive_and_keep_their_raw_times():
    found = machine.rates(quick=True)
    assert found["gemm_flops"] > 0 and found["copy_bytes_per_s"] > 0
    assert found["gemm_flops"] == pytest.approx(2 * found["gemm_width"] ** 3 / min(found["gemm"]["raw_s"]))
    assert found["copy_bytes_per_s"] == pytest.approx(found["copy_bytes"] / min(found["copy"]["raw_s"]))


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no affinities")
def test_one_core_is_kept_and_given_back():
    before = os.sched_getaffinity(0)
    with machine.one_core():
        assert os.sched_getaffinity(0) == {max(before)}
    assert os.sched_getaffinity(0) == before


def test_records_are_valid_json_even_with_numbers_that_json_does_not_know(tmp_path, capsys):
    parser = report.arguments("program", "text")
    args = report.parse(parser, ["--json", str(tmp_path / "a" / "one.json"), "--out", str(tmp_path / "b")])
    report.write(args, "name", {"x": math.nan, "y": (1.0, -math.inf), "z": {"w": 2}})
    for path in (tmp_path / "a" / "one.json", tmp_path / "b" / "name.json"):
        found = json.loads(path.read_text(), parse_constant=pytest.fail)
        assert found == {"format": 1, "benchmark": "name", "quick": False, "x": None, "y": [1.0, None], "z": {"w": 2}}
        assert str(path) in capsys.readouterr().out or path.parent.name == "b"


@pytest.mark.parametrize(("argv", "code"), [(["--help"], 0), (["--wrong"], 2)])
def test_help_and_wrong_arguments(argv, code, capsys):
    assert report.parse(report.arguments("program", "text"), argv) == code
