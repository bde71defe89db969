"""Whether ranks outlive another's death is found by trying; what an MPI that cannot do it would answer."""

from __future__ import annotations

import pytest

from paralift import launch, ulfm
from paralift.ask import LATE
from paralift.launch import LaunchError

ANSWERS = {
    "works": ((0, "went on with 1\n", ""), ""),
    "hangs": ((LATE, "", "no answer within 20 s"), "the job hung: no answer within 20 s"),
    "hangs at the end": ((LATE, "went on with 1\n", "no answer within 20 s"), "the job hung at its end"),
    "launcher complains": ((137, "went on with 1\n", "killed\n"), "the launcher ended with code 137: killed"),
    "fewer go on than live": ((0, "went on with 0\n", ""), "ended with code 0: went on with 0"),
    "not an option": ((213, "", "----\nunrecognized\noption\n\nmore\n----"), "ended with code 213: unrecognized option"),
    "not built in": ((1, "", "ulfm: NotImplementedError: Revoke\n----\naborted"), "NotImplementedError: Revoke"),
    "silent": ((9, "", ""), "without a word"),
}


@pytest.mark.parametrize(("answer", "words"), ANSWERS.values(), ids=ANSWERS)
def test_answers(monkeypatch, answer, words):
    monkeypatch.setattr(ulfm, "mpirun_command", lambda n, survive: ["mpirun"])
    monkeypatch.setattr(ulfm, "ask", lambda command, deadline: answer)
    said = ulfm.works()
    assert (words in said) if words else said == ""


def test_without_a_launcher(monkeypatch):
    def absent(n, survive):
        raise LaunchError("no MPI launcher")

    monkeypatch.setattr(ulfm, "mpirun_command", absent)
    assert ulfm.works() == "no MPI launcher"


def test_somebody_must_survive():
    with pytest.raises(ValueError, match="ranks is 1, expected at least 2"):
        ulfm.works(ranks=1)


@pytest.mark.parametrize("ranks", [2, 3])
def test_for_real(ranks):
    pytest.importorskip("mpi4py", reason="the MPI extra is not installed")
    said = ulfm.works(deadline=60, ranks=ranks)
    if any(words in said for words in ("unrecognized", "NotImplementedError", "only under Open MPI")):
        pytest.skip(f"this MPI has no ULFM: {said}")
    assert said == ""


def test_a_launcher_that_was_not_asked_for_it_ends_the_job(monkeypatch):
    pytest.importorskip("mpi4py", reason="the MPI extra is not installed")
    monkeypatch.setattr(launch, "_survival", lambda path, kind: ())
    assert ulfm.works(deadline=60)
