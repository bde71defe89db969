"""CUDA text without a GPU: compiled by NVRTC to see that it is CUDA, and by g++ to run it on the CPU."""

from __future__ import annotations

import ctypes
import re
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

Instances = Iterable[tuple[str, str]]
"""Pairs of a CUDA text and the name of an instance of one of its kernel templates."""


def _by_source(instances: Instances) -> list[tuple[str, list[str]]]:
    grouped: dict[str, list[str]] = {}
    for source, name in instances:
        grouped.setdefault(source, []).append(name)
    return list(grouped.items())


def run_on_cpu(instances: Instances, folder: Path) -> Callable[[str, str], Callable[..., None]]:
    """Compile all `instances` by g++ and return what stands in for `paralift.kernels.cuda.function`."""
    here = Path(__file__).parent
    text, symbols = [f'#include "{here}/cuda_shim.h"\n'], {}
    for i, (source, names) in enumerate(_by_source(instances)):
        text.append(f"namespace text{i} {{\n{source}\n")
        for k, name in enumerate(names):
            symbols[source, name] = f"launch_{i}_{k}"
            text.append(
                f'extern "C" bool launch_{i}_{k}(const unsigned* g, const unsigned* b, void** a)'
                f" {{ return shim::launch({name}, g, b, a); }}\n"
            )
        text.append("}\n")
    (folder / "kernels.cpp").write_text("".join(text))
    command = ["g++", "-std=c++17", "-O1", "-w", "-fno-strict-aliasing", "-shared", "-fPIC"]
    subprocess.run([*command, "-o", folder / "kernels.so", folder / "kernels.cpp"], check=True)
    library = ctypes.CDLL(str(folder / "kernels.so"))

    def function(source: str, name: str) -> Callable[..., None]:
        launch = getattr(library, symbols[source, name])
        launch.restype = ctypes.c_bool

        def start(grid: tuple[int, int], block: tuple[int, int], arguments: tuple) -> None:
            values = [_value(a) for a in arguments]
            pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(v) for v in values))
            sizes = ((ctypes.c_uint * 2)(*grid), (ctypes.c_uint * 2)(*block))
            assert launch(*sizes, pointers), f"{name}: some threads of a block missed a barrier"

        return start

    return function


def _value(argument: object) -> ctypes._SimpleCData:
    if isinstance(argument, np.ndarray):
        return ctypes.c_void_p(argument.ctypes.data)
    kinds = {np.int64: ctypes.c_longlong, np.uintp: ctypes.c_void_p, np.float64: ctypes.c_double}
    if type(argument) is np.float32:
        return ctypes.c_float(float(argument))
    return kinds[type(argument)](argument.item())


def nvrtc_library() -> ctypes.CDLL | None:
    """Return NVIDIA's run-time compiler of the wheel nvidia-cuda-nvrtc, or None where there is none."""
    import nvidia

    for folder in nvidia.__path__:
        for file in sorted(Path(folder).glob("**/libnvrtc.so.*")):
            return ctypes.CDLL(str(file))
    return None


def compile_by_nvrtc(instances: Instances, architecture: str = "compute_90") -> bytes:
    """Compile all `instances` in one program and return its PTX; raises AssertionError with the compiler's log."""
    library = nvrtc_library()
    assert library is not None, "libnvrtc was not found: install nvidia-cuda-nvrtc"
    text, names = [], []
    for i, (source, kernels) in enumerate(_by_source(instances)):
        text.append(f"namespace text{i} {{\n{source}\n}}\n")
        names += [f"text{i}::" + re.sub(r"\b(Act<|[A-Z]{2,}\b)", rf"text{i}::\1", name) for name in kernels]
    program = ctypes.c_void_p()
    code = library.nvrtcCreateProgram
    assert code(ctypes.byref(program), "".join(text).encode(), b"kernels.cu", 0, None, None) == 0
    for name in names:
        assert library.nvrtcAddNameExpression(program, name.encode()) == 0
    options = (ctypes.c_char_p * 2)(f"--gpu-architecture={architecture}".encode(), b"--std=c++17")
    failed = library.nvrtcCompileProgram(program, 2, options)
    size = ctypes.c_size_t()
    library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    library.nvrtcGetProgramLog(program, log)
    assert not failed, log.value.decode()
    library.nvrtcGetPTXSize(program, ctypes.byref(size))
    ptx = ctypes.create_string_buffer(size.value)
    library.nvrtcGetPTX(program, ptx)
    library.nvrtcDestroyProgram(ctypes.byref(program))
    return ptx.value
