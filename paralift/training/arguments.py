"""The arguments of `fit`, checked before anything is built; every rank comes to the same answer."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from paralift import data as data_room
from paralift.data import Dataset, ItemSource
from paralift.data.loaders import dataset_of, gives_items, is_loader, loader_rows
from paralift.kernels.arrays import Array
from paralift.lifted.inference.estimate import check_penalty, state_regularizers
from paralift.lifted.inference.least_squares import check_least_squares
from paralift.lifted.inference.proxgrad import ProximalGradient
from paralift.lifted.losses import Loss
from paralift.lifted.methods import Method
from paralift.lifted.network import Network, float_type
from paralift.lifted.updates import LeastSquares
from paralift.parallel.plan import Plan

BATCH = 128
"""Samples of a batch, where nothing says how many."""


def as_dataset(data: Any, test: Any) -> Dataset:
    """Return `data` as a data set."""
    if isinstance(data, Dataset):
        return data
    train = as_source("data", data)
    name = train.name if train is data else "items" if isinstance(train, ItemSource) else "arrays"
    return Dataset(name, train, None if test is None else as_source("test", test))


def as_source(name: str, given: Any) -> data_room.Source:
    """Return what an argument of that name holds as a source; TypeError if it cannot be one."""
    if isinstance(given, data_room.Source):
        return given
    if isinstance(given, tuple | list) and len(given) == 2:
        return data_room.ArraySource(*given)
    if is_loader(given):
        return ItemSource(dataset_of(given))
    if gives_items(given):
        return ItemSource(given)
    also = "a data set, " if name == "data" else ""
    raise TypeError(
        f"{name} is {type(given).__name__}, expected {also}a source or a pair of arrays (x, y), or a Dataset or DataLoader of "
        "PyTorch"
    )


def batch_rows(given: int | None, data: Any, n: int) -> int:
    """Return the samples of a batch: as given, by default those of a DataLoader, else `BATCH`; None takes all n."""
    size = (loader_rows(data) or BATCH) if given == "auto" else given
    if size is not None and not isinstance(size, int):
        raise TypeError(f'batch_size is {given!r}, expected a whole number, None for all samples, or "auto"')
    return n if size is None else min(size, n)


def check_shapes(network: Network, data: Dataset, loss: Loss) -> None:
    """Raise ValueError unless samples and targets fit the network and the loss."""
    if data.sample_shape != network.input_shape:
        moved = (*data.sample_shape[1:], *data.sample_shape[:1])
        hint = "; channels come last: give paralift.data.ItemSource(dataset, channels_first=True)"
        raise ValueError(
            f"{data.name}: samples have shape {data.sample_shape}, the network reads {network.input_shape}"
            f"{hint if moved == network.input_shape and isinstance(data.train, ItemSource) else ''}"
        )
    *outer, width = network.output_shape
    expected = (*outer,) if data.labels else (*outer, loss.target_width(network.blocks[-1].activation, width))
    if data.target_shape != expected:
        hint = "; integers are labels: take the argmax of one-hot rows, or store floats" if data.labels else ""
        what = "labels" if data.labels else "targets"
        raise ValueError(f"{data.name}: {what} have shape {data.target_shape}, expected {expected} for the network{hint}")
    if data.labels and not loss.takes_labels():
        raise ValueError(f"{data.name}: class labels, but {loss!r} takes floats: end the network with Softmax()")
    classes = data.n_classes
    if data.labels and classes is not None and classes > width:
        raise ValueError(f"{data.name}: {classes} classes, the network has {width} outputs")


def array_like(dtype: Any, device: str, ranks: int) -> Array:
    """Return an array of the library and type of the run."""
    if device == "cpu":
        return np.zeros(1, float_type(dtype))
    if device != "gpu":
        raise ValueError(f"device is {device!r}, expected 'cpu' or 'gpu'")
    if ranks > 1:
        raise ValueError(f"device='gpu' runs on one rank, {ranks} given")
    try:
        import cupy
    except ImportError as error:
        raise ImportError("device='gpu' needs CuPy: pip install 'paralift[gpu]'") from error
    return cupy.zeros(1, float_type(dtype))


def expect_patience(value: Any) -> float:
    """Return the seconds that a rank waits for another; ValueError unless they are a positive, finite number."""
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else 0.0
    if not 0.0 < number <= sys.float_info.max:  # whole numbers may be larger than any float
        raise ValueError(f"patience is {value!r}, expected a positive, finite number of seconds")
    return float(number)


def expect_counts(**counts: int) -> None:
    """Raise ValueError unless the named numbers are whole and large enough."""
    for name, value in counts.items():
        if not isinstance(value, int) or value < (0 if name == "epochs" else 1):
            raise ValueError(f"{name} is {value!r}, expected a whole number, at least {0 if name == 'epochs' else 1}")


def check_method(network: Network, method: Method, rule: Any) -> None:
    """Raise ValueError or TypeError unless a method suits the network and the update rule's regulariser."""
    state_regularizers(network, method)
    if isinstance(method.inference, ProximalGradient):
        check_penalty(network, method.measure)
    if isinstance(method.update, LeastSquares):
        check_least_squares(network, getattr(rule, "regularizer", None))


def allowed_stages(method: Method, stages: int | None, plan: Plan | str | None) -> int | None:
    """Return the number of stages that a run fixes; ValueError where stages would divide what they cannot."""
    if method.inference.divisible:
        return stages
    wanted = plan.stages if isinstance(plan, Plan) else stages
    if wanted not in (None, 1):
        raise ValueError(
            f"{wanted} stages, but {method.inference!r} takes gradients at what units become in the pass back, which a stage "
            "above never sees: take stages=1, so that ranks are data shards, or dual_propagation(..., frozen=True)"
        )
    return 1
