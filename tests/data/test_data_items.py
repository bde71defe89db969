"""Data sets that give items by numbers, and loaders of such: PyTorch's, and doubles of them that need no PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

import paralift as pl
from paralift.data import DataError, Dataset, ItemSource, load_inputs, load_shard, load_targets

RNG = np.random.default_rng(3)
X, Y = RNG.standard_normal((30, 4)).astype(np.float32), RNG.integers(0, 3, 30)


class Items:
    """Behaves as a map-style Dataset; counts what is read."""

    def __init__(self, items):
        self.items, self.read = list(items), []

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        self.read.append(i)
        item = self.items[i]
        if isinstance(item, Exception):
            raise item
        return item


class SequentialSampler:
    pass


class RandomSampler:
    replacement, num_samples = False, 30


class WeightedRandomSampler(RandomSampler):
    pass


class IterableDataset:
    def __getitem__(self, i):
        raise NotImplementedError

    def __iter__(self):
        return iter([(X[0], 0)])


class Stream(IterableDataset):
    pass


def default_collate(batch):
    raise AssertionError("batches are formed by the sampler")


class Loader:
    """Behaves as a DataLoader."""

    def __init__(self, dataset, batch_size=8, sampler=None, collate_fn=default_collate):
        self.dataset, self.batch_size, self.collate_fn = dataset, batch_size, collate_fn
        self.sampler = RandomSampler() if sampler is None else sampler


def pairs(n=30):
    return [(X[i], Y[i]) for i in range(n)]


def network():
    return pl.Sequential(pl.Linear(4, 3), pl.Softmax())


def fit(data, **settings):
    return pl.fit(network(), data, epochs=2, comm=None, progress=False, **settings)


def assert_same(one, other):
    for block, arrays in one.params.items():
        for name, a in arrays.items():
            np.testing.assert_array_equal(a, other.params[block][name])


def test_items_are_read_by_ranges():
    source = ItemSource(Items(pairs()))
    assert (source.n_samples, source.sample_shape, source.target_shape, source.labels) == (30, (4,), (), True)
    x, y = load_shard(source, 7, 19, np.float64)
    np.testing.assert_array_equal(x, X[7:19])
    np.testing.assert_array_equal(y, Y[7:19])
    assert x.dtype == np.float64 and y.dtype == np.int64


def test_labels_are_kept_when_they_are_read():
    items = Items(pairs())
    data = Dataset("d", ItemSource(items))
    assert data.n_classes == 3
    items.read.clear()
    np.testing.assert_array_equal(load_targets(data.train, 2, 30, np.float32), Y[2:])
    assert items.read == []
    data = Dataset("d", ItemSource(items := Items(pairs())), n_classes=3)
    load_shard(data.train, 0, 30, np.float32)
    assert items.read == [0, *range(30)]  # the first one tells the shapes


@pytest.mark.parametrize(
    ("target", "shape", "labels"),
    [(1, (), True), (np.int64(2), (), True), (True, (), True), (0.5, (1,), False), (np.ones(2), (2,), False),
     (np.array([0, 1, 1]), (3,), True)],
)  # fmt: skip
def test_the_first_item_says_what_targets_are(target, shape, labels):
    source = ItemSource(Items([(X[i], target) for i in range(4)]))
    assert (source.target_shape, source.labels) == (shape, labels)
    found = load_targets(source, 1, 3, np.float32)
    assert found.shape == (2, *shape) and (found == target).all()


def test_channels_come_last():
    images = RNG.random((5, 3, 6, 7))
    source = ItemSource(Items([(image, 0) for image in images]), channels_first=True)
    np.testing.assert_array_equal(load_inputs(source, 0, 5, np.float64), images.transpose(0, 2, 3, 1))
    net = pl.Sequential(pl.Flatten(), pl.Linear(126, 2), pl.Softmax(), input_shape=(6, 7, 3))
    with pytest.raises(ValueError, match=r"samples have shape \(3, 6, 7\), .*ItemSource\(dataset, channels_first=True\)"):
        pl.fit(net, Items([(image, 0) for image in images]), comm=None, progress=False)


def test_the_same_run_as_from_arrays():
    expected = fit((X, Y), batch_size=8, test=(X, Y))
    assert_same(fit(Items(pairs()), batch_size=8), expected)
    run = fit(Loader(Items(pairs())), test=Items(pairs()))
    assert_same(run, expected)
    assert run.history[-1]["test_loss"] == expected.history[-1]["test_loss"]
    assert run.evaluate(Loader(Items(pairs()))) == expected.evaluate((X, Y))
    assert_same(fit(Loader(Items(pairs()), sampler=SequentialSampler()), batch_size=30), fit((X, Y), batch_size=None))
    assert_same(fit(Loader(Items(pairs()), batch_size=None)), fit((X, Y), batch_size=128))


def changed(i, item):
    items = pairs()
    items[i] = item
    return Items(items)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (changed(5, (np.full(4, np.nan, np.float32), 0)), "inputs of Items: sample 5, feature 0 is nan"),
        (changed(5, (X[0, :3], 0)), r"Items, sample 5: the inputs have shape \(3,\) and type float32, .* sample 0 \(4,\)"),
        (changed(5, (X[0], 0.5)), "sample 5: the targets have shape .* and type float64, those of sample 0 .* int64"),
        (changed(5, (X[0], -1)), "the label of sample 5 is -1"),
        (changed(5, OSError("disk gone")), r"Items, sample 5: cannot be read \(OSError: disk gone\)"),
        (changed(0, X[0]), r"Items, sample 0: is ndarray, expected a pair \(x, y\)"),
        (changed(0, (X[0],)), "sample 0: is tuple of 1 parts, expected a pair"),
        (changed(0, {"image": X[0], "label": 1}), r"is dict with the keys \['image', 'label'\], expected a pair"),
        (changed(0, ("text", 1)), "the input is str of type <U4, expected numbers"),
        (changed(0, ([[1.0], [1.0, 2.0]], 1)), "the input is list, which NumPy does not take"),
        (Items([]), "Items: holds no samples"),
        (Stream(), "Stream is an iterable-style data set, whose samples have no numbers"),
        (Loader(Stream()), "Stream is an iterable-style data set"),
        (Loader(Items(pairs()), sampler=WeightedRandomSampler()), "draws by WeightedRandomSampler, which does not take each"),
        (Loader(Items(pairs(20))), "draws by RandomSampler"),
        (Loader(Items(pairs()), collate_fn=list), "collate_fn of its own, <class 'list'>"),
    ],
)
def test_what_cannot_be(data, words):
    with pytest.raises(ValueError, match=words):
        fit(data)


def test_shapes_for_channels_first():
    with pytest.raises(DataError, match="expected channels and more axes"):
        ItemSource(Items(pairs()), channels_first=True)


@pytest.mark.parametrize("wrong", [3, "digits", {"x": X}, X, Items], ids=str)
def test_what_is_no_data_set(wrong):
    with pytest.raises(TypeError, match="expected a data set, a source or a pair of arrays"):
        fit(wrong)


def test_a_batch_size_that_cannot_be():
    with pytest.raises(TypeError, match='batch_size is 2.5, expected a whole number, None for all samples, or "auto"'):
        fit((X, Y), batch_size=2.5)


def test_pytorchs_own():
    torch = pytest.importorskip("torch")
    from torch.utils import data as room

    dataset = room.TensorDataset(torch.tensor(X), torch.tensor(Y))
    expected = fit((X, Y), batch_size=8)
    assert_same(fit(room.DataLoader(dataset, batch_size=8, shuffle=True, num_workers=2)), expected)
    assert_same(fit(room.DataLoader(dataset, batch_size=8)), expected)
    assert_same(fit(room.Subset(dataset, range(20))), fit((X[:20], Y[:20])))
    weighted = room.WeightedRandomSampler(torch.ones(30), 30)
    for sampler in (weighted, room.SubsetRandomSampler(range(5)), room.RandomSampler(dataset, replacement=True)):
        with pytest.raises(ValueError, match="does not take each sample once an epoch"):
            fit(room.DataLoader(dataset, sampler=sampler))
        with pytest.raises(ValueError, match="does not take each sample once an epoch"):
            fit(room.DataLoader(dataset, batch_sampler=room.BatchSampler(sampler, 4, drop_last=False)))
    batches = room.BatchSampler(room.SequentialSampler(dataset), 8, drop_last=False)
    assert_same(fit(room.DataLoader(dataset, batch_sampler=batches)), expected)
    with pytest.raises(ValueError, match="draws by list"):
        fit(room.DataLoader(dataset, batch_sampler=[[0, 1], [2]]))

    class Numbers(room.IterableDataset):
        def __iter__(self):
            return iter([(X[0], 0)])

    for given in (Numbers(), room.DataLoader(Numbers())):
        with pytest.raises(DataError, match="iterable-style"):
            fit(given)
    with pytest.raises(DataError, match="tensors on the CPU, without gradients"):
        fit(room.TensorDataset(torch.tensor(X, requires_grad=True), torch.tensor(Y)))
