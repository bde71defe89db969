"""A lasso by several algorithms, alone or on many ranks that need not wait: mpirun -n 4 python examples/lasso.py."""

import numpy as np

import paralift as pl

rng = np.random.default_rng(0)
a, truth = rng.standard_normal((4000, 200)), np.zeros(200)
truth[:10] = rng.choice([-1.0, 1.0], 10)
b = a @ truth + 0.5 * rng.standard_normal(4000)
problem = pl.optim.problems.LeastSquares(a, b, pl.optim.L1(150.0))
for algorithm in (pl.optim.FISTA(), pl.optim.PIAG(), pl.optim.AveragedProximalGradient(), pl.optim.SAGA(batch_size=100)):
    found = pl.solve(problem, algorithm, split=True, tolerance=1e-4)
    if found.rank == 0:
        kept = np.flatnonzero(found.x)
        name = type(algorithm).__name__
        print(f"{name}: {len(kept)} of 200 kept, F = {found.objective:.6f} after {found.updates} updates, {found.reason}")
