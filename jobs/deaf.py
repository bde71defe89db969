"""Start a command that does not hear SIGTERM: ``python jobs/deaf.py COMMAND [ARGUMENTS]``.

SLURM sends SIGTERM to every process of a job. A launcher that hears it kills its ranks at once, before they have written a
checkpoint; blocked, the signal reaches the ranks alone (launchers unblock all signals for what they start), and the launcher
ends with them. SIGKILL, which SLURM sends after its KillWait, ends all as before.
"""

import os
import signal
import sys

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
os.execvp(sys.argv[1], sys.argv[1:])
