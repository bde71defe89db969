"""The readers under atheris, which looks for new paths through the package by coverage; by hand, as it does not end by itself.

    pip install atheris
    python tests/faults/fuzz_atheris.py config|idx|npz|hdf5 [options of libFuzzer, -max_total_time=60] [good files]
"""

import sys
import tempfile
from pathlib import Path

import atheris

WATCHED = ["paralift.config", "paralift.expressions", "paralift.mistakes", "paralift.data", "zipfile"]
with atheris.instrument_imports(include=WATCHED):
    from paralift.config import Config, ConfigError
    from paralift.data import DataError, Dataset, Hdf5Source, IdxSource, NpzSource, load_shard

FOLDER = Path(tempfile.mkdtemp())
LABELS = b"\0\0\x08\x01\0\0\0\x02\0\1"


def config(content: bytes) -> None:
    """Read a configuration."""
    path = FOLDER / "mine.toml"
    path.write_bytes(content)
    try:
        Config.from_file(path)
    except ConfigError as error:
        assert str(path) in str(error)


def source(make, content: bytes) -> None:
    """Read a data file."""
    path = FOLDER / "d"
    path.write_bytes(content)
    try:
        data = Dataset("mine", make(path))
        load_shard(data.train, 0, min(data.train.n_samples, 64), "float32")
    except DataError as error:
        assert str(FOLDER) in str(error)


def idx(content: bytes) -> None:
    """Read images with two labels."""
    (FOLDER / "y").write_bytes(LABELS)
    source(lambda path: IdxSource(path, FOLDER / "y"), content)


TARGETS = {
    "config": config,
    "idx": idx,
    "npz": lambda content: source(NpzSource, content),
    "hdf5": lambda content: source(Hdf5Source, content),
}


if __name__ == "__main__":
    atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGETS[sys.argv[1]])
    atheris.Fuzz()
