"""A classifier in scikit-learn's manner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from paralift.estimators.base import FLOATS, LiftedEstimator
from paralift.estimators.parts import dense, given_network, part, widths
from paralift.lifted.activations import Softmax
from paralift.lifted.layers import Sequential
from paralift.lifted.losses import CrossEntropy, Loss
from paralift.lifted.network import Network


class LiftedClassifier(ClassifierMixin, LiftedEstimator):
    """A perceptron with a softmax behind its last layer, or a network of one's own, that tells classes of any kind.

    Samples are to be standardised before, by ``make_pipeline(StandardScaler(), LiftedClassifier())`` say.

    Parameters
    ----------
    hidden_layer_sizes, activation, network, method, optimizer, loss, epochs, batch_size, early_stopping, validation_fraction
        See `LiftedEstimator`; what is set aside has each class' share.
    n_iter_no_change, tol, warm_start, dtype, random_state, comm, verbose, options
        See `LiftedEstimator`.
    class_weight : mapping of class to float, "balanced" or None
        Factors of the classes' losses, 1 by default; "balanced" takes n_samples / (n_classes n_samples of the class).

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,)
        Sorted.
    network_, params_, n_features_in_, feature_names_in_, n_iter_, history_, loss_
        See `LiftedEstimator`.

    Examples
    --------
    >>> LiftedClassifier((256, 256), optimizer="Adam(1e-2)", random_state=0).fit(X, y).predict_proba(X)
    """

    classes_: np.ndarray

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "ReLU()",
        *,
        network: Any = None,
        method: Any = "nudged()",
        optimizer: Any = "Adam(1e-3)",
        loss: Any = None,
        class_weight: Mapping[Any, float] | str | None = None,
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
        self.class_weight = class_weight

    def fit(self, X: Any, y: Any) -> LiftedClassifier:
        """Train on samples X of shape (n_samples, n_features) and their classes y, shape (n_samples,), of any kind."""
        x, y = validate_data(self, X, y, dtype=FLOATS)
        check_classification_targets(y)
        classes, labels = np.unique(y, return_inverse=True)
        if hasattr(self, "network_") and not np.array_equal(classes, self.classes_):
            del self.network_  # whose outputs mean something else: a warm start would be none
        self.classes_ = classes
        self._train(x, labels, len(self.classes_), strata=labels)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> LiftedClassifier:
        """Train one epoch on these samples, from where the last call ended; moments of the optimiser start anew.

        Parameters
        ----------
        X, y
            As for `fit`.
        classes : array_like, optional
            All classes that will ever come; wanted by the first call.
        """
        first = not hasattr(self, "network_")
        x, y = validate_data(self, X, y, dtype=FLOATS, reset=first)
        check_classification_targets(y)
        if first and classes is None:
            raise ValueError("classes is None, expected all classes in the first call of partial_fit")
        if first:
            self.classes_ = np.unique(classes)
        elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(f"classes are {np.unique(classes)}, expected those of the first call, {self.classes_}")
        if unknown := sorted(set(np.unique(y)) - set(self.classes_)):
            raise ValueError(f"y has the classes {unknown}, which are not among classes_, {self.classes_}")
        self._train_on(x, np.searchsorted(self.classes_, y), len(self.classes_))
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probabilities of the classes, shape (n_samples, n_classes)."""
        return self._variable(self._checked(X))

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return the logarithms of the probabilities of the classes, shape (n_samples, n_classes)."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of each sample, shape (n_samples,)."""
        check_is_fitted(self)
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def _network(self, features: int, outputs: int) -> Network:
        if self.network is not None:
            return given_network(self.network, features, outputs)
        sizes = (features, *widths("hidden_layer_sizes", self.hidden_layer_sizes), outputs)
        return Sequential(*dense(sizes, part("activation", self.activation)), Softmax())

    def _loss(self, network: Network, y: np.ndarray) -> Loss:
        loss = super()._loss(network, y)
        if self.class_weight is None:
            return loss
        if not isinstance(loss, CrossEntropy) or loss.weights is not None:
            raise ValueError(f"class_weight is {self.class_weight!r}, but the loss is {loss!r}: give weights in one place")
        return replace(loss, weights=tuple(map(float, self._weights(y))))

    def _weights(self, y: np.ndarray) -> np.ndarray:
        """Return the weight of each class; 1 for one of which there is no sample."""
        present, weights = np.unique(y), np.ones(len(self.classes_))
        names = self.classes_[present]
        weights[present] = compute_class_weight(self.class_weight, classes=names, y=self.classes_[y])
        return weights
