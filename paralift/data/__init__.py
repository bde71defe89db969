"""Data sets, and which of their samples a shard reads in which batch. Knows no network and no MPI."""

from paralift.data.augment import Augmentation, Crop, Flip, Noise, Shift
from paralift.data.builtin import digits, fashion_mnist, from_arrays, from_files, mnist, mnist1d
from paralift.data.dataset import Dataset
from paralift.data.denoising import denoising
from paralift.data.hdf5 import Hdf5Source
from paralift.data.idx import IdxSource
from paralift.data.items import ItemSource
from paralift.data.load import load_inputs, load_shard, load_targets
from paralift.data.npz import NpzSource
from paralift.data.patches import PatchSource
from paralift.data.sampler import Epoch, Sampler, even_range
from paralift.data.source import ArraySource, DataError, Source
from paralift.data.text import TextSource, text

__all__ = [
    "ArraySource",
    "Augmentation",
    "Crop",
    "DataError",
    "Dataset",
    "Epoch",
    "Flip",
    "Hdf5Source",
    "IdxSource",
    "ItemSource",
    "Noise",
    "NpzSource",
    "PatchSource",
    "Sampler",
    "Shift",
    "Source",
    "TextSource",
    "denoising",
    "digits",
    "even_range",
    "fashion_mnist",
    "from_arrays",
    "from_files",
    "load_inputs",
    "load_shard",
    "load_targets",
    "mnist",
    "mnist1d",
    "text",
]
