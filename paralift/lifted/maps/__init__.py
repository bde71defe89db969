"""What multiplies: maps z = A(x_parents; theta), affine in each parent and in theta."""

from paralift.lifted.maps.affine import Diagonal, Linear
from paralift.lifted.maps.attention import Mix, Scores
from paralift.lifted.maps.base import Map, ShapeError
from paralift.lifted.maps.combine import Add, Combine, Concatenate
from paralift.lifted.maps.convolution import Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d
from paralift.lifted.maps.dropout import Dropout
from paralift.lifted.maps.embedding import Embedding, Readout
from paralift.lifted.maps.permute import Permute
from paralift.lifted.maps.pooling import (
    AdaptiveAveragePool1d,
    AdaptiveAveragePool2d,
    AveragePool1d,
    AveragePool2d,
    GlobalAverage,
    MaxPool1d,
    MaxPool2d,
    Upsample,
)
from paralift.lifted.maps.positions import Positions
from paralift.lifted.maps.shape import Flatten, Keep, Reshape
from paralift.lifted.maps.tied import Tied

__all__ = [
    "AdaptiveAveragePool1d",
    "AdaptiveAveragePool2d",
    "Add",
    "Combine",
    "AveragePool1d",
    "AveragePool2d",
    "Concatenate",
    "Conv1d",
    "Conv2d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "Diagonal",
    "Dropout",
    "Embedding",
    "Flatten",
    "GlobalAverage",
    "Keep",
    "Linear",
    "Map",
    "MaxPool1d",
    "MaxPool2d",
    "Mix",
    "Permute",
    "Positions",
    "Readout",
    "Reshape",
    "Scores",
    "ShapeError",
    "Tied",
    "Upsample",
]
