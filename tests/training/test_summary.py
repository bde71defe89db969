"""What a resumed run says of its own speed."""

import numpy as np
import pytest

import paralift as pl


def fit(out, epochs, resume=None):
    rng = np.random.default_rng(0)
    data = rng.standard_normal((40, 4)), rng.integers(0, 3, 40)
    network = pl.Sequential(pl.Linear(4, 3), pl.Softmax())
    return pl.fit(network, data, epochs=epochs, batch_size=8, comm=None, out=out, resume=resume, progress=False)


def test_seconds_a_step_count_the_steps_of_this_run(tmp_path):
    fit(tmp_path, 6)
    rest = fit(tmp_path, 8, resume="auto").summary
    assert rest["seconds_per_step"] == pytest.approx(rest["train_seconds"] / (2 * 5))
