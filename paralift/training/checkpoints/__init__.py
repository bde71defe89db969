"""Checkpoints: a folder each, a file a rank, readable on any number of ranks.

    run/checkpoints/step-000000120/
        rank-0.h5, rank-1.h5, ...   what each rank had
        all.h5                      a virtual file: every array whole, under its name
        manifest.json               written last: attributes, and size and checksum of every file

In ``all.h5``:

    /params/<block>/<name>             parameters
    /optimizer/<state>/<block>/<name>  optimiser states
    /states/x<v>                       lifted variables of persistent methods, samples in the data set's order
    /ema/<block>/<name>                average of the parameters, if there is one
    /best/<block>/<name>               parameters of the best epoch so far, with early stopping
    /clip/<block>/<name>               norms of the last gradients, with clipping
    /flight/<block>/<name>             what the first half of an unflushed wave's next batch reads, in the middle of an epoch
    /norms/<block>                     power iterations of lifted methods, in the middle of an epoch

The folder gets its name when all of it is on disk: whatever happens before, older checkpoints stay as they are.
"""

from paralift.training.checkpoints.errors import CheckpointError
from paralift.training.checkpoints.find import all_of, intact, latest, newest_good, prune
from paralift.training.checkpoints.read import attributes_of, expect_same, load_params, open_file, verify
from paralift.training.checkpoints.write import Piece, Writing, name

__all__ = [
    "CheckpointError", "Piece", "Writing", "all_of", "attributes_of", "expect_same", "intact", "latest", "load_params", "name",
    "newest_good", "open_file", "prune", "verify",
]  # fmt: skip
