"""A convolutional network from PyTorch, trained on by ParaLift, and given back. Needs paralift[torch]."""

import torch
from torch import nn

import paralift as pl

torch.manual_seed(0)
module = nn.Sequential(
    *(nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
    *(nn.Flatten(), nn.Linear(16 * 3 * 3, 10), nn.Softmax(dim=-1)),
)
net, params = pl.from_torch(module, torch.zeros(1, 64))

data = pl.data.digits()
run = pl.fit(net, data, params=params, optimizer=pl.optim.Adam(3e-3), epochs=5, seed=0)
print(f"in ParaLift: test accuracy {run.evaluate(data.test)['accuracy']:.4f}")

trained = pl.to_torch(net, run.params)
x, y = pl.data.load_shard(data.test, 0, data.test.n_samples, "float32")
with torch.no_grad():
    found = trained(torch.from_numpy(x)).argmax(dim=1).numpy()
print(f"in PyTorch again: test accuracy {(found == y).mean():.4f}")
