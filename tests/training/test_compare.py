"""`paralift compare`: what is read, what comes out, and what is wrong."""

from __future__ import annotations

import csv
import json

import pytest

from paralift import cli
from paralift.config import Config, ConfigError
from paralift.methods import lpom, mac, nudged
from paralift.training.compare import compare, read_contestants, rows, score_of, split
from paralift.training.fit import DivergedError

CONFIG = """data = "digits()"
network = "Sequential(Linear(64, 8), ReLU(), Linear(8, 10), Softmax())"
[training]
epochs = 2
batch_size = 256
[parallel]
plan = "counted"
"""


def test_commas_in_brackets_do_not_part():
    assert split("nudged, mac(1.0, tau=None),,lpom@full ") == ["nudged", "mac(1.0, tau=None)", "lpom@full"]


def test_methods_and_their_batches():
    found = read_contestants("nudged,mac(tau=None)@full,lpom@64", Config.from_text(CONFIG))
    assert [each.method for each in found] == [nudged(), mac(tau=None), lpom()]
    assert [each.config.training.batch_size for each in found] == [256, None, 64]
    assert [each.folder for each in found] == ["nudged", "mac-tau=None-full", "lpom-64"]
    assert Config.from_text(found[1].config.text).method == mac(tau=None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nudge", ["'nudge'", "did you mean 'nudged'", "lpom"]),
        ("mac(ta=1)", ["unknown argument 'ta'", "did you mean 'tau'"]),
        ("mac(mu=0.0)", ["mu is 0"]),
        ("nudged@many", ["'many'", "number or 'full'"]),
        ("nudged@0", ["'0'"]),
        ("nudged,nudged()", ["once"]),
        (",", ["expected methods"]),
        ("Hard()", ["no Method"]),
        ("nudged,askari", ["'askari' cannot train", "Tanh", "ReLU"]),
    ],
)
def test_mistakes_are_found_before_anything_is_trained(text, words):
    with pytest.raises(ConfigError) as error:
        read_contestants(text, Config.from_text(CONFIG.replace("ReLU", "Tanh")))
    assert all(word in str(error.value) for word in words), str(error.value)


def test_the_command_writes_numbers_and_curves(tmp_path, capsys):
    path, out = tmp_path / "tiny.toml", tmp_path / "out"
    path.write_text(CONFIG)
    arguments = ["compare", str(path), "--methods", "nudged,lpom(tau=None)@full", "--out", str(out), "--epochs", "3", "--quiet"]
    assert cli.main(arguments) == 0
    found = json.loads((out / "compare.json").read_text())
    assert found["score"] == "test_accuracy" and [run["method"] for run in found["runs"]] == ["nudged", "lpom(tau=None)@full"]
    for run in found["runs"]:
        curve = run["curve"]
        assert [point["passes"] for point in curve] == [1, 2, 3]
        assert 0 < curve[0]["seconds"] < curve[1]["seconds"] < curve[2]["seconds"]
        assert 0 < curve[2]["test_accuracy"] <= 1 and curve[2]["energy"] < curve[0]["energy"]
    with (out / "compare.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 6 and float(lines[5]["test_accuracy"]) == found["runs"][1]["curve"][2]["test_accuracy"]
    assert (out / "accuracy-over-time.png").stat().st_size > 1000 and (out / "accuracy-over-passes.png").exists()
    assert (out / "nudged" / "config.toml").exists() and (out / "lpom-tau=None-full" / "metrics.jsonl").exists()
    assert cli.main(arguments) == 2
    assert "holds runs already" in capsys.readouterr().err


def test_a_method_that_diverges_does_not_end_the_others(tmp_path, monkeypatch):
    config = Config.from_text(CONFIG)
    network, data, _ = config.build()
    from paralift.training import compare as module

    def fit(network, data, *, method, **options):
        if method == mac():
            raise DivergedError("the loss became nan")
        return real(network, data, method=method, **options)

    real = module.fit
    monkeypatch.setattr(module, "fit", fit)
    records = compare(read_contestants("mac,nudged", config), network, data, tmp_path)
    assert [record["status"] for record in records] == ["diverged", "done"]
    assert rows(records)[0][:2] == ("mac", "diverged") and len(rows(records)[1]) == len(rows(records)[0])


def test_errors_are_compared_where_there_are_no_labels():
    points = [{"passes": k, "seconds": k, "test_error": e, "energy": 1.0} for k, e in ((1, 0.5), (2, 0.2))]
    records = [{"method": "a", "curve": [point]} for point in points]
    assert score_of(records) == "test_error" and rows(records)[1][1:3] == ("0.2000", "0.2000")
