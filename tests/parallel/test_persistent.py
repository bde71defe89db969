"""Persistent messages: made once, counted, and nothing grows with the steps."""

from types import SimpleNamespace

import numpy as np
import pytest

import paralift as pl
from paralift.lifted.stage import Stage
from paralift.parallel import persistent
from paralift.parallel.exchange import Messages
from paralift.parallel.halo import Halo


class Request:
    """Done at its second look after each start, as an MPI request that is not under way is."""

    made: list["Request"] = []

    def __init__(self, array, peer, tag):
        self.peer, self.tag, self.n_bytes = peer, tag, array.nbytes
        self.starts, self.looks, self.freed = 0, 2, False
        Request.made.append(self)

    def Start(self):  # noqa: N802
        assert self.looks > 1, "started while under way"
        self.starts, self.looks = self.starts + 1, 0

    def Test(self):  # noqa: N802
        self.looks += 1
        return self.looks > 1

    def Wait(self):  # noqa: N802
        self.looks = 2

    def Free(self):  # noqa: N802
        self.freed = True

    @staticmethod
    def Testall(requests):  # noqa: N802
        return all([r.Test() for r in requests])


@pytest.fixture
def grid():
    Request.made = []
    pipe = SimpleNamespace(Send_init=Request, Recv_init=Request)
    return SimpleNamespace(pipe=pipe, shard=0, stage=1, stages=3)


@pytest.fixture
def window():
    network = pl.Sequential(*(layer for _ in range(4) for layer in (pl.Linear(5, 5), pl.Tanh())))
    return Stage(network, 1, 3, np.zeros(0)).state(6).window(0, 6)


def sizes(messages):
    return {name: len(value) for name, value in vars(messages).items() if hasattr(value, "__len__")}


def exchange(messages, window):
    messages.sent(window)
    for start in (messages.receive_x, messages.receive_g, messages.send_x, messages.send_g):
        start(window)
    messages.progress()
    messages.wait_x(window)
    messages.wait_g(window)


@pytest.mark.parametrize("large", [0, 1 << 16])
def test_nothing_grows(grid, window, monkeypatch, large):
    monkeypatch.setattr(persistent, "LARGE", large)
    messages = Messages(grid)
    exchange(messages, window)
    before = sizes(messages)
    for _ in range(50):
        exchange(messages, window)
    assert sizes(messages) == before
    assert [r.starts for r in Request.made] == [51] * 4
    assert messages.n_messages == 4 * 51 and messages.n_bytes == sum(r.n_bytes for r in Request.made) * 51
    messages.finish()
    assert all(r.looks > 1 for r in Request.made[2:])
    messages.free()
    assert all(r.freed for r in Request.made) and not any(sizes(messages).values())


def test_the_two_directions_of_a_variable_differ_in_their_tags(grid, window):
    messages = Messages(grid)
    exchange(messages, window)
    sent = {(r.peer, r.tag) for r in Request.made}
    assert sent == {(0, 2), (2, 7), (2, 6), (0, 3)}


def test_a_wait_is_called_by_block_and_rank(grid, window):
    grid.shard = 2
    messages = Messages(grid)
    exchange(messages, window)
    names = [bundle.what for bundle in messages._bundles.values()]
    arriving, leaving = ["x of linear1 from rank 6", "g of linear3 from rank 8"], ["x of linear3 to reach rank 8"]
    assert names == [*arriving, *leaving, "g of linear1 to reach rank 6"]


def test_the_ends_exchange_nothing_with_what_is_not_there(grid, window):
    grid.stages = 2
    messages = Messages(grid)
    exchange(messages, window)
    assert {r.peer for r in Request.made} == {0}
    assert messages.n_messages == 2


def test_nothing_grows_in_a_halo(grid):
    network = pl.Sequential(*(layer for _ in range(4) for layer in (pl.Linear(5, 5), pl.Tanh())))
    stage = Stage(network, 1, 3, np.zeros(0))
    x, g, remote = ({v: np.zeros((6, 5)) for v in (1, 2, 3)} for _ in range(3))
    touched: list[int] = []
    window = SimpleNamespace(stage=stage, x=x, g=g, remote=remote, touch=touched.append, pull=lambda v: None)
    halo, found = Halo(grid), []
    for _ in range(20):
        halo.start(window, (1, 3), (1, 3))
        halo.advance()
        halo.wait()
        found.append(sizes(halo))
    assert found[1] == found[-1]
    assert touched == [1] * 20
