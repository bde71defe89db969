"""Ranks that solve a problem together, over MPI: the `Team` of `paralift.optim`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from paralift.kernels.arrays import Array, family, from_host, to_host
from paralift.parallel.activity import ACTIVITY
from paralift.parallel.grid import Grid
from paralift.parallel.mailbox import Mailbox
from paralift.parallel.requests import pieces, wait_all

TAG = 8


class MPITeam:
    """All ranks of a grid; see `paralift.optim.team.Team`.

    Parameters
    ----------
    grid : Grid
        Of several ranks; its communicators are freed by whoever made it.
    """

    def __init__(self, grid: Grid) -> None:
        self.comm, self.rank, self.size, self.bytes_sent = grid.world, grid.rank, grid.size, 0

    def sum(self, array: Array) -> None:
        """Overwrite an array by its sum over ranks."""
        from mpi4py import MPI

        host = np.ascontiguousarray(to_host(array))
        flat = host.reshape(-1)
        with ACTIVITY.waiting("a sum over all ranks"):
            for start, stop in pieces(0, flat.size, flat.itemsize):
                self.comm.Allreduce(MPI.IN_PLACE, flat[start:stop])
        if host is not array:
            array[...] = from_host(host, array)
        self.bytes_sent += 2 * (self.size - 1) * host.nbytes // self.size

    def sums(self, *numbers: float) -> list[float]:
        """Return the sums of numbers over ranks."""
        values = np.array(numbers, dtype=np.float64)
        self.sum(values)
        return values.tolist()

    def largest(self, number: float) -> float:
        """Return the largest number of all ranks."""
        from mpi4py import MPI

        with ACTIVITY.waiting("a word from all ranks"):
            return float(self.comm.allreduce(float(number), op=MPI.MAX))

    def from_first(self, array: Array) -> None:
        """Overwrite an array by the first rank's."""
        host = np.ascontiguousarray(to_host(array))
        flat = host.reshape(-1)
        with ACTIVITY.waiting("an array from rank 0"):
            for start, stop in pieces(0, flat.size, flat.itemsize):
                self.comm.Bcast(flat[start:stop], root=0)
        if host is not array:
            array[...] = from_host(host, array)

    def gather(self, array: Array) -> Sequence[Array]:
        """Return the arrays of all ranks."""
        host = np.ascontiguousarray(to_host(array))
        everything = np.empty((self.size, *host.shape), host.dtype)
        with ACTIVITY.waiting("arrays from all ranks"):
            self.comm.Allgather(host, everything)
        self.bytes_sent += (self.size - 1) * host.nbytes
        return list(everything) if family(array) == "numpy" else [from_host(part, array) for part in everything]

    def swap(self, neighbours: Sequence[int], array: Array) -> Mapping[int, Array]:
        """Send an array to each neighbour, and return theirs."""
        host = np.ascontiguousarray(to_host(array))
        theirs = {rank: np.empty_like(host) for rank in neighbours}
        requests = [self.comm.Irecv(theirs[rank], rank, TAG) for rank in neighbours]
        requests += [self.comm.Isend(host, rank, TAG) for rank in neighbours]
        wait_all(requests, f"arrays from ranks {', '.join(map(str, neighbours))}")
        self.bytes_sent += len(neighbours) * host.nbytes
        return theirs if family(array) == "numpy" else {rank: from_host(a, array) for rank, a in theirs.items()}

    def mailbox(self, like: Array) -> Mailbox:
        """Return a mailbox for arrays like this one, on a communicator of its own."""
        return Mailbox(self.comm.Dup(), like)
