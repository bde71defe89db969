"""A sparse autoencoder: an L1 regulariser on a lifted variable, the code, leaves few of its entries above zero."""

import numpy as np

import paralift as pl

digits = pl.data.digits()
train, test = (pl.data.load_inputs(s, 0, s.n_samples, "float32") for s in (digits.train, digits.test))
net = pl.Sequential(pl.Linear(64, 128), pl.ReLU(), pl.Linear(128, 64))
for weight in (0.0, 0.1):
    run = pl.fit(
        net,
        (train, train),
        test=(test, test),
        method=pl.methods.nudged(beta=0.1, states={"linear1": pl.optim.L1(weight)}),
        loss=pl.losses.Squared(),
        epochs=30,
        progress=False,
    )
    active = np.mean(net.variables(run.params, test)[1] > 0)
    error = run.evaluate((test, test))["error"]
    print(f"L1 weight {weight}: {active:.0%} of the code is active, error {error:.4f}")
