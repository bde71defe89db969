"""The study of implicit stochastic gradients: what is told after equal seconds, and a short run."""

from __future__ import annotations

from paralift.bench import isgm


def line(*points):
    return [{"passes": k, "seconds": s, "test_accuracy": a} for k, (s, a) in enumerate(points, 1)]


def test_equal_seconds_are_those_of_the_same_seeds_sweep():
    sweep = [line((1.0, 0.5), (2.0, 0.8)), line((1.0, 0.4), (3.0, 0.7))]
    slow = [line((1.5, 0.2), (3.0, 0.3)), line((3.5, 0.25), (7.0, 0.35))]
    found = isgm.judged(slow, sweep)
    assert found["accuracy"] == [0.3, 0.35] and found["accuracy_at_equal_seconds"] == [0.2, 0.0]
    assert isgm.judged(sweep, sweep)["accuracy_at_equal_seconds"] == [0.8, 0.7]


def test_a_short_run(monkeypatch, capsys):
    chosen = (isgm.SWEEP, "dual geometry")
    monkeypatch.setattr(isgm, "WAYS", {name: isgm.WAYS[name] for name in chosen})
    record = isgm.run(quick=True)
    assert set(record["results"]) == set(chosen)
    for result in record["results"].values():
        assert len(result["accuracy"]) == len(result["seconds"]) == len(result["accuracy_at_equal_seconds"]) == 1
    assert "after the sweep's seconds" in capsys.readouterr().out


def test_ways_differ():
    assert len({repr(method) for method in isgm.WAYS.values()}) == len(isgm.WAYS)
