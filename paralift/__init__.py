"""ParaLift: lifted Bregman training of neural networks over MPI."""

from typing import TYPE_CHECKING

from paralift import callbacks, data, losses, methods, networks, optim
from paralift.interop import from_torch, load_safetensors, save_safetensors, to_onnx, to_torch
from paralift.kernels.draw import sample_keys
from paralift.lifted import activations, maps
from paralift.lifted.activations import (
    ELU,
    GELU,
    ISRU,
    Arctan,
    Ball,
    BatchNorm,
    CausalSoftmax,
    GroupNorm,
    GroupSoftThreshold,
    Hardtanh,
    Heads,
    Identity,
    LargestPositive,
    LayerNorm,
    LeakyReLU,
    Quantizer,
    ReLU,
    ReLUMaxPool,
    RMSNorm,
    Sigmoid,
    Sign,
    SiLU,
    Softmax,
    Softplus,
    Softsign,
    SoftThreshold,
    Sparsemax,
    Tanh,
    activation,
)
from paralift.lifted.gradient import value_and_grad
from paralift.lifted.infer import Clamped, Free, Inferred, Nudged, infer
from paralift.lifted.layers import Attention, Graph, Parallel, Residual, Sequential
from paralift.lifted.maps import (
    AdaptiveAveragePool1d,
    AdaptiveAveragePool2d,
    Add,
    AveragePool1d,
    AveragePool2d,
    Combine,
    Concatenate,
    Conv1d,
    Conv2d,
    ConvTranspose1d,
    ConvTranspose2d,
    Diagonal,
    Dropout,
    Embedding,
    Flatten,
    GlobalAverage,
    Linear,
    MaxPool1d,
    MaxPool2d,
    Mix,
    Permute,
    Positions,
    Readout,
    Reshape,
    Scores,
    Tied,
    Upsample,
)
from paralift.optim.solution import Solution
from paralift.parallel.plan import Plan
from paralift.parallel.solve import solve
from paralift.training.fit import DivergedError, fit
from paralift.training.rates import Rates, find_rate
from paralift.training.result import Reason, Result
from paralift.training.stopping import EarlyStopping

if TYPE_CHECKING:
    from paralift.estimators import LiftedAutoencoder, LiftedClassifier, LiftedRegressor
else:

    def __getattr__(name: str) -> object:
        """Return an estimator: their room is imported when it is wanted, since it imports scikit-learn."""
        if name not in ("LiftedAutoencoder", "LiftedClassifier", "LiftedRegressor"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from paralift import estimators

        return getattr(estimators, name)


__version__ = "0.1.0"

__all__ = [
    "activation",
    "activations",
    "AdaptiveAveragePool1d",
    "AdaptiveAveragePool2d",
    "Add",
    "Arctan",
    "Attention",
    "AveragePool1d",
    "AveragePool2d",
    "Ball",
    "BatchNorm",
    "callbacks",
    "CausalSoftmax",
    "Clamped",
    "Combine",
    "Concatenate",
    "Conv1d",
    "Conv2d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "data",
    "Diagonal",
    "DivergedError",
    "Dropout",
    "EarlyStopping",
    "ELU",
    "Embedding",
    "find_rate",
    "fit",
    "Flatten",
    "Free",
    "from_torch",
    "GELU",
    "GlobalAverage",
    "Graph",
    "GroupNorm",
    "GroupSoftThreshold",
    "Hardtanh",
    "Heads",
    "Identity",
    "infer",
    "Inferred",
    "ISRU",
    "LargestPositive",
    "LayerNorm",
    "LeakyReLU",
    "LiftedAutoencoder",
    "LiftedClassifier",
    "LiftedRegressor",
    "Linear",
    "load_safetensors",
    "losses",
    "maps",
    "MaxPool1d",
    "MaxPool2d",
    "methods",
    "Mix",
    "networks",
    "Nudged",
    "optim",
    "Parallel",
    "Permute",
    "Plan",
    "Positions",
    "Quantizer",
    "Rates",
    "Readout",
    "Reason",
    "ReLU",
    "ReLUMaxPool",
    "Reshape",
    "Residual",
    "Result",
    "RMSNorm",
    "sample_keys",
    "save_safetensors",
    "Scores",
    "Sequential",
    "Sigmoid",
    "Sign",
    "SiLU",
    "Softmax",
    "Softplus",
    "Softsign",
    "SoftThreshold",
    "Solution",
    "solve",
    "Sparsemax",
    "Tanh",
    "Tied",
    "to_onnx",
    "to_torch",
    "Upsample",
    "value_and_grad",
]
