"""``python -m paralift``: the command line."""

import sys

from paralift.cli import main

sys.exit(main())
