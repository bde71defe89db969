"""The race: known answers on made-up records, and a short run of this package alone."""

import json

import pytest

from paralift.bench import clean, race


@pytest.fixture(autouse=True)
def clean_here(monkeypatch):
    monkeypatch.setenv(clean.MARK, "{}")


def epochs(*pairs):
    return [{"seconds": s, "accuracy": a} for s, a in pairs]


def test_the_time_is_that_of_the_first_epoch_at_the_target():
    assert race.until(epochs((1.0, 0.5), (2.0, 0.8), (4.0, 0.7)), 0.8) == 3.0
    assert race.until(epochs((1.0, 0.5), (2.0, 0.7)), 0.8) is None
    assert race.until([], 0.8) is None


def test_the_ratio_counts_runs_that_always_arrive():
    def record(library, ranks, *times):
        return {"library": library, "ranks": ranks, "seeds": [{"until_s": t} for t in times]}

    records = [
        record("paralift", 2, 1.0, 3.0, 2.0), record("paralift", 1, 0.1, 0.1, 0.1), record("torch", 1, 6.0, 5.0, 7.0),
        record("jax", 1, 0.5, None, 0.5), record("jax", 1),
    ]  # fmt: skip
    assert race.summarise(records) == pytest.approx(3.0)
    assert "median_s" not in records[3]
    assert race.summarise(records[:1]) is None


def test_quick_run_keeps_every_epoch(tmp_path, capsys):
    assert race.main(["--quick", "--peers", "none", "--target", "0.01", "--json", str(tmp_path / "race.json")]) == 0
    found = json.loads((tmp_path / "race.json").read_text())
    assert found["benchmark"] == "race" and found["target"] == 0.01
    for record in found["results"]:
        assert record["status"] == "measured" or record["status"].startswith("needs")
        for run in record["seeds"]:
            assert run["until_s"] > 0 and len(run["epochs"]) == 1
    assert "paralift" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--peers", "mxnet"], ["--seeds", "0"], ["--target", "1.5"], ["--speed"]])
def test_wrong_arguments(arguments, capsys):
    assert race.main(arguments) == 2
    assert capsys.readouterr().err
