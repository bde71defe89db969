"""No rank waits for a dead one: an error that not all ranks raise together ends the whole job."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from paralift.exits import INTERRUPTED
from paralift.parallel.activity import ACTIVITY
from paralift.parallel.ending import end_job
from paralift.parallel.grid import AgreedError, Grid
from paralift.parallel.survival import RankLost


@contextmanager
def guard(grid: Grid) -> Iterator[None]:
    """Run a block in which ranks depend on each other.

    An exception that this rank alone raises is printed with the rank, its shard and stage and the phase of the run, and
    ends the job on all ranks; so does an interrupt, without a traceback. An `AgreedError` or a `RankLost` passes: all ranks
    raise it. On one rank every exception passes.
    """
    try:
        yield
    except (AgreedError, RankLost):
        raise
    except BaseException as error:
        if grid.world is None:
            raise
        place = f"rank {grid.rank} (shard {grid.shard}, stage {grid.stage})"
        if isinstance(error, KeyboardInterrupt):  # some launchers hand it on
            print(f"paralift: {place} was interrupted in {ACTIVITY.where}; all ranks are ended", file=sys.stderr, flush=True)
            end_job(grid.world, INTERRUPTED)
        print(f"paralift: {place} failed in {ACTIVITY.where}; all ranks are ended\n", file=sys.stderr)
        traceback.print_exception(error, file=sys.stderr)
        sys.stderr.flush()
        end_job(grid.world, 1)
