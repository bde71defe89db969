"""Faults: how many rounds of each, and what all of them share."""

import pytest
import victim

LONG = 10
"""Rounds from which tests that are marked `long` take part."""


@pytest.fixture
def rounds(request):
    """Rounds of a random fault: few in ``make test``, as many as ``--rounds`` says in ``make test-faults``."""
    return request.config.getoption("--rounds")


@pytest.fixture(scope="session")
def undisturbed():
    """Return a function that gives the parameters of a run that nobody disturbed, on one rank."""
    found = {}

    def of(method):
        if method not in found:
            params = victim.train(method, None, 1).params
            found[method] = {f"{b}/{k}": a for b, arrays in params.items() for k, a in arrays.items()}
        return found[method]

    return of


def pytest_collection_modifyitems(config, items):
    """Leave the long ones to ``make test-faults``."""
    if config.getoption("--rounds") >= LONG:
        return
    long = [item for item in items if item.get_closest_marker("long")]
    config.hook.pytest_deselected(items=long)
    items[:] = [item for item in items if item not in long]
