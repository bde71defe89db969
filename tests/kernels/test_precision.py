"""How precisely a GPU multiplies; CuPy is a stand-in here, which keeps the number that it was given."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import paralift as pl
from paralift.kernels.precision import COMPUTE_TYPES, check_precision, products

DEFAULT = 1


@pytest.fixture
def cupy(monkeypatch):
    """Return a stand-in with the switch of its products."""
    switch = {}
    core = SimpleNamespace(
        get_compute_type=lambda dtype: switch.get(np.dtype(dtype).name, DEFAULT),
        set_compute_type=lambda dtype, number: switch.__setitem__(np.dtype(dtype).name, number),
    )
    module = ModuleType("cupy")
    module._core = core
    module.Array = type("Array", (), {"__module__": "cupy"})
    monkeypatch.setitem(sys.modules, "cupy", module)
    return module


@pytest.mark.parametrize("precision", COMPUTE_TYPES)
def test_products_are_rounded_within_only(cupy, precision):
    with pytest.raises(ZeroDivisionError), products(precision, cupy.Array()):
        assert cupy._core.get_compute_type(np.float32) == COMPUTE_TYPES[precision]
        assert cupy._core.get_compute_type(np.float64) == DEFAULT
        raise ZeroDivisionError
    assert cupy._core.get_compute_type(np.float32) == DEFAULT


def test_full_precision_changes_nothing(cupy):
    cupy._core.set_compute_type = None
    with products("full", cupy.Array()):
        assert cupy._core.get_compute_type(np.float32) == DEFAULT


@pytest.mark.parametrize(
    ("precision", "device", "dtype", "words"),
    [
        ("half", "gpu", "float32", "precision is 'half', expected one of"),
        ("bf16", "cpu", "float32", "device='cpu'.*take device='gpu'"),
        ("tf32", "gpu", "float64", "dtype='float64'.*dtype='float32'"),
    ],
)
def test_what_cannot_be(precision, device, dtype, words):
    with pytest.raises(ValueError, match=words):
        check_precision(precision, device, np.dtype(dtype))


def test_fit_says_so():
    net, data = pl.Sequential(pl.Linear(2, 2)), (np.zeros((4, 2)), np.zeros((4, 2)))
    with pytest.raises(ValueError, match="precision='bf16' with device='cpu'"):
        pl.fit(net, data, precision="bf16", comm=None, progress=False)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", COMPUTE_TYPES)
def test_on_a_gpu(precision):
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed: pip install paralift[gpu]")
    a = cupy.random.default_rng(0).standard_normal((512, 512), dtype=cupy.float32)
    exact = a.astype(cupy.float64) @ a.astype(cupy.float64)
    with products(precision, a):
        error = float(cupy.linalg.norm(a @ a - exact) / cupy.linalg.norm(exact))
    assert 1e-5 < error < {"tf32": 2e-3, "bf16": 1e-2}[precision]
