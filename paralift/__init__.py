"""ParaLift: lifted Bregman training of neural networks over MPI."""

__version__ = "0.1.0"
