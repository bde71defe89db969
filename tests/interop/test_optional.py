"""Without a library its functions say how to get it."""

from __future__ import annotations

import sys

import pytest

import paralift as pl

NET = pl.Sequential(pl.Linear(2, 2))
CALLS = {
    "torch": [lambda: pl.from_torch(None, None), lambda: pl.to_torch(NET, NET.init(0))],
    "safetensors": [lambda: pl.save_safetensors("never", NET.init(0)), lambda: pl.load_safetensors("never", NET)],
    "onnx": [lambda: pl.to_onnx(NET, NET.init(0), "never")],
}


@pytest.mark.parametrize("library", CALLS)
def test_the_extra_is_named(library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)  # importing it raises ImportError
    for call in CALLS[library]:
        with pytest.raises(ImportError, match=rf"needs {library}, which is not installed: pip install paralift\[{library}\]"):
            call()
