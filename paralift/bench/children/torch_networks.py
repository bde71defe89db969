"""The named networks as a user of PyTorch writes them; shapes and parameters are those of `paralift.networks`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class LeNet(nn.Sequential):
    """LeNet-5 of images (1, 28, 28)."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
        )  # fmt: skip


def normalised(channels: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Return a convolution that keeps the size (over the stride), and its normalisation."""
    convolution = nn.Conv2d(channels, outputs, kernel, stride, (kernel - 1) // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut, a 1 x 1 convolution where size or channels change."""

    def __init__(self, channels: int, outputs: int, stride: int) -> None:
        super().__init__()
        same = stride == 1 and channels == outputs
        self.branch = nn.Sequential(
            normalised(channels, outputs, 3, stride), nn.ReLU(inplace=True), normalised(outputs, outputs, 3)
        )
        self.shortcut = nn.Identity() if same else normalised(channels, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return the rectified sum."""
        return functional.relu(self.branch(x) + self.shortcut(x), inplace=True)


class ResNet(nn.Sequential):
    """The residual network of small images with one channel: three groups of blocks, 16, 32 and 64 channels."""

    def __init__(self, depth: int) -> None:
        layers: list[nn.Module] = [normalised(1, 16, 3), nn.ReLU(inplace=True)]
        channels = 16
        for group, outputs in enumerate((16, 32, 64)):
            for block in range(depth // 6):
                layers.append(ResidualBlock(channels, outputs, 2 if group and not block else 1))
                channels = outputs
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


class Attention(nn.Module):
    """Causal self-attention, its three affine maps in one product; keys have no offset."""

    nothing: Tensor

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.weight = nn.Parameter(torch.randn(3 * width, width) * width**-0.5)
        self.offsets = nn.Parameter(torch.zeros(2, width))  # of queries and values
        self.register_buffer("nothing", torch.zeros(width))
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the heads mix, through the last affine map."""
        n, length, width = x.shape
        offset = torch.cat((self.offsets[0], self.nothing, self.offsets[1]))
        found = functional.linear(x, self.weight, offset).view(n, length, 3, self.heads, -1)
        q, k, v = found.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(mixed.transpose(1, 2).reshape(n, length, width))


class Block(nn.Module):
    """Attention and a feed-forward branch, each behind a normalisation."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(width), Attention(width, heads))
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return x with both branches added."""
        x = x + self.attention(x)
        return x + self.feed_forward(x)


class Transformer(nn.Module):
    """Decoder-only, learned positions, the scores tied to the embedding."""

    def __init__(self, tokens: int, length: int, width: int = 128, depth: int = 4, heads: int = 4) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        self.positions = nn.Parameter(torch.randn(length, width) * 0.02)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of all tokens, (n, length, tokens)."""
        found = self.norm(self.blocks(self.embedding(x) + self.positions))
        return functional.linear(found, self.embedding.weight)
