"""Random cases in a process of their own, with a limit on memory and a deadline: a crash and a hang are found like an error.

A case is a function (random.Random, folder) -> outcome. It raises where the package breaks its promise: AssertionError for a
wrong value, or whatever the package should not have raised. Seeds name cases; one is run again, alone and with its traceback,
by::

    python tests/faults/fuzzing.py MODULE CASE SEED
"""

import faulthandler
import importlib
import json
import os
import queue
import random
import re
import resource
import subprocess
import sys
import tempfile
import threading
import traceback
from collections import Counter
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

PATIENCE = 10.0
"""Seconds until a case counts as hanging; its process ends then and says where it was."""
DEADLINE = 60.0
"""Seconds until a process counts as hanging that does not even say so."""
ROOM = 1 << 30
"""Bytes that a process of cases may take beyond those it starts with: what asks for more trusts a damaged header."""
MOST_FOUND = 5
"""Failures after which no more are looked for."""
FORBIDDEN = ("pickle.find_class", "os.system", "os.exec", "subprocess.Popen", "socket.connect")
"""Events of the interpreter that no reading of a file may cause."""


WATCHED = [True]


def fuzz(module: str, case: str, count: int, first: int = 0, beyond: str = "") -> Counter:
    """Run `count` cases from seed `first` on; return how often each outcome came, or raise AssertionError with failures.

    Crashes and hangs in calls of the library `beyond`, which nothing around it can mend, are counted and told, no failures.
    """
    outcomes, found, stop = Counter(), [], first + count
    while first < stop and len(found) < MOST_FOUND:
        first = _go_on(module, case, first, stop, outcomes, found)
        seed, text = found[-1] if found else (0, "")
        if beyond and re.search(rf"most recent call first\):\n  File \"[^\"]*/{beyond}/", text):
            found.pop()
            outcomes[f"lost in {beyond}"] += 1
            print(f"{module} {case} {seed} is lost in {beyond}", file=sys.stderr)
    again = f"python tests/faults/fuzzing.py {module} {case}"
    assert not found, "\n".join(f"{again} {seed}\n{text}" for seed, text in found)
    print(f"{module} {case}: {dict(outcomes)}", file=sys.stderr)
    return outcomes


def _go_on(module, case, first, stop, outcomes, found):
    """Let one process run cases until it dies or all are done; return the seed to go on with."""
    command = [sys.executable, __file__, module, case, str(first), str(stop)]
    with tempfile.TemporaryFile() as errors, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors) as process:
        lines: queue.Queue = queue.Queue()
        threading.Thread(target=lambda: [lines.put(line) for line in chain(process.stdout, [b""])], daemon=True).start()
        try:
            while first < stop and len(found) < MOST_FOUND:
                try:
                    line = lines.get(timeout=DEADLINE)
                except queue.Empty:
                    found.append((first, f"no answer within {DEADLINE:g} s"))
                    return first + 1
                if not line:
                    errors.seek(0)
                    said = errors.read()[-3000:].decode(errors="replace")
                    found.append((first, f"the process ended with code {process.wait()}: {said}"))
                    return first + 1
                seed, outcome, text = json.loads(line)
                if outcome is None:
                    found.append((seed, text))
                else:
                    outcomes[outcome] += 1
                first = seed + 1
        finally:
            process.kill()
    return first


def run(module: str, case: str, first: int, stop: int, tell) -> None:
    """Run cases in this process; `tell` hears (seed, outcome, None) or (seed, None, traceback)."""
    function = importlib.import_module(module).CASES[case]
    with tempfile.TemporaryDirectory() as folder:
        function(random.Random(-1), Path(folder) / "warm")  # what is made once is made before memory is counted
        limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + ROOM
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        sys.addaudithook(_watch)
        for seed in range(first, stop):
            faulthandler.dump_traceback_later(PATIENCE, exit=True)
            try:
                outcome = function(random.Random(f"{case} {seed}"), Path(folder) / str(seed))
                tell(seed, str(outcome), None)
            except Exception:
                tell(seed, None, traceback.format_exc(limit=-6, chain=False)[-3000:])
            faulthandler.cancel_dump_traceback_later()


@contextmanager
def unwatched():
    """Let what is done within cause any event: compiled code, for one, is kept in pickles of its own."""
    WATCHED.append(False)
    try:
        yield
    finally:
        WATCHED.pop()


def _watch(event, arguments):
    if event in FORBIDDEN and WATCHED[-1]:
        raise AssertionError(f"{event} {arguments} while a file was read")


def main(module, case, first, stop=None):
    faulthandler.enable()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not mix with the answers

    def tell(seed, outcome, text):
        answers.write(f"{seed}: {outcome}\n{text or ''}" if stop is None else json.dumps([seed, outcome, text]) + "\n")
        answers.flush()

    run(module, case, int(first), int(first) + 1 if stop is None else int(stop), tell)


if __name__ == "__main__":
    importlib.import_module("fuzzing").main(*sys.argv[1:])  # the module that the cases import, not a second one
