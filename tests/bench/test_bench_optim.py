"""The comparison of algorithms: a short run on two ranks, storms, made-up records, wrong arguments; what is injected."""

import json
import time

import numpy as np
import pytest
from crew import together

from paralift.bench import clean, optim
from paralift.bench.disturbance import Late, LateTeam
from paralift.optim.problems import AnalyticLasso


@pytest.fixture(autouse=True)
def clean_here(monkeypatch):
    monkeypatch.setenv(clean.MARK, "{}")


@pytest.mark.parametrize("storms", [[], ["--storms", "2"]])
def test_quick_runs_arrive(storms, tmp_path, capsys):
    assert optim.main(["--quick", "--ranks", "2", *storms, "--json", str(tmp_path / "o.json")]) == 0
    record = json.loads((tmp_path / "o.json").read_text())
    assert record["benchmark"] == ("optim-storms" if storms else "optim") and record["ranks"] == 2
    names = [r["name"] for r in record["results"]]
    assert names == (["PIAG", "averaging"] if storms else ["proximal gradient", "PIAG", "averaging"])
    for found in record["results"]:
        assert found["arrived"] == found["runs"] == (2 if storms else 1) and found["seconds"] > 0 and found["bytes"] > 0
    assert "PIAG" in capsys.readouterr().out


def test_medians_and_arrivals():
    runs = [
        {"name": "a", "reason": reason, "seconds": s, "updates": 10 * s, "bytes": 1, "gap": s, "curve": [1], "gradients": None}
        for s, reason in ((1.0, "until"), (5.0, "seconds"), (2.0, "until"))
    ]
    (found,) = optim.summarise(["a"], runs)
    assert (found["seconds"], found["updates"], found["arrived"], found["runs"], found["largest_gap"]) == (2.0, 20.0, 2, 3, 5.0)
    assert [("curve" in run) for run in found["single"]] == [True, False, False]


def test_ranks_that_cannot_start_are_an_error(monkeypatch, capsys):
    monkeypatch.setattr(optim, "CHILDREN", optim.CHILDREN / "nowhere")
    assert optim.main(["--quick", "--ranks", "2"]) == 1
    assert "2 ranks: exit code" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--ranks", "1"], ["--slow", "0"], ["--storms", "-1"], ["--speed"]])
def test_wrong_arguments(arguments, capsys):
    assert optim.main(arguments) == 2
    assert capsys.readouterr().err


def test_a_late_problem_is_the_same_problem():
    whole = AnalyticLasso()
    late = Late(whole.part(0, 1), 1e-3, 0.5)
    x, expected, found = np.ones(20), np.empty(20), np.empty(20)
    whole.gradient(x, expected)
    late.gradient(x, found)
    assert (found == expected).all() and (late.exact_lipschitz, late.n_samples) == (1.0, 160)
    pieces = late.split(4)
    total = np.zeros(20)
    for piece in pieces:
        piece.gradient(x, found)
        total += found
    assert np.abs(total - expected).max() < 1e-12 and sum(p.seconds for p in pieces) == pytest.approx(1e-3)


def test_late_letters_overtake_each_other_and_none_is_lost():
    def act(team):
        box = LateTeam(team, 2e-3, 0.9, seed=1).mailbox(np.zeros(3))
        if team.rank == 0:
            for n in range(30):
                box.post(1, (n,), np.full(3, float(n)))
            box.close()
            return None
        got, until = [], time.monotonic() + 20
        while len(got) < 30 and time.monotonic() < until:
            for _, head, body in box.collect(0.01):
                assert (body == head[0]).all()
                got.append(int(head[0]))
        box.close()
        return got

    got = together(2, act)[1]
    assert sorted(got) == list(range(30)) and got != sorted(got)
