"""GPU: CuPy, its compiler, and the devices."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from paralift.ask import ask, last_line
from paralift.doctor.check import Check

QUESTION = """
import json, cupy
from cupy.cuda import nvrtc
found = {"cupy": cupy.__version__, "nvrtc": ".".join(map(str, nvrtc.getVersion())), "devices": []}
try:
    for i in range(cupy.cuda.runtime.getDeviceCount()):
        properties = cupy.cuda.runtime.getDeviceProperties(i)
        found["devices"].append(f"{properties['name'].decode()}, {properties['totalGlobalMem'] / 2**30:.0f} GiB")
except cupy.cuda.runtime.CUDARuntimeError as error:
    found["error"] = str(error)
print(json.dumps(found))
"""


def check_gpu() -> Check:
    """Return the versions of CuPy and its compiler, and the devices."""
    driver = Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidia0").exists()
    code, out, err = ask([sys.executable, "-c", QUESTION])
    if code != 0:
        absent = "No module named 'cupy'" in err
        text = "CuPy is not installed" if absent else f"CuPy does not work: {last_line(err)}"
        install = "pip install 'paralift[gpu]' (CUDA 13) or 'paralift[gpu12]' (CUDA 12)"
        if not driver:
            return Check("GPU", "missing", f"{text}; no NVIDIA driver", f"only to train on one: a GPU, then {install}")
        return Check("GPU", "missing" if absent else "warning", f"{text}; an NVIDIA driver is there", install)
    known = json.loads(last_line(out))
    text = f"CuPy {known['cupy']}, NVRTC {known['nvrtc']}"
    if not known["devices"]:
        return Check("GPU", "warning", f"{text}; no device: {known.get('error', 'none found')}", "look at nvidia-smi")
    return Check("GPU", "ok", f"{text}; {'; '.join(known['devices'])}")
