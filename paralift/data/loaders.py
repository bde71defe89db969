"""PyTorch's DataLoader and Dataset as data: what is taken over, and what cannot be. PyTorch itself is not imported.

Of a loader its data set and its batch size are taken. Batches are formed by `Sampler`, so that they are the same on any number
of ranks: `shuffle` of `fit` counts instead of the loader's, the last, short batch of an epoch is trained on whatever
``drop_last`` says, and worker processes are not started. What changes *what* is learnt, in a sampler or a collate function, is
refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PLAIN_SAMPLERS = ("SequentialSampler", "RandomSampler", "DistributedSampler")
"""Samplers that take each sample once an epoch: all that they decide is order and place, as `Sampler` does."""
PLAIN_COLLATE = ("default_collate", "default_convert")


def is_loader(given: Any) -> bool:
    """Return whether an object is a DataLoader, or looks like one."""
    return all(hasattr(given, name) for name in ("dataset", "batch_size", "sampler", "collate_fn"))


def gives_items(given: Any) -> bool:
    """Return whether an object is a Dataset: no array, but something that gives items by numbers, or iterates over them."""
    if isinstance(given, str | bytes | tuple | list | Mapping | type) or hasattr(given, "__array__"):
        return False
    return hasattr(given, "__getitem__") or is_iterable_style(given)


def is_iterable_style(dataset: Any) -> bool:
    """Return whether a Dataset has no numbered items; PyTorch's has the method all the same."""
    return any(kind.__name__ == "IterableDataset" for kind in type(dataset).__mro__)


def loader_rows(given: Any) -> int | None:
    """Return the batch size of a loader, None where there is none."""
    if not is_loader(given):
        return None
    return given.batch_size or getattr(getattr(given, "batch_sampler", None), "batch_size", None)


def dataset_of(loader: Any) -> Any:
    """Return the data set of a loader.

    Raises
    ------
    ValueError
        If its sampler leaves out, repeats or weighs samples, or its collate function is not PyTorch's own.
    """
    if is_iterable_style(loader.dataset):
        return loader.dataset  # refused with a word of its own
    batches, collate = getattr(loader, "batch_sampler", None), loader.collate_fn
    plain = batches is None or type(batches).__name__ == "BatchSampler"
    for sampler in (loader.sampler, getattr(batches, "sampler", loader.sampler)) if plain else (batches,):
        if not _takes_each_once(sampler, len(loader.dataset)):
            raise ValueError(
                f"the DataLoader draws by {type(sampler).__name__}, which does not take each sample once an epoch, or not "
                "for certain: batches are formed by ParaLift; give torch.utils.data.Subset(dataset, indices) for a part of them"
            )
    if getattr(collate, "__name__", "") not in PLAIN_COLLATE:
        raise ValueError(
            f"the DataLoader has a collate_fn of its own, {collate!r}, which would not be called: let the Dataset return "
            "samples as they are to be"
        )
    return loader.dataset


def _takes_each_once(sampler: Any, n: int) -> bool:
    kind = type(sampler).__name__
    number = getattr(sampler, "num_samples", n) if kind == "RandomSampler" else n
    return kind in PLAIN_SAMPLERS and not getattr(sampler, "replacement", False) and number == n
