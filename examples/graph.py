"""A network that is no chain: named nodes with their parents. The last node is the output."""

import paralift as pl

data = pl.data.digits()
net = pl.Graph(
    edges=(["input"], pl.Linear(64, 128), pl.ReLU()),
    shapes=(["edges"], pl.Linear(128, 128), pl.ReLU()),
    both=(["edges", "shapes"], pl.Add(), pl.RMSNorm(128)),
    evidence=(["input", "both"], pl.Concatenate(), pl.SoftThreshold(0.1)),
    digit=(["evidence"], pl.Linear(64 + 128, 10), pl.Softmax()),
)
run = pl.fit(net, data, epochs=15, seed=1)
for block in net.blocks:
    print(f"{block.index}: {block.name:12} reads {block.parents}, gives {block.shape}")
print(f"test accuracy {run.evaluate(data.test)['accuracy']:.4f}")
