"""Random checkpoints, also with checksums made right again: a run goes on, or a CheckpointError names what is wrong."""

import hashlib
import json
import logging
import shutil
import tempfile
from functools import cache
from pathlib import Path

import h5py
import numpy as np
import pytest
from fuzzing import fuzz, unwatched
from mutation import EDGES, mutated

import paralift as pl
from paralift.training import checkpoints
from paralift.training.checkpoints.manifest import NAME

ELSEWHERE = 77.0
"""What stands in a file that no checkpoint names, and where there is nothing."""
FILES = ("rank-0.h5", "all.h5")
ODD = [
    None, True, 0, -1, 1, 3, 4, 2.5, 10**9, 10**400, 1e308, float("nan"), float("inf"), "", "2", "x" * 30_000, [], {}, [[]],
    {"a": {}}, "\ud800", "\0", "../all.h5", "..", "/dev/zero", "a\nb", "%b.h5", "nan", "[" * 3000, '{"shards": 1}', "[]",
    "9" * 5000,
]  # fmt: skip


def network():
    return pl.Sequential(pl.Linear(4, 6), pl.Tanh(), pl.Linear(6, 3), pl.Softmax())


def train(out, **settings):
    rng = np.random.default_rng(0)
    data = rng.standard_normal((20, 4)), rng.integers(0, 3, 20)
    method = pl.methods.lifted_bregman() if settings.pop("lifted", False) else None
    return pl.fit(network(), data, method=method, batch_size=5, out=out, progress=False, plan="counted", comm=None, **settings)


@cache
def good(lifted):
    """Return a whole checkpoint as a mapping of file names to contents."""
    logging.disable()
    with tempfile.TemporaryDirectory() as folder, unwatched():
        train(Path(folder) / "run", epochs=2, lifted=lifted)
        path = checkpoints.latest(Path(folder) / "run")
        return {file.name: file.read_bytes() for file in path.iterdir()}


def signed(files, document=None):
    """Return the files with a manifest of the checksums that they have."""
    document = json.loads(files[NAME]) if document is None else document
    entries = {name: {"bytes": len(c), "sha256": hashlib.sha256(c).hexdigest()} for name, c in files.items() if name != NAME}
    return {**files, NAME: json.dumps({**document, "files": entries}).encode()}


def placed(folder, files):
    path = folder / "run" / "checkpoints" / "step-000000008"
    path.mkdir(parents=True)
    for name, content in files.items():
        (path / name).write_bytes(content)
    return path


def judged(draw, path, lifted, go_on):
    """Return "right" or "refused" for a checkpoint; raise where it is neither."""
    verified = attempt(lambda: checkpoints.verify(path), path)
    outcomes = {verified, attempt(lambda: loaded(path), path)}
    if go_on:
        with unwatched():
            attempt(lambda: train(path.parents[1], epochs=draw.choice((2, 2, 2, 3)), lifted=lifted, resume=path), path)
    if verified == "right":  # as runs do; the HDF5 library itself does not survive every file
        outcomes.add(attempt(lambda: opened(path), path))
    return "refused" if "refused" in outcomes else "right"


def attempt(act, path):
    try:
        act()
    except checkpoints.CheckpointError as error:
        assert path.name in str(error) and len(str(error)) < 20_000, error
        return "refused"
    except FloatingPointError as error:  # numbers that are numbers, and lead to none
        assert "the loss became" in str(error) or "finite" in str(error), error
    return "right"


def loaded(path):
    params, attributes = checkpoints.load_params(path)
    for a in (a for arrays in params.values() for a in arrays.values()):
        assert a.dtype.kind in "fiu" and not (a == ELSEWHERE).any(), attributes


def opened(path):
    """Read the parameters of the network as a run does."""
    shapes = {block.name: block.trained() for block in network().blocks}
    with checkpoints.open_file(path) as file:
        for block, names in shapes.items():
            for name, shape in names.items():
                assert checkpoints.read.array(file, f"params/{block}/{name}", shape).shape == shape


def damaged_bytes(draw, folder):
    """The checksums tell."""
    lifted = draw.random() < 0.3
    files = dict(good(lifted))
    name = draw.choice(sorted(files))
    content = mutated(draw, files[name], tuple(files.values()))
    files[name], same = content, content == files[name]
    path = placed(folder, files)
    outcome = judged(draw, path, lifted, draw.random() < 0.1)
    assert same or outcome == "refused" or name == NAME
    return outcome


def signed_bytes(draw, folder):
    """The checksums are made right, as somebody who means harm would."""
    lifted = draw.random() < 0.3
    files = dict(good(lifted))
    name = draw.choice(FILES)
    files[name] = mutated(draw, files[name], (files["rank-0.h5"], files["all.h5"]))
    return judged(draw, placed(folder, signed(files)), lifted, draw.random() < 0.2)


def odd_manifests(draw, folder):
    files = dict(good(False))
    document = json.loads(files[NAME])
    if draw.random() < 0.3:
        document["attributes"]["plan"] = odd_plan(draw)
    tables = [document, document["attributes"], document["attributes"], document["files"], *document["files"].values()]
    for _ in range(draw.choice((1, 1, 1, 2))):
        table = draw.choice(tables)
        odd_keys = [str(odd)[:300] for odd in ODD if odd != 10**400]
        key = draw.choice([*table, "plan", "epoch", "batch", "loss_sum"] if draw.random() < 0.8 else odd_keys)
        if draw.random() < 0.15:
            table.pop(key, None)
        else:
            table[key] = draw.choice(ODD) if draw.random() < 0.8 else draw.choice(EDGES)
    text = json.dumps(document) if draw.random() < 0.9 else draw.choice([
        '{"format": %s}' % ("9" * 5000), "[" * 100_000, "{}", "[]", "3", '"a"', "NaN",
    ])  # fmt: skip
    files[NAME] = text.encode() if draw.random() < 0.8 else text.encode("utf-16")[: draw.choice((2, 10**6))]
    return judged(draw, placed(folder, files), False, draw.random() < 0.3)


def odd_plan(draw):
    plan = {"shards": 1, "stages": 1, "bounds": [0, 2], "micro_batches": 1, "schedule": "flush"}
    plan[draw.choice(list(plan))] = draw.choice([*ODD, *EDGES, [0, 1, 2], [0.0, 2.0], [2, 0], "ab", [0, 10**18]])
    return draw.choice([json.dumps(plan), json.dumps(plan), "[" * 5000, json.dumps([plan]), "null", "{}"])


def odd_hdf5(draw, folder):
    """Groups, links, types, shapes and sources that no run writes, in files with right checksums."""
    lifted = draw.random() < 0.3
    path = placed(folder, good(lifted))
    with h5py.File(path.parent / "secret.h5", "w") as secret:
        secret["a"] = np.full((6, 3), ELSEWHERE)
    for _ in range(draw.choice((1, 1, 2))):
        with h5py.File(path / draw.choice(FILES), "r+") as file:
            arrays: list[str] = []
            file.visititems(lambda name, item, arrays=arrays: arrays.append(name) if isinstance(item, h5py.Dataset) else None)
            if arrays:
                draw.choice(ODD_HDF5)(draw, file, draw.choice(arrays), str(path.parent / "secret.h5"))
    files = signed({file.name: file.read_bytes() for file in path.iterdir()})
    shutil.rmtree(path)
    return judged(draw, placed(folder, files), lifted, draw.random() < 0.2)


def external_link(draw, file, name, secret):
    del file[name]
    file[name] = h5py.ExternalLink(draw.choice([secret, "rank-0.h5", "/dev/zero"]), draw.choice(["/a", f"/{name}"]))


def soft_link(draw, file, name, secret):
    del file[name]
    file[name] = h5py.SoftLink(draw.choice(["/nowhere", f"/{name}", "/params", "."]))


def hard_link(draw, file, name, secret):
    """A group within itself, an array with two names, groups without end."""
    where = file[name].parent
    where["loop"] = draw.choice([where, file["/"], file[name]])
    group = where
    for i in range(draw.choice((1, 5, 300))):
        group = group.create_group(f"g{i}")
        group["twin"] = where.get("twin", where)


def virtual(draw, file, name, secret):
    shape = file[name].shape
    source = draw.choice([secret, "../secret.h5", "rank-0.h5", "all.h5", ".", "rank-9.h5"])
    if not shape:
        return
    layout = h5py.VirtualLayout(shape, "f8")
    rows = draw.choice((shape[0], 1))
    layout[:rows] = h5py.VirtualSource(source, draw.choice([name, "a", "params", "nowhere"]), (rows, *shape[1:]))
    del file[name]
    file.create_virtual_dataset(name, layout, fillvalue=ELSEWHERE)


def external_storage(draw, file, name, secret):
    shape = file[name].shape
    del file[name]
    file.create_dataset(name, shape, "f8", external=[(secret, 0, h5py.h5f.UNLIMITED)])


def any_array(draw, file, name, secret):
    """Another shape, another type, nothing written."""
    shape = file[name].shape if draw.random() < 0.5 else draw.choice([
        (), (0,), (3,), (10**15,), (2**31, 2**20), (6, 3), (2,) * 32,
    ])  # fmt: skip
    kind = draw.choice([
        "f4", "f8", "i1", "u8", "?", "c8", "S3", h5py.string_dtype(), h5py.ref_dtype, "V3", np.dtype("(2,)f4"), "f2", ">f8",
    ])  # fmt: skip
    del file[name]
    file.create_dataset(name, shape, kind, chunks=True if shape and draw.random() < 0.3 and 0 not in shape else None)


def group_or_nothing(draw, file, name, secret):
    parent = file[name].parent.name
    del file[draw.choice([name, parent if parent != "/" else name])]
    if draw.random() < 0.6 and name not in file:
        file.create_group(name)
    if draw.random() < 0.3 and "params" in file:
        del file["params"]
        file["params"] = 3.0


def numbers(draw, file, name, secret):
    if file[name].shape and not file[name].is_virtual:
        file[name][...] = draw.choice([np.nan, np.inf, 1e300, 0.0, -1.0])


ODD_HDF5 = (
    external_link, soft_link, hard_link, virtual, virtual, external_storage, any_array, any_array, group_or_nothing, numbers,
)  # fmt: skip
CASES = {f.__name__: f for f in (damaged_bytes, signed_bytes, odd_manifests, odd_hdf5)}
SIGNED = ("signed_bytes", "odd_hdf5")
PER_ROUND = 15
"""Cases of each kind."""


@pytest.mark.parametrize("case", CASES)
def test_fuzz(rounds, case):
    # where checksums do not protect it, the HDF5 library can loop over what it stores of virtual arrays
    outcomes = fuzz("test_fuzz_checkpoints", case, PER_ROUND * rounds, beyond="h5py" if case in SIGNED else "")
    assert outcomes["refused"] > 0 and outcomes["lost in h5py"] <= outcomes.total() / 100, outcomes
