"""A measured program as the benchmark sees it: start it, wait until it has warmed up, ask it for blocks of steps."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any

from paralift.launch import clear_session

START_DEADLINE = 900.0
"""Seconds until a program must be ready; a deep network takes a compiler minutes."""
BLOCK_DEADLINE = 300.0
"""Seconds for an answer."""
GRACE = 5.0
"""Seconds that a program has to end by itself."""


class PeerError(RuntimeError):
    """A measured program ended or fell silent."""


class PeerProcess:
    """One measured program, in a process group of its own; a context manager that leaves nothing behind.

    Parameters
    ----------
    command : sequence of str
    environment : mapping of str to str
    cores : collection of int
        Cores that the program may use.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], cores: Sequence[int]) -> None:
        self.errors = tempfile.TemporaryFile("w+")
        self._pending = b""
        own = os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else None
        if own is not None:
            os.sched_setaffinity(0, cores)  # inherited by the program
        try:
            self.process = subprocess.Popen(
                list(command), env=dict(environment), start_new_session=True, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
            )  # fmt: skip
        finally:
            if own is not None:
                os.sched_setaffinity(0, own)

    def ready(self) -> dict[str, Any]:
        """Wait until the program has warmed up; return its facts.

        Raises
        ------
        PeerError
            If it ended instead.
        """
        return self._answer("ready", START_DEADLINE)

    def blocks(self, n: int) -> list[float]:
        """Return the seconds of a step in each of `n` blocks.

        Raises
        ------
        PeerError
            If the program ended.
        """
        return self.ask(str(n), "step_seconds")

    def ask(self, request: str, key: str) -> Any:
        """Say one line; return the value of `key` in the answer.

        Raises
        ------
        PeerError
            If the program ended or fell silent.
        """
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(f"{request}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self._failed("ended") from None
        return self._answer(key, BLOCK_DEADLINE)

    def _answer(self, key: str, seconds: float) -> Any:
        """Return the value of the next line of JSON that has `key`; other lines are chatter."""
        deadline = time.monotonic() + seconds
        while True:
            line = self._line(deadline)
            if line.startswith(f'{{"{key}"'.encode()):
                return json.loads(line)[key]
            if not line:
                raise self._failed(f"said nothing for {seconds:g} s")

    def _line(self, deadline: float) -> bytes:
        """Return the next line of the output, or nothing if none comes before the deadline.

        Read from the descriptor: a stream that buffers lines hides them from a selector.
        """
        assert self.process.stdout is not None
        output = self.process.stdout.fileno()
        with selectors.DefaultSelector() as waiting:
            waiting.register(output, selectors.EVENT_READ)
            while b"\n" not in self._pending:
                if not waiting.select(deadline - time.monotonic()):
                    return b""
                found = os.read(output, 1 << 16)
                if not found:
                    raise self._failed("ended")
                self._pending += found
        line, _, self._pending = self._pending.partition(b"\n")
        return line + b"\n"

    def _failed(self, what: str) -> PeerError:
        self._end()
        self.errors.seek(0)
        lines = [line.strip() for line in self.errors.read().splitlines() if line.strip(" -")]
        return PeerError(f"{what}; its last words: {' | '.join(lines[-3:]) or 'none'}")

    def __enter__(self) -> PeerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        self.errors.close()

    def _end(self) -> None:
        """Let the program end by itself, then end its group."""
        assert self.process.stdin is not None and self.process.stdout is not None
        with suppress(BrokenPipeError, ValueError):  # it has ended, or was told before
            self.process.stdin.write("\n")  # a launcher hands on lines, but not always the end of the input
            self.process.stdin.flush()
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        for number in (signal.SIGTERM, signal.SIGKILL):  # a launcher ends its ranks when it is asked to end itself
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(GRACE)
                break
            os.killpg(self.process.pid, number)
        self.process.wait()
        with suppress(ProcessLookupError, PermissionError):  # PermissionError: only zombies, on some systems
            os.killpg(self.process.pid, signal.SIGKILL)  # what the program started and left behind
        clear_session(self.process.pid)
        self.process.stdout.close()


@contextmanager
def orderly() -> Iterator[None]:
    """Let a termination signal end the block by SystemExit, so that it ends the programs that it started."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
