"""One training of a study (STUDY COLUMN WAY QUICK) on as many stages as there are ranks; rank 0 prints its scores as JSON."""

from __future__ import annotations

import json
import sys

from paralift.bench.accuracy import fit
from paralift.bench.studies import STUDIES
from paralift.parallel.world import find_world


def main() -> None:
    """Train."""
    name, column, way, quick = sys.argv[1:]
    study = STUDIES[name][1](quick == "True")
    comm = find_world()
    found = fit(study, study.columns[column][0](), column, way, comm)
    if comm is None or comm.Get_rank() == 0:
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
