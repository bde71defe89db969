"""What training steps are compared on: perceptrons by their widths, networks by their names, each with its batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import paralift as pl
from paralift.lifted.network import Network


class Problem(ABC):
    """A network and its batch.

    Attributes
    ----------
    name : str
        In arguments and records.
    batch : int
        Samples of a step.
    cuttable : bool
        Whether the peers' programs know how to cut it into stages.
    """

    name: str
    batch: int
    cuttable: bool = False

    @abstractmethod
    def network(self) -> Network:
        """Return ParaLift's network."""

    @property
    @abstractmethod
    def label(self) -> str:
        """What it is, for people."""

    @property
    @abstractmethod
    def choice(self) -> str:
        """The argument by which programs find it."""

    @property
    @abstractmethod
    def record(self) -> dict[str, object]:
        """What its record begins with."""

    @property
    def arguments(self) -> tuple[str, ...]:
        """What programs are told: each builds the network in its library, with that many parameters."""
        return (self.choice, f"--batch={self.batch}", f"--parameters={self.network().n_parameters}")

    @property
    def flops(self) -> float:
        """Operations of the products of a step."""
        return self.batch * product_flops(self.network())


@dataclass(frozen=True)
class Shape(Problem):
    """A perceptron with ReLU and a softmax behind its last layer."""

    name: str
    widths: tuple[int, ...]
    batch: int

    cuttable = True

    def network(self) -> Network:
        """Return the perceptron."""
        return perceptron(self.widths)

    @property
    def choice(self) -> str:
        """The widths, as programs take them."""
        return f"--widths={'-'.join(map(str, self.widths))}"

    @property
    def label(self) -> str:
        """The widths for people, with long runs counted."""
        runs: list[list[int]] = []
        for width in self.widths:
            if runs and runs[-1][0] == width:
                runs[-1][1] += 1
            else:
                runs.append([width, 1])
        return "-".join(f"{w}x{n}" if n > 2 else "-".join([str(w)] * n) for w, n in runs) + f", {self.batch}"

    @property
    def record(self) -> dict[str, object]:
        """Name, widths and batch."""
        return {"name": self.name, "widths": list(self.widths), "batch": self.batch}


@dataclass(frozen=True)
class Named(Problem):
    """A network that every library's program writes in its own idiom, and finds by its name.

    Parameters
    ----------
    name : str
    shown : str
        What it is, for people.
    batch : int
    build : callable
        Returns ParaLift's network.
    """

    name: str
    shown: str
    batch: int
    build: Callable[[], Network]

    def network(self) -> Network:
        """Return ParaLift's network."""
        return self.build()

    @property
    def choice(self) -> str:
        """The name, as programs take it."""
        return f"--network={self.name}"

    @property
    def label(self) -> str:
        """The network and its batch."""
        return f"{self.shown}, {self.batch}"

    @property
    def record(self) -> dict[str, object]:
        """Name, ParaLift's network and batch."""
        return {"name": self.name, "network": self.network().source, "batch": self.batch}


SHAPES = (
    Shape("small", (40, 256, 256, 256, 10), 128),
    Shape("wide", (784, 1024, 1024, 1024, 1024, 10), 256),
    Shape("deep64", (64,) * 33 + (10,), 64),
    Shape("deep128", (128,) * 17 + (10,), 128),
)
QUICK = Shape("quick", (40, 64, 64, 10), 32)
TOKENS, LENGTH = 65, 64
"""Characters of Shakespeare's plays, and of a sample."""
NETWORKS = (
    Named("lenet", "LeNet-5, 28 x 28", 128, partial(pl.networks.lenet, flat=True)),
    Named("resnet14", "ResNet-14 with BatchNorm, 28 x 28", 128, partial(pl.networks.resnet, 14, (28, 28, 1), flat=True)),
    Named("transformer", f"transformer, 4 blocks, 128 wide, {LENGTH} of {TOKENS} tokens", 32,
          partial(pl.networks.transformer, TOKENS, LENGTH)),
)  # fmt: skip
GROUPS: dict[str, tuple[Problem, ...]] = {"perceptrons": SHAPES, "networks": NETWORKS}


def find(text: str) -> list[Problem]:
    """Return the problems that a list of names and of groups, with commas between them, stands for.

    Raises
    ------
    ValueError
        With the names that are unknown, and what is known.
    """
    known = {p.name: (p,) for group in GROUPS.values() for p in group} | GROUPS
    names = text.split(",")
    wrong = [name for name in names if name not in known]
    if wrong:
        raise ValueError(f"{wrong}: expected some of {', '.join(known)}")
    return list(dict.fromkeys(problem for name in names for problem in known[name]))


def perceptron(widths: tuple[int, ...]) -> Network:
    """Return a perceptron with ReLU between its layers."""
    layers: list[object] = []
    for a, b in zip(widths, widths[1:], strict=False):
        layers += [pl.Linear(a, b), pl.ReLU()]
    return pl.Sequential(*layers[:-1], pl.Softmax())


def product_flops(network: Network) -> float:
    """Return the operations of the products of a step, a sample: forward, gradient of the weight, and pulls.

    Nothing is pulled on what no parameter moves: the input, and what is made of it without parameters. Of a bilinear map each
    pull costs as much as the product. Passes over memory (activations, normalisation, pooling) are not counted.
    """
    moved, total = {0: False}, 0.0
    for block in network.blocks:
        pulls = sum(moved[p] for p in block.parents)
        moved[block.index] = bool(pulls or block.trained())
        if block.map.bilinear or "weight" in block.trained():
            total += block.flops() * (1 + pulls + (not block.map.bilinear))
    return total
