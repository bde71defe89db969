"""Random configurations: each is right, and then its own text makes it again, or it is a ConfigError with file and place."""

import inspect
import json
import random
import re
from functools import cache
from pathlib import Path

import pytest
from fuzzing import fuzz
from mutation import mutated

from paralift import vocabulary
from paralift.config import VALUES, Config, ConfigError
from paralift.data import Dataset

EXAMPLES = Path(__file__).parents[2] / "examples"
GOOD = [
    *(path.read_text() for path in sorted(EXAMPLES.glob("*.toml"))),
    """
data = "digits(flat=False, seed=3)"
network = \"\"\"Sequential(Flatten(), Residual(Linear(64, 64), Softplus()), LayerNorm(64), Linear(64, 10), Softmax(),
    input_shape=(1, 8, 8))\"\"\"
method = "nudged(0.5, regularizers=None)"
optimizer = "SGD(Cosine(0.1, warmup=3), momentum=0.9, regularizer=L1(1e-4))"
loss = "CrossEntropy()"

[training]
epochs = 3
batch_size = "full"
seed = 7
dtype = "float64"
shuffle = false
checkpoint_every = 2
checkpoints = 1
patience = 60.5
device = "cpu"
states_memory = "1.5GiB"

[parallel]
stages = 2
micro_batches = 4
schedule = "flush"
plan = "counted"
memory = 4096
threads = 1
""",
    """
data = 'digits'
network = \"\"\"Graph(a=(['input'], Linear(64, 8), ReLU()), b=(['a'], Parallel([Linear(8, 4)], [Linear(8, 4), Tanh()],
    combine='concatenate')), c=(['a', 'b'], Add(), Quantizer([0.0, 0.5, 1.0]), Linear(8, 10), Softmax()))\"\"\"
method = "Method(clamp=Hard(), inference=ProximalGradient(2, 'two_colour', persistent=True))"
training = {epochs = 0x10, patience = 1e3, shuffle = true}
""",
    """
data = "digits(flat=False)"
network = ["Flatten()", "Linear(64, 16)", "ReLU()", "Dropout(0.3)", "Residual(Linear(16, 16), scale=0.5)", "Linear(16, 10)",
    "Softmax()"]
optimizer = "SGD(Exponential(0.1, 1e-3, warmup=5), regularizer=MaxNorm(3.0))"
loss = "CrossEntropy(smoothing=0.1, weights=(1, 2, 1, 1, 1, 1, 1, 1, 1, 0.5))"
augment = ["Noise(0.1)"]
stop_early = "EarlyStopping(3, 'test_accuracy', delta=0.001)"

[training]
clip = 1.5
freeze = ["linear1", "linear*.bias"]
ema = 0.99
init = {"linear2" = "xavier", "*" = "orthogonal"}
""",
]  # fmt: skip
KEYS = ["data", "network", "method", "optimizer", "loss", "augment", "stop_early", "training", "parallel", *VALUES]
ODD_KEYS = [
    "", '""', "'a.b'", '"data"', '"network "', "training.epochs.x", "a" * 3000, "1", "-", '"\\u0000"', "'\"'", "パラ", '"\\n"',
]  # fmt: skip
KNOWN = {**vocabulary.DATA, **vocabulary.NETWORK, **vocabulary.METHOD, **vocabulary.OPTIMIZER, **vocabulary.LOSS}
NAMES = sorted(KNOWN)
PARTS = {
    "data": sorted(vocabulary.DATA), "network": sorted(vocabulary.NETWORK), "method": sorted(vocabulary.METHOD),
    "optimizer": sorted(vocabulary.OPTIMIZER), "loss": sorted(vocabulary.LOSS),
}  # fmt: skip
FITTING = {
    "int": ["1", "2", "8", "64", "10", "9223372036854775807", "3037000500"],
    "float": ["0.0", "0.5", "1", "1e-3", "0.99", "1e308", "1e400", "-1e400", "5e-324", "9223372036854775807"],
    "bool": ["True", "False"],
    "str": ["'add'", "'concatenate'", "'all'", "'weights'", "'two_colour'"],
    "None": ["None"],
    "tuple": ["(0.9, 0.999)", "(1, 2)", "()"],
    "Sequence": ["[0.0, 1.0]", "(64,)", "(1, 8, 8)", "[1e400, 2]", "(0,)", "(-1,)", "(1, 9223372036854775807)", "[[1]]", "''"],
}
ODD_TOML = [
    "0", "-1", "1", "2", "007", "0x" + "f" * 4000, "9" * 5000, "1_0", "9223372036854775807", "9223372036854775808",
    "1" + "0" * 400, "0.0", "-0.0", "1e400", "nan", "-inf", "inf", "1e-400", "true", "false", "1979-05-27",
    "1979-05-27T07:32:00Z", "07:32:00", "1979-13-45", '""', "''", '"full"', '"4GiB"', '"1e400GiB"', '"nan"', '"-1"',
    '"infTB"', '"float32"', '"\\uD800"', '"\\U00110000"', '"\\u0000"', '"' + "x" * 5000 + '"', "'''\n'''", "[]", "{}", "[[]]",
    "[1, 2", "{a = 1}", "{a.b.c = 1}", "[true, 'x']", '["Linear(64, 10)", []]', '["Linear(64, 10)", 1]', '[""]',
    "[" * 150 + "]" * 150, "[" * 5000 + "]" * 5000, "{a = " * 300 + "1" + "}" * 300,
]  # fmt: skip
ODD_ATOMS = [
    "0", "1", "-1", "2", "3", "8", "10", "64", "0.5", "1e-3", "1e400", "-1e400", "1e308", "1e-320", "True", "None", "''",
    "'a'", "'add'", "'all'", "[]", "()", "{}", "[1]", "(1, 2)", "(0.9, 0.999)", "{'a': 1}", "{[]: 1}", "{(): {}}",
    "['input']", "[0.0, 1.0]", "9" * 400, "9" * 5000, "0x" + "f" * 300, "9223372036854775807", "10000000000000", "3000000000",
    "1j", "b'x'", "...", "nan", "inf", "'\\ud800'", "'\\x00'", "f'{1}'", "x", "-'a'", "not 1", "lambda: 1", "1 + 1", "*[1]",
    "**{}", "yield", "await x", "1 if 1 else 2", "[i for i in [1]]", "(x := 1)", "__import__('os')", "'\\", "\\N{DASH}",
]  # fmt: skip
SIGNS = ["(", ")", "[", "]", ",", "=", "'", '"', "\\", "#", "\n", "\t", "\0", ".", ":", "*", "é", "\u2028", "\x85", "\x0c", " "]


@cache
def arguments():
    """Return the names of all arguments that anything in a vocabulary takes."""
    return sorted({name for function in KNOWN.values() for name in inspect.signature(function).parameters})


def expression(draw: random.Random, names: list[str], depth: int = 3) -> str:
    """Return a call of one of `names` with some arguments, a literal, or nonsense."""
    kind = draw.random()
    if depth == 0 or kind < 0.12:
        return draw.choice(ODD_ATOMS)
    if kind < 0.2:
        items = ", ".join(expression(draw, names, depth - 1) for _ in range(draw.randrange(4)))
        return draw.choice(["[{}]", "({})", "({},)", "{{1: {}}}"]).format(items)
    name = draw.choice(names if draw.random() < 0.95 else NAMES)
    if kind < 0.85:  # what the call takes, most of it of the right type
        taken = inspect.signature(KNOWN[name]).parameters.values()
        given = [argument(draw, names, p, depth - 1) for p in taken if p.default is p.empty or draw.random() < 0.3]
    else:
        given = [expression(draw, names, depth - 1) for _ in range(draw.choice((0, 1, 1, 2, 3)))]
        for _ in range(draw.choice((0, 0, 0, 1, 2))):
            given.append(f"{draw.choice(arguments())}={expression(draw, names, depth - 1)}")
    return f"{draw.choice(['', '', '', '', '', '', 'pl.', 'x.'])}{name}({', '.join(given)})"


def argument(draw: random.Random, names: list[str], parameter: inspect.Parameter, depth: int) -> str:
    """Return an argument that suits its annotation, at most times."""
    fitting = [good for kind, good in FITTING.items() if kind in str(parameter.annotation)]
    value = draw.choice(draw.choice(fitting)) if fitting and draw.random() < 0.9 else expression(draw, names, depth)
    starred = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    return value if starred else f"{parameter.name}={value}"


def nested(draw: random.Random) -> str:
    """Return an expression that is nested deeper than any reader should follow."""
    n = draw.choice((20, 60, 150, 1000, 20000))
    inner = draw.choice(["Linear(64, 64)", "1", "ReLU()", ""])
    before, after = draw.choice(
        [
            ("(", ")"), ("[", "]"), ("-", ""), ("+", ""), ("~", ""), ("not ", ""), ("Sequential(", ")"), ("Residual(", ")"),
            ("{1: ", "}"), ("a.", ""), ("", "()"), ("", ".a"), ("", "[0]"), ("(", ",)"), ("1 + ", ""), ("", " + 1"),
            ("lambda: ", ""), ("f'{", "}'"), ("pl.", ""), ("Residual(Linear(64, 64), ", ")"), ("1 if 1 else ", ""),
            ("2 ** ", ""), ("'a' ", ""), ("Sequential(-", ")"),
        ]  # fmt: skip
    )  # fmt: skip
    return before * n + inner + after * n


def quoted(draw: random.Random, text: str) -> str:
    return draw.choice([json.dumps(text), json.dumps(text, ensure_ascii=False), f"'{text}'", f"'''{text}'''", f'"""{text}"""'])


def judged(path: Path, draw: random.Random) -> str:
    """Return "right" or "refused" for a configuration file; raise where it is neither."""
    try:
        config = Config.from_file(path)
    except ConfigError as error:
        text = str(error)
        assert len(text) < 20_000, "an error is to be read"
        for mistake in re.split(r"\n  (?=\S*mine)", text):
            assert str(path) in mistake, mistake
        assert re.search(r"key '|no TOML: .|mistakes\n|unknown key|is missing|: .*(decode|bytes)", text), text
        return "refused"
    again = Config.from_text(config.to_text())
    assert again.to_text() == config.to_text()
    assert (again.method, again.optimizer, again.loss) == (config.method, config.optimizer, config.loss)
    assert (again.training, again.parallel) == (config.training, config.parallel)
    assert [(b.shape, b.parents) for b in again.network.blocks] == [(b.shape, b.parents) for b in config.network.blocks]
    assert config.network.n_parameters >= 0 and all(n > 0 for b in config.network.blocks for n in b.shape)
    if repr(config.data) == "digits()" and draw.random() < 0.1:
        assert isinstance(config.build()[1], Dataset)
    return "right"


def written(folder: Path, content: bytes) -> Path:
    folder.mkdir()
    path = folder / "mine.toml"
    path.write_bytes(content)
    return path


def damaged_bytes(draw, folder):
    good = [text.encode() for text in GOOD]
    return judged(written(folder, mutated(draw, draw.choice(good), tuple(good))), draw)


def damaged_signs(draw, folder):
    """Signs that mean something to a reader are put in, doubled, taken out."""
    text = list(draw.choice(GOOD))
    for _ in range(draw.choice((1, 1, 2, 4))):
        at = draw.randrange(len(text))
        text[at : at + draw.choice((0, 0, 1, 5))] = draw.choice(SIGNS) * draw.choice((1, 1, 2, 3000))
    return judged(written(folder, "".join(text).encode()), draw)


def odd_values(draw, folder):
    """Any value for any key, keys twice, keys that are tables, tables that are keys."""
    lines = ['data = "digits"', 'network = ["Linear(64, 10)", "Softmax()"]'][: draw.choice((2, 2, 2, 2, 1, 0))]
    for _ in range(draw.choice((1, 1, 2, 4))):
        key = draw.choice(KEYS) if draw.random() < 0.85 else draw.choice(ODD_KEYS)
        if draw.random() < 0.05:
            key = ".".join([key, *["a"] * draw.choice((1, 5, 500, 3000))])
        lines = [line for line in lines if not line.startswith(f"{key} ")] if draw.random() < 0.9 else lines
        value = draw.choice(ODD_TOML) if draw.random() < 0.7 else quoted(draw, expression(draw, NAMES, 2))
        lines.insert(draw.randrange(len(lines) + 1), f"{key} = {value}")
    if draw.random() < 0.2:
        lines.insert(draw.randrange(len(lines) + 1), draw.choice([
            "[training]", "[[training]]", "[parallel]", "[data]", "[x.y]", "[[x]]", "[]",
        ]))  # fmt: skip
    return judged(written(folder, draw.choice(["\n", "\n", "\r\n", "\r"]).join(lines).encode()), draw)


def odd_expressions(draw, folder):
    values = {"data": '"digits"', "network": '["Linear(64, 10)", "Softmax()"]'}
    for key in draw.choices(list(PARTS), k=draw.choice((1, 1, 2))):
        text = nested(draw) if draw.random() < 0.15 else expression(draw, PARTS[key])
        values[key] = quoted(draw, text)
        if key == "network" and draw.random() < 0.6:
            chain = ["Linear(64, 8)", text, "Linear(8, 10)", "Softmax()"] if draw.random() < 0.5 else [text]
            values[key] = f"[{', '.join(quoted(draw, part) for part in chain)}]"
    return judged(written(folder, "".join(f"{k} = {v}\n" for k, v in values.items()).encode(errors="replace")), draw)


CASES = {f.__name__: f for f in (damaged_bytes, damaged_signs, odd_values, odd_expressions)}
PER_ROUND = 15
"""Cases of each kind."""


@pytest.mark.parametrize("case", CASES)
def test_fuzz(rounds, case):
    outcomes = fuzz("test_fuzz_configs", case, PER_ROUND * rounds)
    assert outcomes["refused"] > 0, outcomes
