"""Run configurations: TOML files whose values are expressions of the Python API (see `expressions`).

    data = "digits"
    network = ["Linear(64, 256)", "ReLU()", "Linear(256, 10)", "Softmax()"]    # or one string: "Graph(...)"
    method = "nudged()"
    optimizer = "Adam(1e-3)"
    loss = "CrossEntropy()"
    augment = ["Shift(1)", "Noise(0.1)"]
    stop_early = "EarlyStopping(5)"
    callbacks = ["CSV('epochs.csv')"]

    [training]
    epochs = 20

    [parallel]
    stages = 2

Only ``network`` and ``data`` are required. Paths in ``data`` and ``callbacks`` are relative to the folder in which a command
starts.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from paralift import callbacks as callback_room
from paralift import data as data_sets
from paralift import losses, methods, optim
from paralift.expressions import Call, known, parse
from paralift.kernels.precision import PRECISIONS, check_precision
from paralift.lifted.initial import Scheme, check_scheme, read_scheme
from paralift.lifted.layers import Sequential
from paralift.lifted.network import Network
from paralift.mistakes import ConfigError, Mistakes, lines_of, shown
from paralift.parallel.budget import read_bytes
from paralift.training.arguments import allowed_stages, check_method, expect_patience
from paralift.training.freezing import frozen_parameters
from paralift.training.stopping import EarlyStopping
from paralift.training.techniques import check_clip, read_clip, read_ema, sample_shape
from paralift.vocabulary import AUGMENT, CALLBACK, DATA, LOSS, METHOD, NETWORK, OPTIMIZER, STOP, Vocabulary


@dataclass(frozen=True)
class Training:
    """The table ``[training]``; names and defaults are those of `fit`. ``batch_size = "full"`` is None there."""

    epochs: int = 20
    batch_size: int | None = 128
    seed: int = 0
    init: Scheme = None
    dtype: str = "float32"
    shuffle: bool = True
    checkpoint_every: int = 1
    checkpoints: int = 2
    patience: float = 600.0
    device: str = "cpu"
    precision: str = "full"
    states_memory: int | str | None = None
    clip: float | None = None
    freeze: tuple[str, ...] = ()
    ema: float | None = None


@dataclass(frozen=True)
class Parallel:
    """The table ``[parallel]``: what the plan must not choose for itself."""

    stages: int | None = None
    micro_batches: int | None = None
    schedule: str | None = None
    plan: str | None = None
    memory: str | int | None = None
    threads: int | None = None


@dataclass(frozen=True)
class Config:
    """A run as a file describes it.

    Parameters
    ----------
    data : Call
        The data set, not opened yet.
    network, method, optimizer, loss : Network, Method, Rule, Loss or None
    augment, stop_early : tuple of Augmentation, EarlyStopping or None
    callbacks : tuple of Callback
    training, parallel : Training, Parallel
    text : str
        TOML that describes the same run; a run folder keeps it as ``config.toml``.
    name : str
        Short name of the run.
    """

    data: Call
    network: Network
    method: methods.Method = field(default_factory=methods.nudged)
    optimizer: optim.Rule = field(default_factory=optim.Adam)
    loss: losses.Loss | None = None
    augment: tuple[data_sets.Augmentation, ...] = ()
    stop_early: EarlyStopping | None = None
    callbacks: tuple[callback_room.Callback, ...] = ()
    training: Training = Training()
    parallel: Parallel = Parallel()
    text: str = ""
    name: str = "run"

    @classmethod
    def from_file(cls, path: str | Path) -> Config:
        """Read a configuration file; ConfigError if it cannot be read or used."""
        path = Path(path)
        try:
            with path.open("rb") as file:
                content = file.read(MOST_BYTES + 1)
            if len(content) > MOST_BYTES:
                raise ConfigError(f"configuration {path}: more than {MOST_BYTES} bytes: no configuration of ParaLift")
            text = content.decode()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            way_out = "see examples/digits.toml for one that works"
            raise ConfigError(f"configuration {path}: {reason}; {way_out}") from None
        return cls.from_text(text, str(path), path.stem)

    @classmethod
    def from_text(cls, text: str, where: str = "<text>", name: str = "run") -> Config:
        """Read a configuration from TOML text; `where` stands for the file in errors.

        Raises
        ------
        ConfigError
            If the text is no TOML, or a key, name, argument, type or combination in it is wrong; it names all of them, each
            with its line.
        """
        try:
            document = tomllib.loads(text)
        except (ValueError, RecursionError) as error:  # some numbers and dates give a bare ValueError
            raise ConfigError(f"{where}: no TOML: {error}") from None
        mistakes = Mistakes(where, lines_of(text))
        _known_keys(mistakes, "", document, (*READERS, *TABLES))
        for key in ("data", "network"):
            if key not in document:
                mistakes.add(f"{where}: the key {key!r} is missing; for example {key} = {EXAMPLES[key]}")
        values = {}
        for key in (key for key in READERS if key in document):
            with mistakes.of(key) as place:
                values[key] = READERS[key](place, key, document[key])
        tables = {key: _table(mistakes, key, kind, document[key]) for key, kind in TABLES.items() if key in document}
        _combinations(mistakes, values, tables)
        mistakes.raise_all()
        return cls(**values, **tables, text=text, name=name)

    @classmethod
    def default(cls) -> Config:
        """Return the configuration of a run that names none: the digits."""
        return cls.from_text(DEFAULT, "the default configuration", "digits")

    def changed(self, **training: Any) -> Config:
        """Return the configuration with other values in ``[training]``, and in its text; None changes nothing."""
        new = {k: v for k, v in training.items() if v is not None}
        if not new:
            return self
        for key, value in new.items():
            _checked("the command line", f"training.{key}", value)
        changed = replace(self, training=replace(self.training, **new))
        return replace(changed, text=changed.to_text())

    def shared(self, **parallel: Any) -> Config:
        """Return the configuration with other values in ``[parallel]``; None changes nothing. Its text stays as it is."""
        new = {k: v for k, v in parallel.items() if v is not None}
        for key, value in new.items():
            _checked("the command line", f"parallel.{key}", value)
        return replace(self, parallel=replace(self.parallel, **new))

    def build(self) -> tuple[Network, data_sets.Dataset, dict[str, Any]]:
        """Open the data set and return (network, data set, keyword arguments of `fit`).

        Raises
        ------
        DataError, OSError, ImportError, ValueError
            Whatever the data set raises.
        """
        options = {
            f.name: getattr(table, f.name) for table in (self.training, self.parallel) for f in fields(table)
        }
        parts = {"method": self.method, "optimizer": self.optimizer, "loss": self.loss, "config": self.text}
        parts |= {"augment": self.augment, "stop_early": self.stop_early, "callbacks": self.callbacks}
        return self.network, self.data.build(), {**parts, **options}

    def to_text(self) -> str:
        """Return TOML with every value written out."""
        parts = [f"data = {_quoted(self.data)}", f"network = {_network_text(self.network)}"]
        parts += [f"method = {_quoted(self.method)}", f"optimizer = {_quoted(self.optimizer)}"]
        if self.loss is not None:
            parts.append(f"loss = {_quoted(self.loss)}")
        if self.augment:
            parts.append(f"augment = [{', '.join(map(_quoted, self.augment))}]")
        if self.stop_early is not None:
            parts.append(f"stop_early = {_quoted(self.stop_early)}")
        if self.callbacks:
            parts.append(f"callbacks = [{', '.join(map(_quoted, self.callbacks))}]")
        for name in TABLES:
            table = getattr(self, name)
            lines = {f.name: getattr(table, f.name) for f in fields(table)}
            if lines.get("batch_size", 1) is None:
                lines["batch_size"] = "full"
            parts += ["", f"[{name}]", *(f"{k} = {_toml(v)}" for k, v in lines.items() if v not in (None, ()))]
        return "\n".join(parts) + "\n"


def read_data(where: str, key: str, value: Any) -> Call:
    """Read the expression of a data set, without opening it; ConfigError as in `Config.from_text`."""
    return _expression(where, key, value, DATA)


def read_network(where: str, key: str, value: Any) -> Network:
    """Build a network from an expression, or from a list of layers; ConfigError as in `Config.from_text`."""
    if isinstance(value, list):
        if not value:
            raise ConfigError(f"{where}, key {key!r}: the list is empty; for example {EXAMPLES['network']}")
        layer_list = [_expression(where, f"{key}[{i}]", text, NETWORK) for i, text in enumerate(value)]
        return _built(where, key, Call("Sequential", Sequential, tuple(layer_list), {}))
    network = _built(where, key, _expression(where, key, value, NETWORK))
    if not isinstance(network, Network):
        way_out = f"write a list [{value!r}, ...] or Sequential(...)"
        raise ConfigError(f"{where}, key {key!r}: {value!r} is a layer; {way_out}")
    return network


def read_loss(where: str, key: str, value: Any) -> losses.Loss:
    """Build a loss from an expression; ConfigError as in `Config.from_text`."""
    return _object(LOSS, losses.Loss)(where, key, value)


def read_method(where: str, key: str, value: Any) -> methods.Method:
    """Build a method from an expression; ConfigError as in `Config.from_text`."""
    return _object(METHOD, methods.Method)(where, key, value)


def _list(vocabulary: Vocabulary) -> Callable[[str, str, Any], Any]:
    """Return what builds objects from a list of expressions; ConfigError as in `Config.from_text`."""

    def read(where: str, key: str, value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise ConfigError(f"{where}, key {key!r}: {shown(value)} was given, expected a list; for example {EXAMPLES[key]}")
        calls = [_expression(where, f"{key}[{i}]", text, vocabulary) for i, text in enumerate(value)]
        return tuple(_built(where, key, call) for call in calls)

    return read


def _object(vocabulary: Vocabulary, kind: type) -> Callable[[str, str, Any], Any]:
    def read(where: str, key: str, value: Any) -> Any:
        found = _built(where, key, _expression(where, key, value, vocabulary))
        if not isinstance(found, kind):
            raise ConfigError(
                f"{where}, key {key!r}: {value!r} is no {kind.__name__}; for example {EXAMPLES[key]}"
            )
        return found

    return read


def _expression(where: str, key: str, value: Any, vocabulary: Vocabulary) -> Call:
    if not isinstance(value, str):
        example = EXAMPLES[key.partition("[")[0]]
        raise ConfigError(
            f"{where}, key {key!r}: {shown(value)} was given, expected a string; for example {example}"
        )
    try:
        return parse(value, vocabulary)
    except ValueError as error:
        raise ConfigError(f"{where}, key {key!r}: {error}") from None


def _built(where: str, key: str, call: Call) -> Any:
    try:
        return call.build()
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{where}, key {key!r}: {error}") from error


def _known_keys(mistakes: Mistakes, table: str, document: Mapping[str, Any], names: tuple[str, ...]) -> None:
    for key in document:
        if key not in names:
            place = f" in [{table}]" if table else ""
            with mistakes.of(f"{table}.{key}" if table else key) as where:
                raise ConfigError(f"{where}: unknown key {key!r}{place}; {_home(key) or known(key, names)}")


def _home(key: str) -> str:
    """Return where a key belongs that stands in a wrong place, or nothing if it belongs nowhere."""
    if key in READERS:
        return "it belongs to the beginning of the file, before the first table"
    table = next((name for name, kind in TABLES.items() if key in {f.name for f in fields(kind)}), None)
    return f"it belongs below [{table}]" if table else ""


def _table(mistakes: Mistakes, name: str, kind: type, value: Any) -> Any:
    """Return a table with its good values; what is wrong with the others is taken down."""
    values: dict[str, Any] = {}
    with mistakes.of(name) as where:
        if not isinstance(value, dict):
            expected = f"a table: a line [{name}] and keys below it"
            raise ConfigError(f"{where}, key {name!r}: {shown(value)} was given, expected {expected}")
        names = tuple(f.name for f in fields(kind))
        _known_keys(mistakes, name, value, names)
        for key in (key for key in value if key in names):
            with mistakes.of(f"{name}.{key}") as place:
                values[key] = _checked(place, f"{name}.{key}", value[key])
    return kind(**values)


def _combinations(mistakes: Mistakes, values: Mapping[str, Any], tables: Mapping[str, Any]) -> None:
    """Take down what does not go together, of values that are right each for itself."""
    network, parallel = values.get("network"), tables.get("parallel", Parallel())
    method = values.get("method", methods.nudged())
    if network is None:
        return
    if values.get("loss") is not None:
        with mistakes.of("loss") as where:
            try:
                values["loss"].check(network.blocks[-1].activation, network.output_shape[-1])
            except ValueError as error:
                raise ConfigError(f"{where}, key 'loss': {error}") from None
    _techniques(mistakes, network, method, values, tables.get("training", Training()))
    for key, check in (
        ("method", lambda: check_method(network, method, values.get("optimizer"))),
        ("parallel.stages", lambda: allowed_stages(method, parallel.stages, None)),
    ):
        with mistakes.of(key) as where:
            try:
                check()
            except (TypeError, ValueError) as error:
                raise ConfigError(f"{where}, key {key!r}: {error}") from None
    blocks = len(network.blocks)
    if parallel.stages is not None and parallel.stages > blocks:
        with mistakes.of("parallel.stages") as where:
            text = f"{parallel.stages} stages for {blocks} blocks, expected no more stages than blocks"
            raise ConfigError(f"{where}, key 'parallel.stages': {text}")
    if parallel.schedule == "unflushed" and parallel.micro_batches is not None and parallel.micro_batches % 2:
        with mistakes.of("parallel.micro_batches") as where:
            text = f"{parallel.micro_batches} was given, expected an even number where the schedule is \"unflushed\""
            raise ConfigError(f"{where}, key 'parallel.micro_batches': {text}")
    if parallel.schedule == "unflushed" and isinstance(method.inference, methods.ProximalGradient):
        with mistakes.of("parallel.schedule") as where:
            text = f"{method!r} iterates over lifted variables; \"unflushed\" is a schedule of sweeps: leave the key out"
            raise ConfigError(f"{where}, key 'parallel.schedule': {text}")


def _techniques(
    mistakes: Mistakes, network: Network, method: methods.Method, values: Mapping[str, Any], training: Training
) -> None:
    """Take down techniques that do not suit the network, the method or the device."""
    checks: list[tuple[str, Callable[[], Any]]] = [
        *(("augment", partial(a.check, sample_shape(network))) for a in values.get("augment", ())),
        ("training.freeze", lambda: frozen_parameters(network, training.freeze)),
        ("training.init", lambda: check_scheme(training.init, [b.name for b in network.blocks])),
        ("training.clip", lambda: check_clip(training.clip, method)),
        ("training.precision", lambda: check_precision(training.precision, training.device, np.dtype(training.dtype))),
    ]
    for key, check in checks:
        with mistakes.of(key) as where:
            try:
                check()
            except ValueError as error:
                raise ConfigError(f"{where}, key {key!r}: {error}") from None


def _checked(where: str, key: str, value: Any) -> Any:
    expected = VALUES[key]
    if isinstance(expected, int):
        good, text = type(value) is int and value >= expected, f"a whole number of at least {expected}"
    elif expected in READABLE:
        good, text = _readable(expected, value), READABLE[expected]
    elif expected is bool:
        good, text = isinstance(value, bool), "true or false"
    else:
        good, text = value in expected and type(value) is str, " or ".join(f'"{v}"' for v in expected)
    if key == "training.batch_size":
        text += ', or "full"'
        if value == "full":
            return None
    if type(value) is int and value >= BEYOND:
        good, text = False, f"{text}, of at most 64 bits"
    if not good:
        raise ConfigError(f"{where}, key {key!r}: {shown(value)} was given, expected {text}")
    return tuple(value) if isinstance(value, list) else value


def _readable(read: Callable[[Any], Any], value: Any) -> bool:
    if isinstance(value, dict | list) and read not in (read_names, read_init):  # which may be too deep for words
        return False
    try:
        read(value)
    except ValueError:
        return False
    return True


def read_names(value: Any) -> list[str]:
    """Return a list of names; ValueError if it is none."""
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError("no list of names")
    return value


def read_init(value: Any) -> Scheme:
    """Return a scheme of initial weights; ValueError if it is none."""
    if isinstance(value, dict) and not all(isinstance(each, str) for each in value.values()):
        raise ValueError("no table of names")
    return read_scheme(value) if isinstance(value, str | dict) else read_scheme(False)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {json.dumps(v)}" for k, v in value.items()) + "}"
    return json.dumps(value)


def _quoted(value: Any) -> str:
    return json.dumps(repr(value), ensure_ascii=False)


def _network_text(network: Network) -> str:
    if (
        isinstance(network, Sequential)
        and repr(network) == f"Sequential({', '.join(map(repr, network.layers))})"
    ):
        return "[\n" + "".join(f"    {_quoted(layer)},\n" for layer in network.layers) + "]"
    return _quoted(network)


MOST_BYTES = 1 << 24
"""A configuration is small; a larger file is something else."""
BEYOND = 2**63
"""Whole numbers of TOML are smaller, though Python's reader takes all."""
EXAMPLES = {
    "data": '"digits"',
    "network": '["Linear(64, 256)", "ReLU()", "Linear(256, 10)", "Softmax()"]',
    "method": '"nudged()"',
    "optimizer": '"Adam(1e-3)"',
    "loss": '"CrossEntropy()"',
    "augment": '["Shift(2)", "Flip()"]',
    "stop_early": '"EarlyStopping(5)"',
    "callbacks": '["CSV(\'epochs.csv\')"]',
}
READERS: Mapping[str, Callable[[str, str, Any], Any]] = {
    "data": read_data,
    "network": read_network,
    "method": read_method,
    "optimizer": _object(OPTIMIZER, optim.Rule),
    "loss": read_loss,
    "augment": _list(AUGMENT),
    "stop_early": _object(STOP, EarlyStopping),
    "callbacks": _list(CALLBACK),
}
READABLE: Mapping[Any, str] = {
    read_bytes: 'a whole number of bytes, or text with a unit: "4GiB"',
    expect_patience: "a positive, finite number of seconds",
    read_clip: "a finite number greater than 0",
    read_ema: "a number greater than 0 and less than 1",
    read_init: '"he", "xavier" or "orthogonal", or a table of them: {"linear*" = "he"}',
    read_names: 'a list of names, such as ["linear1", "linear2.bias"]',
}
TABLES: Mapping[str, type] = {"training": Training, "parallel": Parallel}
VALUES: Mapping[str, Any] = {
    "training.epochs": 1,
    "training.batch_size": 1,
    "training.seed": 0,
    "training.init": read_init,
    "training.dtype": ("float32", "float64"),
    "training.shuffle": bool,
    "training.checkpoint_every": 1,
    "training.checkpoints": 1,
    "training.patience": expect_patience,
    "training.device": ("cpu", "gpu"),
    "training.precision": PRECISIONS,
    "training.states_memory": read_bytes,
    "training.clip": read_clip,
    "training.freeze": read_names,
    "training.ema": read_ema,
    "parallel.stages": 1,
    "parallel.micro_batches": 1,
    "parallel.schedule": ("unflushed", "flush"),
    "parallel.plan": ("measured", "counted"),
    "parallel.memory": read_bytes,
    "parallel.threads": 1,
}
"""For each key of a table: the least whole number, bool, the words that it may be, or what reads it."""

DEFAULT = """\
data = "digits"
network = ["Linear(64, 256)", "ReLU()", "Linear(256, 256)", "ReLU()", "Linear(256, 10)", "Softmax()"]
method = "nudged()"
optimizer = "Adam(1e-3)"

[training]
epochs = 20
batch_size = 128
"""
