"""Networks from modules of PyTorch and back; PyTorch is imported when they are called."""

from __future__ import annotations

from typing import Any

from paralift.interop.optional import load
from paralift.lifted.network import Network, Params


def from_torch(module: Any, example: Any) -> tuple[Network, dict[str, dict[str, Any]]]:
    """Return a network that computes what a module of PyTorch computes in evaluation, and its parameters.

    The module's forward is traced by ``torch.fx`` and translated call by call; docs/interop.md lists what is known. Images
    lie channels last in ParaLift: samples (C, H, W) of the module are samples (H, W, C) of the network, at its input and at its
    output. Series (C, L) become (L, C) where convolutions, pooling or batch normalisation read or make them, while tokens
    (T, features) and vectors stay as they are. What is between needs no thought: the weights of a layer behind a flattened
    image are put in order.

    Parameters
    ----------
    module : torch.nn.Module
        Its parameters, float32 or float64, are copied. It is left in the mode it was in.
    example : torch.Tensor, shape (n, ...)
        Samples as the module takes them; one will do. Its second axis counts samples where the module is built of transformer
        layers with ``batch_first=False``; the network counts samples by the first one.

    Returns
    -------
    net : Network
        A `Sequential` where the module is a chain, else a `Graph`.
    params : mapping
        As ``net.init()`` returns them, running statistics included.

    Raises
    ------
    ImportError
        If PyTorch is not installed.
    UnsupportedError
        A ValueError: the module or the call that has no counterpart, and what is supported; or outputs for the example that
        differ from the module's.
    """
    load("torch", "from_torch")
    from paralift.interop.from_torch import convert

    return convert(module, example)


def to_torch(net: Network, params: Params) -> Any:
    """Return a module of PyTorch's own layers that computes what a network computes.

    Parameters
    ----------
    net : Network
    params : mapping
        In the structure of ``net.init()``, copied.

    Returns
    -------
    module : torch.fx.GraphModule
        In evaluation; dropout and batch normalisation act as in PyTorch when it is trained. Layers have their blocks' names. It
        takes images and series channels first: what the module took that `from_torch` was given, this takes, too, with samples
        on the first axis. Tokens may be of any type.

    Raises
    ------
    ImportError
        If PyTorch is not installed.
    UnsupportedError
        A ValueError: the block that has no counterpart, and what is supported.
    ValueError
        If parameters do not fit the network.
    """
    load("torch", "to_torch")
    from paralift.interop.to_torch import convert

    return convert(net, params).eval()
