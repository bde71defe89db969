"""HDF5: the versions of h5py and the library, and whether it is parallel."""

from __future__ import annotations

import json
import sys

from paralift.ask import ask, last_line
from paralift.doctor.check import Check

QUESTION = """
import json, h5py
print(json.dumps({"h5py": h5py.__version__, "hdf5": h5py.version.hdf5_version, "parallel": bool(h5py.get_config().mpi)}))
"""


def check_hdf5() -> Check:
    """Return the versions; asked in another process, since a parallel h5py starts MPI when it is imported."""
    code, out, err = ask([sys.executable, "-c", QUESTION])
    if code != 0:
        way_out = "nothing can be saved; reinstall it: pip install --force-reinstall h5py"
        return Check("HDF5", "broken", f"h5py does not work: {last_line(err)}", way_out)
    known = json.loads(last_line(out))
    kind = "parallel" if known["parallel"] else "serial (enough: every rank writes a file of its own)"
    return Check("HDF5", "ok", f"h5py {known['h5py']}, HDF5 {known['hdf5']}, {kind}")
