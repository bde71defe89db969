"""scikit-learn's own checks of estimators, all of them, on small settings."""

from __future__ import annotations

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

import paralift as pl

SMALL = {"epochs": 8, "batch_size": 32, "optimizer": "Adam(1e-2)", "random_state": 0}
"""Few epochs with long steps. What the checks ask for (0.83 of three classes, R² 0.5) is reached by these."""
ESTIMATORS = [
    pl.LiftedClassifier(**SMALL),
    pl.LiftedRegressor(**SMALL),
    pl.LiftedAutoencoder(**SMALL),
]


@pytest.mark.filterwarnings("default")  # checks provoke some, and look for what they mean
@parametrize_with_checks(ESTIMATORS)
def test_scikit_learns_check(estimator, check):
    check(estimator)
