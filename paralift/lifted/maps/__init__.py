"""What multiplies: maps z = A(x_parents; theta), affine in each parent and in theta."""

from paralift.lifted.maps.affine import Diagonal, Linear
from paralift.lifted.maps.attention import Mix, Scores
from paralift.lifted.maps.base import Map, ShapeError
from paralift.lifted.maps.combine import Add, Concatenate
from paralift.lifted.maps.embedding import Embedding, Readout
from paralift.lifted.maps.positions import Positions
from paralift.lifted.maps.shape import Flatten, Keep, Reshape
from paralift.lifted.maps.tied import Tied

__all__ = [
    "Add",
    "Concatenate",
    "Diagonal",
    "Embedding",
    "Flatten",
    "Keep",
    "Linear",
    "Map",
    "Mix",
    "Positions",
    "Readout",
    "Reshape",
    "Scores",
    "ShapeError",
    "Tied",
]
