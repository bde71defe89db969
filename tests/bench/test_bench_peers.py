"""The comparison of training steps: its arithmetic, its programs, and what happens when one is missing or fails."""

import json
import os
import signal
import sys
from importlib.util import find_spec
from itertools import islice

import numpy as np
import pytest

import paralift as pl
from paralift.bench import clean, peer_process, peers
from paralift.bench.children import loop
from paralift.bench.peer_process import PeerError, PeerProcess
from paralift.data import Sampler

TINY = peers.Shape("tiny", (6, 5, 3), 4)


def test_operations_of_a_step():
    # 6 x 5: forward and gradient; 5 x 3: forward, pull and gradient; two operations each, 4 samples
    assert TINY.flops == 4 * 2 * (2 * 6 * 5 + 3 * 5 * 3)


def test_shapes_are_those_that_are_published():
    assert [s.label for s in peers.SHAPES] == [
        "40-256x3-10, 128", "784-1024x4-10, 256", "64x33-10, 64", "128x17-10, 128",
    ]  # fmt: skip


def record(library, step, ranks=1, threads=1):
    return {"library": library, "ranks": ranks, "threads": threads, "step_s": step}


def test_ratios_of_known_times():
    found = peers.ratios([
        record("paralift", 3.0), record("paralift", 2.0, ranks=2), record("paralift", 2.5, ranks=2),
        record("torch", 8.0), record("jax", 4.0), record("jax", 3.5, threads=2),
        {"library": "torch", "ranks": 1, "threads": 2, "status": "failed"},
    ])  # fmt: skip
    assert found == {"one_rank": 0.75, "all_cores": 1.75, "efficiency": 0.75}
    assert peers.ratios([record("paralift", 3.0)]) == {}


def test_names_tell_configurations_apart_and_quick_runs_compile_nothing():
    for quick in (False, True):
        names = [c.name for c in peers.contestants(peers.PEERS, quick)]
        assert len(set(names)) == len(names)
        assert any("compiled" in name for name in names) != quick
    assert {c.library for c in peers.contestants([], False)} == {"paralift"}


def test_a_block_has_about_the_asked_length():
    assert loop.block_steps(lambda n: n * 1e-3, 0.2) == 200
    assert loop.block_steps(lambda n: n * 1.0, 0.2) == 1


@pytest.fixture
def clean_here(monkeypatch):
    monkeypatch.setenv(clean.MARK, json.dumps({"re_executed": True, "removed": {}, "set": {}}))


@pytest.mark.parametrize("argv", [["--peers", "theano"], ["--shapes", "round"], ["--rounds", "0"], ["--block", "0"], ["-x"]])
def test_wrong_arguments_end_with_2(argv, capsys):
    assert peers.main(argv) == 2
    assert capsys.readouterr().err


def test_quick_run_without_peers_says_that_they_are_not_installed(clean_here, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(peers, "find_spec", lambda name: None if name in peers.PEERS else find_spec(name))
    assert peers.main(["--quick", "--json", str(tmp_path / "p.json")]) == 0
    found = json.loads((tmp_path / "p.json").read_text())
    assert found["rates"]["gemm_flops"] > 0 and found["rates_after"]["gemm_flops"] > 0
    assert found["machine"]["environment"]["re_executed"]
    (shape,) = found["shapes"]
    results = {r["name"]: r for r in shape["results"]}
    assert {r["status"] for name, r in results.items() if "torch" in name or "jax" in name} == {"not installed"}
    for r in results.values():
        if r["status"] == "measured":
            assert r["library"] == "paralift"
            assert r["step_s"] > 0 and r["flops"] == pytest.approx(shape["flop"] / r["step_s"])
            assert [len(blocks) for blocks in r["rounds"]] == [peers.BLOCKS] * 2
            assert r["facts"]["ranks"] == r["ranks"] == r["facts"]["shards"] * r["facts"]["stages"]
    assert results["paralift, 1 rank"]["status"] == "measured"
    assert "not installed" in capsys.readouterr().out


@pytest.mark.skipif(len(peers.machine.cores()) < 2, reason="two ranks are measured on two cores")
def test_two_ranks_are_measured(clean_here):
    field = [c for c in peers.contestants([], True) if c.ranks == 2 and c.missing() is None]
    if not field:
        pytest.skip("no MPI launcher beside this Python")
    found = peers.compare(TINY, field, rounds=1, block_seconds=0.01)
    assert [r["status"] for r in found] == ["measured"] * 2
    assert [(r["facts"]["shards"], r["facts"]["stages"]) for r in found] == [(1, 2), (2, 1)]


@pytest.mark.parametrize("library", peers.PEERS)
def test_a_peer_is_measured_if_it_is_installed(library):
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    (contestant, *_) = [c for c in peers.contestants([library], True) if c.library == library]
    (found,) = peers.compare(TINY, [contestant], rounds=1, block_seconds=0.01)
    assert found["status"] == "measured" and found["step_s"] > 0


def test_a_program_that_fails_is_named_and_ends_the_run_with_1(clean_here, monkeypatch, tmp_path, capsys):
    (tmp_path / "paralift_step.py").write_text("raise SystemExit('the stage fell down')")
    monkeypatch.setattr(peers, "CHILDREN", tmp_path)
    assert peers.main(["--quick", "--peers", "none", "--json", str(tmp_path / "p.json")]) == 1
    first = json.loads((tmp_path / "p.json").read_text())["shapes"][0]["results"][0]
    assert first["status"].startswith("failed: ended") and "the stage fell down" in first["status"]


def start(tmp_path, text):
    program = tmp_path / "program.py"
    program.write_text(f"import sys, time\n{text}\n")
    return PeerProcess([sys.executable, "-u", str(program)], os.environ, peers.machine.cores())


def test_a_program_is_asked_for_blocks_and_its_chatter_is_passed_over(tmp_path):
    speaks = """
print("warming up")
print('{"ready": {"a": 1}}')
for line in sys.stdin:
    if not line.strip(): break
    print("chatter"); print('{"step_seconds": [' + ", ".join(["0.5"] * int(line)) + "]}")
"""
    with start(tmp_path, speaks) as process:
        assert process.ready() == {"a": 1}
        assert process.blocks(3) == [0.5, 0.5, 0.5]
    assert process.process.returncode == 0


def test_a_program_that_ended_is_an_error_with_its_last_words(tmp_path):
    with start(tmp_path, """print('{"ready": {}}'); sys.exit("out of tune")""") as process:
        process.ready()
        process.process.wait()
        with pytest.raises(PeerError, match="out of tune"):
            process.blocks(1)


def test_a_silent_program_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(peer_process, "START_DEADLINE", 0.2)
    monkeypatch.setattr(peer_process, "GRACE", 0.2)
    with start(tmp_path, "time.sleep(600)") as process:
        with pytest.raises(PeerError, match="said nothing"):
            process.ready()
        assert process.process.returncode == -9


def test_a_termination_signal_ends_the_programs_too(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit, match="143"), peers.orderly():
        with start(tmp_path, "sys.stdin.readline()") as process:
            os.kill(os.getpid(), signal.SIGTERM)
    assert process.process.returncode == 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_programs_steps_are_those_of_training(monkeypatch):
    monkeypatch.syspath_prepend(str(peers.CHILDREN))
    import paralift_step

    from paralift.parallel.grid import Grid
    from paralift.parallel.plan import Plan

    made = []

    class Kept(paralift_step.Worker):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr(paralift_step, "Worker", Kept)
    network = paralift_step.network([6, 5, 3])
    run = paralift_step.build(Grid(None, 1, 1), Plan(1, 1, (0, 2)), network, 4)
    run(paralift_step.N_BATCHES)
    rng = np.random.default_rng(0)
    n = 4 * paralift_step.N_BATCHES
    data = pl.data.from_arrays(rng.standard_normal((n, 6), np.float32), rng.integers(0, 3, n))
    expected = pl.fit(
        network, data, method=paralift_step.METHOD, optimizer=pl.optim.Adam(paralift_step.RATE),
        epochs=1, batch_size=4, seed=0, comm=None, progress=False,
    ).params  # fmt: skip
    for block, arrays in made[0].stage.params.items():
        for name, a in arrays.items():
            np.testing.assert_array_equal(a, expected[block][name])


def test_batches_begin_anew_after_the_last(monkeypatch):
    monkeypatch.syspath_prepend(str(peers.CHILDREN))
    import paralift_step

    sampler = Sampler(10, 4, 0)
    found = list(islice(paralift_step.batches(sampler), 5))
    assert [b.size for b in found] == [4, 4, 2, 4, 4]
    assert [b.step for b in found] == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(found[3].indices, found[0].indices)
