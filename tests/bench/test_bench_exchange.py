"""The comparison of messages: its arithmetic, what two ranks answer, and what it says where it cannot run."""

import json

import pytest

from paralift.bench import clean, exchange

runs = pytest.mark.skipif(exchange.mpi_missing(2) is not None, reason="no MPI launcher beside this Python")


@pytest.fixture
def clean_here(monkeypatch):
    monkeypatch.setenv(clean.MARK, json.dumps({"re_executed": True, "removed": {}, "set": {}}))


def test_hidden_share_of_known_times():
    assert exchange.hidden(2.0, 3.0, 3.0) == 1.0
    assert exchange.hidden(2.0, 3.0, 5.0) == 0.0
    assert exchange.hidden(4.0, 2.0, 5.0) == 0.5  # of the two seconds that can be hidden
    assert exchange.hidden(2.0, 2.0, 5.0) == -0.5


def test_record_of_a_message():
    found = exchange.judge_message(1000, {"paralift": [3.0, 1.0, 2.0], "persistent": [1.0, 1.0], "send_recv": [4.0]})
    assert found["paralift"]["median_s"] == 2.0 and found["paralift"]["bytes_per_s"] == 500.0
    assert (found["over_persistent"], found["over_send_recv"]) == (2.0, 0.5)
    assert found["bytes"] == 1000 and found["send_recv"]["raw_s"] == [4.0]


def test_record_of_an_overlap():
    times = {"compute": [3.0], "paralift_message": [2.0], "paralift_both": [4.0], "paralift_progress": [3.0],
             "persistent_message": [1.0], "persistent_both": [4.0], "persistent_progress": [3.5]}  # fmt: skip
    found = exchange.judge_overlap(64, {"n_products": 5, "width": 64, **times})
    assert found["paralift"] == {"hidden": 0.5, "hidden_with_testall": 1.0}
    assert found["persistent"] == {"hidden": 0.0, "hidden_with_testall": 0.5}
    assert (found["n_products"], found["width"]) == (5, 64) and set(found["times"]) == set(times)


def test_sizes_reach_from_8_bytes_to_64_mib():
    assert [exchange.size(n) for n in (exchange.SIZES[0], 1 << 16, exchange.SIZES[-1])] == ["8 B", "64 KiB", "64 MiB"]
    assert sorted(exchange.SIZES) == list(exchange.SIZES)


@pytest.mark.parametrize("argv", [["--transports", "pigeon"], ["--repeats", "0"], ["--block", "0"], ["-x"]])
def test_wrong_arguments_end_with_2(argv, capsys):
    assert exchange.main(argv) == 2
    assert capsys.readouterr().err


def test_without_a_launcher_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(exchange, "mpi_missing", lambda ranks: "no MPI launcher")
    assert exchange.main(["--quick"]) == 2
    assert "two ranks are needed, but no MPI launcher" in capsys.readouterr().err


@runs
def test_quick_run_holds_what_is_promised(clean_here, tmp_path, capsys):
    assert exchange.main(["--quick", "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "exchange.json").read_text())
    assert found["quick"] and found["machine"]["command"][:3] == ["paralift", "bench", "exchange"]
    (sm,) = found["transports"]
    assert sm["status"] == "measured" and sm["name"] == "sm" and sm["facts"]["mpi"]
    assert [m["bytes"] for m in sm["messages"]] == [8, 512, 32768]
    for m in sm["messages"]:
        for way in exchange.WAYS:
            assert len(m[way]["raw_s"]) == 2 and min(m[way]["raw_s"]) > 0
            assert m[way]["bytes_per_s"] == pytest.approx(m["bytes"] / m[way]["median_s"])
    assert [o["bytes"] for o in sm["overlap"]] == [64 << 10, 1 << 20]
    for o in sm["overlap"]:
        assert o["n_products"] >= 2
        for way in exchange.OVERLAPS:
            alone, products, both = (o["times"][k]["median_s"] for k in (f"{way}_message", "compute", f"{way}_both"))
            assert o[way]["hidden"] == pytest.approx((alone + products - both) / min(alone, products))
    assert "one way, sm" in capsys.readouterr().out


@runs
def test_ranks_that_fail_are_named_and_end_the_run_with_1(clean_here, monkeypatch, tmp_path, capsys):
    (tmp_path / "exchange_ranks.py").write_text("raise SystemExit('the post is on strike')")
    monkeypatch.setattr(exchange, "CHILDREN", tmp_path)
    assert exchange.main(["--quick", "--json", str(tmp_path / "e.json")]) == 1
    (sm,) = json.loads((tmp_path / "e.json").read_text())["transports"]
    assert sm["status"].startswith("failed: ended") and sm["messages"] == []
