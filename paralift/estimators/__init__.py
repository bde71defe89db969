"""Estimators in scikit-learn's manner; the only room that imports scikit-learn when it is imported."""

from paralift.estimators.autoencoder import LiftedAutoencoder
from paralift.estimators.classifier import LiftedClassifier
from paralift.estimators.regressor import LiftedRegressor

__all__ = ["LiftedAutoencoder", "LiftedClassifier", "LiftedRegressor"]
