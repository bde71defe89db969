"""A rank that fails alone ends the job: the others, which wait for it, do not hang."""

import textwrap

import pytest

SCRIPT = """
    import numpy as np
    import paralift as pl
    from mpi4py import MPI

    class Failing(pl.optim.SGD):
        def step(self, *arguments, **more):
            if MPI.COMM_WORLD.Get_rank() == 1:
                raise MemoryError("no room for a gradient")
            return super().step(*arguments, **more)

    rng = np.random.default_rng(0)
    last = pl.Tied(pl.Linear(4, 4), to="linear1") if TIED else pl.Linear(4, 4)
    net = pl.Sequential(pl.Linear(4, 4), pl.ReLU(), last, pl.Softmax())
    data = rng.standard_normal((64, 4)), rng.integers(0, 4, 64)
    pl.fit(net, data, optimizer=Failing(0.1), epochs=50, stages=2, plan="counted", progress=False)
"""


@pytest.mark.parametrize("tied", [False, True])
def test_one_failing_rank_ends_the_job(launch, tmp_path, tied):
    """Also where the other waits for a gradient that both share."""
    script = tmp_path / "failing.py"
    script.write_text(f"TIED = {tied}\n" + textwrap.dedent(SCRIPT))
    outcome = launch(2, [str(script)], deadline=60.0)
    assert not outcome.hung
    assert outcome.code != 0
    assert "rank 1 (shard 0, stage 1) failed in training" in outcome.output
    assert "no room for a gradient" in outcome.output
