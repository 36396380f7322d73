"""`n_networks`: an ensemble is its networks, each trained as an estimator alone."""

import pickle
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn")

from helpers import assert_same_bits
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastgrad as fg
from fastgrad.interop.sklearn import FastMLPClassifier, FastMLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@parametrize_with_checks(
    [FastMLPClassifier((8,), n_networks=2, max_iter=60, learning_rate_init=0.05),
     FastMLPRegressor((8,), n_networks=2, max_iter=60, learning_rate_init=0.05)]
)  # fmt: skip
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.fixture
def data(rng):
    X = rng.normal(size=(80, 4))
    return X, np.digitize(X.sum(axis=1), [-1, 1])


TARGETS = {
    "three classes": lambda y: np.array(["a", "b", "c"])[y],
    "two classes": lambda y: y % 2,
    "one class": lambda y: y * 0,
    "multilabel": lambda y: np.eye(3, dtype=int)[y],
}


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_probabilities_are_the_mean_of_the_networks(data, kind, solver):
    X, y = data[0], TARGETS[kind](data[1])
    model = FastMLPClassifier((6,), n_networks=3, solver=solver, max_iter=5, random_state=1)
    model.fit(X, y)
    assert len(model.estimators_) == 3 and model.coefs_[0].shape[0] == 3
    wanted = np.mean([member.predict_proba(X) for member in model.estimators_], axis=0)
    np.testing.assert_allclose(model.predict_proba(X), wanted, rtol=1e-10)
    np.testing.assert_allclose(model.predict_log_proba(X), np.log(wanted), rtol=1e-8, atol=1e-12)
    hard = wanted > 0.5 if kind == "multilabel" else model.classes_[wanted.argmax(axis=1)]
    np.testing.assert_array_equal(model.predict(X), hard)
    for member in model.estimators_:
        alone = clone(member).fit(X, y)
        assert_same_bits(alone._theta, member._theta)
        assert alone.n_iter_ == member.n_iter_
    assert model.loss_ == pytest.approx(np.mean([member.loss_ for member in model.estimators_]))
    again = pickle.loads(pickle.dumps(model))
    assert_same_bits(again.predict_proba(X), model.predict_proba(X))
    with fg.num_threads(1):
        assert_same_bits(clone(model).fit(X, y)._theta, model._theta)


@pytest.mark.parametrize("loss", ["squared_error", "poisson", "huber"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_values_are_the_mean_of_the_networks(data, loss, early_stopping):
    X, y = data[0], np.abs(data[0][:, :2])
    model = FastMLPRegressor((6,), n_networks=3, loss=loss, max_iter=5, random_state=1,
                             early_stopping=early_stopping)  # fmt: skip
    model.fit(X, y)
    wanted = np.mean([member.predict(X) for member in model.estimators_], axis=0)
    np.testing.assert_allclose(model.predict(X), wanted, rtol=1e-12)
    members = model.estimators_
    assert model.loss_curve_ == [member.loss_curve_ for member in members]
    if early_stopping:
        assert model.validation_scores_ == [member.validation_scores_ for member in members]
        best = np.mean([member.best_validation_score_ for member in members])
        assert model.best_validation_score_ == pytest.approx(best) and model.best_loss_ is None
    else:
        assert model.validation_scores_ is None and model.best_validation_score_ is None
        assert model.best_loss_ == pytest.approx(np.mean([m.best_loss_ for m in members]))


def test_warm_start_and_partial_fit_go_on(data):
    X, y = data
    options = dict(n_networks=2, random_state=0)
    model = FastMLPClassifier((6,), max_iter=2, warm_start=True, **options).fit(X, y)
    before, members = model._theta.copy(), list(model.estimators_)
    model.fit(X, y)
    assert model.estimators_ == members and (model._theta != before).any()
    model.n_networks = 3
    with pytest.raises(ValueError, match="n_networks is 3, the fitted ones are 2"):
        model.fit(X, y)
    model.n_networks = 1
    with pytest.raises(ValueError, match="n_networks is 1, the fitted ones are 2"):
        model.partial_fit(X, y)
    model = FastMLPClassifier((6,), **options).partial_fit(X, y, classes=[0, 1, 2])
    model.partial_fit(X[:9], y[:9])
    assert model.t_ == 89 and model.predict(X).shape == (80,)


def test_a_warning_comes_once_and_names_the_caller(data):
    X, y = data
    model = FastMLPClassifier((6,), n_networks=4, max_iter=1, random_state=0)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        model.fit(X, y[:, None])
    assert [one.category for one in seen] == [DataConversionWarning, ConvergenceWarning]
    assert seen[1].filename == __file__


@pytest.mark.filterwarnings("ignore:the loss or a parameter:RuntimeWarning")
def test_an_error_in_a_network_is_raised_and_nothing_is_left(data):
    X, y = data
    model = FastMLPRegressor((6,), n_networks=2, solver="sgd", learning_rate_init=1e30)
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="not finite"):
        model.fit(X * 1e30, y)
    assert not hasattr(model, "_theta") and not hasattr(model, "_notes")
