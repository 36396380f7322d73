"""The estimators and what people bring: parameters, labels, weights and outputs of every kind."""

import warnings

import numpy as np
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.metrics import mean_poisson_deviance
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils.estimator_checks import check_param_validation

from fastgrad.interop.sklearn import FastMLPClassifier, FastMLPRegressor, ReLURegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X2 = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0], [1.0, 2.0]])
Y2 = np.array([0, 1, 0, 1])


def quick(kind, **settings):
    return kind(**{"hidden_layer_sizes": (3,), "max_iter": 2, "random_state": 0, **settings})


# parameters


@pytest.mark.parametrize("kind", [FastMLPClassifier, FastMLPRegressor, ReLURegressor])
def test_every_parameter_is_validated_as_scikit_learn_validates(kind):
    check_param_validation(kind.__name__, kind())


@pytest.mark.parametrize(
    "settings",
    [
        {"early_stopping": "no"}, {"warm_start": 3}, {"shuffle": 1}, {"nesterovs_momentum": None},
        {"verbose": "yes"}, {"random_state": "a"}, {"tol": "1e-4"}, {"tol": np.nan},
        {"n_iter_no_change": 2.5}, {"max_iter": 10.0}, {"batch_size": None}, {"alpha": -1},
        {"learning_rate_init": 0}, {"beta_1": 1.0}, {"hidden_layer_sizes": "100"},
    ],
    ids=str,
)  # fmt: skip
def test_parameters_of_the_wrong_type_are_refused_with_scikit_learns_words(settings):
    """Word for word, but for the class's name; `fit` and `partial_fit` alike."""
    messages = []
    for kind in (MLPClassifier, FastMLPClassifier):
        for call in ("fit", "partial_fit"):
            with pytest.raises(ValueError, match=next(iter(settings))) as raised:
                getattr(kind(**settings), call)(X2, Y2)
            messages.append(str(raised.value).replace("FastMLP", "MLP"))
    assert len(set(messages)) == 1


# labels


@pytest.mark.parametrize("label", [1, "elm", 2.0, True])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_single_class_is_predicted_always(label, solver, dtype):
    X, y = X2.astype(dtype), np.full(4, label)
    clf = quick(FastMLPClassifier, solver=solver).fit(X, y)
    peer = quick(MLPClassifier, solver=solver).fit(X, y)
    for found in (clf.predict(100 * X), peer.predict(X)):
        np.testing.assert_array_equal(found, y)
    np.testing.assert_array_equal(clf.predict_proba(X), np.ones((4, 1), dtype))
    np.testing.assert_array_equal(clf.predict_log_proba(X), np.zeros((4, 1), dtype))
    assert clf.score(X, y) == 1 and clf.classes_.tolist() == [label]


def test_a_single_class_with_early_stopping_and_warm_start():
    X, y = np.tile(X2, (3, 1)), np.full(12, "a")
    clf = quick(FastMLPClassifier, early_stopping=True, validation_fraction=0.2, warm_start=True)
    assert clf.fit(X, y).fit(X, y).validation_scores_ == [1.0] * 4
    with pytest.raises(ValueError, match=r"Previously got \['a'\], `y` has \['b'\]"):
        clf.fit(X, np.full(12, "b"))


def test_early_stopping_with_a_class_of_one_row():
    """Of three classes chance decides where it is, as in scikit-learn; of two it is an error."""
    X, y = np.tile(X2, (3, 1)), np.array(["a", "b"] * 5 + ["a", "c"])
    for kind in (FastMLPClassifier, MLPClassifier):
        clf = quick(kind, early_stopping=True, validation_fraction=0.25).fit(X, y)
        assert len(clf.validation_scores_) == 2 and clf.classes_.tolist() == ["a", "b", "c"]
    with pytest.raises(ValueError, match=r"only 1 member.*too few members are: \['c'\]"):
        quick(FastMLPClassifier, early_stopping=True).fit(X, np.where(y == "b", "a", y))


def test_early_stopping_with_more_classes_than_rows_held_out():
    X, y = np.tile(X2, (4, 1)), np.arange(16) % 8
    clf = quick(FastMLPClassifier, early_stopping=True, validation_fraction=0.2).fit(X, y)
    assert clf.classes_.size == 8


@pytest.mark.parametrize("container", [getattr(scipy.sparse, name) for name in (
    "csr_matrix", "csr_array", "coo_array", "lil_matrix")])  # fmt: skip
def test_multilabel_targets_that_are_sparse(container):
    X, Y = np.tile(X2, (3, 1)), np.tile([[0, 1, 1], [1, 0, 1], [0, 0, 1], [1, 1, 0]], (3, 1))
    dense = quick(FastMLPClassifier).fit(X, Y)
    clf = quick(FastMLPClassifier).fit(X, container(Y))
    assert clf._theta.tobytes() == dense._theta.tobytes()
    found = clf.predict(X)
    assert scipy.sparse.issparse(found) and isinstance(found, scipy.sparse.sparray) == issubclass(
        container, scipy.sparse.sparray
    )
    np.testing.assert_array_equal(found.toarray(), dense.predict(X))
    assert clf.score(X, container(Y)) == dense.score(X, Y)
    assert not scipy.sparse.issparse(clf.fit(X, Y).predict(X))
    clf = quick(FastMLPClassifier, early_stopping=True).fit(X, container(Y))
    assert len(clf.validation_scores_) == 2
    with pytest.raises(TypeError, match=r"y is a sparse matrix; expected a dense array: use y\.to"):
        quick(FastMLPRegressor).fit(X, container(Y))


@pytest.mark.parametrize("kind", [FastMLPClassifier, FastMLPRegressor, ReLURegressor])
@pytest.mark.parametrize("container", [scipy.sparse.csr_matrix, scipy.sparse.csc_array,
                                       scipy.sparse.coo_matrix])  # fmt: skip
def test_sparse_inputs_fit_and_predict_as_dense_ones(kind, container):
    make = kind if kind is ReLURegressor else lambda: quick(kind)
    dense, sparse = clone(make()).fit(X2, Y2), clone(make()).fit(container(X2), Y2)
    np.testing.assert_allclose(sparse.predict(container(X2)), dense.predict(X2), atol=1e-5)
    np.testing.assert_allclose(dense.predict(container(X2)), dense.predict(X2), atol=1e-12)


# weights


@pytest.mark.parametrize("kind", [FastMLPClassifier, FastMLPRegressor])
@pytest.mark.parametrize("seed", range(3))
def test_held_out_rows_that_all_weigh_nothing(kind, seed):
    X, y = np.tile(X2, (3, 1)), np.tile(Y2, 3)
    settings = dict(early_stopping=True, validation_fraction=0.25, random_state=seed)
    for held, words in ((True, "held out for"), (False, "left to train on beside")):
        weight = np.zeros(12)
        chosen = held_out_rows(kind, y, seed)
        weight[~chosen if held else chosen] = 1.0
        with pytest.raises(ValueError, match=f"sample_weight is 0 in all . rows {words} early_sto"):
            quick(kind, **settings).fit(X, y, sample_weight=weight)


def held_out_rows(kind, y, seed):
    """Which rows early stopping holds out, found by a feature that numbers them."""
    seen = []

    class Spy(kind):
        def _forward(self, theta, X):
            seen.append(X[:, 0].astype(int))
            return super()._forward(theta, X)

    X = np.arange(y.size)[:, None] * np.ones((1, 2))
    quick(Spy, early_stopping=True, validation_fraction=0.25, random_state=seed).fit(X, y)
    chosen = np.zeros(y.size, bool)
    chosen[seen[0]] = True
    return chosen


def test_class_weights_of_nothing_count_as_weights_of_nothing():
    X, y = np.tile(X2, (3, 1)), np.tile(Y2, 3)
    clf = quick(FastMLPClassifier, early_stopping=True, class_weight={0: 0.0, 1: 0.0})
    with pytest.raises(ValueError, match="sample_weight is 0 in all"):
        clf.fit(X, y)


# outputs


@pytest.mark.parametrize("target", ["binary", "classes", "labels", "numbers", "counts"])
@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_outputs_that_are_not_finite_are_errors(target, bad):
    y = {"binary": Y2, "classes": [0, 1, 2, 0], "labels": np.eye(4, dtype=int)[:, :2],
         "numbers": Y2, "counts": Y2}[target]  # fmt: skip
    kind = FastMLPClassifier if target in ("binary", "classes", "labels") else FastMLPRegressor
    model = quick(kind, **({"loss": "poisson"} if target == "counts" else {})).fit(X2, y)
    model._theta[:] = 1.0
    X = X2.copy()
    X[2] = 1e308  # its sum is infinite
    if np.isnan(bad):
        model._theta[-1] = -np.inf
        X = X[2:3]
    row = len(X) // 2
    for name in ("predict", "predict_proba", "predict_log_proba"):
        if hasattr(model, name):
            with pytest.raises(
                ValueError, match=rf"the output of row {row} of X is (inf|{bad}); expected"
            ):
                getattr(model, name)(X)


def test_outputs_of_the_neuron_that_are_not_finite_are_errors():
    neuron = ReLURegressor().fit(X2, X2.sum(axis=1))
    with pytest.raises(ValueError, match="the output of row 1 of X is inf; expected finite"):
        neuron.predict([[1.0, 1.0], [1e308, 1e308]])


def test_a_diverging_loss_with_early_stopping_keeps_the_best():
    """As scikit-learn does; without early stopping it is an error."""
    X, y = np.tile(X2, (10, 1)), 1e6 * np.tile(X2[:, 0], 10)
    settings = dict(solver="sgd", learning_rate_init=1e6, n_iter_no_change=200)
    for loss in ("squared_error", "poisson"):
        reg = quick(FastMLPRegressor, early_stopping=True, loss=loss, max_iter=100, **settings)
        reg.set_params(hidden_layer_sizes=())
        with pytest.warns(RuntimeWarning, match="not finite"):
            reg.fit(X, y)
        assert not np.isfinite(reg.validation_scores_[-1])
        assert np.isfinite(reg.predict(X)).all()
        reg.set_params(early_stopping=False)
        with (
            pytest.warns(RuntimeWarning),
            pytest.raises(ValueError, match="Solver produced non-finite parameter weights"),
        ):
            reg.fit(X, y)


# the Poisson loss


@pytest.mark.parametrize("solver", ["lbfgs", "sgd"])
@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_poisson_loss_is_scikit_learns(rng, solver, columns, dtype):
    X = rng.uniform(size=(60, 3)).astype(dtype)
    y = rng.poisson(np.exp(X[:, :columns])).astype(dtype)
    y = y[:, 0] if columns == 1 else y
    settings = dict(
        hidden_layer_sizes=(5,), solver=solver, loss="poisson", max_iter=20, batch_size=20,
        alpha=0.1, random_state=3, shuffle=False, tol=0, learning_rate_init=0.02,
    )  # fmt: skip
    ours, theirs = (kind(**settings).fit(X, y) for kind in (FastMLPRegressor, MLPRegressor))
    tolerance = 1e-3 if dtype == np.float32 else 1e-5 if solver == "lbfgs" else 1e-7
    for found, expected in zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_):
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=10 * tolerance)
    np.testing.assert_allclose(ours.loss_, theirs.loss_, rtol=max(tolerance, 1e-6))
    assert ours.out_activation_ == "exp" and ours.predict(X).dtype == dtype


def test_the_poisson_losses_of_weighted_rows_are_scikit_learns(rng):
    """Half the deviance, the part of the targets alone included: of each epoch's rows."""
    X = rng.uniform(size=(60, 3))
    y = rng.poisson(np.exp(X[:, 0])).astype(float)
    weight = rng.integers(1, 4, 60).astype(float)
    settings = dict(solver="sgd", loss="poisson", batch_size=60, alpha=0, activation="tanh",
                    max_iter=8, learning_rate_init=0.02)  # fmt: skip
    ours, theirs = (
        quick(kind, **settings).fit(X, y, weight) for kind in (FastMLPRegressor, MLPRegressor)
    )
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-10)
    before = quick(FastMLPRegressor, **{**settings, "max_iter": 7}).fit(X, y, weight)
    deviance = mean_poisson_deviance(y, before.predict(X), sample_weight=weight)
    assert ours.loss_ == pytest.approx(deviance / 2, rel=1e-10)


def test_poisson_with_weights_batches_and_early_stopping(rng):
    X = rng.uniform(size=(80, 2))
    y = rng.poisson(np.exp(2 * X[:, 0])).astype(float)
    weight = np.ones(80)
    weight[:30] = 0  # whole batches of nothing
    settings = dict(loss="poisson", max_iter=100, learning_rate_init=0.02, batch_size=10)
    reg = quick(FastMLPRegressor, shuffle=False, **settings).fit(X, y, sample_weight=weight)
    assert reg.score(X, y) > 0 and (reg.predict(X) > 0).all()
    reg = quick(FastMLPRegressor, early_stopping=True, **settings).fit(X, y)
    assert reg.best_validation_score_ == max(reg.validation_scores_)
    reg.set_params(early_stopping=False).partial_fit(X, y)
    for bad in (-1.0, -np.finfo(float).tiny):
        with pytest.raises(ValueError, match=f"y has the value {bad} at row 3; expected 0 or more"):
            reg.fit(X, np.where(np.arange(80) == 3, bad, y))


# warm starts


def test_a_warm_start_after_another_solver_or_another_way_to_stop():
    X, y = np.tile(X2, (5, 1)), np.tile(Y2, 5)
    clf = quick(FastMLPClassifier, warm_start=True, solver="lbfgs").fit(X, y)
    changes = ({"solver": "adam"}, {"early_stopping": True}, {"early_stopping": False},
               {"solver": "sgd"}, {"solver": "lbfgs"}, {"solver": "adam"})  # fmt: skip
    for change in changes:
        clf.set_params(**change).fit(X, y)
        assert (clf.validation_scores_ is not None) == clf.early_stopping
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert clf.predict(X).shape == (20,)
