"""Attention and encoders of PyTorch by ParaLift's operators.

PyTorch's offset of the keys shifts whole rows of scores, which softmax does not see; it is left out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn

from paralift.interop import torch_activations as activations
from paralift.interop.optional import UnsupportedError
from paralift.interop.torch_arrays import affine, array, linear_entries
from paralift.interop.values import Entry, Tape, Value
from paralift.lifted import maps
from paralift.lifted.activations import CausalSoftmax, LayerNorm, Softmax
from paralift.lifted.layers import Attention, Parallel, Residual
from paralift.lifted.maps.base import Shape


class SamplesAxisError(UnsupportedError):
    """Samples are counted by another axis than the module expects."""


def attention(tape: Tape, name: str, module: nn.MultiheadAttention, x: Value, causal: bool) -> Value:
    """Self-attention."""
    x = tape.plain(x)
    layers, entries = _attention(module, x, causal)
    return replace(x, op=tape.add(name, [x], layers, entries))


def encoder_layer(tape: Tape, name: str, module: Any, x: Value, shape: Shape, causal: bool = False) -> Value:
    """Two residual branches, normalised before or behind."""
    x = tape.plain(x)
    attend, weights = _attention(module.self_attn, x, causal)
    attend += activations.of_module(module.dropout1)
    width, hidden = module.linear1.in_features, module.linear1.out_features
    forward = [
        maps.Linear(width, hidden, module.linear1.bias is not None),
        *activations.of_function(module.activation),
        *activations.of_module(module.dropout),
        maps.Linear(hidden, width, module.linear2.bias is not None),
        *activations.of_module(module.dropout2),
    ]
    inner = [*linear_entries(module.linear1), *linear_entries(module.linear2)]
    first, second = (LayerNorm(width, norm.eps) for norm in (module.norm1, module.norm2))
    layers: list[Any]
    if module.norm_first:
        layers = [Residual(first, *attend), Residual(second, *forward)]
        entries = [*_norm(module.norm1), *weights, *_norm(module.norm2), *inner]
    else:
        layers = [Residual(*attend), first, Residual(*forward), second]
        entries = [*weights, *_norm(module.norm1), *inner, *_norm(module.norm2)]
    return replace(x, op=tape.add(name, [x], layers, entries))


def encoder(tape: Tape, name: str, module: nn.TransformerEncoder, x: Value, shape: Shape, causal: bool = False) -> Value:
    """Its layers one after another, and its norm."""
    for k, layer in enumerate(module.layers):
        if type(layer) is not nn.TransformerEncoderLayer:
            raise UnsupportedError(f"layer {k} is {type(layer).__name__}, supported: TransformerEncoderLayer")
        x = encoder_layer(tape, f"{name}_{k}", layer, x, shape, causal)
    if module.norm is None:
        return x
    if type(module.norm) is not nn.LayerNorm:
        raise UnsupportedError(f"its norm is {type(module.norm).__name__}, supported: LayerNorm")
    width = int(module.norm.normalized_shape[0])
    return replace(x, op=tape.add(f"{name}_norm", [x], [LayerNorm(width, module.norm.eps)], _norm(module.norm)))


def _attention(module: nn.MultiheadAttention, x: Value, causal: bool) -> tuple[list[Any], list[Entry]]:
    """Return the layers of self-attention and their arrays in the order of the blocks."""
    if len(x.shape) != 2:
        raise UnsupportedError(f"its samples have shape {x.shape}, supported: (tokens, features)")
    if x.samples != (0 if module.batch_first else 1):
        raise SamplesAxisError(
            f"batch_first is {module.batch_first}, but samples are counted by axis {x.samples} of its input: set batch_first = "
            f"{not module.batch_first} (the weights are the same)"
        )
    if module.in_proj_weight is None or module.bias_k is not None or module.add_zero_attn:
        raise UnsupportedError("supported: queries, keys and values of one width, without bias_k, bias_v and add_zero_attn")
    width, heads, biased = module.embed_dim, module.num_heads, module.in_proj_bias is not None
    q, k, v = (array(w).T for w in module.in_proj_weight.chunk(3))
    offsets = [array(b) for b in module.in_proj_bias.chunk(3)] if biased else [None, None, None]
    entries = [Entry("weight", q), *_bias(offsets[0]), Entry("weight", k), Entry("weight", v), *_bias(offsets[2])]
    entries += linear_entries(module.out_proj)
    if not module.dropout:
        return [Attention(width, heads, causal, biased)], entries
    drop = maps.Dropout(module.dropout)
    queries, keys, values = (maps.Linear(width, width, bias) for bias in (biased, False, biased))
    scores = [Parallel(queries, keys, combine=maps.Scores(heads)), CausalSoftmax() if causal else Softmax(), drop]
    return [Parallel(scores, values, combine=maps.Mix(heads)), maps.Linear(width, width, biased)], entries


def _bias(values: Any) -> list[Entry]:
    return [] if values is None else [Entry("bias", values)]


def _norm(module: nn.LayerNorm) -> list[Entry]:
    return affine(module, np.arange(int(module.normalized_shape[0])))
