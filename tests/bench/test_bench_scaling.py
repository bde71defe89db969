"""The scaling benchmark: its problems, its arithmetic, its files, and a quick run."""

import csv
import json

import pytest

from paralift.bench import clean, scaling, scaling_files
from paralift.bench.contestants import DATA, LAYERS
from paralift.bench.problems import Shape

BASE = Shape("base", (6, 5, 4, 3), 8)
UNFLUSHED = LAYERS["unflushed"]


def test_problems_of_weak_scaling_keep_what_a_rank_has():
    assert scaling.Point("strong", DATA, 4, BASE).shape == BASE
    assert scaling.Point("weak", DATA, 4, BASE).shape == Shape("base", (6, 5, 4, 3), 32)
    assert scaling.Point("weak", UNFLUSHED, 2, BASE).shape == Shape("base", (6, 5, 4, 5, 4, 3), 8)
    for how in scaling.SERIES:
        assert scaling.Point("weak", how, 1, BASE).shape == BASE
        assert scaling.Point("weak", how, 1, BASE).contestant.name == "paralift, 1 rank"


def test_programs_of_the_series():
    options = {how: scaling.Point("strong", how, 2, BASE).contestant.options for how in scaling.SERIES}
    assert options == {
        UNFLUSHED: ("--stages=2", "--schedule=unflushed"),
        LAYERS["flush"]: ("--stages=2", "--schedule=flush"),
        DATA: ("--stages=1",),
    }


def test_more_ranks_than_can_be_used_are_left_out():
    assert scaling.Point("strong", UNFLUSHED, 4, BASE).missing() == "3 layers"
    assert scaling.Point("strong", DATA, 9, BASE).missing() == "a batch of 8"


def test_ranks_that_are_measured():
    assert [scaling.numbers(n) for n in (1, 2, 3, 8)] == [[1], [1, 2], [1, 2, 3], [1, 2, 4, 8]]


def points(how=UNFLUSHED, mode="strong"):
    """Return made-up records of a series on 1, 2 and 4 ranks; the third failed."""
    found = []
    for ranks, step, flop, predicted in ((1, 4.0, 80.0, 2.0), (2, 2.5, 100.0, 2.0), (4, None, 160.0, 1.0)):
        r = {"shape": "made-up", "mode": mode, "how": how, "ranks": ranks, "oversubscribed": ranks > 1, "flop": flop,
             "widths": [3, 2, 1], "batch": 8, "status": "measured"}  # fmt: skip
        if step is None:
            r["status"] = "failed: ended"
        else:
            r |= {"step_s": step, "facts": {"predicted_s": predicted, "stages": ranks, "shards": 1}}
        found.append(r)
    scaling.relate(found)
    return found


def test_speed_up_and_efficiency_of_known_times():
    one, two, four = points()
    assert (one["speed_up"], one["efficiency"], one["predicted_speed_up"]) == (1.0, 1.0, 1.0)
    assert two["flops"] == 40.0 and two["base_step_s"] == 4.0
    assert (two["speed_up"], two["efficiency"]) == (2.0, 1.0)
    assert two["predicted_speed_up"] == 1.25
    assert "speed_up" not in four


def test_without_its_base_a_series_has_rates_but_no_speed_up():
    records = points()[:2]
    for r in records:
        r.pop("speed_up")
    del records[0]["step_s"]
    scaling.relate(records)
    assert records[1]["flops"] == 40.0 and "speed_up" not in records[1]


def table(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_table_has_a_row_for_each_point(tmp_path):
    path = scaling_files.write_csv(tmp_path, points())
    rows = table(path)
    assert [int(row["ranks"]) for row in rows] == [1, 2, 4]
    assert rows[1]["speed_up"] == "2.0" and rows[1]["stages"] == "2" and rows[1]["layers"] == "2"
    assert rows[2]["speed_up"] == rows[2]["step_s"] == "" and rows[2]["status"] == "failed: ended"


def test_plots_show_measured_ideal_and_predicted(tmp_path):
    every = points() + points(DATA) + points(mode="weak")
    paths = scaling_files.write_plots(tmp_path, every, 1)
    assert [p.name for p in paths] == ["scaling-made-up-strong.png", "scaling-made-up-weak.png"]
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in paths)
    figure = scaling_files.draw("strong", [p for p in points() if "speed_up" in p], 1)
    axes = figure.axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines["ideal"].get_ydata()) == [1, 2]
    assert list(lines[UNFLUSHED].get_ydata()) == [1.0, 2.0]
    assert list(lines[f"{UNFLUSHED}, predicted"].get_ydata()) == [1.0, 1.25]
    hollow = [line.get_xdata()[0] for line in axes.lines if line.get_markerfacecolor() == "white"]
    assert hollow == [2]  # more ranks than cores
    assert "more ranks than 1 cores" in [text.get_text() for text in figure.legends[0].get_texts()]


WRONG = (["--ranks", "0"], ["--rounds", "0"], ["--block", "0"], ["--shapes", "x"], ["--modes", "x"], ["--series", "x"], ["-x"])


@pytest.mark.parametrize("argv", WRONG, ids=" ".join)
def test_wrong_arguments_end_with_2(argv, capsys):
    assert scaling.main(argv) == 2
    assert capsys.readouterr().err


def test_without_a_launcher_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(scaling, "mpi_missing", lambda ranks: "no MPI launcher")
    assert scaling.main(["--ranks", "2", "--quick"]) == 2
    assert "2 ranks were asked for, but no MPI launcher" in capsys.readouterr().err


def quick(monkeypatch, tmp_path, *argv):
    monkeypatch.setenv(clean.MARK, json.dumps({"re_executed": True, "removed": {}, "set": {}}))
    assert scaling.main(["--quick", "--out", str(tmp_path), *argv]) == 0
    found = json.loads((tmp_path / "scaling.json").read_text())
    assert found["quick"] and found["base"].startswith("one rank of the same code")
    assert len(table(tmp_path / "scaling.csv")) == len(found["points"])
    return found["points"]


def test_quick_run_on_one_rank(monkeypatch, tmp_path):
    (point,) = quick(monkeypatch, tmp_path, "--ranks", "1", "--modes", "strong", "--series", "data")
    assert point["status"] == "measured" and point["speed_up"] == point["efficiency"] == 1.0
    assert (tmp_path / "scaling-quick-strong.png").is_file()


@pytest.mark.skipif(scaling.mpi_missing(2) is not None, reason="no MPI launcher beside this Python")
def test_quick_run_holds_every_mode_and_series(monkeypatch, tmp_path, capsys):
    found = quick(monkeypatch, tmp_path, "--ranks", "2")
    assert {p["status"] for p in found} == {"measured"}
    assert {(p["mode"], p["how"]) for p in found} == set(scaling.QUICKLY)
    assert {p["mode"] for p in found} == set(scaling.MODES) and {p["how"] for p in found} == set(scaling.SERIES)
    for p in found:
        assert p["facts"]["ranks"] == p["ranks"] == p["facts"]["shards"] * p["facts"]["stages"]
        assert p["facts"]["stages"] == (1 if p["how"] == DATA else p["ranks"])
        assert p["predicted_s"] > 0 and p["efficiency"] == pytest.approx(p["speed_up"] / p["ranks"])
        assert p["flops"] == pytest.approx(p["flop"] / p["step_s"])
    assert {path.name for path in tmp_path.glob("*.png")} == {"scaling-quick-strong.png", "scaling-quick-weak.png"}
    assert "strong scaling" in capsys.readouterr().out
