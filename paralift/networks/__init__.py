"""Networks by one call: each is a `Sequential` made of public layers, an example of how to compose one's own."""

from paralift.networks.autoencoder import autoencoder
from paralift.networks.lenet import lenet
from paralift.networks.mlp import mlp
from paralift.networks.resnet import resnet
from paralift.networks.transformer import transformer
from paralift.networks.unrolled import cosine_filters, unrolled
from paralift.networks.vgg import vgg

__all__ = [
    "autoencoder",
    "cosine_filters",
    "lenet",
    "mlp",
    "resnet",
    "transformer",
    "unrolled",
    "vgg",
]
