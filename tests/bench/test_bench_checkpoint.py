"""The benchmark of checkpoints runs and writes what it found."""

import json

from paralift.bench import checkpoint


def test_quick(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(checkpoint, "start_clean", lambda *_: None)
    assert checkpoint.main(["--quick", "--json", str(tmp_path / "c.json"), "--folder", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "c.json").read_text())
    parameters = 3 * (64 * 64 + 64) + 64 * 10 + 10
    assert found["bytes"] > 3 * 4 * parameters  # with both of Adam's states, float32
    assert 0 < found["share"] < 1 and len(found["plain_seconds"]) == checkpoint.PLAIN
    assert "share of the run" in capsys.readouterr().out


def test_wrong_arguments(capsys):
    assert checkpoint.main(["--ranks", "0"]) == 2
    assert checkpoint.main(["--nonsense"]) == 2
