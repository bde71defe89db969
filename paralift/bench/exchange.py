"""``paralift bench exchange``: messages between neighbouring stages against raw MPI, and how much of them products hide.

Two ranks, a core each. Latency and bandwidth come from round trips: x up, its pull down, halved. The same bytes go by
ParaLift's windows, by raw persistent requests and by Send and Recv, in turn. For the overlap both ranks multiply matrices for
about as long as a message takes, after it was started and before it is waited for:

    hidden share = (message + products - both together) / min(message, products)

1 where the shorter of the two costs nothing, 0 where one waits for the end of the other; without and with calls between the
products that let the MPI advance (Testall).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from paralift.bench import machine, report
from paralift.bench.clean import clean, start_clean
from paralift.bench.contestants import CHILDREN, mpi_missing, spread, start_ranks
from paralift.bench.peer_process import PeerError, PeerProcess, orderly
from paralift.bench.protocol import Timing

SIZES = tuple(8 * 8**k for k in range(8)) + (64 << 20,)
"""Bytes: 8, 64, ..., 16 MiB, 64 MiB."""
OVERLAP_SIZES = (64 << 10, 1 << 20, 16 << 20)
WAYS = {"paralift": "ParaLift", "persistent": "persistent", "send_recv": "Send, Recv"}
OVERLAPS = ("paralift", "persistent")
"""Ways whose overlap is measured: those that return before a message has arrived."""
TCP = {"OMPI_MCA_btl": "self,tcp", "OMPI_MCA_btl_tcp_if_include": "127.0.0.0/8"}
TRANSPORTS: Mapping[str, Mapping[str, str]] = {
    "sm": {"OMPI_MCA_btl": "self,sm"},
    "tcp": TCP,
    "tcp-thread": {**TCP, "OMPI_MCA_btl_tcp_progress_thread": "1"},
}
"""Variables that choose a transport of Open MPI: shared memory, TCP on the loopback, the same with its progress thread."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code: 1 if the ranks failed, 2 if they cannot be started."""
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = report.arguments("paralift bench exchange", "Messages between stages against raw MPI, and their overlap.")
    parser.add_argument("--transports", default="sm", help=f"some of {','.join(TRANSPORTS)} (default %(default)s)")
    parser.add_argument("--repeats", type=int, default=9, help="blocks of every way (default %(default)s)")
    parser.add_argument("--block", type=float, default=0.1, help="seconds of a block (default %(default)s)")
    args = report.parse(parser, argv)
    if isinstance(args, int):
        return args
    transports = args.transports.split(",")
    wrong = set(transports) - set(TRANSPORTS)
    if wrong or args.repeats < 1 or not args.block > 0:
        print(f"paralift bench exchange: {sorted(wrong) or 'a number that is not positive'}: expected transports of "
              f"{tuple(TRANSPORTS)}, at least one repeat, a positive block", file=sys.stderr)  # fmt: skip
        return 2
    if (reason := mpi_missing(2)) is not None:
        print(f"paralift bench exchange: two ranks are needed, but {reason}; install both: pip install 'paralift[mpi]'",
              file=sys.stderr)  # fmt: skip
        return 2
    code = start_clean("paralift.bench.exchange", argv)
    if code is not None:
        return code
    with orderly():
        return _run(args, transports, argv)


def _run(args: Any, transports: Sequence[str], argv: Sequence[str]) -> int:
    record: dict[str, Any] = {"machine": machine.describe(["paralift", "bench", "exchange", *argv])}
    record["oversubscribed"] = len(machine.cores()) < 2
    record["transports"] = []
    for name in transports:
        found = measure(name, args)
        record["transports"].append(found)
        show(found)
    report.write(args, "exchange", record)
    return int(any(found["status"] != "measured" for found in record["transports"]))


def measure(transport: str, args: Any) -> dict[str, Any]:
    """Start two ranks on a transport and have them measure all sizes; return the record."""
    block, repeats = (0.005, 2) if args.quick else (args.block, args.repeats)
    found: dict[str, Any] = {"name": transport, "status": "measured", "messages": [], "overlap": []}
    try:
        with start(transport) as ranks:
            found["facts"] = ranks.ready()
            for n in SIZES[:6:2] if args.quick else SIZES:
                found["messages"].append(judge_message(n, ask(ranks, "message", n, block, repeats)))
            for n in OVERLAP_SIZES[:2] if args.quick else OVERLAP_SIZES:
                found["overlap"].append(judge_overlap(n, ask(ranks, "overlap", n, block, repeats)))
    except PeerError as error:
        found["status"] = f"failed: {error}"
    return found


def start(transport: str) -> PeerProcess:
    """Start the two ranks."""
    cores = spread(2)
    environment = {**clean(os.environ), **TRANSPORTS[transport]}
    program = [str(CHILDREN / "exchange_ranks.py"), f"--cores={','.join(map(str, cores))}"]
    return start_ranks(program, 2, environment, cores)


def ask(ranks: PeerProcess, what: str, n: int, block: float, repeats: int) -> dict[str, Any]:
    """Have the ranks do one job."""
    return ranks.ask(json.dumps({"what": what, "bytes": n, "block": block, "repeats": repeats}), "result")


def judge_message(n: int, times: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Return the record of messages of `n` bytes: times, bandwidths, and ParaLift's time as a multiple of each raw one."""
    found: dict[str, Any] = {"bytes": n}
    for way in WAYS:
        timing = Timing(tuple(times[way]))
        found[way] = {**timing.record(), "bytes_per_s": n / timing.median}
    for way in ("persistent", "send_recv"):
        found[f"over_{way}"] = found["paralift"]["median_s"] / found[way]["median_s"]
    return found


def judge_overlap(n: int, answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record of the overlap of messages of `n` bytes: times, and hidden shares without and with progress."""
    times = {name: Timing(tuple(value)) for name, value in answer.items() if isinstance(value, list)}
    found: dict[str, Any] = {"bytes": n, "n_products": answer["n_products"], "width": answer["width"],
                             "times": {name: timing.record() for name, timing in times.items()}}  # fmt: skip
    for way in OVERLAPS:
        alone, compute = times[f"{way}_message"].median, times["compute"].median
        found[way] = {
            "hidden": hidden(alone, compute, times[f"{way}_both"].median),
            "hidden_with_testall": hidden(alone, compute, times[f"{way}_progress"].median),
        }
    return found


def hidden(message: float, compute: float, together: float) -> float:
    """Return the hidden share of the shorter of a message and a computation; not clipped, so that noise is seen as such."""
    return (message + compute - together) / min(message, compute)


def show(found: Mapping[str, Any]) -> None:
    """Print the two tables of a transport."""
    name = found["name"]
    if found["status"] != "measured":
        print(f"{name}: {found['status']}")
    rows = []
    for r in found["messages"]:
        times = [f"{1e6 * r[way]['median_s']:.2f}" for way in WAYS]
        rates = [f"{r[way]['bytes_per_s'] / 1e9:.3f}" for way in WAYS]
        rows.append((size(r["bytes"]), *times, *rates, f"{r['over_persistent']:.2f}", f"{r['over_send_recv']:.2f}"))
    heads = [f"{text}, {unit}" for unit in ("us", "GB/s") for text in WAYS.values()]
    report.show(f"one way, {name}", ("", *heads, "x persistent", "x Send, Recv"), rows, width=160)
    rows = []
    for r in found["overlap"]:
        seconds = [f"{1e6 * r['times'][key]['median_s']:.1f}" for key in ("paralift_message", "compute")]
        shares = [f"{100 * r[way][key]:.0f} %" for way in OVERLAPS for key in ("hidden", "hidden_with_testall")]
        rows.append((size(r["bytes"]), *seconds, f"{r['n_products']} of {r['width']}", *shares))
    heads = [text for way in OVERLAPS for text in (f"hidden, {WAYS[way]}", "with Testall")]
    report.show(f"overlap, {name}", ("", "message, us", "products, us", "number", *heads), rows, width=140)


def size(n: int) -> str:
    """Return a number of bytes for people."""
    for unit, each in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if n >= each:
            return f"{n / each:g} {unit}"
    return f"{n} B"


if __name__ == "__main__":
    sys.exit(main())
