"""`paralift compare`: several methods on one task, run by run; what comes out as records, a table of numbers and curves."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from paralift import durable, methods
from paralift.config import Config, ConfigError, read_method
from paralift.data import Dataset
from paralift.expressions import known
from paralift.lifted.methods import Method
from paralift.training.arguments import check_method
from paralift.training.fit import DivergedError, fit
from paralift.vocabulary import METHOD

WHERE = "--methods"
FULL = "full"
NAMED = [name for name in methods.__all__ if name.islower()]
"""The named methods; expressions may also build one of its parts."""


@dataclass(frozen=True)
class Contestant:
    """A method as it was named, and the samples of its batches where they are not the configuration's.

    Parameters
    ----------
    text : str
        Such as ``"nudged"`` or ``"mac(tau=None)@full"``.
    method : Method
    config : Config
        The run that it makes.
    """

    text: str
    method: Method
    config: Config

    @property
    def folder(self) -> str:
        """Name of its run folder."""
        return re.sub(r"[^\w.=-]+", "-", self.text).strip("-")


def read_contestants(text: str, config: Config) -> list[Contestant]:
    """Read names or expressions of methods with commas between them; ``@full`` or ``@512`` behind one names its batch size.

    Raises
    ------
    ConfigError
        If one is no method, is named twice, or cannot train the network, before anything is trained.
    """
    found = [_contestant(part, config) for part in split(text)]
    if not found:
        raise ConfigError(f"{WHERE} is {text!r}, expected methods such as nudged,mac,lpom(tau=None)@full")
    folders = [each.folder for each in found]
    twice = sorted({each.text for each in found if folders.count(each.folder) > 1})
    if twice:
        raise ConfigError(f"{WHERE}: {', '.join(twice)} would go to one folder: name each method once")
    return found


def split(text: str) -> list[str]:
    """Return the parts of a text between commas that stand in no brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def _contestant(part: str, config: Config) -> Contestant:
    expression, _, batch = part.partition("@")
    name = expression.partition("(")[0].strip().rpartition(".")[2]
    if name not in METHOD:
        raise ConfigError(f"{WHERE}: no method is called {name!r}; {known(name, NAMED)}")
    method = read_method(WHERE, "method", expression.strip())
    training = config.training
    if batch:
        if batch != FULL and not (batch.isdecimal() and int(batch) > 0):
            raise ConfigError(f"{WHERE}: {part!r}: {batch!r} is no batch size, expected a number or {FULL!r}")
        training = replace(training, batch_size=None if batch == FULL else int(batch))
    try:
        check_method(config.network, method, config.optimizer)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{WHERE}: {part!r} cannot train this network: {error}") from None
    changed = replace(config, method=method, training=training)
    return Contestant(part, method, replace(changed, text=changed.to_text()))


def compare(
    contestants: Sequence[Contestant], network: Any, data: Dataset, out: Path, progress: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Train all, one after another, each into a run folder of its own; return a record of each, the same on all ranks.

    A method that diverges is recorded as such; others go on. `say` is told whose turn it is.
    """
    records = []
    for each in contestants:
        say(each.text)
        records.append(_record(each, network, data, out, progress))
    return records


def _record(each: Contestant, network: Any, data: Dataset, out: Path, progress: bool) -> dict[str, Any]:
    _, _, options = replace(each.config, data=_Opened(data)).build()  # type: ignore[arg-type]
    record: dict[str, Any] = {"method": each.text, "expression": repr(each.method), "status": "done", "curve": []}
    try:
        run = fit(network, data, **options, out=out / each.folder, progress=progress)
    except DivergedError as error:
        return {**record, "status": "diverged", "reason": str(error)}
    return {**record, "curve": list(curve(run.history, data.train.n_samples))}


@dataclass(frozen=True)
class _Opened:
    """A data set that is open already, for several runs."""

    data: Dataset

    def build(self) -> Dataset:
        return self.data


def curve(history: Sequence[Mapping[str, Any]], n_samples: int) -> Iterator[dict[str, float]]:
    """Yield for each epoch its passes, the seconds of training so far (without evaluations), and the scores."""
    seconds = 0.0
    for record in history:
        seconds += n_samples / record["samples_per_second"]
        scores = {k: v for k, v in record.items() if k.startswith(("test_", "train_")) or k in ("loss", "energy")}
        yield {"passes": record["epoch"], "seconds": seconds, **scores}


def score_of(records: Sequence[Mapping[str, Any]]) -> str:
    """Return the key that the runs are compared by: test accuracy where there is one, else test error, else training's."""
    present = {key for record in records for point in record["curve"] for key in point}
    wanted = ("test_accuracy", "test_error", "train_accuracy", "train_error")
    return next((key for key in wanted if key in present), "loss")


def rows(records: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Return for each method: last score, best score, passes and seconds to the best, all seconds, last energy."""
    key = score_of(records)
    best = max if key.endswith("accuracy") else min
    found: list[tuple[str, ...]] = []
    for record in records:
        points = record["curve"]
        if not points:
            found.append((record["method"], record["status"], "", "", "", "", ""))
            continue
        top = best(points, key=lambda point: point[key])
        last = points[-1]
        numbers = (f"{last[key]:.4f}", f"{top[key]:.4f}", f"{top['passes']}", f"{top['seconds']:.2f}", f"{last['seconds']:.2f}")
        found.append((record["method"], *numbers, f"{last['energy']:.4g}"))
    return found


COLUMNS = ("method", "last", "best", "passes to it", "seconds to it", "seconds", "energy")


def write(records: Sequence[Mapping[str, Any]], out: Path) -> list[Path]:
    """Write compare.json and compare.csv, a line for each method and pass; return their paths."""
    durable.write_text(out / "compare.json", json.dumps({"score": score_of(records), "runs": list(records)}, indent=1) + "\n")
    keys = list(dict.fromkeys(key for record in records for point in record["curve"] for key in point))
    path = out / "compare.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        lines = csv.DictWriter(file, ["method", *keys])
        lines.writeheader()
        for record in records:
            lines.writerows({"method": record["method"], **point} for point in record["curve"])
    return [out / "compare.json", path]
