"""A team of one rank: sums are what was given, and there is nobody to write to."""

import numpy as np
import pytest

from paralift.optim.team import Alone


def test_sums_and_words_of_the_first_are_what_was_given():
    team, array = Alone(), np.arange(3.0)
    team.sum(array)
    team.from_first(array)
    np.testing.assert_array_equal(array, np.arange(3.0))
    assert team.sums(1.0, 2.5) == [1.0, 2.5] and team.largest(-3.0) == -3.0
    (only,) = team.gather(array)
    np.testing.assert_array_equal(only, array)
    assert (team.rank, team.size, team.bytes_sent) == (0, 1, 0) and team.swap([], array) == {}


def test_a_mailbox_without_anybody_is_empty():
    letters = Alone().mailbox(np.zeros(2))
    assert letters.collect() == letters.collect(10.0) == [] and letters.pending(1) == 0 and letters.bytes_sent == 0
    letters.close()


def test_there_are_no_others():
    with pytest.raises(ValueError, match=r"neighbours \[1\] were given to a rank that is alone"):
        Alone().swap([1], np.zeros(2))
    with pytest.raises(ValueError, match="a letter to rank 1 was posted by a rank that is alone"):
        Alone().mailbox(np.zeros(2)).post(1, (0.0,), np.zeros(2))
