"""Exit codes of runs, beside 0 (done), 1 (failed), 2 (a mistake in what was given) and 130 (interrupted)."""

STOPPED = 75
"""Stopped by a signal, after a checkpoint: start it again with ``--resume auto``."""
STALLED = 76
"""Ended by the stall watch: a rank waited too long for another."""
