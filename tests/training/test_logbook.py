"""Logbooks: all of a run in a file, warnings on the screen as well, nothing left behind."""

import logging

import pytest

from paralift.parallel.grid import Grid
from paralift.training.logbook import LOG, Logbook


def test_what_came_before_the_folder_is_kept(tmp_path, capsys):
    before = list(LOG.handlers), LOG.level
    with pytest.raises(KeyError), Logbook(0) as book:
        LOG.info("early")
        LOG.warning("soon")
        book.place(Grid(None, 1, 1))
        book.open(tmp_path)
        LOG.warning("late")
        raise KeyError("the end")
    text = (tmp_path / "logs" / "rank-0.log").read_text()
    assert [text.count(word) for word in ("process ", " early", " late", "KeyError: 'the end'")] == [1, 1, 1, 1]
    assert text.index("process ") < text.index("early") < text.index("late") < text.index("the end")
    assert capsys.readouterr().err == "paralift: rank 0: soon\nparalift: rank 0 (shard 0, stage 0): late\n"
    assert (list(LOG.handlers), LOG.level) == before


def test_a_folder_that_takes_no_logbook_is_a_warning(tmp_path, capsys):
    (tmp_path / "logs").write_text("a file")
    with Logbook(0) as book:
        book.open(tmp_path)
    assert "keeps no logbook: " in capsys.readouterr().err


def test_a_full_disk_does_not_bother_the_run(tmp_path, capsys):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "rank-0.log").symlink_to("/dev/full")
    with Logbook(0) as book:
        book.open(tmp_path)
        LOG.info("lost")
    assert capsys.readouterr().err == ""
    assert logging.getLogger("paralift") is LOG
