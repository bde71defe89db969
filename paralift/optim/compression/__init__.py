"""What is sent instead of a vector: few of its numbers, or all of them in few bits."""

from paralift.optim.compression.compressor import Compressor
from paralift.optim.compression.levels import alq, amq, e3m0, expected_variance, nuqsgd, qsgd
from paralift.optim.compression.quantizer import Quantizer
from paralift.optim.compression.topk import RandomK, TopK

__all__ = ["Compressor", "Quantizer", "RandomK", "TopK", "alq", "amq", "e3m0", "expected_variance", "nuqsgd", "qsgd"]
