"""Text as characters: what follows is the label; every way in which a file can be wrong is named."""

from __future__ import annotations

import numpy as np
import pytest

import paralift as pl
from paralift.config import Config
from paralift.data import DataError, load_shard

TEXT = "to be, or not to be: das ist die Frage… " * 5


def written(tmp_path, content=TEXT, name="hamlet.txt"):
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_samples_and_labels(tmp_path):
    data = pl.data.text(written(tmp_path), length=6)
    vocabulary = data.train.vocabulary
    assert vocabulary == "".join(sorted(set(TEXT))) == data.test.vocabulary
    assert (data.name, data.n_classes, data.sample_shape, data.target_shape) == ("hamlet.txt", len(vocabulary), (6,), (6,))
    assert data.labels and data.train.n_samples == 179 // 6 and data.test.n_samples == 19 // 6

    def decoded(numbers):
        return "".join(vocabulary[int(k)] for k in numbers.ravel())

    x, y = load_shard(data.train, 0, data.train.n_samples, np.float32)
    assert x.dtype == np.float32 and y.dtype == np.int64
    assert decoded(x) == TEXT[: 29 * 6] and decoded(y) == TEXT[1 : 29 * 6 + 1]
    x, y = load_shard(data.test, 1, 3, np.float32)
    assert decoded(x) == TEXT[186:198] and decoded(y) == TEXT[187:199]


@pytest.mark.parametrize(
    ("content", "length", "words"),
    [
        ("", 1, "0 characters, expected more"),
        (TEXT[:50], 5, "a sample of 5 tokens"),
        (b"abc \xff def" * 20, 2, "byte 4 is no UTF-8"),
    ],
)
def test_files_that_are_no_text(tmp_path, content, length, words):
    path = written(tmp_path, content)
    with pytest.raises(DataError, match=words) as error:
        pl.data.text(path, length)
    assert str(path) in str(error.value)


def test_missing_files_and_lengths(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        pl.data.text(tmp_path / "none.txt")
    with pytest.raises(ValueError, match="length is 0"):
        pl.data.text(written(tmp_path), 0)


def test_a_transformer_learns_what_repeats(tmp_path):
    """From a configuration; loss and accuracy are those of a token."""
    path = written(tmp_path, "abcd" * 300)
    config = Config.from_text(
        f'data = "text(\'{path}\', length=8)"\nnetwork = "transformer(4, 8, width=8, depth=1, heads=2)"\n'
        'optimizer = "Adam(1e-2)"\n[training]\nepochs = 12\nbatch_size = 16\n'
    )
    network, data, arguments = config.build()
    run = pl.fit(network, data, **arguments, comm=None, progress=False)
    first, last = run.history[0], run.history[-1]
    assert 0.5 < first["loss"] < 2 * np.log(4) and last["test_loss"] < 0.1 and last["test_accuracy"] > 0.95
    assert run.evaluate(data.test) == pytest.approx({"loss": last["test_loss"], "accuracy": last["test_accuracy"]}, rel=1e-4)
    with pytest.raises(ValueError, match=r"labels have shape \(8,\), expected \(\)"):
        pl.fit(pl.Sequential(pl.Linear(8, 4), pl.Softmax()), data, comm=None, progress=False)
    with pytest.raises(ValueError, match="the token is 3"):
        pl.fit(pl.Sequential(pl.Embedding(3, 4), pl.Linear(4, 4), pl.Softmax(), input_shape=(8,)), data, comm=None)


def test_labels_beyond_the_classes_are_named():
    x, y = np.zeros((3, 2)), np.array([[0, 1], [2, 7], [0, 0]])
    with pytest.raises(DataError, match="sample 1, position 1, is 7, expected 0 to 3"):
        load_shard(pl.data.from_arrays(x, y, n_classes=4).train, 0, 3, np.float32)
