"""With an MPI that tells of dead ranks, the others go on without a restart, and nothing is lost."""

import os
import random
import signal
import sys

import pytest

from jobs import PLANS, WAIT, end, expect_undisturbed, output, processes, random_moment, start


def once(seed, folder, undisturbed):
    """Kill a rank; return how the others went on: from copies, a checkpoint or the start; None if it was too late."""
    draw = random.Random(seed)
    method, (ranks, stages) = draw.choice(["flush", "unflushed", "halo"]), draw.choice(PLANS)
    out = folder / f"run-{seed}"
    process = start(ranks, method, stages, out, survive=True)
    killed = False
    try:
        numbers = processes(out, ranks)
        random_moment(out, draw, process)
        if process.poll() is None:
            os.kill(draw.choice(numbers), signal.SIGKILL)
            killed = True
        process.wait(WAIT)
    finally:
        end(process)
    text = output(out).read_text(errors="replace")
    what = f"{method} on {ranks} ranks in {stages} stages, seed {seed}"
    expect_undisturbed(out, undisturbed(method), what)
    if not killed or " ranks died; " not in text:
        return None
    assert len(list(out.glob("final-*.npz"))) == ranks - 1, f"{what}: every survivor comes to the end\n{text}"
    logs = "".join(log.read_text() for log in (out / "logs").glob("rank-*.log"))
    return "copies" if "from copies in memory" in logs else "checkpoint" if "goes on from /" in logs else "start"


@pytest.mark.filterwarnings("ignore")
def test_survive(rounds, tmp_path, undisturbed):
    found = [once(seed, tmp_path, undisturbed) for seed in range(max(2, min(rounds, 20)))]
    assert any(found), "the moments were all too late"
    counts = {how: found.count(how) for how in ("copies", "checkpoint", "start")}
    print(f"{len(found)} rounds, {sum(counts.values())} killed while training: {counts}", file=sys.stderr)
