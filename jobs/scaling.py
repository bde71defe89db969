"""Scaling studies under SLURM: a job for each size of one table, each in a run folder of its own.

    python jobs/scaling.py jobs/scaling.toml --out runs/scaling             # writes the job scripts
    python jobs/scaling.py jobs/scaling.toml --out runs/scaling --submit    # and submits them
    python jobs/collect.py runs/scaling                                     # afterwards

Start it from the project's folder: the jobs start there too.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from paralift.config import Config

MODES = ("strong", "weak")
TIME = re.compile(r"(\d+-)?\d+(:\d+){0,2}")
SCRIPT = """\
#!/bin/bash
#SBATCH --job-name={name}
#SBATCH --nodes={nodes}
#SBATCH --ntasks={ranks}
#SBATCH --time={time}
#SBATCH --signal=B:USR1@60
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output="{log}"
{more}
source jobs/train.sh
train {config} {run} --quiet
"""


@dataclass(frozen=True)
class Size:
    """How much of a cluster a job takes."""

    ranks: int
    nodes: int
    time: str

    def check(self, where: str) -> None:
        """Raise ValueError where a value cannot be."""
        for name in ("ranks", "nodes"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ValueError(f"{where}: {name} is {value!r}, expected a whole number of at least 1")
        if self.nodes > self.ranks:
            raise ValueError(f"{where}: {self.ranks} ranks on {self.nodes} nodes, expected no more nodes than ranks")
        if not isinstance(self.time, str) or not TIME.fullmatch(self.time):
            raise ValueError(f'{where}: time is {self.time!r}, expected text as sbatch reads it, such as "00:30:00"')


@dataclass(frozen=True)
class Study:
    """What the table says; `batch_size` is that of the smallest size."""

    config: str
    sizes: tuple[Size, ...]
    modes: tuple[str, ...] = MODES
    batch_size: int | None = None
    epochs: int | None = None
    sbatch: tuple[str, ...] = ()


@dataclass(frozen=True)
class Point:
    """A job of a study; `run` is its folder, relative to that of the study."""

    mode: str
    ranks: int
    nodes: int
    batch_size: int
    run: str


def main(argv: Sequence[str] | None = None) -> int:
    """Write the scripts of a study, and submit them if asked to; return the exit code."""
    parser = argparse.ArgumentParser(description="Write a job script for each size of a scaling study.")
    parser.add_argument("table", help="such as jobs/scaling.toml")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="folder of the study; all nodes must see it")
    parser.add_argument("--submit", action="store_true", help="submit the scripts")
    args = parser.parse_args(argv)
    try:
        scripts = write(read(Path(args.table)), Path(args.out))
        for script in scripts:
            print(f"{script}: {submit(script)}" if args.submit else script, flush=True)
    except (ValueError, OSError, ImportError, subprocess.SubprocessError) as error:
        print(f"scaling: error: {error}", file=sys.stderr)
        return 2
    if args.submit:
        print(f"when they have ended: {shlex.quote(sys.executable)} jobs/collect.py {shlex.quote(args.out)}")
    return 0


def read(path: Path) -> Study:
    """Read the table of a study.

    Raises
    ------
    ValueError
        If something in it is wrong.
    OSError
        If it cannot be read.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: no TOML: {error}") from None
    _known(f"{path}", found, Study)
    tables = found["sizes"]
    if not isinstance(tables, list) or not tables:
        raise ValueError(f"{path}: sizes is {tables!r}, expected tables [[sizes]] with ranks, nodes and time")
    sizes = []
    for i, table in enumerate(tables):
        _known(f"{path}, sizes[{i}]", table, Size)
        sizes.append(Size(**table))
        sizes[-1].check(f"{path}, sizes[{i}]")
    if len({size.ranks for size in sizes}) < len(sizes):
        raise ValueError(f"{path}: two sizes have the same ranks, expected each number once: their folders are named by it")
    modes = tuple(found.pop("modes", MODES))
    if not modes or set(modes) - set(MODES):
        raise ValueError(f"{path}: modes is {list(modes)}, expected some of {list(MODES)}")
    more = tuple(found.pop("sbatch", ()))
    for name in ("batch_size", "epochs"):
        value = found.get(name, 1)
        if type(value) is not int or value < 1:
            raise ValueError(f"{path}: {name} is {value!r}, expected a whole number of at least 1")
    values = {**found, "sizes": tuple(sorted(sizes, key=lambda size: size.ranks))}
    return Study(**values, modes=modes, sbatch=more)


def _known(where: str, found: Mapping[str, Any], kind: Any) -> None:
    names = {f.name for f in fields(kind)}
    needed = {"config", "sizes"} if kind is Study else names
    for wrong, text in ((set(found) - names, "is unknown"), (needed - set(found), "is missing")):
        if wrong:
            raise ValueError(f"{where}: {', '.join(sorted(wrong))} {text}, expected {', '.join(sorted(names))}")


def write(study: Study, out: Path) -> list[Path]:
    """Write a configuration and a job script for each point, and study.json; return the scripts.

    Raises
    ------
    ValueError
        If the study holds runs already, or a batch does not fit: larger than the data set it would be made smaller silently.
    """
    config = Config.from_file(study.config)
    base = study.batch_size or config.training.batch_size
    n_samples = config.build()[1].train.n_samples
    smallest = study.sizes[0].ranks
    points, scripts = [], []
    for mode in study.modes:
        for size in study.sizes:
            batch = n_samples if base is None else base
            batch = batch * size.ranks // smallest if mode == "weak" else batch
            if batch > n_samples:
                raise ValueError(
                    f"{study.config}: {mode} scaling to {size.ranks} ranks takes batches of {batch} of {n_samples} samples: "
                    f"make batch_size smaller, or leave sizes out"
                )
            points.append(Point(mode, size.ranks, size.nodes, batch, f"{mode}-{size.ranks}"))
    taken = [point.run for point in points if (out / point.run / "checkpoints").exists()]
    if taken:
        raise ValueError(f"{out} holds runs already ({', '.join(taken)}): name another folder")
    times = {size.ranks: size.time for size in study.sizes}
    for point in points:
        folder = out / point.run
        folder.mkdir(parents=True, exist_ok=True)
        own = config.changed(epochs=study.epochs, batch_size=point.batch_size)
        (folder / "job.toml").write_text(own.to_text(), encoding="utf-8")
        scripts.append(folder / "job.sbatch")
        scripts[-1].write_text(script(point, folder.resolve(), times[point.ranks], study.sbatch), encoding="utf-8")
    (out / "study.json").write_text(json.dumps([asdict(point) for point in points], indent=2) + "\n", encoding="utf-8")
    return scripts


def script(point: Point, folder: Path, time: str, more: Sequence[str]) -> str:
    """Return the job script of a point."""
    lines = "".join(f"#SBATCH {option}\n" for option in more)
    config, run = shlex.quote(str(folder / "job.toml")), shlex.quote(str(folder))
    name, log = f"{point.mode}-{point.ranks}", str(folder / "job.log")
    size = {"nodes": point.nodes, "ranks": point.ranks, "time": time}
    return SCRIPT.format(name=name, **size, log=log, more=lines, config=config, run=run)


def submit(path: Path) -> str:
    """Submit a script; return the job's number."""
    found = subprocess.run(["sbatch", "--parsable", str(path)], capture_output=True, text=True, check=False)
    if found.returncode:
        raise ValueError(f"sbatch {path}: {found.stderr.strip()}")
    return found.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
