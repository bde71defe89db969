"""Modules of PyTorch's layers for the tests; importing it skips a test file where there is no PyTorch."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed: pip install paralift[torch]")
nn = torch.nn
F = nn.functional

ACTIVATIONS = (nn.ReLU, nn.Tanh, nn.GELU)


def moved(module, but: tuple[str, ...] = ()):
    """Return the module with parameters and statistics that are not those of its start."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, values in [*module.named_parameters(), *module.named_buffers()]:
            if name.endswith("running_var"):
                values.add_(torch.rand(values.shape, generator=generator))
            elif values.is_floating_point() and name not in but:
                values.add_(0.2 * torch.randn(values.shape, generator=generator))
    return module


@st.composite
def modules(draw):
    """Draw a module, an example, and what kind of samples it takes."""
    torch.manual_seed(draw(st.integers(0, 99)))
    kind = draw(st.sampled_from(("vector", "image", "series", "tokens")))
    layers, shape = {"vector": _vector, "image": _image, "series": _series, "tokens": _tokens}[kind](draw)
    example = torch.randint(0, 7, (2, *shape)) if kind == "tokens" else torch.randn(2, *shape)
    return moved(nn.Sequential(*layers)), example, kind


def _vector(draw):
    width = start = draw(st.integers(2, 5))
    layers = []
    for _ in range(draw(st.integers(1, 3))):
        wider = draw(st.integers(2, 5))
        layers += [nn.Linear(width, wider, bias=draw(st.booleans()))]
        layers += draw(st.sampled_from(([], [nn.BatchNorm1d(wider)], [nn.LayerNorm(wider)], [nn.RMSNorm(wider, 1e-5)])))
        layers += [draw(st.sampled_from(ACTIVATIONS))(), nn.Dropout(0.2)]
        width = wider
    return layers, (start,)


def _image(draw):
    channels, wider, groups = draw(st.sampled_from(((3, 4, 1), (2, 4, 2), (1, 2, 1))))
    kernel, stride = draw(st.sampled_from((1, 2, (3, 2)))), draw(st.sampled_from((1, 2)))
    layers = [nn.Conv2d(channels, wider, kernel, stride, draw(st.integers(0, 1)), groups=groups)]
    layers += draw(st.sampled_from(([], [nn.BatchNorm2d(wider)], [nn.GroupNorm(2, wider)])))
    layers += [draw(st.sampled_from(ACTIVATIONS))()]
    pools = (nn.MaxPool2d(2), nn.AvgPool2d(2, 1, 1), nn.AdaptiveAvgPool2d((2, 3)), nn.ConvTranspose2d(wider, wider, 2, 2))
    layers += [draw(st.sampled_from(pools)), nn.Flatten()]
    size = nn.Sequential(*layers).eval()(torch.zeros(1, channels, 6, 7)).shape[1]
    return [*layers, nn.Linear(size, 3)], (channels, 6, 7)


def _series(draw):
    wider = draw(st.integers(1, 4))
    layers = [nn.Conv1d(2, wider, draw(st.sampled_from((1, 3))), padding=draw(st.sampled_from((0, "same"))))]
    behind = (nn.BatchNorm1d(wider), nn.MaxPool1d(2), nn.AvgPool1d(2), nn.ConvTranspose1d(wider, 2, 3))
    layers += [draw(st.sampled_from(behind))]
    return [*layers, draw(st.sampled_from(ACTIVATIONS))()], (2, 6)


def _tokens(draw):
    heads, before = draw(st.sampled_from((1, 2))), draw(st.booleans())
    layer = nn.TransformerEncoderLayer(4, heads, 6, 0.1, batch_first=True, norm_first=before)
    return [nn.Embedding(7, 4), layer, nn.Linear(4, 3), draw(st.sampled_from((nn.Softmax(-1), nn.Identity())))], (5,)


_ALONE = (
    *((m, (3,)) for m in (nn.ReLU6(), nn.LeakyReLU(0.2), nn.Hardtanh(-0.5, 1.0), nn.Sigmoid(), nn.Softsign(), nn.ELU(0.5))),
    *((m, (3,)) for m in (nn.Softplus(), nn.Softshrink(0.3), nn.SiLU(), nn.GELU("tanh"), nn.Softmax(1))),
    *((m, (2, 4, 6)) for m in (nn.Upsample(scale_factor=2), nn.AdaptiveMaxPool2d((2, 3)), nn.InstanceNorm2d(2, affine=True))),
    *((m, (2, 4, 6)) for m in (nn.AvgPool2d((2, 3), padding=(1, 0)), nn.Conv2d(2, 2, 3, dilation=(1, 2)), nn.Softmax(1))),
    *((m, (2, 6)) for m in (nn.InstanceNorm1d(2), nn.AdaptiveAvgPool1d(4), nn.AdaptiveMaxPool1d(3), nn.GroupNorm(1, 2))),
    *((m, (2, 6)) for m in (nn.ConvTranspose1d(2, 4, 3, 2, 1, groups=2), nn.BatchNorm1d(2, affine=False))),
    (nn.LayerNorm((2, 4, 6)), (2, 4, 6)),
)
SINGLE = {f"{type(module).__name__} {shape}": (module, shape) for module, shape in _ALONE}
"""Modules alone, and the shape of a sample; series and images are channels first."""


class Written(nn.Module):
    """A module with the forward given, and layers of these names."""

    def __init__(self, forward, **layers):
        super().__init__()
        self.written = forward
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x):
        return self.written(self, x)


FORWARDS = {
    "views": (
        lambda self, x: self.fc(F.max_pool2d(F.relu(self.conv(x)), 2).view(x.size(0), -1)).softmax(dim=1),
        lambda: {"conv": nn.Conv2d(1, 2, 3), "fc": nn.Linear(2 * 2 * 2, 3)},
        (1, 6, 6),
    ),
    "patches become tokens": (
        lambda self, x: self.norm(self.patches(x).flatten(2).transpose(1, 2) + self.where).mean(1),
        lambda: {"patches": nn.Conv2d(3, 4, 2, 2), "where": nn.Parameter(torch.zeros(1, 4, 4)), "norm": nn.LayerNorm(4)},
        (3, 4, 4),
    ),
    "channels last in between": (
        lambda self, x: (x + self.wide(self.norm(self.deep(x).permute(0, 2, 3, 1))).permute(0, 3, 1, 2)).mean((2, 3)),
        lambda: {"deep": nn.Conv2d(3, 3, 3, padding=1, groups=3), "norm": nn.LayerNorm(3), "wide": nn.Linear(3, 3)},
        (3, 4, 4),
    ),
    "tokens mixed": (
        lambda self, x: 0.5 * (x - self.mix(x.transpose(1, 2)).transpose(1, 2)).mean(dim=1) / 3,
        lambda: {"mix": nn.Linear(5, 5)},
        (5, 4),
    ),
    "branches": (
        lambda self, x: self.fc(torch.flatten(torch.cat([self.a(x), F.avg_pool2d(x, 3, 1, 1), -self.a(x)], 1), 1)),
        lambda: {"a": nn.Conv2d(2, 1, 1), "fc": nn.Linear(4 * 9, 2)},
        (2, 3, 3),
    ),
    "gains and shifts of features": (
        lambda self, x: (
            (self.gain * torch.flatten(input=x, start_dim=1)).unflatten(1, (3, 4, 5)).add(2 * x + self.shift).mean((2, 3))
        ),
        lambda: {"gain": nn.Parameter(torch.ones(60)), "shift": nn.Parameter(torch.ones(1, 3, 1, 1))},
        (3, 4, 5),
    ),
    "attention alone": (
        lambda self, x: self.attention(x, x, x, need_weights=False)[0] + x,
        lambda: {"attention": nn.MultiheadAttention(4, 2, batch_first=True)},
        (3, 4),
    ),
}
"""A forward, its layers, and the shape of a sample."""


class LanguageModel(nn.Module):
    """A causal transformer of one layer whose readout has the table's weights."""

    def __init__(self):
        super().__init__()
        self.table, self.place = nn.Embedding(11, 8), nn.Parameter(torch.zeros(1, 6, 8))
        self.layer = nn.TransformerEncoderLayer(8, 2, 12, 0.0, batch_first=True)
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.table.weight
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(6))

    def forward(self, x):
        return self.head(self.layer(self.table(x) + self.place, src_mask=self.mask))


class BasicBlock(nn.Module):
    """Two convolutions, and a shortcut that is the identity or a projection."""

    def __init__(self, channels, wider, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, wider, 3, stride, 1, bias=False), nn.BatchNorm2d(wider)
        self.conv2, self.bn2 = nn.Conv2d(wider, wider, 3, 1, 1, bias=False), nn.BatchNorm2d(wider)
        self.relu, self.downsample = nn.ReLU(inplace=True), None
        if stride > 1 or channels != wider:
            self.downsample = nn.Sequential(nn.Conv2d(channels, wider, 1, stride, bias=False), nn.BatchNorm2d(wider))

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        y += shortcut
        return self.relu(y)


class ResNet18(nn.Module):
    """The residual network of 18 layers for large images (He et al., 2016, table 1), in the usual layout of its modules."""

    def __init__(self, width, classes):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        self.relu, self.maxpool = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        channels = width
        for group in range(4):
            wider = width * 2**group
            blocks = nn.Sequential(BasicBlock(channels, wider, 1 + (group > 0)), BasicBlock(wider, wider, 1))
            setattr(self, f"layer{group + 1}", blocks)
            channels = wider
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(channels, classes)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def resnet18(width, classes):
    torch.manual_seed(0)
    return moved(ResNet18(width, classes))
