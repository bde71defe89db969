"""Networks as models of ONNX: checked, and run by onnxruntime or by the reference of the onnx package."""

from __future__ import annotations

import networks
import numpy as np
import pytest

import paralift as pl

onnx = pytest.importorskip("onnx", reason="the onnx package is not installed: pip install paralift[onnx]")

TOLERANCE = 1e-5


def run(path, x):
    """Return what an engine computes: onnxruntime if it is there."""
    try:
        import onnxruntime
    except ImportError:
        from onnx.reference import ReferenceEvaluator

        return ReferenceEvaluator(str(path)).run(None, {"x": x})[0]
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_outputs_are_the_networks(name, tmp_path):
    if name == "padding of one side":
        pytest.importorskip("onnxruntime", reason="no onnxruntime; the reference of onnx exchanges sides of MaxPool's padding")
    net, params, x = networks.made(name)
    path = tmp_path / "net.onnx"
    pl.to_onnx(net, params, path)
    given = networks.first(name, x).astype(np.int64 if name == "transformer" else np.float32)
    expected = networks.first(name, net.apply(params, x))
    for rows in (slice(None), slice(1)):  # the number of samples is free
        np.testing.assert_allclose(run(path, given[rows]), expected[rows], rtol=0, atol=TOLERANCE)
    assert [f.name for f in tmp_path.iterdir()] == ["net.onnx"]


def test_the_model_says_what_it_takes_and_gives(tmp_path):
    net, params, _ = networks.made("series")
    pl.to_onnx(net, params, tmp_path / "net.onnx")
    graph = onnx.load(tmp_path / "net.onnx").graph
    sizes = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in (*graph.input, *graph.output)]
    assert sizes == [["n", 4, 6], ["n", 4, 2]]


def test_double_precision_and_what_has_no_counterpart(tmp_path):
    net = pl.Sequential(pl.Linear(3, 2), pl.Tanh())
    pl.to_onnx(net, net.init(0, np.float64), tmp_path / "net.onnx")
    assert onnx.load(tmp_path / "net.onnx").graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.DOUBLE
    net = pl.Sequential(pl.Linear(3, 2), pl.Ball())
    with pytest.raises(pl.interop.UnsupportedError, match=r"block 1 \(linear1, .*Ball has no counterpart"):
        pl.to_onnx(net, net.init(0), tmp_path / "other.onnx")
    assert not (tmp_path / "other.onnx").exists()
