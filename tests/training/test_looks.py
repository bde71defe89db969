"""Looks: read one later, about a second apart, and what signals ask for is said once to all."""

import pytest

from paralift.parallel.grid import Grid
from paralift.training import looks
from paralift.training.looks import Looks
from paralift.training.signals import Signals


def test_a_look_is_read_at_the_next():
    found = Looks(Grid(None, 1, 1), Signals())
    found.start_epoch(0)
    assert found.next(1.5, 1) is None
    second = found.next(2.5, 2)
    assert (second.loss, second.batch, second.save, second.stop) == (1.5, 1, False, False)
    assert found.last().loss == 2.5
    assert found.last() is None


def test_a_checkpoint_is_wished_for_once_and_the_end_until_it_comes():
    signals = Signals()
    found = Looks(Grid(None, 1, 1), signals)
    signals.save = signals.stop = True
    first, second = found.now(0.0, 1), found.now(0.0, 2)
    assert (first.save, first.stop) == (True, True)
    assert (second.save, second.stop) == (False, True)


@pytest.mark.parametrize(("seconds", "every"), [(1e-4, 100), (0.05, 20), (0.4, 3), (7.0, 1)])
def test_looks_are_a_second_apart(monkeypatch, seconds, every):
    clock = iter((0.0, 0.0, 10 * seconds))  # at the start, at the epoch's, and ten batches later
    monkeypatch.setattr(looks.time, "perf_counter", lambda: next(clock))
    found = Looks(Grid(None, 1, 1), Signals())
    found.start_epoch(10)
    found.now(0.0, 20)
    assert abs(found.every - every) <= 1
    assert all(found.due(k * found.every) for k in (1, 2))
