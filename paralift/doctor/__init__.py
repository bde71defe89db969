"""`paralift doctor`: what this machine and this installation offer, what of it will hurt, and the way out.

Whatever may hang, crash or take hold of a device (MPI, CuPy, a dead file server) is asked in another process with a deadline.
"""

from paralift.doctor.check import Check
from paralift.doctor.table import examine, main

__all__ = ["Check", "examine", "main"]
