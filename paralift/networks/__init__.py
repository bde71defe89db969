"""Networks by one call: each is a `Sequential` made of public layers, an example of how to compose one's own."""

from paralift.networks.autoencoder import autoencoder
from paralift.networks.lenet import lenet
from paralift.networks.mlp import mlp
from paralift.networks.resnet import resnet
from paralift.networks.transformer import transformer
from paralift.networks.unrolled import cosine_filters as cosine_filters  # parameters, no network: no word of configurations
from paralift.networks.unrolled import unrolled
from paralift.networks.vgg import vgg

__all__ = [
    "autoencoder",
    "lenet",
    "mlp",
    "resnet",
    "transformer",
    "unrolled",
    "vgg",
]
