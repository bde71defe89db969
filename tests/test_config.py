"""Configurations: what they accept, that their text makes the same run again, and every error once."""

from __future__ import annotations

import inspect
import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import paralift as pl
from paralift import vocabulary
from paralift.config import Config, ConfigError, Parallel, Training
from paralift.expressions import Call, ExpressionError, parse
from paralift.lifted import maps
from paralift.lifted.activations import base as activation_base
from paralift.training.arguments import BATCH

ROOT = Path(__file__).parents[1]
MINIMAL = 'data = "digits"\nnetwork = ["Linear(64, 10)", "Softmax()"]\n'
SETTINGS = settings(max_examples=60, deadline=None, derandomize=True)

widths = st.integers(1, 6)
numbers = st.floats(1e-6, 10.0)
small = st.floats(0.0, 0.99)
activations = st.one_of(
    st.sampled_from(
        [pl.ReLU(), pl.Tanh(), pl.Softplus(), pl.Identity(), pl.Softmax(), pl.Sparsemax(), pl.Arctan()]
    ),
    numbers.map(pl.SoftThreshold),
    st.builds(pl.LeakyReLU, st.floats(0.01, 1.0)),
    st.builds(pl.Hardtanh, st.floats(-3.0, -0.1), st.floats(0.1, 3.0)),
)
regularizers = st.one_of(
    st.none(),
    st.builds(pl.optim.L1, numbers, on=st.sampled_from(["weights", "all"])),
    st.builds(pl.optim.GroupL1, numbers, axis=st.sampled_from([0, 1])),
    st.builds(pl.optim.Box, st.just(-np.inf), numbers),
)
rates = st.one_of(
    numbers,
    st.builds(pl.optim.Cosine, numbers, st.none() | st.integers(1, 99), numbers, st.integers(0, 9)),
    st.builds(pl.optim.Step, numbers, st.integers(1, 99)),
)
optimizers = st.one_of(
    st.builds(pl.optim.Adam, rates, st.tuples(small, small), weight_decay=small, regularizer=regularizers),
    st.builds(pl.optim.AdamW, rates),
    st.builds(
        pl.optim.SGD, rates, momentum=st.floats(0.1, 0.9), nesterov=st.booleans(), regularizer=regularizers
    ),
)
states = st.dictionaries(st.sampled_from(["linear1", "input"]), st.builds(pl.optim.L1, numbers))
orders = st.sampled_from(["gauss_seidel", "two_colour", "jacobi"])
methods = st.one_of(
    st.builds(pl.methods.nudged, numbers, st.booleans(), states=states),
    st.builds(lambda relative: pl.methods.nudged(relative=relative), numbers),
    st.builds(pl.methods.lifted_bregman, numbers, st.integers(1, 4), st.integers(1, 4), orders),
    st.builds(pl.methods.lifted_bregman_bcd, st.sampled_from(["none", "nesterov", "heavy_ball", "adam"])),
    st.just(pl.methods.backprop()),
)


@st.composite
def networks(draw: st.DrawFn) -> pl.Sequential:
    """Return a small network with every kind of layer."""
    n = draw(widths)
    layers: list[object] = [pl.Linear(3, n, bias=draw(st.booleans()))]
    for _ in range(draw(st.integers(0, 3))):
        kind = draw(st.sampled_from(["dense", "residual", "parallel", "norm"]))
        if kind == "dense":
            m = draw(widths)
            layers += [pl.Linear(n, m), draw(activations)]
            n = m
        elif kind == "residual":
            layers.append(pl.Residual(pl.Linear(n, n), draw(activations)))
        elif kind == "parallel":
            layers.append(
                pl.Parallel(pl.Linear(n, n), [pl.Diagonal(n), draw(activations)], combine="concatenate")
            )
            n = 2 * n
        else:
            layers.append(draw(st.sampled_from([pl.LayerNorm(n), pl.RMSNorm(n, eps=1e-3)])))
    shape = (3,) if draw(st.booleans()) else None
    return pl.Sequential(*layers, input_shape=shape)


@SETTINGS
@given(networks(), methods, optimizers, st.integers(1, 50), st.none() | st.integers(1, 64))
def test_text_makes_the_same_run_again(network, method, optimizer, epochs, batch_size):
    assume(len(network.blocks) > 1 or "linear1" not in getattr(method, "states", {}))  # the output has a loss
    first = Config(
        Call("digits", pl.data.digits, (), {"seed": 1}), network, method, optimizer,
        training=Training(epochs=epochs, batch_size=batch_size),
        parallel=Parallel(stages=len(network.blocks), schedule="flush", plan="counted", memory="16GiB", threads=1),
    )  # fmt: skip
    second = Config.from_text(first.to_text())
    assert repr(second.network) == repr(first.network)
    assert [b.shape for b in second.network.blocks] == [b.shape for b in first.network.blocks]
    assert (second.method, second.optimizer) == (first.method, first.optimizer)
    assert (second.training, second.parallel) == (first.training, first.parallel)
    assert second.to_text() == first.to_text()


def test_a_graph_is_read_from_one_string():
    source = (
        "Graph(a=(['input'], Linear(64, 8), ReLU()), b=(['a'], Linear(8, 8)), "
        "c=(['a', 'b'], Add(), Linear(8, 10), Softmax()))"
    )
    found = Config.from_text(f'data = "digits"\nnetwork = "{source}"\n').network
    assert [b.parents for b in found.blocks] == [(0,), (1,), (1, 2), (3,)]
    again = Config.from_text(f'data = "digits"\nnetwork = "{found!r}"\n').network
    assert repr(again) == repr(found)


def test_an_input_shape_survives():
    text = "data = 'digits(flat=False)'\nnetwork = 'Sequential(Flatten(), Linear(64, 10), input_shape=(1, 8, 8))'\n"
    config = Config.from_text(text)
    assert config.network.input_shape == (1, 8, 8)
    assert repr(Config.from_text(config.to_text()).network) == repr(config.network)


def test_names_may_be_written_as_in_a_script():
    config = Config.from_text(
        MINIMAL + "optimizer = 'pl.optim.SGD(0.1, momentum=0.9)'\nmethod = 'methods.backprop'\n"
    )
    assert config.optimizer == pl.optim.SGD(0.1, momentum=0.9)
    assert config.method == pl.methods.backprop()


def test_every_public_layer_loss_and_rule_is_known():
    public = {name: value for name, value in vars(pl).items() if isinstance(value, type)}
    bases = (activation_base.Activation, maps.Map, pl.Sequential, pl.Graph, pl.Residual, pl.Parallel)
    layers = {name for name, kind in public.items() if issubclass(kind, bases) or hasattr(kind, "expand")}
    assert {"Linear", "ReLU", "LayerNorm", "Graph"} <= layers <= set(vocabulary.NETWORK)
    assert set(pl.losses.__all__) - {"Loss"} <= set(vocabulary.LOSS)
    rooms = {f"paralift.optim.{room}" for room in ("rules", "schedules", "regularizers")}  # not algorithms for problems f + r
    rules = {name for name in pl.optim.__all__ if getattr(getattr(pl.optim, name), "__module__", "") in rooms}
    rules -= {"Rule", "Regularizer"}
    assert {"Adam", "Cosine", "L1"} <= rules <= set(vocabulary.OPTIMIZER)


def test_nothing_known_is_abstract():
    for name, kind in {**vocabulary.NETWORK, **vocabulary.LOSS, **vocabulary.OPTIMIZER}.items():
        assert not name.startswith("_") and not inspect.isabstract(kind)
    assert not {"Loss", "ProximalLoss", "Activation", "Elementwise", "Map", "Regularizer"} & (
        set(vocabulary.NETWORK) | set(vocabulary.LOSS) | set(vocabulary.OPTIMIZER)
    )


def test_defaults_are_those_of_fit():
    parameters = inspect.signature(pl.fit).parameters
    for table in (Training(), Parallel()):
        for field in fields(table):
            default = parameters[field.name].default
            assert getattr(table, field.name) == (BATCH if default == "auto" else default), field.name


def test_the_default_is_the_digits_example():
    default, example = Config.default(), Config.from_file(ROOT / "examples" / "digits.toml")
    assert default.to_text() == example.to_text()
    assert example.name == "digits"


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.toml")), ids=lambda p: p.stem)
def test_examples_are_read_and_explained(path):
    Config.from_file(path)
    assert [line[0] for line in path.read_text().splitlines()[:2]] == ["#", "#"]


def test_build_gives_what_fit_takes():
    config = Config.from_text(
        MINIMAL + 'loss = "CrossEntropy()"\n[training]\nbatch_size = "full"\nepochs = 1\n'
    )
    network, data, options = config.build()
    assert set(options) <= set(inspect.signature(pl.fit).parameters)
    assert options["batch_size"] is None and options["config"] == config.text
    run = pl.fit(network, data, **options, progress=False, comm=None)
    assert run.summary["epoch"] == 1


def test_changes_are_written_down():
    config = Config.from_text(MINIMAL, name="mine")
    assert config.changed(epochs=None, seed=None) is config
    changed = config.changed(epochs=7, seed=3)
    again = Config.from_text(changed.text)
    assert (again.training.epochs, again.training.seed, changed.name) == (7, 3, "mine")
    with pytest.raises(
        ConfigError, match=r"the command line, key 'training.epochs': 0 was given, expected .* at least 1"
    ):
        config.changed(epochs=0)


ERRORS = {
    "half precision without a GPU": (
        MINIMAL + "[training]\nprecision = 'bf16'\n",
        r"line \d, key 'training.precision': precision='bf16' with device='cpu'.*take device='gpu'",
    ),
    "toml": ('data = "digits"\nnetwork = \n', r"no TOML: .*\(at line 2, column 1\d\)"),
    "missing data": (
        'network = ["Linear(64, 10)"]\n',
        r"the key 'data' is missing; for example data = \"digits\"",
    ),
    "missing network": ('data = "digits"\n', r"the key 'network' is missing; for example network = \["),
    "unknown key": (
        'netwrk = "x"\n' + MINIMAL,
        r"unknown key 'netwrk'; did you mean 'network'\? known: augment, callbacks, data, loss",
    ),
    "unknown key in a table": (
        MINIMAL + "[training]\nepoch = 3\n",
        r"unknown key 'epoch' in \[training\]; did you mean 'ep",
    ),
    "a key of the beginning in a table": (
        MINIMAL + '[training]\naugment = ["Flip()"]\n',
        r"unknown key 'augment' in \[training\]; it belongs to the beginning of the file, before the first table",
    ),
    "a key of a table at the beginning": (
        "epochs = 3\n" + MINIMAL,
        r"unknown key 'epochs'; it belongs below \[training\]",
    ),
    "a key of another table": (
        MINIMAL + "[training]\nstages = 2\n",
        r"unknown key 'stages' in \[training\]; it belongs below \[parallel\]",
    ),
    "no table": (
        MINIMAL + "training = 3\n",
        r"key 'training': 3 was given, expected a table: a line \[training\]",
    ),
    "unknown name": (
        MINIMAL + 'optimizer = "Adm(1)"\n',
        r"key 'optimizer': unknown name 'Adm'; did you mean 'Adam'\?",
    ),
    "unknown argument": (
        MINIMAL + 'method = "nudged(bta=1)"\n',
        r"nudged\(bta=1\): unknown argument 'bta'; .*'beta'",
    ),
    "argument of none": (
        'data = "digits"\nnetwork = ["ReLU(x=1)"]\n',
        r"unknown argument 'x'; it takes none",
    ),
    "too many": (
        MINIMAL + 'optimizer = "Constant(1, 2, 3)"\n',
        r"too many positional arguments, expected Constant\(rate, warmup=0\)",
    ),
    "missing argument": (
        MINIMAL + 'optimizer = "SGD()"\n',
        r"SGD\(\): missing a required argument: 'rate', expected SGD\(",
    ),
    "type of an argument": (
        MINIMAL + "method = \"nudged('a')\"\n",
        r"nudged\('a'\): beta is 'a', expected float",
    ),
    "bool is no number": (MINIMAL + 'method = "nudged(True)"\n', r"beta is True, expected float"),
    "one of two types": (
        MINIMAL + 'method = "nudged(relative=[])"\n',
        r"relative is \[\], expected float or None",
    ),
    "value of an argument": (
        MINIMAL + 'method = "nudged(-1)"\n',
        r"key 'method': Nudge: beta is -1, expected a number gr",
    ),
    "number for a string": (
        "data = 3\n" + MINIMAL.split("\n")[1],
        r"key 'data': 3 was given, expected a string; for ex",
    ),
    "syntax": (
        MINIMAL + 'method = "nudged(1"\n',
        r"'nudged\(1' is no expression: .*never closed at column 7",
    ),
    "no call": (MINIMAL + 'method = "[1, 2]"\n', r"'\[1, 2\]' was given, expected a call such as"),
    "computation": (
        MINIMAL + 'optimizer = "Adam(1 + 1)"\n',
        r"'1 \+ 1' was given, expected a call.*nothing is computed",
    ),
    "comprehension": (MINIMAL + 'optimizer = "Adam([i for i in ()])"\n', r"nothing is computed"),
    "import": (MINIMAL + "optimizer = \"__import__('os')\"\n", r"unknown name '__import__'"),
    "attribute": (MINIMAL + 'optimizer = "Adam.__init__(1)"\n', r"unknown name 'Adam.__init__'"),
    "call of a call": (MINIMAL + 'optimizer = "Adam()()"\n', r"unknown name 'Adam\(\)'"),
    "star": (MINIMAL + 'optimizer = "Adam(*[1])"\n', r"\* and \*\* cannot be used"),
    "double star": (MINIMAL + 'optimizer = "Adam(**{})"\n', r"\* and \*\* cannot be used"),
    "name without a call": (
        'data = "digits"\nnetwork = "Sequential(ReLU)"\n',
        r"ReLU is a name without a call: write ReLU\(",
    ),
    "free name": (MINIMAL + 'optimizer = "Adam(inf)"\n', r"'inf' was given, expected a call, a number"),
    "complex": (MINIMAL + 'optimizer = "Adam(1j)"\n', r"'1j' was given, expected"),
    "minus a string": (MINIMAL + "optimizer = \"Adam(-'a')\"\n", r"was given, expected a call"),
    "deep": (
        MINIMAL + f'optimizer = "Adam({"(" * 500}1{")" * 500})"\n',
        r"is no expression: too many nested parentheses",
    ),
    "null": (MINIMAL + 'optimizer = "Adam(\\u0000)"\n', r"is no expression: source code .*null bytes"),
    "empty list": ('data = "digits"\nnetwork = []\n', r"key 'network': the list is empty"),
    "layer in a list": (
        'data = "digits"\nnetwork = ["Linear(64, 10)", 3]\n',
        r"key 'network\[1\]': 3 was given, expected a str",
    ),
    "layer alone": ('data = "digits"\nnetwork = "Linear(64, 10)"\n', r"is a layer; write a list \['Linear"),
    "shapes": (
        'data = "digits"\nnetwork = ["Linear(64, 9)", "Linear(8, 3)"]\n',
        r"key 'network': block 2 .* gives shape \(9,\)",
    ),
    "part of a method": (
        MINIMAL + 'method = "Sweep()"\n',
        r"key 'method': 'Sweep\(\)' is no Method; for example \"nudged",
    ),
    "loss and output": (
        MINIMAL + 'loss = "Squared()"\n',
        r"key 'loss': Squared\(\) needs Identity\(\) as the network's last",
    ),
    "whole number": (
        MINIMAL + "[training]\nepochs = 0\n",
        r"'training.epochs': 0 was given, expected a whole number of at l",
    ),
    "no bool": (
        MINIMAL + "[parallel]\nstages = true\n",
        r"'parallel.stages': True was given, expected a whole number",
    ),
    "halves of micro-batches": (
        MINIMAL + '[parallel]\nschedule = "unflushed"\nmicro_batches = 3\n',
        r"'parallel.micro_batches': 3 was given, expected an even number where the schedule is \"unflushed\"",
    ),
    "schedule": (
        MINIMAL + '[parallel]\nschedule = "gpipe"\n',
        r"'parallel.schedule': 'gpipe' was given, expected \"unflushed\" or \"flush\"",
    ),
    "plan": (
        MINIMAL + '[parallel]\nplan = "guessed"\n',
        r"'parallel.plan': 'guessed' was given, expected \"measured\" or \"counted\"",
    ),
    "memory": (
        MINIMAL + '[parallel]\nmemory = "much"\n',
        r"'parallel.memory': 'much' was given, expected a whole number of bytes",
    ),
    "batch size": (
        MINIMAL + '[training]\nbatch_size = "all"\n',
        r"'all' was given, expected a whole .* 1, or \"full\"",
    ),
    "words": (
        MINIMAL + '[training]\ndtype = "int8"\n',
        r"'int8' was given, expected \"float32\" or \"float64\"",
    ),
    "true or false": (
        MINIMAL + "[training]\nshuffle = 1\n",
        r"'training.shuffle': 1 was given, expected true or false",
    ),
    "a size": (
        MINIMAL + '[training]\nstates_memory = "4 apples"\n',
        r"'training.states_memory': '4 apples' was given, expected a whole number of bytes, or text .* \"4GiB\"",
    ),
}


HARD_TO_FOLLOW = {
    "digits": (MINIMAL + f"[training]\nepochs = {'9' * 5000}\n", r"no TOML: Exceeds the limit"),
    "hexadecimal digits": (
        MINIMAL + f"[training]\nepochs = 0x{'f' * 5000}\n",
        r"epochs': a value of type int, .*of at most 64 bits",
    ),
    "64 bits": (MINIMAL + f"[training]\nseed = {2**63}\n", r"seed': 9223372036854775808 was given, .* of at most 64 bits"),
    "64 bits in an expression": (MINIMAL + f'optimizer = "Adam({10**400})"\n', r"a whole number of 1329 bits was given"),
    "patience": (MINIMAL + f"[training]\npatience = {10**400}\n", r"patience': 10+ .*expected a positive, finite number"),
    "dotted key": (MINIMAL + f"optimizer{'.a' * 3000} = 1\n", r"key 'optimizer': a value of type dict, nested too deeply"),
    "dotted key for a size": (MINIMAL + f"[parallel]\nmemory{'.a' * 3000} = 1\n", r"memory': a value of type dict, nested"),
    "signs": (MINIMAL + f'optimizer = "Adam({"-" * 1000}1)"\n', r"nested too deeply, expected at most 100 levels"),
    "calls of calls": (MINIMAL + f'optimizer = "Adam{"()" * 1000}"\n', r"nested too deeply, expected at most 100 levels"),
    "a long text": (MINIMAL + f'optimizer = "{"x" * 100_000}"\n', r"x{1000} \[\.\.\. \d+ characters \.\.\.\] .*known: Adam"),
    "an array that no memory holds": (
        'data = "digits"\nnetwork = ["Linear(64, 1000000000000)", "Reshape(5, 7)"]\n',
        r"Reshape\(5, 7\) cannot hold samples of shape \(1000000000000,\)",
    ),
}


@pytest.mark.parametrize(("text", "message"), HARD_TO_FOLLOW.values(), ids=HARD_TO_FOLLOW)
def test_what_no_reader_can_follow_is_named_in_few_words(text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        Config.from_text(text, "mine.toml")
    assert str(caught.value).startswith("mine.toml") and len(str(caught.value)) < 3000


def test_lines_end_where_those_of_toml_end():
    with pytest.raises(ConfigError, match=r"line 4, key 'loss'"):
        Config.from_text("# \u2028 and \x85 in a comment\n" + MINIMAL + 'loss = "Squared()"\n', "mine.toml")


def test_a_file_without_end_is_no_configuration():
    with pytest.raises(ConfigError, match="configuration /dev/zero: more than .* bytes"):
        Config.from_file("/dev/zero")


def test_infinite_numbers_are_written_as_they_are_read():
    text = MINIMAL.replace('"digits"', "\"from_files('x.npz', mean=1e400, test=[-1e400, (1e400,), {1: 1e400}])\"")
    again = Config.from_text(Config.from_text(text).to_text())
    assert repr(again.data) == "from_files('x.npz', mean=1e999, test=[-1e999, (1e999,), {1: 1e999}])"


@pytest.mark.parametrize("size", ["4GiB", 0, 4096])
def test_sizes_are_handed_to_fit(size):
    config = Config.from_text(MINIMAL + f"[training]\nstates_memory = {json.dumps(size)}\n")
    assert config.training.states_memory == size
    assert Config.from_text(config.to_text()).training.states_memory == size


@pytest.mark.parametrize(("text", "message"), ERRORS.values(), ids=ERRORS)
def test_errors_name_file_key_and_what_is_known(text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        Config.from_text(text, "mine.toml")
    assert str(caught.value).startswith("mine.toml")


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(
        ConfigError, match=r"configuration .*nothing.toml: No such file .* see examples/digits.toml"
    ):
        Config.from_file(tmp_path / "nothing.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"bytes.toml: .*utf-8"):
        Config.from_file(tmp_path / "bytes.toml")


def test_the_data_set_is_opened_by_build_alone(tmp_path):
    config = Config.from_text(MINIMAL.replace('"digits"', f"\"from_files('{tmp_path}/none.npz')\""))
    with pytest.raises(FileNotFoundError, match=r"none\.npz"):
        config.build()


def test_calls_show_what_was_written():
    call = parse("f(1, [2.5, (None, -3)], key={'a': f()})", {"f": lambda *a, **k: (a, k)})
    assert repr(call) == "f(1, [2.5, (None, -3)], key={'a': f()})"


def test_inner_calls_are_made_first():
    call = parse("pair(pair(1, 2), [pair(3, 4)])", {"pair": lambda a, b: (a, b)})
    assert call.build() == ((1, 2), [(3, 4)])


def test_an_empty_text_is_no_expression():
    with pytest.raises(ExpressionError, match="is no expression"):
        parse("", {"f": dict})
