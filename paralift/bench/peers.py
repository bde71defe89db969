"""``paralift bench peers``: training steps of perceptrons and of other networks by ParaLift, PyTorch and JAX, side by side.

Every configuration is a program of its own, started once for a problem and warmed up; then they are asked for blocks of steps
in turn (A B C A B C ...), so that the machine's drift meets all of them alike. What is compared: the median over the rounds
of the fastest block of a round. Steps of one rank or thread are kept on one core. ParaLift gathers its samples from a data
set; the peers find their batches ready. PyTorch's programs choose the best of several memory formats of images themselves, and
its pipelines and data parallelism that of several splits, numbers of micro-batches and sizes of buckets, by short trials
before the first turn.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from paralift.bench import machine, report
from paralift.bench.clean import start_clean
from paralift.bench.contestants import COPIES, LAYERS, PEERS, PIPELINING, Contestant, contestants, entrants
from paralift.bench.peer_process import orderly
from paralift.bench.problems import GROUPS, NETWORKS, QUICK, Problem, find
from paralift.bench.turns import STATISTIC, take_turns


def compare(problem: Problem, field: Sequence[Contestant], rounds: int, block_seconds: float) -> list[dict[str, Any]]:
    """Measure one problem; return a record for each contestant, in order."""
    records, entries = [], []
    for contestant in field:
        record: dict[str, Any] = {**contestant.record, "status": contestant.missing()}
        records.append(record)
        if record["status"] is None:
            entries.append((record, lambda contestant=contestant: contestant.start(problem, block_seconds)))
    take_turns(entries, rounds)
    for record in records:
        if "step_s" in record:
            record["flops"] = problem.flops / record["step_s"]
    return records


RATIOS = {
    "one_rank": "one rank / best 1-thread peer: {:.2f}",
    "all_cores": "times faster than the best peer: {:.2f}",
    "two_ranks": "2 ranks, times faster than the best peer: {:.2f}",
    "efficiency": "efficiency at 2 ranks: {:.2f}",
    "pipelining": "unflushed, times faster than PyTorch's pipelining: {:.2f}",
    "ceiling": "efficiency of 2 ranks that each train alone: {:.2f}",
}
"""The ratios of a problem, and how they are printed."""


def ratios(records: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return ParaLift's times against the peers': those of `RATIOS` whose parts were measured.

    `one_rank` is a share of the best time of a peer in one thread (lower is better), `all_cores` how many times faster the
    best of ParaLift is than the best peer of all, `two_ranks` the same for the best of ParaLift on two ranks, `efficiency`
    the speed-up of the best two ranks over one rank, halved, `pipelining` how many times faster the unflushed wave is than
    the best pipeline of PyTorch, both on two processes. `ceiling` is the efficiency of ranks that do not work together at all:
    on a shared machine cores that work at once slow one another down.
    """
    times = [r for r in records if "step_s" in r]
    own = [r for r in times if r["library"] == "paralift" and r["how"] != COPIES]
    crowded = _best(r for r in times if r["how"] == COPIES)
    peers = [r for r in times if r["library"] != "paralift"]
    alone = _best(r for r in own if r["ranks"] == r["threads"] == 1)
    double = _best(r for r in own if r["ranks"] == 2)
    peer = _best(peers)
    pipeline = _best(r for r in peers if r["how"].startswith(PIPELINING))
    unflushed = _best(r for r in own if r["how"] == LAYERS["unflushed"])
    parts = {
        "one_rank": (alone, _best(r for r in peers if r["ranks"] == r["threads"] == 1)),
        "all_cores": (peer, _best(own)),
        "two_ranks": (peer, double),
        "efficiency": (alone, double and 2 * double),
        "pipelining": (pipeline, unflushed),
        "ceiling": (alone, crowded),
    }
    return {name: a / b for name, (a, b) in parts.items() if a is not None and b is not None}


def _best(records: Any) -> float | None:
    return min((r["step_s"] for r in records), default=None)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code: 1 if a program failed, 0 even where a peer is not installed."""
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = report.arguments("paralift bench peers", "Training steps of ParaLift, PyTorch and JAX, side by side.")
    parser.add_argument("--peers", default=",".join(PEERS), help="torch,jax, one of them, or none")
    names = {group: ",".join(p.name for p in problems) for group, problems in GROUPS.items()}
    text = f"some of {', '.join(f'{group} ({each})' for group, each in names.items())} (default %(default)s)"
    parser.add_argument("--shapes", default="perceptrons", help=text)
    parser.add_argument("--rounds", type=int, default=7, help="turns of every program (default %(default)s)")
    parser.add_argument("--block", type=float, default=0.2, help="seconds of a block (default %(default)s)")
    text = "PyTorch on two processes without torch.compile, which takes minutes in deep networks"
    parser.add_argument("--eager-pairs", action="store_true", help=text)
    args = report.parse(parser, argv)
    if isinstance(args, int):
        return args
    peers = [] if args.peers == "none" else args.peers.split(",")
    try:
        problems = find(args.shapes)
    except ValueError as error:
        print(f"paralift bench peers: --shapes: {error}", file=sys.stderr)
        return 2
    wrong = set(peers) - set(PEERS)
    if wrong or args.rounds < 1 or not args.block > 0:
        print(f"paralift bench peers: {sorted(wrong) or 'a number that is not positive'}: expected peers of {PEERS}, "
              "at least one round, a positive block", file=sys.stderr)  # fmt: skip
        return 2
    code = start_clean("paralift.bench.peers", argv)
    if code is not None:
        return code
    with orderly():
        return _run(args, peers, [QUICK] if args.quick else problems, argv)


def _run(args: Any, peers: Sequence[str], problems: Sequence[Problem], argv: Sequence[str]) -> int:
    rounds, block = (2, 0.02) if args.quick else (args.rounds, args.block)
    record: dict[str, Any] = {"machine": machine.describe(["paralift", "bench", "peers", *argv])}
    record["rates"] = machine.rates(args.quick)
    record["statistic"] = STATISTIC
    record["shapes"] = []
    for problem in problems:
        field = entrants(problem, contestants(peers, args.quick, not args.eager_pairs))
        found = compare(problem, field, rounds, block)
        compared = ratios(found)
        record["shapes"].append({**problem.record, "flop": problem.flops, "results": found, "ratios": compared})
        show(problem, found, compared, record["rates"]["gemm_flops"])
    record["rates_after"] = machine.rates(args.quick)
    report.write(args, "peers-networks" if set(problems) <= set(NETWORKS) else "peers", record)
    failed = [r for s in record["shapes"] for r in s["results"] if r["status"].startswith("failed")]
    return int(bool(failed))


def show(problem: Problem, records: Sequence[dict[str, Any]], compared: dict[str, float], gemm: float) -> None:
    """Print one problem's table."""
    rows = []
    for r in records:
        if r["status"] == "measured":
            rate = f"{r['flops'] / 1e9:.1f}"
            share = f"{r['flops'] / gemm / (r['ranks'] * r['threads']):.2f}"
            rows.append((r["name"], f"{1e3 * r['step_s']:.3f}", f"{1e3 * r['min_step_s']:.3f}",
                         f"{100 * r['spread']:.0f} %", rate, share, _chosen(r["facts"])))  # fmt: skip
        else:
            rows.append((r["name"], "", "", "", "", "", r["status"]))
    columns = ("", "ms a step", "fastest", "spread", "GFLOP/s", "of GEMM a core", "")
    report.show(f"{problem.name}: {problem.label}", columns, rows)
    print("   ".join(RATIOS[key].format(value) for key, value in compared.items()))


def _chosen(facts: dict[str, Any]) -> str:
    """Return what a program chose for itself."""
    texts = {"shards": "{} shards", "bounds": "blocks {}", "micro_batches": "{} parts", "schedule": "{}",
             "bucket_mb": "buckets of {} MB", "format": "{}"}  # fmt: skip
    chosen = [text.format(facts[key]) for key, text in texts.items() if facts.get(key, 1) != 1]
    return ", ".join(chosen + ["compiled"] * bool(facts.get("compiled")))


if __name__ == "__main__":
    sys.exit(main())
