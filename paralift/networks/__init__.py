"""Networks by name, made of layers."""

from paralift.networks.transformer import transformer

__all__ = ["transformer"]
