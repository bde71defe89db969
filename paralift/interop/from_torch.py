"""A module of PyTorch as a network of ParaLift: traced, translated operation by operation, and compared with the module."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from paralift.interop import torch_functions as functions
from paralift.interop.assemble import Params, assemble
from paralift.interop.optional import UnsupportedError
from paralift.interop.torch_activations import hidden_scores
from paralift.interop.torch_attention import SamplesAxisError, attention, encoder, encoder_layer
from paralift.interop.torch_layers import MODULES
from paralift.interop.values import Tape, Value, last_index, plain_index
from paralift.lifted.network import Network

TOLERANCE = 1e-4
"""How far outputs may be apart, relative to the largest: rounding through many layers, but no other order of axes."""
ENCODERS = {nn.TransformerEncoderLayer: encoder_layer, nn.TransformerEncoder: encoder}
VIEWS = (nn.Flatten, nn.Unflatten)
ABOUT = ("shape", "ndim", "dtype", "device", "size", "dim")
"""What a forward may ask of a tensor without reading its numbers."""


class Trace(fx.Tracer):
    """Takes PyTorch's own layers as they are, and looks into all others."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Return whether a module is not looked into."""
        return type(m) in MODULES or super().is_leaf_module(m, module_qualified_name)


@dataclass
class Found:
    """A translation: what was recorded, its output, and the order of the input."""

    tape: Tape
    output: Value
    input: Value


def convert(module: nn.Module, example: torch.Tensor) -> tuple[Network, Params]:
    """Do what `paralift.from_torch` says."""
    try:
        return _converted(module, example)
    except UnsupportedError as error:
        raise UnsupportedError(f"from_torch: {error}") from error.__cause__


def _converted(module: nn.Module, example: torch.Tensor) -> tuple[Network, Params]:
    if not isinstance(module, nn.Module):
        raise TypeError(f"from_torch: module is {type(module).__name__}, expected torch.nn.Module")
    if not isinstance(example, torch.Tensor) or example.ndim < 2 or not example.numel():
        given = tuple(example.shape) if isinstance(example, torch.Tensor) else type(example).__name__
        raise TypeError(f"from_torch: example is {given}, expected a tensor of samples as the module takes it")
    with _evaluating(module):
        dtype = _dtype(module)
        example = example.detach()
        if example.is_floating_point():
            example = example.to(dtype)
        found, batch = _translations(module, example)
        shape = found.input.index.shape
        net, params = assemble(found.tape.ops, found.output.op, shape, np.dtype(str(dtype).removeprefix("torch.")))
        _compare(net, params, module, batch, found)
        _compare(net, params, module, _other(batch), found)  # so that nothing of the example has become a constant
    return net, params


def _translations(module: nn.Module, example: torch.Tensor) -> tuple[Found, torch.Tensor]:
    """Return the translation, and the batch that it was made with: samples are its first axis, or else its second."""
    for samples in (0, 1):
        batch = example if example.shape[samples] > 1 else torch.cat([example, example], samples)
        shape = tuple(n for axis, n in enumerate(batch.shape) if axis != samples)
        try:
            found = _translation(module, batch, Value(0, _start(shape), shape, samples))
            if len(shape) == 2 and found.tape.first_read:
                series = _translation(module, batch, Value(0, last_index(shape), shape, samples))
                found = min(found, series, key=lambda f: len(f.tape.ops))
        except SamplesAxisError:
            if samples == 1 or example.ndim < 3:
                raise
            continue
        return found, batch
    raise AssertionError("unreachable")


def _start(shape: tuple[int, ...]) -> np.ndarray:
    """Return the order of the input that is tried first: images are channels last, all else as in PyTorch."""
    return last_index(shape) if len(shape) == 3 else plain_index(shape)


def _translation(module: nn.Module, batch: torch.Tensor, start: Value) -> Found:
    """Trace the module, run it on the batch for its shapes, and translate each node."""
    root = nn.Sequential(module)  # also a single layer of PyTorch is then a leaf
    graph = _traced(root)
    concrete = _Recorder(fx.GraphModule(root, graph)).record(batch)
    tape, values, count = Tape(), {}, batch.shape[start.samples]
    for node in graph.nodes:
        if node.op == "placeholder":
            values[node] = start
        elif node.op == "output":
            result = _resolved(node.args[0], values, concrete)
            if not isinstance(result, Value):
                raise UnsupportedError(f"the module returns {type(result).__name__}, expected a tensor made of its input")
            return Found(tape, _output(tape, result), start)
        elif any(n in values for n in node.all_input_nodes):
            values[node] = _node(root, node, tape, values, concrete, count)
            if values[node] is None:  # a number that belongs to a shape
                del values[node]
    raise AssertionError("a graph ends with an output")


def _output(tape: Tape, x: Value) -> Value:
    """Return the output as documented: images channels last, series as they lie, vectors in PyTorch's order."""
    if len(x.shape) == 2 and np.array_equal(x.index, last_index(x.shape)):
        return x
    return tape.ordered(x, last_index(x.shape) if len(x.shape) == 3 else plain_index(x.shape))


class _Recorder(fx.Interpreter):
    """Runs a graph and keeps what each node gives."""

    def record(self, batch: torch.Tensor) -> dict[fx.Node, Any]:
        """Return the results of all nodes."""
        self.kept: dict[fx.Node, Any] = {}
        with torch.no_grad():
            self.run(batch)
        return self.kept

    def run_node(self, n: fx.Node) -> Any:
        """Run a node, and keep its result."""
        self.kept[n] = super().run_node(n)
        return self.kept[n]


def _traced(root: nn.Module) -> fx.Graph:
    try:
        return Trace().trace(root)
    except Exception as error:  # whatever a module does with a tensor that is not there yet
        raise UnsupportedError(
            f"torch.fx cannot trace the module ({type(error).__name__}: {error}); its forward must not decide by the values of "
            "tensors. Convert its parts, or write it of PyTorch's layers"
        ) from error


def _node(root: nn.Module, node: fx.Node, tape: Tape, values: Any, concrete: Any, count: int) -> Any:
    """Translate one call; errors name it."""
    args, keywords = _resolved(node.args, values, concrete), _resolved(dict(node.kwargs), values, concrete)
    result = concrete[node]
    module = root.get_submodule(str(node.target)) if node.op == "call_module" else None
    where = str(node.target).removeprefix("0").lstrip(".") or "the module"
    what = f"the call of {node.target}" if module is None else f"{where} = {module!r}"
    try:
        if node.target is getattr and args[1] in ABOUT or node.op == "call_method" and node.target in ABOUT:
            return None
        if isinstance(module, nn.MultiheadAttention):
            return _attention(tape, _name(node), module, args, keywords)
        if node.target is operator.getitem and isinstance(args[0], tuple):
            if args[1] != 0:
                raise UnsupportedError("supported: what attention gives, but not its weights")
            return args[0][0]
        if not isinstance(result, torch.Tensor):
            raise UnsupportedError(f"it returns {type(result).__name__}, supported: tensors")
        if not any(isinstance(a, Value) for a in _leaves((args, keywords))):
            return None
        samples = next(a for a in _leaves((args, keywords)) if isinstance(a, Value)).samples
        shape = tuple(n for axis, n in enumerate(result.shape) if axis != samples)
        value = _call(tape, node, module, args, keywords, shape, count)
    except SamplesAxisError as error:
        raise SamplesAxisError(f"{what}: {error}") from None
    except (ValueError, TypeError, LookupError) as error:  # also arguments that its counterpart does not have
        raise UnsupportedError(f"{what}: {error}") from None
    if (*value.shape[: value.samples], count, *value.shape[value.samples :]) != tuple(result.shape):
        raise UnsupportedError(f"{what}: its output has shape {tuple(result.shape)}, in ParaLift samples of {value.shape}")
    return value


def _call(tape: Tape, node: fx.Node, module: Any, args: Any, keywords: Any, shape: Any, count: int) -> Value:
    if module is None:
        function = node.target.__wrapped__ if hasattr(node.target, "__wrapped__") else node.target
        return functions.translate(tape, _name(node), function, args, keywords, shape, count)
    x = args[0] if args else next(iter(keywords.values()))
    if isinstance(module, VIEWS):
        return functions.renumbered(x, module, count)
    if type(module) not in MODULES:
        raise UnsupportedError(f"supported: {', '.join(sorted(k.__name__ for k in (*MODULES, nn.MultiheadAttention, *VIEWS)))}")
    if type(module) in ENCODERS:
        mask = next((a for a in (*args[1:], *keywords.values()) if isinstance(a, torch.Tensor)), None)
        return ENCODERS[type(module)](tape, _name(node), module, x, shape, hidden_scores(mask, x.shape[0]))
    return MODULES[type(module)](tape, _name(node), module, x, shape)


def _attention(tape: Tape, name: str, module: nn.MultiheadAttention, args: Any, keywords: Any) -> tuple[Value, None]:
    x, *others = [a for a in (*args, *(keywords.get(k) for k in ("query", "key", "value"))) if isinstance(a, Value)]
    if len(others) != 2 or any(o is not x for o in others):
        raise UnsupportedError("supported: self-attention, queries, keys and values being one tensor")
    mask = next((a for a in (*args[3:], *keywords.values()) if isinstance(a, torch.Tensor)), None)
    return attention(tape, name, module, x, hidden_scores(mask, x.shape[0])), None


def _resolved(args: Any, values: Any, concrete: Any) -> Any:
    return fx.node.map_arg(args, lambda n: values[n] if n in values else concrete[n])


def _leaves(args: Any) -> Iterator[Any]:
    if isinstance(args, dict):
        args = tuple(args.values())
    if isinstance(args, tuple | list):
        for a in args:
            yield from _leaves(a)
    else:
        yield args


def _name(node: fx.Node) -> str:
    text = str(node.target) if node.op == "call_module" else node.name
    return re.sub(r"\W", "_", text.removeprefix("0.")) if text != "0" else "module"


def _dtype(module: nn.Module) -> torch.dtype:
    kinds = {t.dtype for t in (*module.parameters(), *module.buffers()) if t.is_floating_point()}
    if len(kinds) > 1:
        raise UnsupportedError(f"parameters are {sorted(map(str, kinds))}, expected one type; module.float() makes it so")
    return kinds.pop() if kinds else torch.float32


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Put all modules into evaluation, and back."""
    modes = [(m, m.training) for m in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for m, mode in modes:
            m.training = mode


def _compare(net: Network, params: Params, module: nn.Module, batch: torch.Tensor, found: Found) -> None:
    """Raise UnsupportedError unless both give the same for these samples."""
    dtype = next((a.dtype for block in params.values() for a in block.values()), np.dtype(np.float32))
    x = _in_order(batch, found.input).astype(dtype)
    with torch.no_grad():
        expected = _in_order(module(batch), found.output)
    actual = net.apply(params, x)
    difference = float(np.max(np.abs(actual - expected), initial=0.0))
    if not difference <= TOLERANCE * (1.0 + float(np.max(np.abs(expected), initial=0.0))):
        raise UnsupportedError(
            f"for the example the network's outputs differ by {difference:.3g} from the module's: it does in evaluation what "
            "its trace does not show, or its numbers are not finite"
        )


def _other(batch: torch.Tensor) -> torch.Tensor:
    """Return other samples of the same kind."""
    if not batch.is_floating_point():
        return batch.flip(-1)
    noise = torch.randn(batch.shape, generator=torch.Generator().manual_seed(0), dtype=batch.dtype)
    return batch + 0.1 * noise.to(batch.device)


def _in_order(tensor: torch.Tensor, value: Value) -> np.ndarray:
    rows = np.moveaxis(tensor.detach().cpu().numpy(), value.samples, 0)
    return np.ascontiguousarray(rows.reshape(len(rows), -1)[:, value.index])
