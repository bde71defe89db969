"""Branches that read one variable and are joined: a wide one, a narrow one with tanh, the input itself."""

import paralift as pl

data = pl.data.digits()
wide = [pl.Linear(64, 256), pl.ReLU(), pl.Linear(256, 96), pl.ReLU()]
narrow = [pl.Linear(64, 32), pl.Tanh()]
itself = pl.Hardtanh(-2.0, 2.0)
net = pl.Sequential(
    pl.Parallel(wide, narrow, itself, combine="concatenate"),
    pl.Linear(96 + 32 + 64, 10),
    pl.Softmax(),
    input_shape=(64,),
)
run = pl.fit(net, data, optimizer=pl.optim.Adam(1e-3), epochs=15)
print(f"blocks {[b.name for b in net.blocks]}, test accuracy {run.evaluate(data.test)['accuracy']:.4f}")
