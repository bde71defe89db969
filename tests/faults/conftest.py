"""Faults: how many rounds of each, and what all of them share."""

import pytest


@pytest.fixture
def rounds(request):
    """Rounds of a random fault: few in ``make test``, as many as ``--rounds`` says in ``make test-faults``."""
    return request.config.getoption("--rounds")
