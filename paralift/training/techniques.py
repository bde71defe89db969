"""What a run does besides its method and its update rule: augmentation, clipping, freezing, averages, early stopping."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from paralift.data import Dataset
from paralift.data.augment import Augmentation, check_augmentations
from paralift.lifted.maps import Reshape
from paralift.lifted.methods import Method
from paralift.lifted.network import Network
from paralift.lifted.updates import Explicit
from paralift.parallel.optimizer import Options
from paralift.training.freezing import frozen_parameters
from paralift.training.stopping import EarlyStopping


@dataclass(frozen=True)
class Techniques:
    """Arguments of `fit` that go with any method.

    Parameters
    ----------
    augment : sequence of Augmentation
    clip : float, optional
    freeze : sequence of str
    ema : float, optional
    stop_early : EarlyStopping, optional
    options : Options
        What the optimisers of stages need of them; made by `checked`.
    """

    augment: Sequence[Augmentation] = ()
    clip: float | None = None
    freeze: Sequence[str] = ()
    ema: float | None = None
    stop_early: EarlyStopping | None = None
    options: Options = Options()

    def checked(self, network: Network, data: Dataset, method: Method) -> Techniques:
        """Return them ready for a run; raise TypeError or ValueError where they do not suit it."""
        clip = check_clip(self.clip, method)
        ema = None if self.ema is None else read_ema(self.ema)
        if self.stop_early is not None:
            if not isinstance(self.stop_early, EarlyStopping):
                raise TypeError(f"stop_early is {self.stop_early!r}, expected EarlyStopping(...)")
            self.stop_early.check(data)
        options = Options(clip, frozen_parameters(network, self.freeze), ema)
        augment = check_augmentations(self.augment, sample_shape(network))
        return replace(self, augment=augment, options=options)

    def attributes(self) -> dict[str, Any]:
        """Return what a checkpoint must have in common with the run, as text or numbers; None where nothing was asked for."""
        return {
            "augment": repr(list(self.augment)) if self.augment else None,
            "clip": self.clip,
            "freeze": repr(sorted(self.freeze)) if self.freeze else None,
            "ema": self.ema,
            "stop_early": None if self.stop_early is None else repr(self.stop_early),
        }

    @property
    def flats(self) -> int:
        """Flat arrays of a stage's parameters that are kept for them."""
        return (self.ema is not None) + (self.stop_early is not None)


def sample_shape(network: Network) -> tuple[int, ...]:
    """Return the shape of samples in the eyes of augmentations: what a first `Reshape` makes of vectors, else the input's."""
    readers = [b for b in network.blocks if 0 in b.parents]
    shaped = len(network.input_shape) == 1 and all(isinstance(b.map, Reshape) for b in readers)
    return readers[0].shape if shaped and len({b.shape for b in readers}) == 1 else network.input_shape


def check_clip(value: Any, method: Method) -> float | None:
    """Return the largest norm of a gradient, None for no limit; ValueError unless a method has a use for it."""
    if value is None:
        return None
    if not isinstance(method.update, Explicit):
        raise ValueError(f"clip is {value!r}, but {method.update!r} takes no step of the optimiser: leave it out")
    return read_clip(value)


def read_clip(value: Any) -> float:
    """Return the largest norm of a gradient; ValueError unless it is a finite number greater than 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 < value <= sys.float_info.max:
        raise ValueError(f"clip is {value!r}, expected a finite number greater than 0")
    return float(value)


def read_ema(value: Any) -> float:
    """Return the decay of an average; ValueError unless it is a number greater than 0 and less than 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 < value < 1.0:
        raise ValueError(f"ema is {value!r}, expected a number greater than 0 and less than 1, such as 0.999")
    return float(value)
