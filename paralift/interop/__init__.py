"""The way in and out: modules of PyTorch, files of safetensors, ONNX."""

from paralift.interop.torch_modules import from_torch, to_torch

__all__ = ["from_torch", "to_torch"]
