"""Running totals of messages, and the share of them that was hidden."""

import pytest

from paralift.parallel.cost import Line
from paralift.parallel.traffic import Traffic
from paralift.training.tally import hidden


def test_totals_add_up():
    first, last = Traffic(1.0, 0.5, 3, 100), Traffic(1.5, 0.75, 7, 400)
    assert last.since(first) == Traffic(0.5, 0.25, 4, 300)
    assert last.since(first).plus(first) == last
    assert last.alone(Line(0.5, 0.01)) == pytest.approx(7 * 0.5 + 4.0)


def test_hidden_share():
    assert hidden(0.0, 2.0) == 1.0 and hidden(0.5, 2.0) == 0.75
    assert hidden(5.0, 2.0) == 0.0
    assert hidden(0.0, 0.0) == 1.0
