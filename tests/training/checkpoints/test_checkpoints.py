"""Checkpoints: what is written comes back; what is damaged is named and passed over; what fails leaves nothing behind."""

import json
import os
import shutil

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import paralift as pl
from paralift.training import checkpoints
from paralift.training.checkpoints.manifest import NAME, Manifest


def network():
    return pl.Sequential(pl.Linear(4, 6), pl.Tanh(), pl.Linear(6, 3), pl.Softmax())


def data():
    rng = np.random.default_rng(0)
    return rng.standard_normal((20, 4)), rng.integers(0, 3, 20)


def train(out, epochs=2, **settings):
    return pl.fit(network(), data(), epochs=epochs, batch_size=5, out=out, progress=False, plan="counted", **settings)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    return out, train(out)


@pytest.fixture
def run(trained, tmp_path):
    """A copy of a run folder with two checkpoints."""
    shutil.copytree(trained[0], tmp_path / "run")
    return tmp_path / "run"


def test_what_is_written_comes_back(trained):
    out, result = trained
    params, attributes = checkpoints.load_params(checkpoints.latest(out))
    for block, arrays in result.params.items():
        for name, a in arrays.items():
            np.testing.assert_array_equal(params[block][name], a)
    assert (attributes["epoch"], attributes["batch"], attributes["step"]) == (2, 0, 8)
    assert [path.name for path in checkpoints.all_of(out)] == ["step-000000004", "step-000000008"]


def test_as_many_stay_as_are_asked_for(tmp_path):
    train(tmp_path / "run", epochs=5, checkpoints=3)
    assert [path.name for path in checkpoints.all_of(tmp_path / "run")] == [checkpoints.name(4 * k) for k in (3, 4, 5)]
    assert not list((tmp_path / "run" / "checkpoints").glob(".*"))


def cut_off(path):
    file = path / "rank-0.h5"
    file.write_bytes(file.read_bytes()[:-100])


def flip_a_bit(path):
    file = path / "rank-0.h5"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


def remove_a_file(path):
    (path / "rank-0.h5").unlink()


def remove_the_manifest(path):
    (path / NAME).unlink()


def cut_off_the_manifest(path):
    file = path / NAME
    file.write_text(file.read_text()[:-20])


def flip_the_virtual_file(path):
    file = path / "all.h5"
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)


DAMAGES = {
    cut_off: "rank-0.h5: .* bytes, expected",
    flip_a_bit: "rank-0.h5: its content does not have the checksum",
    remove_a_file: "rank-0.h5: No such file or directory, but the manifest names it",
    remove_the_manifest: "step-000000008: no such checkpoint: it has no manifest.json",
    cut_off_the_manifest: "manifest.json: cannot be read",
    flip_the_virtual_file: "all.h5: its content does not have the checksum",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_checkpoint_is_named_and_passed_over(run, damage, caplog):
    damage(checkpoints.latest(run))
    with pytest.raises(checkpoints.CheckpointError, match=DAMAGES[damage]):
        checkpoints.load_params(checkpoints.latest(run))
    said = []
    assert checkpoints.newest_good(checkpoints.all_of(run), said.append).name == "step-000000004"
    assert len(said) == 1 and said[0].startswith("checkpoint passed over: ")
    resumed = train(run, resume="auto")
    assert [record["epoch"] for record in resumed.history] == [1, 2]
    assert not checkpoints.intact(checkpoints.latest(run)), "the damaged one was written anew"


def test_none_whole_is_an_error(run):
    for path in checkpoints.all_of(run):
        flip_a_bit(path)
    with pytest.raises(ValueError, match="no whole checkpoint: .*and 1 older ones neither.*start a new run"):
        train(run, resume="auto")


def edit(path, change):
    document = json.loads((path / NAME).read_text())
    change(document)
    (path / NAME).write_text(json.dumps(document))


WRONG_MANIFESTS = {
    "another format": (lambda d: d.update(format=1), "format 1, expected 2"),
    "out of the folder": (lambda d: d["files"].update({"../rank-0.h5": d["files"]["rank-0.h5"]}), "points out of the folder"),
    "no checksum": (lambda d: d["files"].update({"rank-0.h5": {"bytes": 3}}), "has no size or no checksum"),
    "no files": (lambda d: d.pop("files"), "is no JSON object"),
    "no master": (lambda d: d["files"].pop("all.h5"), "all.h5 is not among the files"),
    "list as attribute": (lambda d: d["attributes"].update(network=[1]), "neither text nor a number"),
}


@pytest.mark.parametrize("name", WRONG_MANIFESTS)
def test_wrong_manifests(run, name):
    change, message = WRONG_MANIFESTS[name]
    edit(checkpoints.latest(run), change)
    with pytest.raises(checkpoints.CheckpointError, match=message):
        Manifest.read(checkpoints.latest(run))


def resign(path):
    """Give changed files the checksums that they have now, as somebody who means harm would."""

    def change(document):
        for name, entry in document["files"].items():
            entry |= {"bytes": (path / name).stat().st_size, "sha256": checkpoints.read.durable.checksum(path / name)}

    edit(path, change)


def test_links_out_of_the_folder_are_refused(run, tmp_path):
    path = checkpoints.latest(run)
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["a"] = np.zeros(3)
    with h5py.File(path / "all.h5", "r+") as file:
        file["params/stolen"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "/a")
    resign(path)
    with pytest.raises(checkpoints.CheckpointError, match="params/stolen is a link to elsewhere"):
        checkpoints.load_params(path)


def test_virtual_arrays_from_elsewhere_are_refused(run, tmp_path):
    path = checkpoints.latest(run)
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["a"] = np.zeros(3)
    layout = h5py.VirtualLayout((3,), "f8")
    layout[...] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "a", (3,))
    with h5py.File(path / "all.h5", "r+") as file:
        file.create_virtual_dataset("params/stolen/W", layout)
    resign(path)
    with pytest.raises(checkpoints.CheckpointError, match="expected files of ranks, which the manifest names"):
        checkpoints.load_params(path)


@pytest.mark.parametrize("name", ["all.h5", "."])
def test_virtual_arrays_made_of_themselves_are_refused(run, name):
    """Reading one ends the process: the HDF5 library follows it until its stack is full."""
    path = checkpoints.latest(run)
    layout = h5py.VirtualLayout((4, 6), "f4")
    layout[...] = h5py.VirtualSource(name, "params/linear1/weight", (4, 6))
    with h5py.File(path / "all.h5", "r+") as file:
        del file["params/linear1/weight"]
        file.create_virtual_dataset("params/linear1/weight", layout)
    resign(path)
    with pytest.raises(checkpoints.CheckpointError, match="expected files of ranks, which the manifest names"):
        checkpoints.load_params(path)


@pytest.mark.parametrize("kind", ["virtual", "link", "storage"])
def test_arrays_of_a_rank_from_elsewhere_are_refused(run, tmp_path, kind):
    path = checkpoints.latest(run)
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["a"] = np.zeros((4, 6))
    with h5py.File(path / "rank-0.h5", "r+") as file:
        del file["params/linear1/weight"]
        if kind == "link":
            file["params/linear1/weight"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "/a")
        elif kind == "virtual":
            layout = h5py.VirtualLayout((4, 6), "f4")
            layout[...] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "a", (4, 6))
            file.create_virtual_dataset("params/linear1/weight", layout)
        else:
            storage = [(str(tmp_path / "secret.h5"), 0, h5py.h5f.UNLIMITED)]
            file.create_dataset("params/linear1/weight", (4, 6), "f4", external=storage)
    resign(path)
    with pytest.raises(checkpoints.CheckpointError, match="rank-0.h5: damaged.*(another file|virtual)"):
        checkpoints.load_params(path)


def test_an_array_that_a_rank_does_not_have_is_not_read_as_zeros(run):
    path = checkpoints.latest(run)
    with h5py.File(path / "rank-0.h5", "r+") as file:
        del file["params/linear1/weight"]
    resign(path)
    with pytest.raises(checkpoints.CheckpointError, match="rank-0.h5: no array params/linear1/weight of 24 numbers"):
        checkpoints.load_params(path)


def test_groups_without_end_are_refused(run):
    path = checkpoints.latest(run)
    with h5py.File(path / "all.h5", "r+") as file:
        file["params/again"] = file["params"]
    resign(path)
    with pytest.raises(checkpoints.CheckpointError, match="params/again has two names"):
        checkpoints.load_params(path)


def test_an_array_larger_than_its_checkpoint_is_refused(run):
    path = checkpoints.latest(run)
    with h5py.File(path / "all.h5", "r+") as file:
        file.create_dataset("params/linear1/huge", (10**15,), "f4")
    resign(path)
    with pytest.raises(checkpoints.CheckpointError, match="huge of shape .* is larger than all"):
        checkpoints.load_params(path)


def test_params_that_are_no_group(run):
    path = checkpoints.latest(run)
    with h5py.File(path / "all.h5", "r+") as file:
        del file["params"]
        file["params"] = 3.0
    resign(path)
    with pytest.raises(checkpoints.CheckpointError, match="/params is no group"):
        checkpoints.load_params(path)


def test_a_pipe_is_not_waited_for(run):
    path = checkpoints.latest(run)
    (path / "rank-0.h5").unlink()
    os.mkfifo(path / "rank-0.h5")
    edit(path, lambda document: document["files"]["rank-0.h5"].update(bytes=0))
    with pytest.raises(checkpoints.CheckpointError, match="rank-0.h5: no file"):
        checkpoints.verify(path)
    (path / NAME).unlink()
    os.mkfifo(path / NAME)
    with pytest.raises(checkpoints.CheckpointError, match="no file, or larger than"):
        Manifest.read(path)


@pytest.mark.parametrize("text", ['{"format": ' + "9" * 5000 + "}", "[" * 100_000, '"' + "\ud800" * 3])
def test_manifests_that_no_reader_can_follow(run, text):
    (checkpoints.latest(run) / NAME).write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(checkpoints.CheckpointError, match="manifest.json: cannot be read"):
        Manifest.read(checkpoints.latest(run))


@pytest.mark.parametrize("name", ["", "\0", "\ud800", "%b.h5", "a b", "x" * 100_000 + "/"])
def test_file_names_of_no_checkpoint(run, name):
    edit(checkpoints.latest(run), lambda document: document["files"].update({name: document["files"]["all.h5"]}))
    with pytest.raises(checkpoints.CheckpointError, match="or is none of a checkpoint") as caught:
        checkpoints.verify(checkpoints.latest(run))
    assert len(str(caught.value)) < 3000


def test_a_run_that_cannot_be_opened_lets_its_folder_go(run):
    path = checkpoints.latest(run)
    with h5py.File(path / "all.h5", "r+") as file:
        del file["optimizer"]
    resign(path)
    with pytest.raises(ValueError, match="no array /optimizer") as first:  # which keeps the frames of the failed run
        train(run, epochs=3, resume=path)
    assert train(run, epochs=3, resume=path.with_name("step-000000004")) and first.value


BAD_POSITIONS = [
    {"epoch": None}, {"batch": -1}, {"loss_sum": "much"}, {"epoch": 1e400}, {"batch": 4}, {"batch": 1.5}, {"epoch": "2"},
    {"loss_sum": 10**400}, {"loss_sum": float("nan")},
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD_POSITIONS, ids=str)
def test_a_position_that_is_none(run, bad):
    edit(checkpoints.latest(run), lambda document: document["attributes"].update(bad))
    with pytest.raises(ValueError, match="epoch"):
        train(run, epochs=4, resume=checkpoints.latest(run))


def test_another_network_is_refused(run):
    other = pl.Sequential(pl.Linear(4, 7), pl.Tanh(), pl.Linear(7, 3), pl.Softmax())
    with pytest.raises(ValueError, match="network is .* this run has"):
        pl.fit(other, data(), batch_size=5, out=run, resume="auto", progress=False, plan="counted")


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_change_of_a_byte_is_found(trained, tmp_path_factory, choose):
    """No byte of a checkpoint's files can change without being noticed; manifests may only change in their spaces."""
    source = checkpoints.latest(trained[0])
    path = tmp_path_factory.mktemp("copy") / source.name
    shutil.copytree(source, path)
    file = path / choose.draw(st.sampled_from(["rank-0.h5", "all.h5", NAME]))
    content = bytearray(file.read_bytes())
    at = choose.draw(st.integers(0, len(content) - 1))
    content[at] ^= 1 << choose.draw(st.integers(0, 7))
    file.write_bytes(content)
    wrong = checkpoints.intact(path)
    if not wrong:
        before, after = Manifest.read(source), Manifest.read(path)
        assert file.name == NAME and before.files == after.files
    else:
        assert file.name in wrong or path.name in wrong
