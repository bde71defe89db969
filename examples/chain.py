"""A perceptron reads handwritten digits. The same file runs under MPI: mpirun -n 2 python -m mpi4py chain.py."""

import paralift as pl

data = pl.data.digits()
net = pl.Sequential(
    pl.Linear(64, 256), pl.ReLU(),
    pl.Linear(256, 256), pl.ReLU(),
    pl.Linear(256, 10), pl.Softmax(),
)  # fmt: skip
run = pl.fit(
    net,
    data,
    method=pl.methods.nudged(),
    optimizer=pl.optim.Adam(1e-3),
    epochs=20,
    batch_size=128,
    seed=0,
)
accuracy = run.evaluate(data.test)["accuracy"]
print(run.reason, f"test accuracy {accuracy:.4f} on {run.summary['ranks']} rank(s)")
