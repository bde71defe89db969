"""A discrete-event simulation of the training schedules, on numbers alone: seconds, bytes and an order of work."""

from paralift.bench.simulation.pipeline import Link, Pipeline
from paralift.bench.simulation.simulate import Simulation, simulate

__all__ = ["Link", "Pipeline", "Simulation", "simulate"]
