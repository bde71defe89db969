"""Starts the cases in ``ranks/`` on 1 to 4 ranks; a case that is skipped on all sizes, or hangs, is a failure."""

import re
import sys
from pathlib import Path

import pytest

CASES = sorted((Path(__file__).parent / "ranks").glob("case_*.py"))


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_case(launch, case, ranks):
    arguments = ["-m", "pytest", "--with-mpi", "-q", "--color=no", "-p", "no:cacheprovider", str(case)]
    outcome = launch(ranks, arguments)
    sys.stdout.write(outcome.output)  # pytest shows it where the test fails
    assert not outcome.hung, "the ranks were still running at the deadline"
    assert outcome.code == 0
    counts = re.findall(r"(\d+) passed", outcome.output)
    assert len(counts) == ranks and min(map(int, counts)) > 0, "every rank reports tests that passed"
    assert not re.search(r"\d+ skipped", outcome.output)
