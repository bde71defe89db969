"""Scaling studies without SLURM: what is written, what is refused, and what is made of the runs."""

import csv
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from paralift.config import Config

ROOT = Path(__file__).parents[2]


def load(name):
    """Return a script of the folder jobs/ as a module."""
    spec = importlib.util.spec_from_file_location(f"jobs_{name}", ROOT / "jobs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


scaling, collect = load("scaling"), load("collect")
SIZES = "\n".join(f'[[sizes]]\nranks = {n}\nnodes = {1 + n // 8}\ntime = "00:1{n}:00"' for n in (2, 4, 8))


@pytest.fixture
def table(tmp_path):
    """Return a function that writes a table; its first lines are the argument."""

    def write(text="epochs = 3\nbatch_size = 32", sizes=SIZES, config=ROOT / "examples/digits.toml"):
        path = tmp_path / "table.toml"
        path.write_text(f'config = "{config}"\n{text}\n{sizes}\n')
        return path

    return write


def study(table, out):
    return scaling.main([str(table), "--out", str(out)])


def test_scripts_and_configurations(table, tmp_path, capsys):
    out = tmp_path / "a study"
    assert study(table(), out) == 0
    names = [f"{mode}-{n}" for mode in ("strong", "weak") for n in (2, 4, 8)]
    assert capsys.readouterr().out.splitlines() == [str(out / name / "job.sbatch") for name in names]
    batches = [Config.from_file(out / name / "job.toml").training.batch_size for name in names]
    assert batches == [32, 32, 32, 32, 64, 128]
    assert {Config.from_file(out / name / "job.toml").training.epochs for name in names} == {3}
    text = (out / "weak-8/job.sbatch").read_text()
    for line in ("--nodes=2", "--ntasks=8", "--time=00:18:00", f'--output="{out.resolve()}/weak-8/job.log"'):
        assert f"#SBATCH {line}\n" in text
    assert f"train '{out.resolve()}/weak-8/job.toml' '{out.resolve()}/weak-8' --quiet\n" in text
    assert subprocess.run(["bash", "-n", str(out / "weak-8/job.sbatch")], check=False).returncode == 0


def test_the_configurations_own_batch_and_epochs_stay(table, tmp_path):
    assert study(table('modes = ["strong"]'), tmp_path / "study") == 0
    own = Config.from_file(tmp_path / "study/strong-2/job.toml").training
    assert (own.batch_size, own.epochs) == (128, 20)


def test_options_for_all_jobs(table, tmp_path):
    assert study(table('sbatch = ["--partition=cpu", "--exclusive"]\nbatch_size = 32'), tmp_path / "study") == 0
    text = (tmp_path / "study/weak-4/job.sbatch").read_text()
    header = text.partition("source")[0].splitlines()
    assert "#SBATCH --partition=cpu" in header and "#SBATCH --exclusive" in header


def test_the_table_of_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    found = scaling.read(Path("jobs/scaling.toml"))
    assert [size.ranks for size in found.sizes] == [1, 2, 4, 8] and Path(found.config).is_file()


@pytest.mark.parametrize(
    ("text", "sizes", "message"),
    [
        ("epoch = 3", SIZES, "epoch is unknown, expected batch_size, config, epochs, modes, sbatch, sizes"),
        ("", "", "sizes is missing"),
        ("sizes = []", "", "sizes is [], expected tables [[sizes]]"),
        ("", "[[sizes]]\nranks = 2\nnodes = 1", "sizes[0]: time is missing"),
        ("", '[[sizes]]\nranks = 0\nnodes = 1\ntime = "1"', "sizes[0]: ranks is 0, expected a whole number of at least 1"),
        ("", '[[sizes]]\nranks = 2\nnodes = 3\ntime = "1"', "2 ranks on 3 nodes, expected no more nodes than ranks"),
        ("", "[[sizes]]\nranks = 2\nnodes = 1\ntime = 10", 'time is 10, expected text as sbatch reads it, such as "00:30:00"'),
        ("", f"{SIZES}\n{SIZES}", "two sizes have the same ranks"),
        ('modes = ["stronger"]', SIZES, "modes is ['stronger'], expected some of ['strong', 'weak']"),
        ('batch_size = "many"', SIZES, "batch_size is 'many', expected a whole number of at least 1"),
        ("batch_size = 400", SIZES, "weak scaling to 8 ranks takes batches of 1600 of 1437 samples: make batch_size smaller"),
        ("=", SIZES, "no TOML"),
    ],
)
def test_mistakes_of_a_table(table, tmp_path, capsys, text, sizes, message):
    assert study(table(text, sizes), tmp_path / "study") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "study").exists()


def test_a_study_is_not_written_over_runs(table, tmp_path, capsys):
    (tmp_path / "study/weak-4/checkpoints").mkdir(parents=True)
    assert study(table(), tmp_path / "study") == 2
    assert "holds runs already (weak-4): name another folder" in capsys.readouterr().err


def test_sbatch_says_no(table, tmp_path, monkeypatch, capsys):
    sbatch = tmp_path / "bin/sbatch"
    sbatch.parent.mkdir()
    sbatch.write_text("#!/bin/sh\necho 'Invalid partition' >&2\nexit 1\n")
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", f"{sbatch.parent}:/usr/bin:/bin")
    assert scaling.main([str(table()), "--out", str(tmp_path / "study"), "--submit"]) == 2
    assert "strong-2/job.sbatch: Invalid partition" in capsys.readouterr().err


def finished(folder, ranks, rates, predicted, reason="All epochs were done."):
    """Write what a run leaves behind."""
    folder.mkdir(parents=True, exist_ok=True)
    plan = {"micro_batches": 2, "schedule": "flush"}
    summary = {"ranks": ranks, "shards": 1, "stages": ranks, "plan": plan, "reason": reason}
    summary["predicted_seconds_per_step"] = predicted
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "metrics.jsonl").write_text("".join(json.dumps({"samples_per_second": rate}) + "\n" for rate in rates))


def test_collect(table, tmp_path, capsys):
    """Efficiency is by the median of the epochs behind the first, relative to the smallest size."""
    out = tmp_path / "study"
    study(table(), out)
    finished(out / "strong-2", 2, [1.0, 1000.0, 900.0, 2000.0], 0.04)
    finished(out / "strong-4", 4, [1.0, 1500.0, 1500.0, 10.0], 0.02)
    finished(out / "strong-8", 8, [1.0, 1500.0], 0.02, "Stopped by a signal, after a checkpoint.")
    finished(out / "weak-2", 2, [1000.0], 0.04)
    finished(out / "weak-4", 1, [1000.0], 0.04)
    capsys.readouterr()
    assert collect.main([str(out)]) == 1
    with (out / "scaling.csv").open(newline="") as file:
        rows = {(row["mode"], row["ranks"]): row for row in csv.DictReader(file)}
    assert [row["status"] for row in rows.values()] == ["ok", "ok", "stopped", "ok", "1 ranks", "missing"]
    row = rows["strong", "4"]
    assert float(row["step_s"]) == 32 / 1500 and float(row["predicted_s"]) == 0.02
    assert (float(row["speed_up"]), float(row["efficiency"]), float(row["predicted_efficiency"])) == (1.5, 0.75, 1.0)
    assert rows["weak", "8"]["step_s"] == "" and rows["weak", "8"]["batch_size"] == "128"
    shown = capsys.readouterr().out
    assert "1 x 4, flush" in shown and "missing" in shown and "0.75" in shown


def test_collect_needs_a_study(tmp_path, capsys):
    assert collect.main([str(tmp_path)]) == 2
    assert "study.json is missing: name the --out of jobs/scaling.py" in capsys.readouterr().err


def test_collect_names_a_damaged_run(table, tmp_path, capsys):
    study(table(), tmp_path / "study")
    (tmp_path / "study/weak-2/summary.json").write_text("{")
    assert collect.main([str(tmp_path / "study")]) == 2
    assert "weak-2: summary.json or metrics.jsonl cannot be read" in capsys.readouterr().err
