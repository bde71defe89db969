"""Bring your own optimiser: `value_and_grad` gives the loss, and gradients structured like the parameters."""

import numpy as np

import paralift as pl

data = pl.data.digits()
x, y = pl.data.load_shard(data.train, 0, data.train.n_samples, "float32")
net = pl.Sequential(pl.Linear(64, 128), pl.Tanh(), pl.Linear(128, 10), pl.Softmax())
params = net.init(seed=0)
loss_and_grads = pl.value_and_grad(net, pl.methods.nudged(beta=0.1))
rng = np.random.default_rng(0)
for step in range(600):
    rows = rng.choice(len(x), size=64, replace=False)
    loss, grads = loss_and_grads(params, x[rows], y[rows])
    for block, arrays in grads.items():
        for name, g in arrays.items():  # the sign of the gradient, with a step that shrinks
            params[block][name] -= 3e-3 * (1 - step / 600) * np.sign(g)
x_test, y_test = pl.data.load_shard(data.test, 0, data.test.n_samples, "float32")
accuracy = (net.apply(params, x_test).argmax(axis=1) == y_test).mean()
print(f"last loss {loss:.4f}, test accuracy {accuracy:.4f}")
