"""Kernels on disk: a second process loads them, and two processes that compile at once do not mix them up."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np

from paralift.kernels import jit as jit_module
from paralift.kernels.jit import jit

SCRIPT = """
import numpy as np
from paralift.kernels import bias_activation, difference
from paralift.kernels.piecewise import RELU

z, c = np.ones((2, 3), np.float32), np.ones(3, np.float32)
kernels = [bias_activation.numba_kernel(RELU), difference.numba_difference(RELU), difference._numba_sum]
kernels[0](z, c, None, 0.0, 0.0)
kernels[1](z, z.copy(), 0.5, 0.5, c, False, 0.0, 0.0)
kernels[2](z, c, False)
print([(sum(k.stats.cache_hits.values()), sum(k.stats.cache_misses.values())) for k in kernels])
"""


def _run(folder) -> str:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder)}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_second_process_loads_what_the_first_compiled(tmp_path):
    assert _run(tmp_path) == str([(0, 1)] * 3)
    assert _run(tmp_path) == str([(1, 0)] * 3)


def _plus(x, y):
    return x + y


def test_two_specialisations_never_share_a_file(tmp_path, monkeypatch):
    """Both processes see an empty index, as they do when they compile at the same moment."""
    monkeypatch.setattr("numba.core.config.CACHE_DIR", str(tmp_path))
    names = []
    for arguments in ((1.0, 2.0), (1, 2)):
        kernel = jit(_plus)
        monkeypatch.setattr(kernel._cache._cache_file, "_load_index", dict)
        kernel(*arguments)
        names += [file.name for file in tmp_path.glob("**/*.nbc")]
    assert len(names) == len(set(names)) == 2


def test_specialisations_stay_and_code_of_older_sources_goes(tmp_path, monkeypatch):
    monkeypatch.setattr("numba.core.config.CACHE_DIR", str(tmp_path))
    for stamp, files in (("old", 2), ("new", 2)):
        for arguments in ((1.0, 2.0), (1, 2)):
            jit(_plus, stamp=stamp)(*arguments)
        assert len(list(tmp_path.glob("**/*.nbc"))) == files


def test_the_stamp_is_part_of_the_key(tmp_path, monkeypatch):
    monkeypatch.setattr("numba.core.config.CACHE_DIR", str(tmp_path))
    hits = []
    for stamp in ("old", "old", "new"):
        kernel = jit(_plus, stamp=stamp)
        kernel(1.0, 2.0)
        hits.append(sum(kernel.stats.cache_hits.values()))
    assert hits == [0, 1, 0]


def test_without_a_folder_to_write_kernels_still_compile(monkeypatch):
    def nowhere(*_):
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(jit_module, "_Cache", nowhere)
    assert jit(_plus)(np.float32(1), np.float32(2)) == 3
