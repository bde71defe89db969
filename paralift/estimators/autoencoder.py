"""An autoencoder in scikit-learn's manner: a transformer that has an inverse."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from paralift.estimators.base import FLOATS, LiftedEstimator
from paralift.estimators.parts import dense, given_network, part, widths
from paralift.lifted.layers import Sequential
from paralift.lifted.network import Network


def code_of(network: Network, given: str | None) -> str:
    """Return the name of the block whose output is the code.

    Raises
    ------
    ValueError
        If there is none of that name, or something goes around it, so that nothing can be decoded by it alone.
    """
    sizes = {b.name: math.prod(b.shape) for b in network.blocks[:-1] if network.live(b.index) == (b.index,)}
    name = min(sizes, key=sizes.__getitem__, default=None) if given is None else given
    if name not in sizes:
        raise ValueError(
            f"code is {given!r}, expected a block before the last that nothing goes around, one of {list(sizes)}"
        )
    return name


class LiftedAutoencoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, LiftedEstimator):
    """A perceptron that learns to return its input, which it sees through a code of few numbers; or a network of one's own.

    `transform` gives the code, `inverse_transform` what the network makes of one, `score` how much of the samples comes back.
    A sparse code is had by a regulariser on it: ``method="nudged(states={'linear2': L1(0.1)})"``.

    Parameters
    ----------
    n_components : int
        Numbers of the code.
    hidden_layer_sizes : int or sequence of int
        Widths of the hidden layers between input and code; those behind it are the same in the opposite order.
    activation : Activation or str
        Behind each of them; the code and the output have none.
    network : Network, str or callable (n_features, n_outputs) -> Network, optional
        Instead, with an output as wide as the input.
    code : str, optional
        Name of the block of `network` whose output is the code; by default the narrowest one, the first of several.
    method, optimizer, loss, epochs, batch_size, early_stopping, validation_fraction, n_iter_no_change, tol, warm_start
        See `LiftedEstimator`.
    dtype, random_state, comm, verbose, options
        See `LiftedEstimator`.

    Attributes
    ----------
    code_ : str
        Name of the block whose output is the code.
    network_, params_, n_features_in_, feature_names_in_, n_iter_, history_, loss_
        See `LiftedEstimator`.

    Examples
    --------
    >>> LiftedAutoencoder(2, (64,), random_state=0).fit_transform(X)
    """

    def __init__(
        self,
        n_components: int = 2,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "ReLU()",
        *,
        network: Any = None,
        code: str | None = None,
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
        super().__init__(
            hidden_layer_sizes, activation, network=network, method=method, optimizer=optimizer, loss=loss, epochs=epochs,
            batch_size=batch_size, early_stopping=early_stopping, validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change, tol=tol, warm_start=warm_start, dtype=dtype, random_state=random_state,
            comm=comm, verbose=verbose, options=options,
        )  # fmt: skip
        self.n_components = n_components
        self.code = code

    def fit(self, X: Any, y: Any = None) -> LiftedAutoencoder:
        """Train on samples X of shape (n_samples, n_features); y is not looked at."""
        x = validate_data(self, X, dtype=FLOATS)
        self._train(x, x, x.shape[1])
        return self

    def partial_fit(self, X: Any, y: Any = None) -> LiftedAutoencoder:
        """Train one epoch on these samples, from where the last call ended; moments of the optimiser start anew."""
        x = validate_data(self, X, dtype=FLOATS, reset=not hasattr(self, "network_"))
        self._train_on(x, x, x.shape[1])
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return the codes of samples, shape (n_samples, n_components)."""
        return self._variable(self._checked(X), 0, self._place)

    def inverse_transform(self, X: Any) -> np.ndarray:
        """Return what codes X of shape (n_samples, n_components) stand for, shape (n_samples, n_features)."""
        check_is_fitted(self)
        codes = check_array(X, dtype=FLOATS)
        if codes.shape[1] != self._n_features_out:
            raise ValueError(f"X has {codes.shape[1]} numbers a sample, expected {self._n_features_out}: those of a code")
        return self._variable(codes, self._place)

    def score(self, X: Any, y: Any = None) -> float:
        """Return the share of the variance of samples X that comes back: 1 − |X − output|² / |X − mean|²."""
        x = self._checked(X)
        return float(r2_score(x, self._variable(x), multioutput="variance_weighted"))

    @property
    def _place(self) -> int:
        """The number of the variable that is the code."""
        return next(b.index for b in self.network_.blocks if b.name == self.code_)

    @property
    def _n_features_out(self) -> int:
        return math.prod(self.network_.shapes[self._place])

    def _network(self, features: int, outputs: int) -> Network:
        if self.network is None:
            hidden = widths("hidden_layer_sizes", self.hidden_layer_sizes)
            (code,), activation = widths("n_components", self.n_components), part("activation", self.activation)
            halves = [dense(sizes, activation) for sizes in ((features, *hidden, code), (code, *hidden[::-1], outputs))]
            network: Network = Sequential(*halves[0], *halves[1])
            self.code_ = network.blocks[len(hidden)].name
            return network
        network = given_network(self.network, features, outputs)
        self.code_ = code_of(network, self.code)
        return network

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn is to know."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
