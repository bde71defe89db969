"""Residual blocks with layer normalisation; where ranks share out the layers, skip connections cross them."""

import paralift as pl

data = pl.data.digits()
blocks = [pl.Residual(pl.LayerNorm(64), pl.Linear(64, 64), pl.ReLU(), pl.Linear(64, 64)) for _ in range(4)]
net = pl.Sequential(pl.Linear(64, 64), *blocks, pl.LayerNorm(64), pl.Linear(64, 10), pl.Softmax())
run = pl.fit(
    net,
    data,
    method=pl.methods.nudged(beta=0.1),
    optimizer=pl.optim.AdamW(pl.optim.Cosine(3e-3, warmup=20), weight_decay=0.01),
    epochs=15,
    batch_size=128,
)
accuracy = run.evaluate(data.test)["accuracy"]
print(f"{len(net.blocks)} blocks, {net.n_parameters} parameters, test accuracy {accuracy:.4f}")
