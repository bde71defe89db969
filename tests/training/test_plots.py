"""Plots: files for what was recorded, and errors for what is no record."""

from __future__ import annotations

import json
import sys

import pytest

from paralift.training.plots import draw, plot_run, read_metrics

RECORDS = [
    {"epoch": e, "loss": 1.0 / e, "test_loss": 1.2 / e, "train_accuracy": 1 - 0.5 / e, "test_accuracy": 1 - 0.6 / e,
     "samples_per_second": 1e5} for e in (1, 2, 3)
]  # fmt: skip
PNG = b"\x89PNG\r\n\x1a\n"


def run_folder(path, records) -> str:
    (path / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    return str(path)


def test_curves_of_a_classifier(tmp_path):
    written = plot_run(run_folder(tmp_path, RECORDS))
    assert [p.relative_to(tmp_path).as_posix() for p in written] == [
        "plots/loss.png", "plots/accuracy.png", "plots/throughput.png",
    ]  # fmt: skip
    assert all(p.read_bytes().startswith(PNG) and p.stat().st_size > 5000 for p in written)
    assert len({p.read_bytes() for p in written}) == 3


def test_curves_of_a_regression_without_a_test(tmp_path):
    records = [{"epoch": 1, "loss": 2.0, "train_error": 1.0}]
    assert [p.name for p in plot_run(run_folder(tmp_path, records))] == ["loss.png", "error.png"]


def test_a_figure_shows_the_records():
    figure = draw(RECORDS, "loss", {"loss": ("training", "k"), "test_loss": ("test", "r")})
    (axes,) = figure.axes
    training, test = axes.get_lines()
    assert list(training.get_xdata()) == [1, 2, 3] and list(training.get_ydata()) == [1.0, 0.5, 1 / 3]
    assert list(test.get_ydata()) == [1.2, 0.6, 1.2 / 3]
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["training", "test"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "loss")


def test_nothing_global_is_changed(tmp_path):
    import matplotlib

    backend, pyplot = dict.__getitem__(matplotlib.rcParams, "backend"), "matplotlib.pyplot" in sys.modules
    plot_run(run_folder(tmp_path, RECORDS))
    assert dict.__getitem__(matplotlib.rcParams, "backend") == backend
    assert ("matplotlib.pyplot" in sys.modules) is pyplot


def test_a_repeated_epoch_counts_once(tmp_path):
    again = {**RECORDS[1], "loss": 7.0}
    records = read_metrics(run_folder(tmp_path, [*RECORDS, again]))
    assert [(r["epoch"], r["loss"]) for r in records] == [(1, 1.0), (2, 7.0), (3, 1 / 3)]


def test_a_half_written_last_line_is_left_out(tmp_path):
    folder = run_folder(tmp_path, RECORDS)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 4, "lo')
    assert len(read_metrics(folder)) == 3


@pytest.mark.parametrize("line", ["nonsense", "[1]", '{"loss": 1.0}', '{"epoch": null}'])
def test_a_line_that_is_no_record(tmp_path, line):
    (tmp_path / "metrics.jsonl").write_text(f'{line}\n{{"epoch": 2}}\n')
    with pytest.raises(
        ValueError, match=r"metrics.jsonl, line 1: .* is no record of an epoch; remove the line"
    ):
        read_metrics(tmp_path)


def test_nothing_recorded(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"metrics.jsonl does not exist: .* is no run folder"):
        plot_run(tmp_path)
    run_folder(tmp_path, [])
    with pytest.raises(ValueError, match="no epoch has been recorded yet"):
        plot_run(tmp_path)
