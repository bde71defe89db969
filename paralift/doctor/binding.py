"""Binding: whether the launcher can put each rank on a core of its own, and whether that core is one that we may use."""

from __future__ import annotations

import json

from paralift.ask import ask, first_paragraph
from paralift.doctor import cores
from paralift.doctor.check import Check
from paralift.launch import LaunchError, mpirun_command

DEADLINE = 30.0
MOST = 4
"""Ranks that are tried: more show nothing new."""
UNBOUND = "export PRTE_MCA_hwloc_default_binding_policy=none, or give mpirun --bind-to none"
QUESTION = "import json, os; print(json.dumps(sorted(os.sched_getaffinity(0))), flush=True)"


def check_binding() -> Check:
    """Return what ``mpirun --bind-to core`` does here."""
    own = cores.usable()
    n = min(MOST, cores.physical(own))
    try:
        launcher, *rest = mpirun_command(n)
    except LaunchError:
        return Check("binding", "missing", "no mpirun beside this Python", "only for more than one rank")
    code, out, err = ask([launcher, "--bind-to", "core", *rest, "-c", QUESTION], DEADLINE)
    if code != 0:
        said = first_paragraph(err) or "without a word"
        return Check("binding", "warning", f"mpirun --bind-to core fails with code {code}: {said}", UNBOUND)
    return judge([set(json.loads(line)) for line in out.splitlines() if line.startswith("[")], own, n)


def judge(bound: list[set[int]], own: set[int], n: int) -> Check:
    """Return the line for ranks that run on the processors `bound`, of which `own` may be used."""
    found = f"mpirun --bind-to core -n {n}: {' | '.join(_list(part) for part in bound) or 'no answer'}"
    outside = set().union(*bound) - own
    if len(bound) != n:
        return Check("binding", "warning", f"{found}; {len(bound)} of {n} ranks answered", UNBOUND)
    if outside:
        hurts = f"ranks leave the cores that were given to this process ({_list(own)}) and compete with other jobs: "
        return Check("binding", "warning", f"{found}; core {_list(outside)} is not ours", hurts + UNBOUND)
    if sum(map(len, bound)) > len(set().union(*bound)):
        return Check("binding", "warning", f"{found}; ranks share cores", f"they slow each other: {UNBOUND}")
    return Check("binding", "ok", f"{found}; each rank on a core of its own")


def _list(processors: set[int]) -> str:
    return ",".join(map(str, sorted(processors)))
