"""``import paralift`` needs no extra, loads none, and looks at no variable of the environment that is ours."""

import subprocess
import sys

SCRIPT = """
import os, sys
for name in ("mpi4py", "cupy", "mnist1d"):
    sys.modules[name] = None  # importing it raises ImportError
seen = []
class Watched(type(os.environ)):
    def __getitem__(self, key):
        seen.append(key)
        return super().__getitem__(key)
os.environ.__class__ = Watched
import paralift as pl
ours = [key for key in map(str, seen) if key.startswith(("PARALIFT", "OMPI", "PMI", "SLURM"))]
assert not ours, ours
assert not {"torch", "jax"} & set(sys.modules)
run = pl.fit(pl.Sequential(pl.Linear(64, 10), pl.Softmax()), pl.data.digits(), epochs=1, comm=None, progress=False)
print(run.reason)
"""


def test_import_and_train_without_extras():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "All epochs were done."
