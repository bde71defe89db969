"""Damage at the level of bytes: flips, cuts, insertions, copies, splices, and the numbers at which readers break."""

import random
import struct

EDGES = (0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**64 - 1)
"""Numbers at the edges of types."""
MOST = 1 << 16
"""Bytes that an insertion may add."""


def mutated(draw: random.Random, content: bytes, others: tuple[bytes, ...] = ()) -> bytes:
    """Return `content` after one to six changes; `others` are what splices take from."""
    found = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 3, 6))):
        if not found:
            return bytes(found)
        draw.choice(CHANGES)(draw, found, others)
    return bytes(found)


def place(draw, found):
    """Return a position; the first bytes, where headers are, more often than the others."""
    return min(int(draw.expovariate(1 / 40)), len(found) - 1) if draw.random() < 0.3 else draw.randrange(len(found))


def span(draw, found):
    start = place(draw, found)
    return start, min(len(found), start + draw.choice((1, 2, 4, 8, 30, 300, len(found))))


def flip(draw, found, others):
    found[place(draw, found)] ^= 1 << draw.randrange(8)


def put(draw, found, others):
    found[place(draw, found)] = draw.randrange(256)


def put_edge(draw, found, others):
    form = draw.choice(("<H", ">H", "<I", ">I", "<Q", ">Q"))
    start, number = place(draw, found), draw.choice(EDGES) % 256 ** struct.calcsize(form)
    found[start : start + struct.calcsize(form)] = struct.pack(form, number)


def cut(draw, found, others):
    del found[place(draw, found) :]


def remove(draw, found, others):
    start, stop = span(draw, found)
    del found[start:stop]


def insert(draw, found, others):
    start = place(draw, found)
    found[start:start] = draw.randbytes(draw.choice((1, 2, 4, 16, 200)))


def duplicate(draw, found, others):
    start, stop = span(draw, found)
    found[stop:stop] = found[start : min(stop, start + MOST)]


def fill(draw, found, others):
    start, stop = span(draw, found)
    found[start:stop] = bytes([draw.choice((0, 0xFF, draw.randrange(256)))]) * (stop - start)


def exchange(draw, found, others):
    (a, b), c = span(draw, found), place(draw, found)
    part = found[a:b]
    found[a:b] = found[c : c + len(part)]
    found[c : c + len(part)] = part


def splice(draw, found, others):
    other = draw.choice(others) if others else bytes(found)
    start = draw.randrange(len(other)) if other else 0
    found[place(draw, found) :] = other[start:]


CHANGES = (flip, flip, flip, put, put, put_edge, put_edge, put_edge, cut, remove, insert, duplicate, fill, exchange, splice)
