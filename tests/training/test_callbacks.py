"""Callbacks: who is called when, what tables and event files hold, and what is raised."""

from __future__ import annotations

import csv
import struct
import sys

import numpy as np
import pytest

import paralift as pl
from paralift.config import Config, ConfigError


def fit(**settings):
    rng = np.random.default_rng(0)
    data = rng.standard_normal((40, 4)), rng.integers(0, 3, 40)
    network = pl.Sequential(pl.Linear(4, 5), pl.ReLU(), pl.Linear(5, 3), pl.Softmax())
    return pl.fit(network, data, **{"epochs": 3, "batch_size": 8, "comm": None, "progress": False, **settings})


class Diary(pl.callbacks.Callback):
    def __init__(self, fail_at=None):
        self.calls, self.fail_at = [], fail_at

    def __repr__(self):
        return "Diary()"

    def note(self, what, value):
        self.calls.append((what, value))
        if what == self.fail_at:
            raise LookupError("no page left")

    def start(self, attributes, history):
        self.note("start", (attributes["network"], len(history)))

    def epoch(self, record):
        self.note("epoch", record)

    def end(self, summary):
        self.note("end", summary)


def test_each_epoch_is_told_after_it_was_written(tmp_path):
    diary, lines = Diary(), []

    def read(record):
        lines.append((tmp_path / "metrics.jsonl").read_text().count("\n"))

    run = fit(out=tmp_path, callbacks=[diary, read])
    assert [what for what, _ in diary.calls] == ["start", *["epoch"] * 3, "end"]
    assert diary.calls[0][1] == (repr(run.network), 0)
    assert [record for what, record in diary.calls if what == "epoch"] == list(run.history)
    assert diary.calls[-1][1] == run.summary and lines == [1, 2, 3]


@pytest.mark.parametrize(
    ("fail_at", "words", "whats"),
    [
        ("start", r"callback Diary\(\), at the start: LookupError: no page left", ["start"]),
        ("epoch", r"callback Diary\(\), after epoch 1: LookupError: no page left", ["start", "epoch", "end"]),
        ("end", r"callback Diary\(\), at the end: LookupError: no page left", ["start", *["epoch"] * 3, "end"]),
    ],
)
def test_what_a_callback_raises_ends_the_run(fail_at, words, whats):
    diary, other = Diary(fail_at), Diary()
    with pytest.raises(RuntimeError, match=words) as found:
        fit(callbacks=[other, diary])
    assert isinstance(found.value.__cause__, LookupError)
    assert [what for what, _ in diary.calls] == whats
    assert [what for what, _ in other.calls][-1] == "end" and sum(what == "end" for what, _ in other.calls) == 1


def test_a_run_that_raises_ends_them_without_a_summary(caplog):
    diary, failing = Diary(), Diary("end")
    with pytest.raises(pl.DivergedError):
        fit(callbacks=[diary, failing], optimizer=pl.optim.SGD(1e38), epochs=9)
    assert diary.calls[-1] == failing.calls[-1] == ("end", None)
    assert "callback Diary(), at the end: LookupError: no page left" in caplog.text


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (print, r"expected a list: callbacks=\[<built-in function print>\]"),
        ([3], "callbacks: 3 was given, expected a paralift.callbacks.Callback"),
        ([pl.callbacks.CSV], r"CSV'> was given, expected .* such as CSV\(path\)"),
    ],
)
def test_what_is_no_callback(given, words):
    with pytest.raises(TypeError, match=words):
        fit(callbacks=given)


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_table_holds_the_records(tmp_path):
    path = tmp_path / "new" / "epochs.csv"
    run = fit(callbacks=[pl.callbacks.CSV(path)])
    found = rows(path)
    assert [{k: float(v) for k, v in row.items()} for row in found] == [dict(record) for record in run.history]
    again = fit(callbacks=[pl.callbacks.CSV(str(path))], epochs=1)
    assert len(rows(path)) == len(again.history) == 1  # written anew


def test_a_table_of_a_run_that_goes_on(tmp_path):
    path = tmp_path / "epochs.csv"
    fit(out=tmp_path / "run", callbacks=[pl.callbacks.CSV(path)])
    test = np.zeros((2, 4)), np.array([0, 2])
    run = fit(out=tmp_path / "run", callbacks=[pl.callbacks.CSV(path)], epochs=5, resume="auto", test=test)
    found = rows(path)
    assert [int(row["epoch"]) for row in found] == [1, 2, 3, 4, 5]
    assert [row["test_accuracy"] for row in found[:3]] == ["", "", ""]
    assert float(found[-1]["test_accuracy"]) == run.history[-1]["test_accuracy"]


def events(folder):
    """Return what event files hold: records of a length, a checksum, a message, a checksum."""
    proto = pytest.importorskip("tensorboardX").proto.event_pb2
    found = []
    for path in sorted(folder.glob("events.*")):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            found.append(proto.Event.FromString(content[12 : 12 + length]))
            content = content[16 + length :]
    return found


def test_curves_hold_the_records(tmp_path):
    pytest.importorskip("tensorboardX")
    run = fit(callbacks=[pl.callbacks.TensorBoard(tmp_path)])
    points = {(v.tag, e.step): v.simple_value for e in events(tmp_path) for v in e.summary.value if v.tag != "run/text_summary"}
    names = set(run.history[0]) - {"epoch", "step"}
    assert set(points) == {(name, epoch) for name in names for epoch in (1, 2, 3)}
    for record in run.history:
        for name in names:
            assert points[name, record["epoch"]] == pytest.approx(record[name], rel=1e-6)
    texts = [v for e in events(tmp_path) for v in e.summary.value if v.tag == "run/text_summary"]
    assert len(texts) == 1 and repr(run.network).encode() in texts[0].SerializeToString()


def test_without_tensorboardx(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    words = r"callback TensorBoard\(folder='x'\), at the start: ImportError: .* pip install 'paralift\[tensorboard\]'"
    with pytest.raises(RuntimeError, match=words):
        fit(callbacks=[pl.callbacks.TensorBoard("x")])


def test_from_a_configuration():
    text = 'data = "digits"\nnetwork = ["Linear(64, 10)", "Softmax()"]\ncallbacks = ["CSV(\'a.csv\')", "CSV(path=\'b.csv\')"]\n'
    config = Config.from_text(text)
    expected = (pl.callbacks.CSV("a.csv"), pl.callbacks.CSV("b.csv"))
    assert config.callbacks == expected == Config.from_text(config.to_text()).callbacks
    assert config.build()[2]["callbacks"] == expected
    for wrong, words in (('"CSV"', "expected a list"), ('["CSV(3)"]', "path"), ('["Csv()"]', "did you mean 'CSV'")):
        with pytest.raises(ConfigError, match=words):
            Config.from_text(text.replace('["CSV(\'a.csv\')", "CSV(path=\'b.csv\')"]', wrong))
