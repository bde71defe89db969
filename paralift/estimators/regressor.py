"""A regressor in scikit-learn's manner."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import validate_data

from paralift.estimators.base import FLOATS, LiftedEstimator
from paralift.estimators.parts import dense, given_network, part, widths
from paralift.lifted.layers import Sequential
from paralift.lifted.network import Network


class LiftedRegressor(MultiOutputMixin, RegressorMixin, LiftedEstimator):
    """A perceptron with an affine last layer, or a network of one's own, for one target or several.

    Samples are to be standardised before, and targets of other sizes than about 1, too: by ``TransformedTargetRegressor``.

    Parameters
    ----------
    hidden_layer_sizes, activation, network, method, optimizer, loss, epochs, batch_size, early_stopping, validation_fraction
        See `LiftedEstimator`. The loss is half the squared error; ``"Huber(1.0)"`` and ``"Absolute()"`` are others.
    n_iter_no_change, tol, warm_start, dtype, random_state, comm, verbose, options
        See `LiftedEstimator`.

    Attributes
    ----------
    network_, params_, n_features_in_, feature_names_in_, n_iter_, history_, loss_
        See `LiftedEstimator`.

    Examples
    --------
    >>> LiftedRegressor((64, 64), random_state=0).fit(X, y).score(X, y)
    """

    def fit(self, X: Any, y: Any) -> LiftedRegressor:
        """Train on samples X of shape (n_samples, n_features) and targets y, shape (n_samples,) or (n_samples, n_targets)."""
        x, rows = self._read(X, y, reset=True)
        self._train(x, rows, rows.shape[1])
        return self

    def partial_fit(self, X: Any, y: Any) -> LiftedRegressor:
        """Train one epoch on these samples, from where the last call ended; moments of the optimiser start anew."""
        x, rows = self._read(X, y, reset=not hasattr(self, "network_"))
        self._train_on(x, rows, rows.shape[1])
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return predicted targets, in the shape of those that were learnt."""
        found = self._variable(self._checked(X))
        return found[:, 0] if self._single else found

    def _read(self, X: Any, y: Any, reset: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return samples, and targets of shape (n_samples, n_targets)."""
        x, y = validate_data(self, X, y, dtype=FLOATS, multi_output=True, y_numeric=True, reset=reset)
        rows = y.reshape(len(y), -1).astype(np.float64 if y.dtype.kind != "f" else y.dtype, copy=False)
        if reset:
            self._single = y.ndim == 1
        elif rows.shape[1] != self.network_.output_shape[0]:
            raise ValueError(f"y has {rows.shape[1]} targets, expected {self.network_.output_shape[0]}, as in the first call")
        return x, rows

    def _network(self, features: int, outputs: int) -> Network:
        if self.network is not None:
            return given_network(self.network, features, outputs)
        sizes = (features, *widths("hidden_layer_sizes", self.hidden_layer_sizes), outputs)
        return Sequential(*dense(sizes, part("activation", self.activation)))
