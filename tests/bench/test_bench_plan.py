"""Predicted beside measured: the arithmetic, the programs, and what happens where one fails. No figure is tested."""

import json

import pytest

from paralift.bench import clean, plan


@pytest.fixture
def clean_here(monkeypatch):
    monkeypatch.setenv(clean.MARK, json.dumps({"re_executed": True, "removed": {}, "set": {}}))


def test_ratios_of_known_figures():
    facts = {"predicted_s": 3.0, "predicted_bytes": [10, 40], "bytes": [20, 50]}
    record = {"facts": facts, "rounds": [[1.0, 2.0, 9.0], [2.0, 2.0, 1.0]]}
    plan.judge(record)
    assert (record["block_s"], record["seconds_ratio"], record["memory_ratio"]) == (2.0, 1.5, 0.8)


def test_quick_run(clean_here, tmp_path, capsys):
    assert plan.main(["--quick", "--json", str(tmp_path / "p.json")]) == 0
    (shape,) = json.loads((tmp_path / "p.json").read_text())["shapes"]
    assert [r["name"] for r in shape["results"]] == [case.how for case in plan.CASES]
    measured = [r for r in shape["results"] if r["status"] == "measured"]
    assert measured[0]["name"] == "1 rank"
    for r in measured:
        facts = r["facts"]
        assert r["block_s"] > 0 and facts["predicted_s"] > 0
        assert r["seconds_ratio"] == pytest.approx(facts["predicted_s"] / r["block_s"])
        assert len(facts["predicted_bytes"]) == len(facts["bytes"]) == facts["ranks"] == facts["shards"] * facts["stages"]
        assert len(facts["stage_s"]) == facts["stages"]
        assert facts["schedule"] == ("unflushed" if r["name"] == "2 ranks, layers" else "flush")
    assert "predicted ms" in capsys.readouterr().out


def test_a_program_that_fails_is_named_and_ends_the_run_with_1(clean_here, monkeypatch, tmp_path):
    (tmp_path / "plan_step.py").write_text("raise SystemExit('no costs to be had')")
    monkeypatch.setattr(plan, "CHILDREN", tmp_path)
    monkeypatch.setattr(plan, "CASES", plan.CASES[:1])
    assert plan.main(["--quick", "--json", str(tmp_path / "p.json")]) == 1
    (result,) = json.loads((tmp_path / "p.json").read_text())["shapes"][0]["results"]
    assert result["status"].startswith("failed: ended") and "no costs to be had" in result["status"]


def test_cases_that_cannot_run_say_why(monkeypatch):
    monkeypatch.setattr(plan.machine, "cores", lambda: [0])
    assert plan.Case("two", 2, 1).missing() == "needs 2 cores"
    (record,) = plan.examine(plan.QUICK, [plan.Case("two", 2, 1)], 1, 0.01)
    assert record["status"] == "needs 2 cores"


@pytest.mark.parametrize("argv", [["--shapes", "round"], ["--rounds", "0"], ["--block", "0"], ["-x"]])
def test_wrong_arguments_end_with_2(argv, capsys):
    assert plan.main(argv) == 2
    assert capsys.readouterr().err
