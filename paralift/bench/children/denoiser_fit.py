"""A denoiser trained on as many stages as there are ranks; rank 0 writes the parameters to the file named."""

from __future__ import annotations

import sys
from pathlib import Path

from threadpoolctl import threadpool_limits

from paralift.bench.denoiser import trained, write_params
from paralift.bench.studies import DEFAULT
from paralift.parallel.world import find_world


def main() -> None:
    """Train one network."""
    seed, quick, path = int(sys.argv[1]), bool(int(sys.argv[2])), Path(sys.argv[3])
    comm = find_world()
    stages, rank = (1, 0) if comm is None else (comm.Get_size(), comm.Get_rank())
    with threadpool_limits(limits=1, user_api="blas"):
        params = trained(DEFAULT, seed, quick, comm, stages)
    if rank == 0:
        write_params(path, params)


if __name__ == "__main__":
    main()
