"""What an algorithm is: a frozen description, with parameters and their defaults, that runs on a `Run`."""

from __future__ import annotations

from dataclasses import dataclass

from paralift.optim.algorithms.run import Run


@dataclass(frozen=True)
class Algorithm:
    """Base of all algorithms.

    Attributes
    ----------
    replicated : bool
        Whether every rank is given the whole problem instead of its part.
    """

    replicated = False

    def run(self, run: Run) -> None:
        """Start at ``run.x``, leave the result there; call ``run.goes_on`` after every update.

        Raises
        ------
        StepError
            If a parameter breaks a condition of the algorithm's theory.
        """
        raise NotImplementedError(f"{type(self).__name__} does not run")
