"""Pieces of messages: they cover everything once, and none is too large."""

from hypothesis import given
from hypothesis import strategies as st

from paralift.parallel import requests


@given(st.integers(0, 50), st.integers(0, 200), st.sampled_from([4, 8]), st.integers(8, 100))
def test_pieces_cover_a_range_once(start, length, itemsize, limit):
    whole, requests.PIECE = requests.PIECE, limit
    try:
        found = list(requests.pieces(start, start + length, itemsize))
    finally:
        requests.PIECE = whole
    assert [i for a, b in found for i in range(a, b)] == list(range(start, start + length))
    assert all((b - a) * itemsize <= limit for a, b in found)
    assert len(found) == max(1, -(-length // (limit // itemsize)))


class Request:
    """Arrives after some looks."""

    def __init__(self, looks):
        self.looks, self.waits = looks, 0

    def Test(self):  # noqa: N802
        self.looks -= 1
        return self.looks < 0

    def Wait(self):  # noqa: N802
        self.waits += 1


def test_waits_are_timed_only_where_something_is_missing():
    arrived, missing = Request(0), Request(5)
    assert requests.wait_all([arrived]) == 0.0 and arrived.waits == 0
    assert requests.wait_all([arrived, missing]) > 0.0 and missing.waits == 1
    assert requests.wait_all([]) == 0.0
