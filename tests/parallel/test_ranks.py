"""Starts the cases in ``ranks/`` on up to 4 ranks; a case that is skipped on all sizes, or hangs, is a failure."""

import re
import sys
from pathlib import Path

import pytest

CASES = sorted((Path(__file__).parent / "ranks").glob("case_*.py"))
SIZES = {
    "case_equal": [1, 4], "case_errors": [1, 4], "case_estimators": [2], "case_halo": [4], "case_kept": [3],
    "case_methods": [4], "case_plan": [4], "case_resume": [1, 4], "case_signals": [3], "case_solve": [1, 4],
    "case_techniques": [4], "case_unflushed": [4],
}  # fmt: skip
"""Numbers of ranks, where they are not all of `ALL`: what other cases try on the others need not be tried twice."""
ALL = [1, 2, 3, 4]
RUNS = [
    pytest.param(path, ranks, id=f"{path.stem}-{ranks}") for path in CASES for ranks in SIZES.get(path.stem, ALL)
]


@pytest.mark.parametrize(("case", "ranks"), RUNS)
def test_case(launch, case, ranks):
    arguments = ["-m", "pytest", "--with-mpi", "-q", "--color=no", "-p", "no:cacheprovider", str(case)]
    outcome = launch(ranks, arguments)
    sys.stdout.write(outcome.output)  # pytest shows it where the test fails
    assert not outcome.hung, "the ranks were still running at the deadline"
    assert outcome.code == 0
    counts = re.findall(r"(\d+) passed", outcome.output)
    assert len(counts) == ranks and min(map(int, counts)) > 0, "every rank reports tests that passed"
    assert not re.search(r"\d+ skipped", outcome.output)
