"""The way in and out: modules of PyTorch, files of safetensors, models of ONNX."""

from paralift.interop.optional import UnsupportedError
from paralift.interop.tensors import load_safetensors, save_safetensors
from paralift.interop.to_onnx import to_onnx
from paralift.interop.torch_modules import from_torch, to_torch

__all__ = ["UnsupportedError", "from_torch", "load_safetensors", "save_safetensors", "to_onnx", "to_torch"]
