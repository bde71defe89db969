"""What all estimators have in common: their parameters, the call of `fit`, outputs for samples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from paralift.estimators.parts import part
from paralift.lifted.losses import Loss, default_loss
from paralift.lifted.network import Network
from paralift.parallel.world import WORLD
from paralift.training.fit import fit
from paralift.training.stopping import EarlyStopping

FLOATS = (np.float64, np.float32)
"""Types of samples that are taken as they are; others become the first."""
CHUNK = 1024
"""Samples whose outputs are computed at once."""
OWN = (
    "params", "method", "optimizer", "loss", "epochs", "batch_size", "seed", "dtype", "test", "stop_early", "comm", "progress"
)  # fmt: skip
"""Arguments of `fit` that estimators give themselves."""


class LiftedEstimator(BaseEstimator):
    """Base of the estimators.

    Outputs are computed in the type of the samples, float32 or float64, whatever type was trained in.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int
        Widths of the hidden layers.
    activation : Activation or str
        Behind each of them. This and the next four take the text of an object, as configurations do: ``"LeakyReLU(0.1)"``.
    network : Network, str or callable (n_features, n_outputs) -> Network, optional
        Instead of dense layers. One that reads samples of another shape, images say, gets rows of X in that shape.
    method : Method or str
        From `paralift.methods`.
    optimizer : update rule or str
        From `paralift.optim`.
    loss : Loss or str, optional
        From `paralift.losses`; by default the one that belongs to the last activation.
    epochs : int
        At most.
    batch_size : int or None
        None takes all samples as one batch.
    early_stopping : bool
        Whether a part of the samples is set aside, whose loss says when to stop and which epoch was the best. Otherwise the
        loss of the training samples says so.
    validation_fraction : float
        That part.
    n_iter_no_change : int or None
        Epochs without an improvement after which training stops; None trains for all epochs.
    tol : float
        What counts as an improvement of the loss is larger than this.
    warm_start : bool
        Whether `fit` goes on from the parameters that it found before, if the network is of the same shape.
    dtype : {"float32", "float64"}
        Type in which is trained.
    random_state : int, RandomState or None
        Of the initial parameters, the shuffles and the samples set aside.
    comm : {None, "world"}
        None trains on this rank alone. "world" trains on all ranks that an MPI launcher started: all call with the same data
        and parameters, and with a whole number as `random_state`.
    verbose : bool
        Whether a bar is shown.
    options : mapping, optional
        Further arguments of `paralift.fit`: ``{"clip": 1.0, "callbacks": [...]}``.

    Attributes
    ----------
    network_ : Network
    params_ : dict
        Parameters by block and name, NumPy arrays.
    n_features_in_, feature_names_in_
        Of X, by scikit-learn's conventions.
    n_iter_ : int
        Epochs that were trained.
    history_ : list of dict
        A record of each.
    loss_ : float
        The mean loss over the last one.
    """

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "ReLU()",
        *,
        network: Any = None,
        method: Any = "nudged()",
        optimizer: Any = "Adam(1e-3)",
        loss: Any = None,
        epochs: int = 200,
        batch_size: int | None = 128,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int | None = 10,
        tol: float = 1e-4,
        warm_start: bool = False,
        dtype: str = "float32",
        random_state: Any = None,
        comm: str | None = None,
        verbose: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.network = network
        self.method = method
        self.optimizer = optimizer
        self.loss = loss
        self.epochs = epochs
        self.batch_size = batch_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.dtype = dtype
        self.random_state = random_state
        self.comm = comm
        self.verbose = verbose
        self.options = options

    def _network(self, features: int, outputs: int) -> Network:
        """Return a network for samples and targets of so many numbers."""
        raise NotImplementedError

    def _loss(self, network: Network, y: np.ndarray) -> Loss:
        """Return the loss of a training on the targets `y`."""
        return default_loss(network.blocks[-1].activation) if self.loss is None else part("loss", self.loss)

    def _train(self, x: np.ndarray, y: np.ndarray, outputs: int, strata: np.ndarray | None = None) -> None:
        """Train on checked samples and targets: labels (n,), or floats (n, outputs)."""
        network = self._network(x.shape[1], outputs)
        seed = self._first_seed = self._seed()
        test, stop = None, None
        if self.n_iter_no_change is not None:
            stop = EarlyStopping(self.n_iter_no_change, "test_loss" if self.early_stopping else "loss", self.tol)
        if self.early_stopping:
            parts = train_test_split(x, y, test_size=self.validation_fraction, random_state=seed, stratify=strata)
            x, y, test = parts[0], parts[2], (_shaped(parts[1], network), parts[3])
        known = getattr(self, "network_", None) if self.warm_start else None
        params = self.params_ if known is not None and _like(known, network) else None
        self.history_: list[dict[str, Any]] = []
        self._fit(network, x, y, epochs=self.epochs, seed=seed, params=params, test=test, stop_early=stop)

    def _train_on(self, x: np.ndarray, y: np.ndarray, outputs: int) -> None:
        """Train one more epoch, on these samples."""
        if first := not hasattr(self, "network_"):
            self.history_, self._first_seed = [], self._seed()
        network = self._network(x.shape[1], outputs) if first else self.network_
        seed, params = self._first_seed + len(self.history_), None if first else self.params_
        self._fit(network, x, y, epochs=1, seed=seed, params=params)

    def _fit(self, network: Network, x: np.ndarray, y: np.ndarray, **settings: Any) -> None:
        further = {} if self.options is None else dict(self.options)
        if clash := sorted(set(further) & set(OWN)):
            raise ValueError(f"options: {clash} are parameters of the estimator itself, or not for it: leave them out")
        further.setdefault("plan", "counted" if self.comm is None else None)  # one rank: nothing is to be measured
        result = fit(
            network, (_shaped(x, network), y), method=part("method", self.method), optimizer=part("optimizer", self.optimizer),
            loss=self._loss(network, y), batch_size=self.batch_size, dtype=self.dtype,
            comm=None if self.comm is None else WORLD, progress=bool(self.verbose), **settings, **further,
        )  # fmt: skip
        self.network_, self.params_ = network, result.params
        self.history_ += [dict(record) for record in result.history]
        self.n_iter_ = len(self.history_)
        self.loss_ = self.history_[-1]["loss"] if self.history_ else math.nan

    def _seed(self) -> int:
        """Return the seed of a training."""
        if self.comm not in (None, "world"):
            raise ValueError(f'comm is {self.comm!r}, expected None or "world"; with a communicator use paralift.fit')
        if self.comm is not None and not hasattr(self.random_state, "__index__"):
            raise ValueError(
                f'random_state is {self.random_state!r}, expected a whole number with comm="world": ranks would draw their own'
            )
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _checked(self, x: Any) -> np.ndarray:
        """Return samples that outputs are wanted for."""
        check_is_fitted(self)
        return validate_data(self, x, dtype=FLOATS, reset=False)

    def _variable(self, x: np.ndarray, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return variable `stop` (the output) by variable `start`, one sample a row."""
        network = self.network_
        params = {b: {name: a.astype(x.dtype, copy=False) for name, a in arrays.items()} for b, arrays in self.params_.items()}
        shape, found = network.shapes[start], []
        for first in range(0, len(x), CHUNK):
            part_ = np.ascontiguousarray(x[first : first + CHUNK]).reshape(-1, *shape)
            found.append(network.variables(params, part_, start, stop)[-1].reshape(len(part_), -1))
        return np.concatenate(found)


def _shaped(x: np.ndarray, network: Network) -> np.ndarray:
    return x.reshape(-1, *network.input_shape)


def _like(one: Network, other: Network) -> bool:
    """Return whether the parameters of one network fit another."""
    shapes = [[(b.name, b.trained(), b.tracked()) for b in network.blocks] for network in (one, other)]
    return shapes[0] == shapes[1]
