"""The inner loop of convolutions: a tile of products held in vector registers.

    o[p, v] (+)= sum over s, t, c of  a[p pixel + s a0 + t a1 + c a2] * b[(s, t, c in order), v]

for a few p and half a vector, one or two of v at once: every vector of b that is loaded meets all p, every number of a all v.
Numba's own loops keep no such tile in registers, so the body is written as LLVM instructions, which fit any processor.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


def _has_avx512() -> bool:
    try:
        return bool(llvm.get_host_cpu_features().get("avx512f", False))
    except RuntimeError:  # not known on this platform
        return False


WIDE = _has_avx512()
"""Whether there are 32 registers of 64 bytes; otherwise tiles are made for 16 registers of 32 bytes."""
VECTOR_BYTES = 64 if WIDE else 32
TALL = 16 if WIDE else 8
"""Most pixels of a tile; with two vectors it is half of that."""


def _tile(pixels: int, halves: int) -> Any:
    """Return the tile of a number of pixels and of half vectors as a function for Numba kernels."""

    @intrinsic
    def tile(typing, a, a_at, pixel, steps, counts, b, b_at, b_step, o, o_at, o_pixel, add):
        """Take flat arrays a, b, o with offsets, steps (a0, a1, a2), counts (s, t, c); store, or add if `add`."""
        signature = types.void(a, a_at, pixel, steps, counts, b, b_at, b_step, o, o_at, o_pixel, add)
        return signature, lambda *given: _code(pixels, halves, *given)

    return tile


def _code(pixels: int, halves: int, context: Any, builder: Any, signature: Any, values: Any) -> Any:
    a, a_at, pixel, steps, counts, b, b_at, b_step, o, o_at, o_pixel, add = values
    kinds = signature.args
    number = context.get_value_type(kinds[0].dtype)
    size = context.get_abi_sizeof(number)
    vectors = max(1, halves // 2)
    lanes = VECTOR_BYTES // size * halves // 2 // vectors
    vector = ir.VectorType(number, lanes)
    integer = ir.IntType(64)
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    undefined, first = ir.Constant(vector, ir.Undefined), ir.Constant(ir.IntType(32), 0)

    def pointer(kind: Any, array: Any, at: Any) -> Any:
        return builder.gep(context.make_array(kind)(context, builder, array).data, [at])

    def load(at: Any, offset: int) -> Any:
        place = builder.bitcast(builder.gep(at, [integer(offset)]), vector.as_pointer())
        loaded = builder.load(place)
        loaded.align = size
        return loaded

    def broadcast(at: Any) -> Any:
        return builder.shuffle_vector(builder.insert_element(undefined, builder.load(at), first), undefined, zeros)

    tops = [pointer(kinds[0], a, builder.add(a_at, builder.mul(integer(p), pixel))) for p in range(pixels)]
    base = pointer(kinds[5], b, b_at)
    total = [[cgutils.alloca_once_value(builder, ir.Constant(vector, None)) for _ in range(vectors)] for _ in range(pixels)]
    row = cgutils.alloca_once_value(builder, integer(0))
    counted = cgutils.unpack_tuple(builder, counts)
    stepped = cgutils.unpack_tuple(builder, steps)
    flags = ("contract", "nsz")
    with cgutils.for_range(builder, counted[0]) as outer:
        shift0 = builder.mul(outer.index, stepped[0])
        with cgutils.for_range(builder, counted[1]) as middle:
            shift1 = builder.add(shift0, builder.mul(middle.index, stepped[1]))
            with cgutils.for_range(builder, counted[2]) as inner:
                shift = builder.add(shift1, builder.mul(inner.index, stepped[2]))
                k = builder.load(row)
                line = builder.gep(base, [builder.mul(k, b_step)])
                weights = [load(line, v * lanes) for v in range(vectors)]
                for p in range(pixels):
                    x = broadcast(builder.gep(tops[p], [shift]))
                    for v in range(vectors):
                        product = builder.fmul(x, weights[v], flags=flags)
                        builder.store(builder.fadd(builder.load(total[p][v]), product, flags=flags), total[p][v])
                builder.store(builder.add(k, integer(1)), row)
    target = pointer(kinds[8], o, o_at)
    with builder.if_else(add) as (then, otherwise):
        for case, sums in ((then, True), (otherwise, False)):
            with case:
                for p in range(pixels):
                    at = builder.gep(target, [builder.mul(integer(p), o_pixel)])
                    for v in range(vectors):
                        value = builder.load(total[p][v])
                        if sums:
                            value = builder.fadd(value, load(at, v * lanes))
                        place = builder.bitcast(builder.gep(at, [integer(v * lanes)]), vector.as_pointer())
                        builder.store(value, place).align = size
    return context.get_dummy_value()


tile_1x1, tile_4x1, tile_8x1, tile_16x1 = (_tile(p, 1) for p in (1, 4, 8, 16))
tile_1x2, tile_4x2, tile_8x2, tile_16x2 = (_tile(p, 2) for p in (1, 4, 8, 16))
tile_1x4, tile_4x4, tile_7x4, tile_8x4 = (_tile(p, 4) for p in (1, 4, 7, 8))
