"""What multiplies: maps z = A(x_parents; theta), affine in each parent and in theta."""

from paralift.lifted.maps.affine import Diagonal, Linear
from paralift.lifted.maps.base import Map, ShapeError
from paralift.lifted.maps.combine import Add, Concatenate
from paralift.lifted.maps.dropout import Dropout
from paralift.lifted.maps.shape import Flatten, Keep, Reshape

__all__ = ["Add", "Concatenate", "Diagonal", "Dropout", "Flatten", "Keep", "Linear", "Map", "Reshape", "ShapeError"]
