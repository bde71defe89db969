"""Messages between neighbouring stages that are the same step after step: requests made once, started again and again.

MPI counts a persistent request that is not under way as done, so that waits and looks may name all that were ever made:
nothing is kept a step longer than it is needed, and nothing grows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from paralift.kernels.arrays import Array, namespace
from paralift.parallel.grid import Grid
from paralift.parallel.requests import pieces, test_all, wait_all

UP, DOWN = 0, 1

LARGE = 1 << 16
"""Bytes above which a message needs the sender's and the receiver's help to advance; smaller ones leave at once."""


class Bundle(NamedTuple):
    """Messages that start together, and what a wait for them is called."""

    requests: list[Any]
    n_bytes: int
    what: str


class PersistentMessages:
    """Persistent requests of a stage with the stages below and above, kept by window, kind and variables.

    Kinds are "send x" and "receive x", which travel up, and "send g" and "receive g", which travel down.

    Parameters
    ----------
    grid : Grid

    Attributes
    ----------
    waited : float
        Seconds spent in waits for messages that had not arrived, or not left, yet.
    n_messages, n_bytes : int
        Sent and received so far.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.below = grid.stage - 1 if grid.stage > 0 else None
        self.above = grid.stage + 1 if grid.stage + 1 < grid.stages else None
        self.waited, self.n_messages, self.n_bytes = 0.0, 0, 0
        self._bundles: dict[tuple[int, str, tuple[int, ...]], Bundle] = {}
        self._windows: dict[int, Any] = {}
        self._sends: list[Bundle] = []
        self._large: list[Any] = []

    def finish(self) -> None:
        """Wait until everything sent has left; only then may windows be computed anew."""
        for bundle in self._sends:
            self.waited += wait_all(bundle.requests, bundle.what)

    def progress(self) -> None:
        """Let messages advance: most MPIs move large ones only while one of their functions runs."""
        if self._large:
            test_all(self._large)

    def free(self) -> None:
        """Free the requests; local. Receives that were posted ahead of a batch that will not come are taken back."""
        for bundle in self._bundles.values():
            for request in bundle.requests:
                if not request.Test():
                    request.Cancel()
                    request.Wait()
                request.Free()
        self._bundles.clear()
        self._windows.clear()
        self._sends.clear()
        self._large.clear()

    def _start(self, window: Any, what: str, variables: tuple[int, ...]) -> list[Any]:
        """Start the messages of one kind, made at the first call; return their requests, none at the ends of the pipeline."""
        bundle = self._bundles.get((id(window), what, variables)) or self._make(window, what, variables)
        for request in bundle.requests:
            request.Start()
        self.n_messages += len(bundle.requests)
        self.n_bytes += bundle.n_bytes
        return bundle.requests

    def _wait(self, window: Any, what: str, variables: tuple[int, ...]) -> None:
        """Wait for the messages of one kind, if they were ever started."""
        bundle = self._bundles.get((id(window), what, variables))
        if bundle is not None:
            self.waited += wait_all(bundle.requests, bundle.what)

    def _make(self, window: Any, what: str, variables: tuple[int, ...]) -> Bundle:
        up, receives = what.endswith("x"), what.startswith("receive")
        peer = self.below if up is receives else self.above
        made: list[Any] = []
        n_bytes = 0
        if peer is not None:  # not an end of the pipeline
            for v in variables:
                array = self._array(window, what, v)
                make = self.grid.pipe.Recv_init if receives else self.grid.pipe.Send_init
                requests = persistent(make, array, peer, 2 * v + (UP if up else DOWN))
                made += requests
                n_bytes += int(array.nbytes)
                self._large += requests if array.nbytes > LARGE else []
        self._windows[id(window)] = window  # keeps the buffers, and so the key, alive
        bundle = Bundle(made, n_bytes, self._name(window, what, variables, peer))
        if made and not receives:
            self._sends.append(bundle)
        return self._bundles.setdefault((id(window), what, variables), bundle)

    def _name(self, window: Any, what: str, variables: tuple[int, ...], peer: int | None) -> str:
        """Return what a wait is called: "x of linear3 from rank 2"."""
        blocks = window.stage.network.blocks
        of = ", ".join(blocks[v - 1].name if v else "the input" for v in variables)
        kind, array = what.split()
        rank = None if peer is None else self.grid.shard * self.grid.stages + peer
        return f"{array} of {of} {'from' if kind == 'receive' else 'to reach'} rank {rank}"

    @staticmethod
    def _array(window: Any, what: str, v: int) -> Array:
        """Return what a message of a kind leaves from, or arrives in."""
        raise NotImplementedError


def persistent(make: Any, array: Array, peer: int, tag: int) -> list[Any]:
    """Return persistent requests for a contiguous array.

    Parameters
    ----------
    make : bound method
        ``comm.Send_init`` or ``comm.Recv_init``.
    array : contiguous array
    peer, tag : int
        Pieces share the tag: MPI keeps the order of messages between two ranks.
    """
    flat = namespace(array).reshape(array, (-1,))
    return [make(flat[a:b], peer, tag) for a, b in pieces(0, flat.shape[0], array.dtype.itemsize)]
