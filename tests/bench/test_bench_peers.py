"""The comparison of training steps: its arithmetic, its programs, and what happens when one is missing or fails."""

import inspect
import json
import os
import signal
import sys
import time
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

import paralift as pl
from paralift.bench import clean, contestants, peer_process, peers, problems, turns
from paralift.bench.children import loop
from paralift.bench.peer_process import PeerError, PeerProcess
from paralift.bench.problems import NETWORKS, SHAPES, Named, Shape
from paralift.parallel.grid import Grid
from paralift.parallel.plan import Plan

TINY = Shape("tiny", (6, 5, 3), 4)
LENET = Named("lenet", "LeNet-5", 2, NETWORKS[0].build)


def test_operations_of_a_step():
    # 6 x 5: forward and gradient; 5 x 3: forward, pull and gradient; two operations each, 4 samples
    assert TINY.flops == 4 * 2 * (2 * 6 * 5 + 3 * 5 * 3)


def test_shapes_are_those_that_are_published():
    assert [s.label for s in SHAPES] == [
        "40-256x3-10, 128", "784-1024x4-10, 256", "64x33-10, 64", "128x17-10, 128",
    ]  # fmt: skip
    assert [(p.name, p.batch) for p in NETWORKS] == [("lenet", 128), ("resnet14", 128), ("transformer", 32)]


def test_operations_of_products_with_windows_skips_and_attention():
    layers = [pl.Reshape(4, 4, 1), pl.Conv2d(1, 2, 3), pl.ReLU(), pl.Conv2d(2, 2, 1), pl.Flatten(), pl.Linear(8, 3)]
    # 2 x 2 pixels. Windows of 9 numbers: product and gradient, nothing is pulled on the samples; of 2; and all 8
    expected = 2 * (2 * 4 * 9 * 2 + 3 * 4 * 2 * 2 + 3 * 8 * 3)
    assert problems.product_flops(pl.Sequential(*layers, pl.Softmax(), input_shape=(16,))) == expected
    net = pl.Sequential(pl.Embedding(5, 4), pl.Attention(4, 2), pl.Softmax(), input_shape=(3,))
    # four affine maps of 4 to 4 for each of 3 tokens; scores and mixtures: a product and two pulls
    assert problems.product_flops(net) == 2 * (4 * 3 * 3 * 16 + 2 * 3 * 3 * 3 * 4)


def test_problems_are_found_by_their_names_and_those_of_groups():
    assert problems.find("perceptrons") == list(SHAPES)
    assert [p.name for p in problems.find("transformer,small,networks")] == ["transformer", "small", "lenet", "resnet14"]
    with pytest.raises(ValueError, match=r"\['resnet'\]: expected some of .*resnet14.*networks"):
        problems.find("resnet,lenet")


@pytest.mark.parametrize("problem", [TINY, *NETWORKS], ids=lambda p: p.name)
def test_programs_know_the_network_that_they_are_told(problem, monkeypatch):
    monkeypatch.syspath_prepend(str(contestants.CHILDREN))
    import paralift_step

    args = loop.arguments().parse_args([*problem.arguments, "--block=1"])
    net = paralift_step.network(args)
    assert net.source == problem.network().source and args.batch == problem.batch
    x, y = paralift_step.samples(net, 3)
    assert x.shape == (3, *net.input_shape) and y.shape == (3, *net.output_shape[:-1]) and y.max() < net.output_shape[-1]
    args.parameters += 1
    with pytest.raises(ValueError, match=f"{args.parameters - 1} parameters, expected {args.parameters}"):
        paralift_step.network(args)


@pytest.mark.parametrize("problem", NETWORKS, ids=lambda p: p.name)
@pytest.mark.parametrize("library", peers.PEERS)
def test_peers_write_the_same_network(library, problem, monkeypatch):
    """The same numbers of parameters (`find` raises otherwise) and of logits; in training mode, as a step needs them."""
    pytest.importorskip(library)
    monkeypatch.syspath_prepend(str(contestants.CHILDREN))
    args = loop.arguments().parse_args([*problem.arguments, "--block=1"])
    net = problem.network()
    if library == "torch":
        import torch_problem

        own = torch_problem.find(args)
        for format_ in own.formats:
            module = own.module(format_)
            x, y = next(own.ready(2, format_))
            assert module.training and module(x).shape == (2, *net.output_shape) and torch_problem.mean_loss(module(x), y) > 0
    else:
        import jax
        import jax_problem

        own = jax_problem.find(args)
        key = jax.random.PRNGKey(0)
        x, y = jax.eval_shape(lambda: own.batch(key, 2))
        logits, statistics = jax.eval_shape(lambda x: own.apply(*own.init(key), x), x)
        assert logits.shape == (2, *net.output_shape)
        tracked = sum(int(np.prod(shape)) for block in net.blocks for shape in block.tracked().values())
        assert sum(a.size for a in jax.tree.leaves(statistics)) == tracked
    assert x.size == 2 * np.prod(net.input_shape) if library == "jax" else x.numel() == 2 * np.prod(net.input_shape)
    assert tuple(y.shape) == (2, *net.output_shape[:-1])


def test_a_way_that_is_tried_is_warmed_up_and_the_fastest_of_its_blocks_counts():
    calls = {"slow": [], "fast": []}

    def way(name, seconds):
        def timed(n):
            calls[name].append(n)
            return seconds * n * (1 + 1 / len(calls[name]))

        return timed

    found = loop.trial({"slow": way("slow", 2.0), "fast": way("fast", 1.0)}, 8.0)
    assert calls["slow"][0] == calls["fast"][0] == loop.WARM_UP
    for name, seconds in (("slow", 2.0), ("fast", 1.0)):
        assert found[name] == seconds * (1 + 1 / len(calls[name]))


def record(library, step, ranks=1, threads=1, how=""):
    return {"library": library, "ranks": ranks, "threads": threads, "how": how, "step_s": step}


def test_ratios_of_known_times():
    found = peers.ratios([
        record("paralift", 1.75, threads=2), record("paralift", 3.0),
        record("paralift", 2.0, ranks=2, how="data"), record("paralift", 2.5, ranks=2, how="layers, unflushed"),
        record("paralift", 3.75, ranks=2, how="each alone"), record("torch", 8.0), record("jax", 4.0),
        record("jax", 3.5, threads=2),
        record("torch", 3.75, ranks=2, how="DistributedDataParallel"),
        record("torch", 7.5, ranks=2, how="pipelining GPipe"), record("torch", 5.0, ranks=2, how="pipelining 1F1B"),
        {"library": "torch", "ranks": 1, "threads": 2, "how": "eager", "status": "failed"},
    ])  # fmt: skip
    assert found == {
        "one_rank": 0.75, "all_cores": 2.0, "two_ranks": 1.75, "efficiency": 0.75, "pipelining": 2.0, "ceiling": 0.8,
    }  # fmt: skip
    assert set(found) == set(peers.RATIOS)
    assert peers.ratios([record("paralift", 3.0)]) == {}


def test_everything_that_is_promised_is_compared():
    names = {c.name for c in peers.contestants(peers.PEERS, False)}
    assert {
        "paralift, 1 rank", "paralift, 1 rank, 2 threads", "paralift, 2 ranks, data", "paralift, 2 ranks, layers, flushed",
        "paralift, 2 ranks, layers, unflushed", "paralift, 2 ranks, as planned",
        "torch, 1 thread, compiled", "torch, 2 threads, eager", "jax, 1 thread, jitted",
        "torch, 2 processes, pipelining GPipe", "torch, 2 processes, pipelining 1F1B",
        "torch, 2 processes, DistributedDataParallel",
    } <= names  # fmt: skip


def test_cores_are_given_out_from_the_last_and_then_again(monkeypatch):
    monkeypatch.setattr(contestants.machine, "cores", lambda: [4, 5, 6])
    assert contestants.spread(2) == [5, 6]
    assert contestants.spread(5) == [4, 5, 6, 4, 5]
    four = contestants.data(4)
    assert four.oversubscribed and four.missing() == "needs 4 cores"
    assert not contestants.data(3).oversubscribed


def test_programs_take_turns(monkeypatch):
    monkeypatch.setattr(turns, "PAUSE", 0.0)
    log = []

    class Program:
        def __init__(self, name, fails):
            self.name, self.fails = name, fails

        def __enter__(self):
            return self

        def __exit__(self, *_):
            log.append(f"end {self.name}")

        def ready(self):
            return {"name": self.name}

        def blocks(self, n):
            log.append(self.name)
            if self.fails and log.count(self.name) > 1:
                raise PeerError("ended")
            return [4.0 - log.count(self.name)] * n

    entries = [({}, lambda name=name: Program(name, name == "b")) for name in "abc"]
    turns.take_turns(entries, 3)
    assert log == ["a", "b", "c", "a", "b", "c", "a", "c", "end c", "end b", "end a"]
    (a, b, c) = (record for record, _ in entries)
    assert a["status"] == c["status"] == "measured" and b["status"] == "failed: ended"
    assert (a["step_s"], a["min_step_s"], a["spread"]) == (2.0, 1.0, 1.0)
    assert "step_s" not in b and a["facts"] == {"name": "a"}


def test_names_tell_configurations_apart_and_quick_runs_compile_nothing():
    for quick in (False, True):
        names = [c.name for c in peers.contestants(peers.PEERS, quick)]
        assert len(set(names)) == len(names)
        assert any("compiled" in name for name in names) != quick
    assert {c.library for c in peers.contestants([], False)} == {"paralift"}


def test_networks_that_no_peer_can_cut_meet_no_pipelines():
    field = peers.contestants(peers.PEERS, False)
    assert peers.entrants(TINY, field) == field
    left_out = [c for c in field if c not in peers.entrants(LENET, field)]
    assert [c.how for c in left_out] == ["pipelining GPipe", "pipelining 1F1B"]


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
    monkeypatch.setattr(contestants, "find_spec", lambda name: None if name in peers.PEERS else find_spec(name))
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
            assert [len(blocks) for blocks in r["rounds"]] == [turns.BLOCKS] * 2
            together = 1 if r["how"] == "each alone" else r["ranks"]
            assert r["facts"]["ranks"] == r["ranks"] and together == r["facts"]["shards"] * r["facts"]["stages"]
    assert results["paralift, 1 rank"]["status"] == "measured"
    assert "not installed" in capsys.readouterr().out


@pytest.mark.skipif(len(peers.machine.cores()) < 2, reason="two ranks are measured on two cores")
def test_two_ranks_are_measured(clean_here):
    field = [c for c in peers.contestants([], True) if c.ranks == 2 and c.missing() is None]
    if not field:
        pytest.skip("no MPI launcher beside this Python")
    found = peers.compare(TINY, field, rounds=1, block_seconds=0.01)
    assert [r["status"] for r in found] == ["measured"] * 5
    facts = [(r["facts"]["shards"], r["facts"]["stages"], r["facts"]["schedule"]) for r in found]
    assert facts[:4] == [(1, 1, "flush"), (1, 2, "unflushed"), (1, 2, "flush"), (2, 1, "flush")]
    assert facts[4] in [*facts[1:4], (2, 1, "unflushed")]
    assert all(r["facts"]["predicted_s"] > 0 for r in found)


@pytest.mark.skipif(len(peers.machine.cores()) < 2, reason="two threads are measured on two cores")
def test_two_threads_of_blas_have_two_cores():
    (contestant,) = [c for c in peers.contestants([], True) if c.threads == 2]
    (found,) = peers.compare(TINY, [contestant], rounds=1, block_seconds=0.01)
    assert found["status"] == "measured"
    assert {pool["num_threads"] for pool in found["facts"]["blas"]} <= {2}


@pytest.mark.parametrize("library", peers.PEERS)
def test_a_peer_is_measured_if_it_is_installed(library):
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    (contestant, *_) = [c for c in peers.contestants([library], True) if c.library == library]
    for problem in (TINY, LENET):
        (found,) = peers.compare(problem, [contestant], rounds=1, block_seconds=0.01)
        assert found["status"] == "measured" and found["step_s"] > 0


def test_networks_have_a_record_of_their_own(clean_here, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(peers, "find", lambda text: [LENET])
    monkeypatch.setattr(peers, "NETWORKS", (LENET,))
    monkeypatch.setattr(peers, "contestants", lambda *args: contestants.contestants([], True)[:1])
    monkeypatch.setattr(peers.machine, "rates", lambda quick: {"gemm_flops": 1e9})
    assert peers.main(["--rounds", "1", "--block", "0.001", "--shapes", "lenet", "--out", str(tmp_path)]) == 0
    (shape,) = json.loads((tmp_path / "peers-networks.json").read_text())["shapes"]
    assert (shape["name"], shape["network"], shape["batch"]) == ("lenet", repr(LENET.network()), 2)
    (result,) = shape["results"]
    assert result["status"] == "measured" and result["flops"] == pytest.approx(LENET.flops / result["step_s"])
    assert "LeNet-5, 2" in capsys.readouterr().out


PAIRS = [c for c in peers.contestants(["torch"], True) if c.library == "torch" and c.ranks == 2]


@pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")
@pytest.mark.skipif(len(peers.machine.cores()) < 2, reason="two processes are measured on two cores")
@pytest.mark.parametrize("contestant", PAIRS, ids=lambda c: c.how)
def test_two_processes_of_pytorch_are_measured_and_none_is_left(contestant):
    with contestant.start(TINY, 0.01) as process:
        facts = process.ready()
        assert all(seconds > 0 for seconds in process.blocks(2))
        children = process_group(process.process.pid)
        assert len(children) >= 2 or not os.path.isdir("/proc/self")
    assert process.process.returncode == 0
    assert process_group(process.process.pid) == []
    assert facts["processes"] == 2 and not facts["compiled"]
    chosen = {key: facts[key] for key in ("bounds", "micro_batches", "bucket_mb") if key in facts}
    best = min(facts["tried"], key=lambda way: way["step_s"])
    assert chosen and chosen.items() <= best.items()
    if "bounds" in facts:
        assert facts["bounds"] == [0, 1, 2] and {way["micro_batches"] for way in facts["tried"]} == {2, 4}


@pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")
@pytest.mark.skipif(len(peers.machine.cores()) < 2, reason="two processes are measured on two cores")
def test_the_second_process_ends_when_the_first_is_killed():
    with PAIRS[0].start(TINY, 0.01) as process:
        process.ready()
        process.process.kill()
        process.process.wait()
        with pytest.raises(PeerError):
            process.blocks(1)
    deadline = time.monotonic() + 10.0
    while process_group(process.process.pid) and time.monotonic() < deadline:
        time.sleep(0.01)  # a killed process takes a moment to go
    assert process_group(process.process.pid) == []


def process_group(leader):
    """Return the living processes of a group, where the system lists processes as files."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, group = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue  # it has ended meanwhile
        if int(group) == leader and state != "Z":
            found.append(int(stat.parent.name))
    return found


def test_a_program_that_fails_is_named_and_ends_the_run_with_1(clean_here, monkeypatch, tmp_path, capsys):
    (tmp_path / "paralift_step.py").write_text("raise SystemExit('the stage fell down')")
    monkeypatch.setattr(contestants, "CHILDREN", tmp_path)
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
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    with start(tmp_path, deaf) as process:
        with pytest.raises(PeerError, match="said nothing"):
            process.ready()
        assert process.process.returncode == -9


def test_a_termination_signal_ends_the_programs_too(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit, match="143"), peer_process.orderly():
        with start(tmp_path, "sys.stdin.readline()") as process:
            os.kill(os.getpid(), signal.SIGTERM)
    assert process.process.returncode == 0
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("schedule", ["flush", "unflushed"])
def test_the_programs_steps_are_those_of_training(monkeypatch, schedule):
    monkeypatch.syspath_prepend(str(contestants.CHILDREN))
    import paralift_step

    from paralift.parallel.grid import Grid
    from paralift.parallel.plan import Plan

    made = []

    class Kept(paralift_step.Worker):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr(paralift_step, "Worker", Kept)
    network = TINY.network()
    plan = Plan(1, 1, (0, 2), schedule=schedule)
    run = paralift_step.build(Grid(None, 1, 1), plan, network, 4)
    run(paralift_step.N_BATCHES)
    rng = np.random.default_rng(0)
    n = 4 * paralift_step.N_BATCHES
    data = pl.data.from_arrays(rng.standard_normal((n, 6), np.float32), rng.integers(0, 3, n))
    expected = pl.fit(
        network, data, method=paralift_step.METHOD, optimizer=pl.optim.Adam(paralift_step.RATE),
        epochs=1, batch_size=4, seed=0, comm=None, progress=False, plan=plan,
    ).params  # fmt: skip
    for block, arrays in made[0].stage.params.items():
        for name, a in arrays.items():
            np.testing.assert_array_equal(a, expected[block][name])


def test_batches_are_the_workers_over_and_over(monkeypatch):
    """Of a network with several rows a sample: their halves have to be counted by it."""
    monkeypatch.syspath_prepend(str(contestants.CHILDREN))
    import paralift_step

    net = pl.networks.transformer(5, 4, 8, 1)
    run = paralift_step.build(Grid(None, 1, 1), Plan(1, 1, (0, len(net.blocks)), 2, "unflushed"), net, 4)
    worker, n = inspect.getclosurevars(run).nonlocals["worker"], loop.N_BATCHES
    found = list(islice(paralift_step.batches(worker), n + 2))
    assert [b.size for b in found] == [4 * 4] * (n + 2) and [b.step for b in found] == list(range(n + 2))
    assert [half.size for half in found[0].halves(net.rows)] == [8, 8]
    np.testing.assert_array_equal(found[n].indices, found[0].indices)
    run(2)
    run(0)
