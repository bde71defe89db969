"""Estimators on all ranks of the launcher: each has the result of one rank; callbacks are called on rank 0."""

import numpy as np
import pytest
from mpi4py import MPI

import paralift as pl

WORLD = MPI.COMM_WORLD


@pytest.mark.mpi
def test_all_ranks_have_what_one_has():
    rng = np.random.default_rng(0)
    x, told = rng.standard_normal((50, 4)), []
    names = np.array(["a", "b"])[(x[:, 0] > 0).astype(int)]
    settings = {"epochs": 4, "batch_size": 10, "random_state": 1, "dtype": "float64", "early_stopping": True}
    one = pl.LiftedClassifier((6,), **settings).fit(x, names)
    options = {"schedule": "flush", "callbacks": [told.append]}
    all_ranks = pl.LiftedClassifier((6,), comm="world", options=options, **settings).fit(x, names)
    np.testing.assert_allclose(all_ranks.predict_proba(x), one.predict_proba(x), rtol=1e-9)
    assert [r["loss"] for r in all_ranks.history_] == pytest.approx([r["loss"] for r in one.history_], rel=1e-9)
    assert len(told) == (4 if WORLD.Get_rank() == 0 else 0)
    proba = WORLD.allgather(all_ranks.predict_proba(x))
    np.testing.assert_array_equal(proba[0], proba[-1])
