"""The command line on one rank: every command once, exit codes, one-line errors. Ranks: tests/parallel."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import paralift as pl
from paralift import advice, cli
from paralift.arguments import parse
from paralift.cli import main
from paralift.exits import STOPPED
from paralift.parallel.cost import count
from paralift.parallel.grid import AgreedError
from paralift.training import checkpoints
from paralift.training.result import Reason

COMMANDS = ("train", "run", "find-rate", "evaluate", "plot", "plan", "bench", "doctor")
CONFIG = """\
data = "digits"
network = ["Linear(64, 32)", "ReLU()", "Linear(32, 10)", "Softmax()"]

[training]
epochs = 2
"""


@pytest.fixture
def config(tmp_path, monkeypatch) -> str:
    """Return the path of a small configuration, in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    Path("small.toml").write_text(CONFIG)
    return "small.toml"


def fails(capsys, *argv: str, code: int = 2) -> str:
    """Return the one line that a failing command says."""
    assert main(list(argv)) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("paralift: error: ") and captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize("command", [(), *((c,) for c in COMMANDS)], ids=" ".join)
def test_help_ends_with_an_example(command, capsys):
    assert main([*command, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: paralift {' '.join(command)}".rstrip())
    *_, title, example = text.rstrip().splitlines()
    assert title == "example:" and example.startswith("  paralift ")
    args, _ = parse(example.split()[1:]) if "--help" not in example else parse(["bench", "kernels"])
    assert not command or args.command == command[0]


def test_train_evaluate_plot_and_resume(config, capsys):
    assert main(["train", config, "--out", "run"]) == 0
    table = capsys.readouterr().out
    assert "run: All epochs were done." in table and "1 shard x 1 stage, blocks 1-2, 1 micro-batch" in table
    summary = json.loads(Path("run/summary.json").read_text())
    assert f"{summary['test_accuracy']:.4f}" in table
    assert Path("run/config.toml").read_text() == CONFIG

    assert main(["evaluate", "run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["epoch"] == 2 and found["checkpoint"].endswith(f"checkpoints/{checkpoints.latest('run').name}")
    assert found["test_accuracy"] == pytest.approx(summary["test_accuracy"])
    assert found["test_loss"] == pytest.approx(summary["test_loss"], rel=1e-5)
    assert main(["evaluate", "run", "--data", "digits(seed=1)"]) == 0
    assert "test accuracy" in capsys.readouterr().out

    assert main(["find-rate", config, "--steps", "60", "--high", "10"]) == 0
    table = capsys.readouterr().out
    assert "smoothed" in table and "falls fastest at a rate of 0.0" in table
    assert "at least 10 steps" in fails(capsys, "find-rate", config, "--steps", "2")

    before = {path: path.read_bytes() for path in Path("run/plots").iterdir()}
    assert {path.name for path in before} == {"loss.png", "accuracy.png", "throughput.png"}
    for path in before:
        path.unlink()
    assert main(["plot", "run"]) == 0
    assert set(map(Path, capsys.readouterr().out.split())) == set(before)

    assert main(["train", "--out", "run", "--resume", "auto", "--epochs", "3", "--quiet"]) == 0
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert "Linear(in_features=64, out_features=32" in Path("run/config.toml").read_text()


def test_train_without_a_folder_never_meets_an_old_run(config, capsys):
    for _ in range(2):
        assert main(["train", config, "--epochs", "1", "--seed", "5", "--quiet"]) == 0
    folders = sorted(Path("runs").iterdir())
    assert len(folders) == 2 and all(folder.name.startswith("small-") for folder in folders)
    assert json.loads((folders[0] / "summary.json").read_text())["seed"] == 5
    assert pl.fit is not None and capsys.readouterr().out == ""


def test_train_without_a_configuration_trains_the_digits(config):
    assert main(["train", "--epochs", "1", "--quiet"]) == 0
    (folder,) = Path("runs").iterdir()
    assert folder.name.startswith("digits-")
    assert json.loads((folder / "summary.json").read_text())["data"] == "digits"


def test_evaluate_a_run_from_python(config, capsys):
    data = pl.data.digits()
    x, y = pl.data.load_shard(data.train, 0, 200, "float64")
    net = pl.Sequential(pl.Linear(64, 10), pl.Softmax())
    pl.fit(net, (x, y), epochs=1, out="python", progress=False, dtype="float64")
    assert "name the data set: --data 'digits'" in fails(capsys, "evaluate", "python")
    assert main(["evaluate", "python", "--data", "digits", "--json"]) == 0
    assert 0.0 < json.loads(capsys.readouterr().out)["test_accuracy"] <= 1.0


def test_plan_shows_every_rank_and_trains_nothing(config, capsys):
    assert main(["plan", config, "--ranks", "3", "--counted"]) == 0
    table = capsys.readouterr().out
    assert "3 ranks = 3 shards x 1 stage, batch 128" in table
    assert [line.split("│")[5].strip() for line in table.splitlines() if "linear" in line] == [
        "42",
        "43",
        "43",
    ]
    assert "One rank would take" in table and "Costs of blocks: counted; links: 5 us and 5 GB/s" in table
    assert {path.name for path in Path().iterdir()} == {config}


def test_plan_by_measured_blocks_and_given_links(config, capsys):
    options = ["--latency", "2e-6", "--bandwidth", "25e9", "--memory", "1GiB", "--measured-step"]
    assert main(["plan", config, "--ranks", "2", *options]) == 0
    table = capsys.readouterr().out
    assert "measured on this machine, with one BLAS thread; links: 2 us and 25 GB/s" in table
    assert re.search(r"One rank: predicted [0-9.]+ ms, measured [0-9.]+ ms a step", table)


def test_plan_that_does_not_fit_into_the_memory(config, capsys):
    error = fails(capsys, "plan", config, "--ranks", "2", "--memory", "1KiB")
    assert "no plan of 2 ranks fits into 1 KiB a rank: the least is" in error
    assert "expected a whole number of bytes" in fails(capsys, "plan", config, "--ranks", "2", "--memory", "much")


def test_run_without_n_takes_the_fastest_team(config, monkeypatch, capsys):
    commands = []
    monkeypatch.setattr(cli, "run", lambda command, environment, ranks: commands.append(command) or 0)
    monkeypatch.setattr(cli, "mpirun_command", lambda n, survive: ["mpirun", "-n", str(n)])
    monkeypatch.setattr(advice, "cores", lambda: 2)
    monkeypatch.setattr(advice.Job, "costs", lambda self, threads: replace(count(self.config.network), step=1e-3 * threads))
    assert main(["run", config, "--out", "r"]) == 0
    printed = capsys.readouterr().out
    assert all(f"{team} " in printed for team in ("1 rank x 1 thread", "2 ranks x 1 thread", "1 rank x 2 threads"))
    (command,) = commands
    n = 2 if "2 ranks x 1 thread should be fastest" in printed else 1
    assert command[0] == sys.executable if n == 1 else command[1:3] == ["-n", "2"]
    assert command[-2:] == ["--out=r", "--threads=1"]
    monkeypatch.setattr(advice.Job, "costs", lambda self, threads: replace(count(self.config.network), step=1.0 / threads))
    assert main(["run", config, "--out", "r", "--quiet"]) == 0
    assert commands[1][:4] == [sys.executable, "-m", "paralift", "train"] and "--threads=2" in commands[1]
    assert capsys.readouterr().out == ""


def test_run_without_n_and_stages_that_do_not_fit(config, capsys, monkeypatch):
    monkeypatch.setattr(advice, "cores", lambda: 1)
    Path(config).write_text(CONFIG + "[parallel]\nstages = 2\n")
    assert "stages = 2 needs 2 ranks, there are 1 cores: give -n N" in fails(capsys, "run", config)


@pytest.mark.parametrize(("n", "expected"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (8, [1, 2, 4, 8]), (12, [1, 2, 4, 8, 12])])
def test_numbers_of_ranks_and_threads(n, expected):
    assert advice.counts(n) == expected


def test_threads_of_a_run(config):
    assert main(["train", config, "--threads", "1", "--out", "run", "--quiet"]) == 0
    assert Path("run/summary.json").is_file()


def test_plan_by_stages_and_of_a_full_batch(config, capsys):
    Path(config).write_text(CONFIG + 'batch_size = "full"\n[parallel]\nstages = 2\nmicro_batches = 4\n')
    assert main(["plan", config, "--ranks", "2", "--counted"]) == 0
    table = capsys.readouterr().out
    assert "1 shard x 2 stages, batch 1437, 4 micro-batches" in table
    assert "1: linear1 " in table and "2: linear2 " in table


def test_a_run_that_is_stopped_before_its_first_epoch_is_done(config, monkeypatch, capsys):
    """There are no curves to draw yet."""
    stopped = SimpleNamespace(history=[], reason=Reason.STOPPED, summary={"ranks_lost": 0})
    monkeypatch.setattr("paralift.training.fit.fit", lambda *arguments, **options: stopped)
    assert main(["train", config, "--out", "run", "--quiet"]) == STOPPED
    assert "Go on with: --out run --resume auto" in capsys.readouterr().err


def test_run_starts_train_with_the_same_arguments(config, monkeypatch):
    seen = {}

    def fake(command, environment, ranks):
        seen.update(command=command, environment=environment)
        assert ranks == 2
        return 7

    monkeypatch.setattr(cli, "run", fake)
    monkeypatch.setattr(cli, "mpirun_command", lambda n, survive: ["mpirun", str(n)])
    assert main(["run", "-n", "2", config, "--out", "x y", "--epochs=3", "--seed", "0", "--quiet"]) == 7
    expected = [
        "mpirun",
        "2",
        "-m",
        "paralift",
        "train",
        config,
        "--out=x y",
        "--epochs=3",
        "--seed=0",
        "--quiet",
    ]
    assert seen["command"] == expected
    assert seen["environment"]["OMPI_MCA_osc"] == "^ucx"
    args, _ = parse(expected[4:])
    assert (args.out, args.epochs, args.seed, args.quiet, args.resume) == ("x y", 3, 0, True, None)


def test_bench_hands_over(monkeypatch):
    calls = []
    module = type(sys)("paralift.bench.kernels")
    module.main = lambda argv: calls.append(argv)
    monkeypatch.setitem(sys.modules, "paralift.bench.kernels", module)
    assert main(["bench", "kernels", "--size", "5", "--help"]) == 0
    assert calls == [["--size", "5", "--help"]]


@pytest.mark.parametrize("what", ["kernels", "peers", "exchange", "scaling", "learning"])
def test_every_benchmark_reads_its_own_arguments(what):
    args, rest = parse(["bench", what, "--quick", "--out", "here"])
    assert (args.command, args.what, rest) == ("bench", what, ["--quick", "--out", "here"])
    assert callable(importlib.import_module(f"paralift.bench.{what}").main)


ERRORS = {
    "no file": (["train", "none.toml"], "configuration none.toml: No such file or directory"),
    "resume without a folder": (["train", "--resume", "auto"], "name it with --out RUN"),
    "epochs": (
        ["train", "--epochs", "0"],
        "'training.epochs': 0 was given, expected a whole number of at least 1",
    ),
    "no run": (["evaluate", "none"], "none: no checkpoint found"),
    "nothing to plot": (["plot", "none"], "none/metrics.jsonl does not exist"),
    "no ranks to plan": (["plan", "--ranks", "0"], "--ranks is 0, expected at least 1"),
    "latency": (["plan", "--ranks", "2", "--latency", "0"], "--latency is 0.0, expected a positive number"),
    "threads": (["train", "--threads", "0"], "'parallel.threads': 0 was given, expected a whole number of at least 1"),
    "no ranks to run": (["run", "-n", "0"], "0 ranks were asked for, expected at least 1"),
    "run without a file": (["run", "-n", "2", "none.toml"], "configuration none.toml: No such file"),
    "wrong checkpoint": (["train", "--out", "r", "--resume", "none.h5"], "none.h5: no such checkpoint"),
}


@pytest.mark.parametrize(("argv", "message"), ERRORS.values(), ids=ERRORS)
def test_mistakes_are_one_line_and_code_2(argv, message, config, capsys):
    assert message in fails(capsys, *argv)


def test_a_network_that_does_not_fit_the_data(config, capsys):
    Path(config).write_text(CONFIG.replace("64", "60"))
    assert "samples have shape (64,), the network reads (60,)" in fails(capsys, "train", config)


def test_a_folder_that_holds_a_run_is_not_overwritten(config, capsys):
    assert main(["train", config, "--out", "run", "--quiet"]) == 0
    before = Path("run/metrics.jsonl").read_text()
    for command in (["train"], ["run", "-n", "2"]):
        error = fails(capsys, *command, config, "--out", "run")
        assert "run holds a run already: go on with it by --resume auto" in error
    assert Path("run/metrics.jsonl").read_text() == before


@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")
def test_a_run_that_diverges_is_code_1(config, capsys):
    wide = CONFIG.replace('"Linear(32, 10)"', '"Linear(32, 32)", "ReLU()", "Linear(32, 10)"')
    Path(config).write_text('optimizer = "SGD(1e30)"\n' + wide)
    assert "the loss became" in fails(capsys, "train", config, "--quiet", code=1)


def test_debug_shows_the_traceback(config):
    with pytest.raises(FileNotFoundError):
        main(["plot", "none", "--debug"])


@pytest.mark.parametrize(
    "argv", [[], ["nothing"], ["train", "--bogus"], ["run", "-n"], ["plan"], ["bench", "nothing"]]
)
def test_arguments_that_are_not_known(argv, capsys):
    assert main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("usage: paralift")


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"paralift {pl.__version__}\n"


def test_interrupted(config, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_refused_together", interrupt)
    assert "interrupted" in fails(capsys, "train", config, code=130)


class Rank:
    """Stands for the communicator of a launched rank in what `cli` asks of it."""

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def Get_rank(self) -> int:  # noqa: N802
        return self.rank


def test_only_rank_0_speaks(monkeypatch, capsys):
    monkeypatch.setattr(cli, "find_world", lambda: Rank(1))
    for argv in (
        ["--help"],
        ["train", "--bogus"],
        ["plot", "none"],
        ["evaluate", "none"],
        ["plan", "--ranks", "0"],
        ["doctor"],
    ):
        assert main(argv) == 0, argv
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_an_error_of_all_ranks_is_told_by_rank_0(capsys):
    error = AgreedError("rank 0: ValueError: no (2 of 2 ranks failed)")
    assert cli._failed(error, 1) == 0
    assert capsys.readouterr().err == ""
    assert cli._failed(error, 0) == 2
    assert capsys.readouterr().err == f"paralift: error: {error}\n"
    error.__cause__ = ValueError("no")
    assert cli._failed(error, 0) == 2
    assert capsys.readouterr().err == "paralift: error: no\n"


def test_an_error_of_one_rank_names_it(capsys):
    assert cli._failed(ValueError("no"), 3) == 2
    assert capsys.readouterr().err == "paralift: error: rank 3: no\n"


def test_a_launcher_without_mpi4py(monkeypatch, capsys):
    def missing():
        raise RuntimeError("an MPI launcher started this process")

    monkeypatch.setattr(cli, "find_world", missing)
    assert "an MPI launcher started this process" in fails(capsys, "train")


def test_the_module_is_the_command():
    command = [sys.executable, "-m", "paralift", "plan", "--ranks", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == "paralift: error: --ranks is 0, expected at least 1\n"
