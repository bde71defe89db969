"""``import paralift`` needs no extra, loads none, and looks at no variable of the environment that is ours."""

import subprocess
import sys

import paralift as pl
from paralift.lifted import activations

SCRIPT = """
import os, sys
for name in ("mpi4py", "cupy", "mnist1d", "tensorboardX"):
    sys.modules[name] = None  # importing it raises ImportError
seen = []
class Watched(type(os.environ)):
    def __getitem__(self, key):
        frame = sys._getframe(1)
        while frame.f_globals["__name__"] in ("os", "_collections_abc"):  # get, items, copy
            frame = frame.f_back
        seen.append((frame.f_globals["__name__"].split(".")[0], key))
        return super().__getitem__(key)
os.environ.__class__ = Watched
import paralift as pl
assert not [key for room, key in seen if room == "paralift"], seen
assert not {"torch", "jax", "sklearn"} & set(sys.modules)
run = pl.fit(pl.Sequential(pl.Linear(64, 10), pl.Softmax()), pl.data.digits(), epochs=1, comm=None, progress=False)
print(run.reason)
"""


def test_import_and_train_without_extras():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "All epochs were done."


def test_every_activation_is_public():
    parts = {"Activation", "BatchNormalise", "Custom", "Elementwise", "Normalise", "NotMonotoneError"}
    assert set(activations.__all__) - parts <= set(pl.__all__)
    assert all(hasattr(pl, name) for name in pl.__all__)


def test_a_network_of_the_unusual_ones_learns():
    layers = [pl.Linear(64, 48), pl.GELU(), pl.Linear(48, 48), pl.SiLU(), pl.Linear(48, 48), pl.Quantizer(4)]
    network = pl.Sequential(*layers, pl.Linear(48, 10), pl.Softmax())
    method = pl.methods.nudged(beta=2.0)
    run = pl.fit(network, pl.data.digits(), method=method, epochs=15, comm=None, progress=False)
    assert run.summary["test_accuracy"] > 0.9
