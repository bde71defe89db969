"""What estimators learn, by which parameters, and what they refuse."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import paralift as pl

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 4))
LABELS = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)
NAMES = np.array(["no", "perhaps", "yes"])[LABELS]
TARGETS = np.stack([X[:, 0] - X[:, 1], np.abs(X[:, 2])], axis=1)
FAST = {"epochs": 15, "optimizer": "Adam(1e-2)", "random_state": 0}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for block, arrays in one.items():
        for name, a in arrays.items():
            np.testing.assert_array_equal(a, other[block][name])


def test_a_fit_is_the_fit_of_the_package():
    model = pl.LiftedClassifier((8,), epochs=4, n_iter_no_change=None, random_state=3, batch_size=16).fit(X, NAMES)
    network = pl.Sequential(pl.Linear(4, 8), pl.ReLU(), pl.Linear(8, 3), pl.Softmax())
    seed = int(np.random.RandomState(3).randint(2**31 - 1))
    run = pl.fit(network, (X, LABELS), epochs=4, batch_size=16, seed=seed, comm=None, progress=False, plan="counted")
    assert_same(model.params_, run.params)
    assert [r["loss"] for r in model.history_] == [r["loss"] for r in run.history]
    assert model.n_iter_ == 4 and model.loss_ == run.history[-1]["loss"] and repr(model.network_) == repr(network)
    np.testing.assert_array_equal(model.predict(X), np.array(["no", "perhaps", "yes"])[model.predict_proba(X).argmax(axis=1)])
    proba = network.apply(run.params, X.astype(np.float32))
    np.testing.assert_allclose(model.predict_proba(X.astype(np.float32)), proba, rtol=1e-5)
    np.testing.assert_allclose(model.predict_proba(X), proba, rtol=1e-4)


def test_parameters_are_objects_or_their_text():
    texts = {"activation": "Identity", "method": "nudged(0.1)", "optimizer": "SGD(0.1, momentum=0.9)", "loss": "Huber(0.5)"}
    objects = {
        "activation": pl.Identity(), "method": pl.methods.nudged(0.1), "optimizer": pl.optim.SGD(0.1, momentum=0.9),
        "loss": pl.losses.Huber(0.5),
    }  # fmt: skip
    models = [pl.LiftedRegressor(5, epochs=2, random_state=0, **given).fit(X, TARGETS) for given in (texts, objects)]
    assert_same(models[0].params_, models[1].params_)
    plain = pl.LiftedRegressor(5, epochs=2, random_state=0).fit(X, TARGETS)
    assert not np.allclose(plain.predict(X), models[0].predict(X))


def test_iris_in_a_pipeline_and_a_grid():
    x, y = load_iris(return_X_y=True)
    names = load_iris().target_names[y]
    pipeline = make_pipeline(StandardScaler(), pl.LiftedClassifier((16,), batch_size=16, **FAST))
    grid = GridSearchCV(pipeline, {"liftedclassifier__optimizer": ["Adam(1e-5)", "Adam(1e-2)"]}, cv=3).fit(x, names)
    assert grid.best_params_ == {"liftedclassifier__optimizer": "Adam(1e-2)"} and grid.best_score_ > 0.9
    found = pickle.loads(pickle.dumps(grid.best_estimator_))
    np.testing.assert_array_equal(found.predict(x), grid.predict(x))


def test_several_targets():
    model = pl.LiftedRegressor((32,), **{**FAST, "epochs": 60}).fit(X, TARGETS)
    assert model.predict(X).shape == (60, 2) and model.score(X, TARGETS) > 0.9
    single = pl.LiftedRegressor((4,), epochs=1).fit(X, TARGETS[:, 0])
    assert single.predict(X).shape == (60,)


def test_a_code_keeps_what_it_can():
    """Of points in a plane, embedded in six dimensions, a code of two numbers keeps nearly all, one of one number does not."""
    points = RNG.standard_normal((200, 2)) @ RNG.standard_normal((2, 6))
    settings = {"activation": "Identity()", "epochs": 60, "optimizer": "Adam(1e-2)", "random_state": 0}
    two, one = (pl.LiftedAutoencoder(n, (8,), **settings).fit(points) for n in (2, 1))
    assert two.score(points) > 0.99 and 0.3 < one.score(points) < 0.95
    code = two.transform(points)
    assert code.shape == (200, 2) and list(two.get_feature_names_out()) == ["liftedautoencoder0", "liftedautoencoder1"]
    returned = two.inverse_transform(code)
    np.testing.assert_allclose(returned, two.network_.variables(as_type(two.params_, float), points)[-1], rtol=1e-12)
    error = ((points - returned) ** 2).sum() / ((points - points.mean(axis=0)) ** 2).sum()
    assert two.score(points) == pytest.approx(1 - error)


def as_type(params, dtype):
    return {block: {name: a.astype(dtype) for name, a in arrays.items()} for block, arrays in params.items()}


def test_networks_of_ones_own():
    image = pl.Sequential(pl.Flatten(), pl.Linear(4, 3), pl.Softmax(), input_shape=(2, 2))
    model = clone(pl.LiftedClassifier(network=image, **FAST)).fit(X, NAMES)
    assert model.network_.input_shape == (2, 2) and model.predict_proba(X).shape == (60, 3)
    text = "Sequential(Linear(4, 3), Softmax())"
    made = pl.LiftedClassifier(network=text, **FAST).fit(X, NAMES)
    called = pl.LiftedClassifier(network=lambda d, k: pl.Sequential(pl.Linear(d, k), pl.Softmax()), **FAST).fit(X, NAMES)
    assert_same(made.params_, called.params_)
    coder = pl.Sequential(pl.Linear(4, 3), pl.ReLU(), pl.Linear(3, 2), pl.Linear(2, 3), pl.ReLU(), pl.Linear(3, 4))
    assert pl.LiftedAutoencoder(network=coder, epochs=1).fit(X).code_ == "linear2"
    wide = pl.LiftedAutoencoder(network=coder, code="linear1", epochs=1).fit(X)
    assert wide.transform(X).shape == (60, 3) and wide.inverse_transform(wide.transform(X)).shape == X.shape


def test_classes_have_weights():
    rare = np.where(np.arange(60) % 6 == 0, "rare", "often")
    noise = RNG.standard_normal((60, 2))
    plain, balanced = (pl.LiftedClassifier((4,), class_weight=w, **FAST).fit(noise, rare) for w in (None, "balanced"))
    assert balanced.predict_proba(noise)[:, 1].mean() > 0.35 > 0.3 > plain.predict_proba(noise)[:, 1].mean()
    chosen = pl.LiftedClassifier((4,), class_weight={"rare": 5.0}, **FAST).fit(noise, rare)
    loss = pl.losses.CrossEntropy(weights=(1.0, 5.0))
    assert_same(chosen.params_, pl.LiftedClassifier((4,), loss=loss, **FAST).fit(noise, rare).params_)


def test_stopping():
    flat = np.zeros((60, 4))
    model = pl.LiftedRegressor((4,), epochs=50, n_iter_no_change=3, tol=1e-2, random_state=0).fit(flat, np.ones(60) * 1e-3)
    assert model.n_iter_ == 4
    assert pl.LiftedRegressor((4,), epochs=6, n_iter_no_change=None).fit(flat, np.zeros(60)).n_iter_ == 6
    early = pl.LiftedClassifier((4,), early_stopping=True, validation_fraction=0.2, **FAST).fit(X, NAMES)
    assert "test_loss" in early.history_[0]
    early = pl.LiftedClassifier((4,), early_stopping=True, epochs=60, n_iter_no_change=2, tol=0.5, random_state=0).fit(X, NAMES)
    assert early.n_iter_ == 3


def test_going_on():
    warm = pl.LiftedRegressor((6,), warm_start=True, epochs=5, random_state=0, n_iter_no_change=None).fit(X, TARGETS)
    first = warm.loss_
    assert warm.fit(X, TARGETS).history_[0]["loss"] < first and warm.n_iter_ == 5
    assert warm.set_params(hidden_layer_sizes=(3,)).fit(X, TARGETS).network_.blocks[0].shape == (3,)  # starts anew
    warm = pl.LiftedClassifier((6,), warm_start=True, **FAST).fit(X, NAMES)
    other = warm.fit(X, LABELS).params_
    assert_same(other, pl.LiftedClassifier((6,), **FAST).fit(X, LABELS).params_)


def test_parts_make_a_whole():
    """Gradient descent on full batches has no memory but its parameters: five calls are a training of five epochs."""
    settings = {"optimizer": "SGD(0.5)", "random_state": 0, "n_iter_no_change": None, "epochs": 5}
    whole = pl.LiftedClassifier((6,), **settings).fit(X, NAMES)
    parts = pl.LiftedClassifier((6,), **settings)
    for _ in range(5):
        parts.partial_fit(X, NAMES, classes=["yes", "no", "perhaps"])
    assert parts.n_iter_ == len(parts.history_) == 5
    np.testing.assert_allclose(parts.predict_proba(X), whole.predict_proba(X), rtol=1e-4)
    assert [r["loss"] for r in parts.history_] == pytest.approx([r["loss"] for r in whole.history_], rel=1e-5)
    coder = pl.LiftedAutoencoder(2, (6,), random_state=0).partial_fit(X)
    assert coder.partial_fit(X).n_iter_ == 2


def test_options_are_those_of_fit():
    told = []
    pl.LiftedClassifier((4,), epochs=2, options={"callbacks": [told.append], "clip": 0.5, "init": "xavier"}).fit(X, NAMES)
    assert [record["epoch"] for record in told] == [1, 2]


RESIDUAL = pl.Sequential(pl.Residual(pl.Linear(4, 2), pl.Linear(2, 4)))


@pytest.mark.parametrize(
    ("kind", "settings", "error", "words"),
    [
        ("Classifier", {"activation": "relu"}, ValueError, "activation is 'relu': unknown name 'relu'; did you mean 'ReLU'"),
        ("Classifier", {"activation": 3}, TypeError, "activation is 3, expected an object of kind Activation"),
        ("Classifier", {"optimizer": "Adam(x)"}, ValueError, "optimizer is 'Adam"),
        ("Classifier", {"hidden_layer_sizes": (3, 0)}, ValueError, r"hidden_layer_sizes is \(3, 0\), expected whole numbers"),
        ("Classifier", {"network": 3}, TypeError, "network is 3, expected a network, its text, or a function"),
        ("Classifier", {"network": "Sequential(Linear(5, 3), Softmax())"}, ValueError, r"reads .* \(5,\), X has 4 features"),
        ("Classifier", {"network": "Sequential(Linear(4, 2), Softmax())"}, ValueError, r"has shape \(2,\), expected \(3,\)"),
        ("Classifier", {"network": "Sequential(Linear(4, 3))"}, ValueError, r"end the network with Softmax\(\)"),
        ("Classifier", {"class_weight": "balanced", "loss": "CrossEntropy(0.0, (1.0, 1.0, 2.0))"}, ValueError, "in one place"),
        ("Classifier", {"comm": "all"}, ValueError, 'comm is \'all\', expected None or "world"'),
        ("Classifier", {"comm": "world", "random_state": None}, ValueError, "random_state is None, expected a whole number"),
        ("Classifier", {"options": {"epochs": 3}}, ValueError, r"options: \['epochs'\] are parameters of the estimator"),
        ("Classifier", {"epochs": 2.5}, ValueError, "epochs is 2.5"),
        ("Autoencoder", {"network": "Sequential(Linear(4, 2), Linear(2, 4))", "code": "linear3"}, ValueError, "is 'linear3'"),
        ("Autoencoder", {"network": RESIDUAL, "code": "linear1"}, ValueError, "before the last that nothing goes around"),
        ("Autoencoder", {"n_components": 0}, ValueError, "n_components is 0"),
    ],
)
def test_parameters_that_cannot_be(kind, settings, error, words):
    with pytest.raises(error, match=words):
        getattr(pl, f"Lifted{kind}")(**settings).fit(X, NAMES)


def test_calls_that_cannot_be():
    with pytest.raises(ValueError, match="expected all classes in the first call"):
        pl.LiftedClassifier().partial_fit(X, NAMES)
    model = pl.LiftedClassifier((4,)).partial_fit(X, NAMES, classes=NAMES)
    with pytest.raises(ValueError, match="y has the classes .*'never'.*, which are not among classes_"):
        model.partial_fit(X[:2], ["no", "never"])
    with pytest.raises(ValueError, match="expected those of the first call"):
        model.partial_fit(X, NAMES, classes=["no", "yes"])
    regressor = pl.LiftedRegressor((4,)).partial_fit(X, TARGETS)
    with pytest.raises(ValueError, match="y has 1 targets, expected 2"):
        regressor.partial_fit(X, TARGETS[:, 0])
    with pytest.raises(ValueError, match="X has 3 numbers a sample, expected 2"):
        pl.LiftedAutoencoder(2, (4,), epochs=1).fit(X).inverse_transform(np.zeros((5, 3)))
