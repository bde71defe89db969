"""What `paralift bench learning` trains: a network, data, and ways to train it, from the same weights on the same batches."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import paralift as pl
from paralift.data import Dataset, load_shard
from paralift.data.builtin import FOLDER_VARIABLE
from paralift.lifted.methods import Method
from paralift.lifted.network import Network
from paralift.optim.schedules import Schedule

RATE = 1e-3
SEEDS = 3
IMAGES = 10_000
"""Images that convolutional networks are trained with."""
TEXT = Path("tinyshakespeare") / "input.txt"


@dataclass(frozen=True)
class Way:
    """One way to train: a method, the stages that share its blocks, their schedule; without a method, PyTorch's autograd."""

    method: Method | None
    ranks: int = 1
    schedule: str | None = None


TORCH = "PyTorch"
"""Name of the reference among the ways."""
DEFAULT = "nudged()"
"""The default method, a relative nudge."""
BACKPROP = "backprop()"
ALL_NUDGES: Mapping[str, Method] = {
    DEFAULT: pl.methods.nudged(),
    "nudged(beta=1)": pl.methods.nudged(beta=1.0),
    "nudged(beta=0.1)": pl.methods.nudged(beta=0.1),
    "nudged(beta=0.1, symmetric=False)": pl.methods.nudged(beta=0.1, symmetric=False),
    "nudged(beta=1, symmetric=False)": pl.methods.nudged(beta=1.0, symmetric=False),
    BACKPROP: pl.methods.backprop(),
}


def on_ranks(ranks: int, schedule: str | None = None) -> str:
    """Return the name of the default method on so many stages; without a schedule they run unflushed."""
    return f"{DEFAULT}, {ranks} ranks" + ("" if schedule is None else f", {schedule}")


def ways(methods: Iterable[str] = (DEFAULT,), ranks: Iterable[int] = (2,), torch: bool = True) -> dict[str, Way]:
    """Return methods of `ALL_NUDGES` on one rank, the default one on several, and PyTorch."""
    found = {name: Way(ALL_NUDGES[name]) for name in methods}
    found |= {on_ranks(n): Way(ALL_NUDGES[DEFAULT], n) for n in ranks}
    return found | ({TORCH: Way(None)} if torch else {})


@dataclass(frozen=True)
class Study:
    """What is trained, and how often.

    Attributes
    ----------
    name : str
    network : Network
    shown : str
        The network, for people.
    epochs : int
    columns : mapping of str to (data set, seed)
        The repetitions; a seed gives initial weights and batches.
    ways : mapping of str to Way
    rate : float or schedule
        Of Adam.
    batch_size : int
    score : {"accuracy", "loss"}
        Of the test, which the table shows.
    """

    name: str
    network: Network
    shown: str
    epochs: int
    columns: Mapping[str, tuple[Callable[[], Dataset], int]]
    ways: Mapping[str, Way] = field(default_factory=ways)
    rate: float | Schedule = RATE
    batch_size: int = 128
    score: str = "accuracy"


def digits(quick: bool) -> Study:
    """Return the study on the digits: six splits into training and test samples."""
    columns = {f"split {k}": (lambda k=k: pl.data.digits(seed=k), 0) for k in range(1 if quick else 6)}
    chosen = ways((DEFAULT, "nudged(beta=1)", BACKPROP), ranks=())
    return _of_perceptron("digits", (64, 256, 256, 10), 1 if quick else 20, columns, chosen)


def mnist1d(quick: bool) -> Study:
    """Return the study on MNIST-1D: 16,000 training samples, five ways to nudge, three seeds."""
    return _of_perceptron("mnist1d", (40, 256, 256, 256, 10), 1 if quick else 15, _on_mnist1d(quick), ways(ALL_NUDGES, ()))


def mnist1d_residual(quick: bool) -> Study:
    """Return the study of a perceptron of 16 residual branches."""
    return _of_residual("mnist1d-residual", 2 if quick else 16, 1 if quick else 10, quick, (2,))


def depth_64(quick: bool) -> Study:
    """Return the study of 64 residual branches, on 1 and 4 ranks."""
    return _of_depth("depth-64", 4 if quick else 64, quick)


def depth_128(quick: bool) -> Study:
    """Return the study of 128 residual branches, on 1 and 4 ranks."""
    return _of_depth("depth-128", 4 if quick else 128, quick)


def _of_depth(name: str, branches: int, quick: bool) -> Study:
    """Return a study that warms up, and leaves out PyTorch: steps with forecasts are compared with exact ones."""
    chosen = ways(ranks=() if quick else (4,), torch=False)
    if not quick:
        chosen[on_ranks(4, "flush")] = Way(ALL_NUDGES[DEFAULT], 4, "flush")
    study = _of_residual(name, branches, 1 if quick else 6, quick, ())
    return replace(study, ways=chosen, rate=pl.optim.Cosine(1e-3, warmup=0 if quick else 100))


def mnist(quick: bool) -> Study:
    """Return the study of a perceptron on MNIST, read from the folder that PARALIFT_DATA names."""
    return _of_perceptron("mnist", (784, 256, 256, 10), 1 if quick else 6, _seeds(pl.data.mnist(), quick), _image_ways(quick))


def mnist_cnn(quick: bool) -> Study:
    """Return the study of LeNet on 10,000 images of MNIST."""
    return _of_images("mnist-cnn", pl.data.mnist(), pl.networks.lenet(flat=True), "lenet", 6, quick)


def fashion(quick: bool) -> Study:
    """Return the study on Fashion-MNIST, read from the folder that PARALIFT_DATA names."""
    chosen = ways((DEFAULT, "nudged(beta=1)", BACKPROP), () if quick else (2,))
    return _of_perceptron("fashion", (784, 256, 256, 10), 1 if quick else 6, _seeds(pl.data.fashion_mnist(), quick), chosen)


def fashion_cnn(quick: bool) -> Study:
    """Return the study of LeNet on 10,000 images of Fashion-MNIST."""
    return _of_images("fashion-cnn", pl.data.fashion_mnist(), pl.networks.lenet(flat=True), "lenet", 10, quick)


def fashion_resnet(quick: bool) -> Study:
    """Return the study of a residual network with batch normalisation on the same images."""
    network = pl.networks.resnet(8 if quick else 14, (28, 28, 1), flat=True)
    rate = pl.optim.Cosine(3e-3)
    return _of_images("fashion-resnet", pl.data.fashion_mnist(), network, "resnet(14)", 5, quick, rate)


def shakespeare(quick: bool) -> Study:
    """Return the study of a transformer on Shakespeare's characters."""
    length, width, depth, epochs, batch_size = (32, 16, 1, 1, 128) if quick else (64, 128, 4, 2, 32)
    data = pl.data.text(text_file(), length)
    assert data.n_classes is not None
    network = pl.networks.transformer(data.n_classes, length, width, depth)
    shown = f"{network.n_parameters} parameters, {data.train.n_samples} x {length} characters"
    chosen = ways((DEFAULT, BACKPROP), ()) if quick else ways()
    rate = pl.optim.Cosine(2e-3, warmup=0 if quick else 100)
    return Study("shakespeare", network, shown, epochs, _seeds(data, quick), chosen, rate, batch_size, "loss")


def text_file() -> Path:
    """Return where the text lies."""
    root = os.environ.get(FOLDER_VARIABLE)
    if not root:
        raise FileNotFoundError(f"{FOLDER_VARIABLE} is not set; set it to the folder that holds {TEXT} (none is downloaded)")
    return Path(root).expanduser() / TEXT


STUDIES: Mapping[str, tuple[str, Callable[[bool], Study]]] = {
    "digits": ("test accuracy on six splits of the digits", digits),
    "mnist1d": ("test accuracy on MNIST-1D: nudges, backpropagation, PyTorch", mnist1d),
    "mnist1d-residual": ("the same of 16 residual branches, on 1 and 2 ranks", mnist1d_residual),
    "depth-64": ("the same of 64 residual branches, on 1 and 4 ranks", depth_64),
    "depth-128": ("the same of 128 residual branches, on 1 and 4 ranks", depth_128),
    "mnist": ("test accuracy on MNIST (in the folder PARALIFT_DATA), on 1 and 2 ranks", mnist),
    "mnist-cnn": ("the same of LeNet on 10,000 of its images", mnist_cnn),
    "fashion": ("test accuracy on Fashion-MNIST (in the folder PARALIFT_DATA), on 1 and 2 ranks", fashion),
    "fashion-cnn": ("the same of LeNet on 10,000 of its images", fashion_cnn),
    "fashion-resnet": ("the same of a residual network", fashion_resnet),
    "shakespeare": ("test loss of a transformer on Shakespeare's characters (in PARALIFT_DATA), on 1 and 2 ranks", shakespeare),
}
"""What each is, for people, and the function that returns it, given whether it is to be small and short."""


def perceptron(widths: Sequence[int]) -> pl.Sequential:
    """Return a perceptron with ReLU and a softmax output."""
    layers: list[Any] = []
    for a, b in pairwise(widths):
        layers += [pl.Linear(a, b), pl.ReLU()]
    return pl.Sequential(*layers[:-1], pl.Softmax())


def _seeds(data: Dataset, quick: bool) -> dict[str, tuple[Callable[[], Dataset], int]]:
    return {f"seed {s}": (lambda: data, s) for s in range(1 if quick else SEEDS)}


def _on_mnist1d(quick: bool) -> dict[str, tuple[Callable[[], Dataset], int]]:
    return _seeds(pl.data.mnist1d(1000) if quick else pl.data.mnist1d(), quick)



def _image_ways(quick: bool) -> dict[str, Way]:
    return ways((DEFAULT, BACKPROP), () if quick else (2,))


def _of_perceptron(name: str, widths: tuple[int, ...], epochs: int, columns: Any, chosen: Mapping[str, Way]) -> Study:
    return Study(name, perceptron(widths), "-".join(map(str, widths)), epochs, columns, chosen)


def _of_residual(name: str, branches: int, epochs: int, quick: bool, ranks: Iterable[int]) -> Study:
    width, inner = 64, 128
    scale = branches**-0.5
    parts = [pl.Residual(pl.Linear(width, inner), pl.ReLU(), pl.Linear(inner, width), scale=scale) for _ in range(branches)]
    network = pl.Sequential(pl.Linear(40, width), *parts, pl.Linear(width, 10), pl.Softmax())
    shown = f"{branches} residual branches {width}-{inner}-{width}"
    return Study(name, network, shown, epochs, _on_mnist1d(quick), ways((DEFAULT, BACKPROP), ranks))


def first_images(whole: Dataset, name: str, quick: bool = False) -> Dataset:
    """Return the first `IMAGES` of a data set, or 512, and as many of its test images."""
    assert whole.test is not None
    n = 512 if quick else IMAGES
    parts = [load_shard(source, 0, min(n, source.n_samples), np.float32) for source in (whole.train, whole.test)]
    return pl.data.from_arrays(*parts[0], test=parts[1], name=name, n_classes=10)


def _of_images(
    name: str, whole: Dataset, network: Network, shown: str, epochs: int, quick: bool, rate: float | Schedule = RATE
) -> Study:
    data = first_images(whole, name, quick)
    return Study(name, network, shown, 1 if quick else epochs, _seeds(data, quick), _image_ways(quick), rate)
