"""The kernel benchmark: its cases do what their formulas do and move the bytes that are counted; it runs."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from paralift.bench import clean, kernels
from paralift.bench.kernel_cases import OUTPUT, Arrays, cases

SHAPE = (12, 8)
each_case = pytest.mark.parametrize("case", cases(), ids=lambda c: f"{c.kernel.family}-{c.variant}")


@pytest.fixture
def arrays():
    return Arrays(np, SHAPE, "float64")


def outcome(arrays, case, work):
    arrays.prepare(case)
    work(case.act, arrays.of(case), arrays.row)
    return [a.copy() for a in arrays.of(case)] + [arrays.row.copy()]


@each_case
def test_kernel_and_formula_do_the_same(case, arrays):
    by_kernel = outcome(arrays, case, case.kernel.run)
    by_formula = outcome(arrays, case, case.kernel.formula)
    for a, b in zip(by_kernel, by_formula, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


@each_case
def test_counted_bytes_are_inputs_read_and_arrays_written(case, arrays):
    for a in arrays.work:
        a[...] = np.nan  # an output that is not written stays so
    arrays.prepare(case)
    before = [a.copy() for a in arrays.of(case)]
    case.kernel.run(case.act, arrays.of(case), arrays.row)
    written = sum(not np.array_equal(a, b, equal_nan=True) for a, b in zip(before, arrays.of(case), strict=True))
    read = sum(holds != OUTPUT for holds in case.kernel.holds)
    assert case.kernel.n_moved == read + written


@each_case
def test_inputs_are_put_back(case, arrays):
    first = outcome(arrays, case, case.kernel.run)
    for a, b in zip(first, outcome(arrays, case, case.kernel.run), strict=True):
        np.testing.assert_array_equal(a, b)


def check_records(records, n_repeats):
    assert {(r["family"], r["variant"]) for r in records} == {(c.kernel.family, c.variant) for c in cases()}
    for r in records:
        assert r["bytes_per_s"] == pytest.approx(r["bytes"] / r["kernel"]["median_s"])
        assert r["share_of_copy"] == pytest.approx(r["bytes_per_s"] / r["copy_bytes_per_s"])
        assert len(r["kernel"]["raw_s"]) == len(r["copy"]["raw_s"]) == n_repeats
        assert r["formula"]["median_s"] > 0


def test_quick_run_writes_everything(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != clean.MARK} | {"OPENBLAS_CORETYPE": "Haswell"}
    command = [sys.executable, "-m", "paralift.bench.kernels", "--quick", "--out", str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "kernels.json").read_text())
    assert found["quick"] and found["benchmark"] == "kernels"
    assert found["machine"]["environment"]["removed"]["OPENBLAS_CORETYPE"] == "Haswell"
    assert found["machine"]["blas"][0]["num_threads"] == 1
    assert found["machine"]["command"][:3] == ["paralift", "bench", "kernels"]
    assert found["rates"]["gemm_flops"] > 0
    assert "device" in found
    for dtype in ("float32", "float64"):
        check_records([r for r in found["cpu"] if r["dtype"] == dtype], n_repeats=2)
    assert "difference_relative" in done.stdout


def test_only_some_kernels_if_they_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(clean.MARK, "{}")
    argv = ["--quick", "--families", "sgd", "adam", "--dtypes", "float32", "--json", str(tmp_path / "k.json")]
    assert kernels.main(argv) == 0
    found = json.loads((tmp_path / "k.json").read_text())["cpu"]
    assert {(r["family"], r["dtype"]) for r in found} == {("sgd", "float32"), ("adam", "float32")}


def test_wrong_arguments_end_with_2(capsys):
    assert kernels.main(["--families", "none"]) == 2
    assert "bias_activation" in capsys.readouterr().err


def test_without_a_device_it_says_why(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert kernels.cuda() == "CuPy is not installed"


@pytest.mark.gpu
def test_all_cases_on_the_device():
    found = kernels.cuda()
    if isinstance(found, str):
        pytest.skip(found)
    xp, clock, facts = found
    assert facts["name"]
    for dtype in kernels.DTYPES:
        check_records(kernels.run_all(xp, kernels.QUICK_SHAPE, [dtype], [], 2, clock), n_repeats=2)
