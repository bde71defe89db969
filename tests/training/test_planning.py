"""The plan of a run: where it comes from, and what is said of it. Ranks: tests/parallel/ranks/case_plan.py."""

import json

import numpy as np
import pytest
from rich.console import Console

import paralift as pl
from paralift.parallel.choosing import Question, best
from paralift.parallel.plan import Plan
from paralift.parallel.predict import predict
from paralift.training import checkpoints, metrics, planning
from paralift.training.checkpoints.manifest import Manifest
from paralift.training.plan_table import MOST_ROWS, Measured, print_outcome, print_plan, rows


def network():
    return pl.Sequential(pl.Linear(4, 6), pl.ReLU(), pl.Linear(6, 3), pl.Softmax())


def fit(**settings):
    rng = np.random.default_rng(0)
    data = rng.standard_normal((40, 4)), rng.integers(0, 3, 40)
    return pl.fit(network(), data, comm=None, **{"epochs": 1, "batch_size": 8, "progress": False, **settings})


def question(ranks=4, **fixed):
    return Question(network(), ranks, 8, **fixed)


@pytest.mark.parametrize("plan", [Plan(2, 2, (0, 1, 2)), Plan(4, 1, (0, 2), 4, "unflushed"), Plan(1, 1, (0, 2))])
def test_plans_are_text_and_back(plan):
    assert planning.from_text(planning.to_text(plan)) == plan


def test_stored_plans_that_answer_a_question():
    plan = Plan(2, 2, (0, 1, 2), 4)
    assert planning.fits(plan, question())
    assert planning.fits(plan, question(stages=2, micro_batches=4, schedule="unflushed"))
    for other in (question(2), question(stages=1), question(micro_batches=2), question(schedule="flush")):
        assert not planning.fits(plan, other)
    assert not planning.fits(Plan(2, 2, (0, 1, 3)), question())
    assert not planning.fits(Plan(2, 2, (0, 1, 2), 10**15), question()), "its micro-batches would fill the memory"


def test_a_resumed_run_keeps_its_plan_unless_it_is_told_otherwise(tmp_path):
    before = fit(plan=Plan(1, 1, (0, 2), 4), out=tmp_path)
    assert before.summary["costs"] == "counted"
    assert planning.stored_plan(checkpoints.latest(tmp_path)) == Plan(1, 1, (0, 2), 4)
    again = fit(epochs=2, out=tmp_path, resume="auto")
    assert again.summary["plan"] == before.summary["plan"] and again.summary["costs"] == "measured"
    other = fit(epochs=3, out=tmp_path, resume="auto", micro_batches=2)
    assert other.summary["plan"]["micro_batches"] == 2


def test_checkpoints_without_a_plan_or_with_a_broken_one(tmp_path):
    fit(out=tmp_path)
    path = checkpoints.latest(tmp_path)
    manifest = Manifest.read(path)
    others = {key: value for key, value in manifest.attributes.items() if key != "plan"}
    half = planning.to_text(Plan(1, 1, (0, 2))).replace("2]", "2.5]")
    for text in ("", "nothing", json.dumps({"shards": 1}), json.dumps([1]), "[" * 100_000, half):
        Manifest({**others, "plan": text}, manifest.files).write(path)
        assert planning.stored_plan(path) is None
    Manifest(others, manifest.files).write(path)
    assert planning.stored_plan(path) is None
    assert fit(epochs=2, out=tmp_path, resume="auto").summary["plan"]["micro_batches"] == 1
    assert planning.stored_plan(tmp_path / "none.h5") is None


def test_the_summary_has_predictions_beside_measurements(tmp_path):
    fit(out=tmp_path, plan="counted")
    summary = json.loads((tmp_path / "summary.json").read_text())
    expected = predict(network(), Plan(1, 1, (0, 2)), 8)
    assert summary["predicted_seconds_per_step"] == expected.seconds
    assert summary["predicted_memory_bytes"] == list(expected.memory)
    assert summary["memory_bytes"][0] >= 0
    assert fit(plan="measured").summary["costs"] == "measured"


def test_memory_is_what_training_adds():
    wide = pl.Sequential(pl.Linear(1000, 3000), pl.ReLU(), pl.Linear(3000, 10), pl.Softmax())
    rng = np.random.default_rng(0)
    data = rng.standard_normal((600, 1000)).astype("float32"), rng.integers(0, 10, 600)
    pl.fit(wide, data, comm=None, epochs=1, batch_size=200, progress=False)  # compiles kernels
    summary = pl.fit(wide, data, comm=None, epochs=1, batch_size=200, progress=False).summary
    (predicted,), (measured,) = summary["predicted_memory_bytes"], summary["memory_bytes"]
    assert predicted > 50e6
    assert 0.8 * predicted < measured < 1.2 * predicted


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"plan": "guessed"}, "plan is 'guessed', expected a Plan, or one of"),
        ({"memory": "1KiB"}, "no plan of 1 ranks fits into 1 KiB a rank"),
        ({"memory": "lots"}, "'lots' was given, expected a whole number of bytes"),
        ({"threads": 0}, "threads is 0, expected a whole number"),
        ({"stages": 2}, r"stages is 2, expected one of \[1\]"),
    ],
)
def test_wrong_arguments(settings, text):
    with pytest.raises(ValueError, match=text):
        fit(**settings)


def test_threads_change_no_result():
    one, two = (fit(threads=n, dtype="float64").params for n in (1, 2))
    for block, arrays in one.items():
        for name, a in arrays.items():
            np.testing.assert_allclose(a, two[block][name], rtol=1e-10, atol=1e-12)


def test_tables(capsys):
    option = best(question(), None)
    console = Console(width=120)
    print_plan(console, network(), option.plan, option.predicted, 8)
    printed = capsys.readouterr().out
    assert printed.startswith("4 ranks = ") and "ms a step, predicted" in printed
    measured = {r: Measured(0.25, 0.0 if r else 0.125, 2**20, 0.5) for r in range(4)}
    print_outcome(console, option.plan, option.predicted, measured)
    table = [[c.strip() for c in line.split("│")[1:-1]] for line in capsys.readouterr().out.splitlines() if "│" in line]
    lines = [line for line in table if line[0] != "rank"]
    assert [line[:2] for line in lines] == [[str(r), "250.000"] for r in range(4)]
    assert lines[0][3] == lines[0][5] == "125.000" and lines[1][3] == "250.000" and lines[1][5] == "0.000"
    assert {(line[6], line[7]) for line in lines} == {("50 %", "1.00")}


def test_tables_of_many_ranks_have_a_row_for_each_stage():
    plan = Plan(MOST_ROWS, 2, (0, 1, 2))
    found = rows(network(), plan, predict(network(), plan, 640), 640)
    assert [row[0] for row in found] == ["0, 2, ...", "1, 3, ..."]
    assert [row[3] for row in found] == ["1: linear1", "2: linear2"]


def test_a_run_shows_its_plan_and_its_outcome(capsys):
    fit(progress=True, plan="counted")
    shown = capsys.readouterr().err
    assert "1 rank = 1 shard x 1 stage, batch 8, 1 micro-batch" in shown
    assert "measured beside predicted, a step" in shown


def test_resident_memory_where_the_system_tells_none(monkeypatch, tmp_path):
    assert metrics.resident_memory() > 2**20
    monkeypatch.setattr(metrics, "STATUS", tmp_path / "none")
    assert metrics.resident_memory() == metrics.peak_memory()
