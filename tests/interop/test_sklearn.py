"""The scikit-learn estimators: scikit-learn's own checks, its own gradient, and what users do."""

import pickle
import warnings
from itertools import pairwise

import joblib
import numpy as np
import pandas
import pytest
from helpers import run_python
from sklearn import clone
from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import mean_absolute_error, mean_pinball_loss
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import LabelBinarizer, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastgrad as fg
from fastgrad.interop.sklearn import FastMLPClassifier, FastMLPRegressor, ReLURegressor
from fastgrad.interop.sklearn.solvers import new_optimizer

QUIET = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
# Checks whose subject is absent: another array library's arrays, and a decision_function, which
# scikit-learn's MLPClassifier has not either.
ABSENT = {
    "check_array_api_input",
    "check_classifiers_multilabel_output_format_decision_function",
}


def checks(estimators):
    """`parametrize_with_checks` without those that would only report a skip."""
    mark = parametrize_with_checks(estimators)
    names, cases = mark.args
    kept = [case for case in cases if case[1].func.__name__ not in ABSENT]
    return pytest.mark.parametrize(names, kept, **mark.kwargs)


@QUIET
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@checks(
    [
        ReLURegressor(),
        FastMLPClassifier(max_iter=100),
        FastMLPClassifier(solver="lbfgs", max_iter=12),
        FastMLPRegressor(max_iter=100),
    ]
)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def digits():
    X_train, X_test, y_train, y_test = fg.datasets.split(fg.datasets.load_digits(), seed=0)
    return X_train / 16, X_test / 16, y_train, y_test


def blobs(rng, n=120, classes=3, d=4):
    y = np.arange(n) % classes
    return rng.standard_normal((n, d)) + 3 * np.eye(d)[y], y


# scikit-learn's gradient on the same parameters


def scikit_gradient(peer, coefs, intercepts, X, y, weight):
    """(loss, [(dW, db), ...]) of `_loss_grad_lbfgs`."""
    peer.coefs_ = [W.copy() for W in coefs]
    peer.intercepts_ = [b.copy() for b in intercepts]
    sizes = [X.shape[1], *(b.size for b in intercepts)]
    peer._coef_indptr, peer._intercept_indptr, start = [], [], 0
    for d, k in pairwise(sizes):
        peer._coef_indptr.append((start, start + d * k, (d, k)))
        start += d * k
    for k in sizes[1:]:
        peer._intercept_indptr.append((start, start + k))
        start += k
    packed = np.concatenate([a.ravel() for a in (*coefs, *intercepts)])
    layers = len(coefs)
    loss, grad = peer._loss_grad_lbfgs(
        packed, X, y, weight, [X, *[None] * layers], [None] * layers,
        [np.empty_like(W) for W in coefs], [np.empty_like(b) for b in intercepts],
    )  # fmt: skip
    return loss, [
        (grad[a:b].reshape(shape), grad[c:e])
        for (a, b, shape), (c, e) in zip(peer._coef_indptr, peer._intercept_indptr)
    ]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("activation", ["relu", "identity", "logistic", "tanh"])
@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel", "regression", "columns"])
def test_the_gradient_is_scikit_learns(rng, kind, activation, weighted):
    X = rng.standard_normal((90, 6))
    weight = rng.uniform(0.5, 2, 90) if weighted else None
    y = {
        "binary": np.arange(90) % 2,
        "multiclass": np.arange(90) % 4,
        "multilabel": rng.integers(0, 2, (90, 3)),
        "regression": X[:, 0],
        "columns": X[:, :3] + 1,
    }[kind]
    own, other = (FastMLPRegressor, MLPRegressor)
    if kind in ("binary", "multiclass", "multilabel"):
        own, other = (FastMLPClassifier, MLPClassifier)
    settings = dict(
        hidden_layer_sizes=(16, 8), activation=activation, alpha=0.3, max_iter=2, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        ours = own(batch_size=90, **settings).fit(X, y, sample_weight=weight)
        peer = other(solver="lbfgs", **settings).fit(X, y)
    encoded = LabelBinarizer().fit_transform(y) if is_classifier(peer) else y
    encoded = encoded.reshape(90, -1).astype(float)
    loss, layers = scikit_gradient(peer, ours.coefs_, ours.intercepts_, X, encoded, weight)
    targets = {"multiclass": y, "binary": y.astype(float)}.get(kind, encoded)
    mine, grad = ours._net.loss_and_grad(ours._theta, X, targets, weight)
    for (dW, db), (eW, eb) in zip(ours._net.unflatten(grad / ours._gradient_scale), layers):
        np.testing.assert_allclose(dW, eW, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(db, eb, rtol=1e-12, atol=1e-12)
    if kind != "columns":  # of several columns scikit-learn shows the mean and descends the sum
        np.testing.assert_allclose(mine / ours._loss_scale, loss, rtol=1e-12)


@QUIET
def test_the_huber_loss_is_half_the_squared_error_of_small_errors(rng):
    X = rng.standard_normal((60, 3))
    settings = dict(hidden_layer_sizes=(8,), solver="sgd", random_state=0)
    start = FastMLPRegressor(learning_rate_init=1e-9, max_iter=1, **settings).fit(X, X[:, :2])
    y = start.predict(X) + 0.1 * X[:, 1:]
    square, huber = (
        FastMLPRegressor(loss=name, max_iter=20, **settings).fit(X, y)
        for name in ("squared_error", "huber")
    )
    np.testing.assert_allclose(huber.loss_curve_, square.loss_curve_, rtol=1e-12)
    np.testing.assert_allclose(huber.predict(X), square.predict(X), rtol=1e-9)
    y[:6] += 100  # outliers
    huber.set_params(solver="lbfgs").fit(X, y), square.set_params(solver="lbfgs").fit(X, y)
    errors = [np.abs(model.predict(X)[6:] - y[6:]).mean() for model in (huber, square)]
    assert errors[0] < 0.5 * errors[1]


@QUIET
@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.8])
def test_the_quantile_loss_is_scikit_learns_and_predicts_quantiles(rng, quantile):
    X, y = rng.uniform(size=(400, 1)), rng.gamma(2.0, size=400)
    settings = dict(hidden_layer_sizes=(), max_iter=300, learning_rate_init=0.02, random_state=0)
    reg = FastMLPRegressor(loss="quantile", quantile=quantile, alpha=0, **settings).fit(X, y)
    assert (y <= reg.predict(X)).mean() == pytest.approx(quantile, abs=0.02)
    pinball = mean_pinball_loss(y, reg.predict(X), alpha=quantile)
    assert reg._net.loss(reg._theta, X, y) == pytest.approx(pinball, rel=1e-12)
    if quantile == 0.5:
        twin = FastMLPRegressor(loss="absolute_error", alpha=0, **settings).fit(X, y)
        error = mean_absolute_error(y, twin.predict(X))
        assert twin._net.loss(twin._theta, X, y) == pytest.approx(error, rel=1e-12)
        assert error == pytest.approx(2 * pinball, rel=1e-2)
    with pytest.raises(ValueError, match=r"'quantile' parameter .* Got 1"):
        reg.set_params(quantile=1).fit(X, y)


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@QUIET
def test_digits_are_learnt_with_each_solver(digits, solver):
    X_train, X_test, y_train, y_test = digits
    rate = 0.1 if solver == "sgd" else 1e-3
    clf = FastMLPClassifier(
        (32,), solver=solver, learning_rate_init=rate, max_iter=60, random_state=0
    )
    assert clf.fit(X_train, y_train).score(X_test, y_test) > 0.94
    if solver != "lbfgs":
        assert len(clf.loss_curve_) == clf.n_iter_
        assert clf.loss_curve_[-1] < 0.2 * clf.loss_curve_[0]
        assert clf.t_ == clf.n_iter_ * len(X_train)


def test_float32_stays_float32_and_needs_no_conversion(digits):
    X_train, _, y_train, _ = digits
    clf = FastMLPClassifier((16,), tol=9, n_iter_no_change=1, random_state=0)
    clf.fit(X_train.astype(np.float32), y_train)
    assert {a.dtype for a in clf.coefs_ + clf.intercepts_} == {np.dtype(np.float32)}
    assert clf.predict_proba(X_train[:3]).dtype == np.float32


@QUIET
def test_strings_and_pandas_frames(rng):
    X, y = blobs(rng)
    frame = pandas.DataFrame(X, columns=["a", "b", "c", "d"])
    labels = pandas.Series(np.array(["ash", "elm", "oak"])[y])
    clf = FastMLPClassifier((8,), max_iter=100, learning_rate_init=0.05, random_state=0)
    clf.fit(frame, labels)
    assert list(clf.feature_names_in_) == ["a", "b", "c", "d"]
    assert list(clf.classes_) == ["ash", "elm", "oak"]
    assert clf.score(frame, labels) > 0.95
    assert set(clf.predict(frame)) <= {"ash", "elm", "oak"}
    with pytest.raises(ValueError, match="feature names"):
        clf.predict(frame[["b", "a", "c", "d"]])


@QUIET
@pytest.mark.parametrize("classes", [2, 3])
def test_probabilities_and_their_logarithms(rng, classes):
    X, y = blobs(rng, classes=classes)
    clf = FastMLPClassifier((8,), max_iter=60, learning_rate_init=0.05, random_state=0).fit(X, y)
    proba = clf.predict_proba(X)
    assert proba.shape == (120, classes)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-14)
    np.testing.assert_array_equal(proba.argmax(axis=1), clf.predict(X))
    np.testing.assert_allclose(clf.predict_log_proba(X), np.log(proba), rtol=1e-9, atol=1e-14)
    far = clf.predict_log_proba(1e4 * X)
    assert np.isfinite(far).all() and far.min() < -1000


@QUIET
def test_multilabel_targets(rng):
    X = rng.standard_normal((200, 4))
    Y = (X[:, :3] > 0).astype(int)
    clf = FastMLPClassifier((16,), max_iter=200, learning_rate_init=0.02, random_state=0).fit(X, Y)
    assert clf.out_activation_ == "logistic"
    assert (clf.predict(X) == Y).mean() > 0.97
    np.testing.assert_allclose(
        clf.predict_log_proba(X), np.log(clf.predict_proba(X)), rtol=1e-9, atol=1e-14
    )


@QUIET
def test_class_weight_equals_sample_weight(rng):
    X, y = blobs(rng)
    X, y = X[10:], y[10:]
    settings = dict(hidden_layer_sizes=(8,), max_iter=5, random_state=0)
    by_class = FastMLPClassifier(class_weight={0: 2.0, 1: 0.5, 2: 1.0}, **settings).fit(X, y)
    weight = np.array([2.0, 0.5, 1.0])[y]
    by_sample = FastMLPClassifier(**settings).fit(X, y, sample_weight=weight)
    assert np.array_equal(by_class._theta, by_sample._theta)
    FastMLPClassifier(class_weight="balanced", **settings).fit(X, y)
    with pytest.raises(ValueError, match="balanced"):
        FastMLPClassifier(class_weight="balanced").partial_fit(X, y, classes=[0, 1, 2])


@QUIET
def test_partial_fit_goes_on_and_equals_epochs_of_fit(rng):
    X, y = blobs(rng)
    settings = dict(hidden_layer_sizes=(8,), shuffle=False, random_state=0, batch_size=30)
    whole = FastMLPClassifier(max_iter=4, **settings).fit(X, y)
    pieces = FastMLPClassifier(**settings)
    for _ in range(4):
        pieces.partial_fit(X, y, classes=[0, 1, 2])
    assert np.array_equal(whole._theta, pieces._theta)
    assert whole.loss_curve_ == pieces.loss_curve_
    assert pieces.t_ == 480
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        FastMLPClassifier().partial_fit(X, y)
    with pytest.raises(ValueError, match="not the same as before"):
        pieces.partial_fit(X, y, classes=[0, 1, 2, 3])
    with pytest.raises(ValueError, match=r"classes not in `self\.classes_`"):
        pieces.partial_fit(X, y + 1)
    assert not hasattr(FastMLPClassifier(solver="lbfgs"), "partial_fit")
    with pytest.raises(ValueError, match="does not support early_stopping"):
        FastMLPRegressor(early_stopping=True).partial_fit(X, X[:, 0])


@QUIET
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_warm_start_goes_on(rng, solver):
    X, y = blobs(rng)
    clf = FastMLPClassifier((8,), solver=solver, max_iter=8, warm_start=True, random_state=0)
    first = clf.fit(X, y).loss_
    assert clf.fit(X, y).loss_ < first
    with pytest.raises(ValueError, match="expected the same with warm_start"):
        clf.set_params(hidden_layer_sizes=(9,)).fit(X, y)


def test_early_stopping_keeps_the_best_parameters(digits):
    X_train, X_test, y_train, y_test = digits
    clf = FastMLPClassifier(
        (32,), early_stopping=True, random_state=0, max_iter=500, n_iter_no_change=6
    ).fit(X_train, y_train)
    assert clf.n_iter_ < 500
    assert clf.best_validation_score_ == max(clf.validation_scores_)
    assert len(clf.validation_scores_) == clf.n_iter_
    assert clf.best_loss_ is None
    assert clf.score(X_test, y_test) > 0.9


@QUIET
def test_learning_rates_adapt(rng):
    X, y = blobs(rng)
    settings = dict(hidden_layer_sizes=(8,), solver="sgd", random_state=0, learning_rate_init=0.1)
    adaptive = FastMLPClassifier(
        learning_rate="adaptive", n_iter_no_change=2, tol=1e-2, max_iter=400, **settings
    ).fit(X, y)
    assert adaptive._optimizer.lr(0) <= 1e-6
    scaling = FastMLPRegressor(learning_rate="invscaling", max_iter=3, **settings).fit(X, X[:, 0])
    np.testing.assert_allclose(
        scaling._optimizer.lr(0) * scaling._gradient_scale, 0.1 / 361**0.5, rtol=1e-12
    )


def test_a_row_is_predicted_alike_in_any_batch(digits):
    X_train, X_test, y_train, _ = digits
    clf = FastMLPClassifier((32,), tol=9, n_iter_no_change=1, random_state=0)
    clf.fit(X_train, y_train)
    alone = np.vstack([clf.predict_proba(X_test[i : i + 1]) for i in range(20)])
    assert np.array_equal(alone, clf.predict_proba(X_test)[:20])


# the neuron


def test_the_neuron_finds_its_parameters(rng):
    X = rng.standard_normal((400, 5))
    w, b = np.array([1.0, -2.0, 0.5, 0.0, 3.0]), -0.7
    neuron = ReLURegressor().fit(X, np.maximum(0, X @ w + b))
    np.testing.assert_allclose(neuron.coef_, w, atol=1e-5)
    assert neuron.intercept_ == pytest.approx(b, abs=1e-5)
    assert neuron.score(X, np.maximum(0, X @ w + b)) > 1 - 1e-10
    assert ReLURegressor().fit(X, np.full(400, -1.0)).predict(X).max() == 0
    assert (ReLURegressor(alpha=10.0).fit(X, X[:, 0] + 4).coef_ ** 2).sum() < 0.1


# processes, threads, pickles


@QUIET
def test_pickled_and_cloned(rng):
    X, y = blobs(rng)
    clf = FastMLPClassifier((8,), max_iter=5, random_state=0).fit(X, y)
    twin = pickle.loads(pickle.dumps(clf))
    assert np.array_equal(twin.predict_proba(X), clf.predict_proba(X))
    assert np.array_equal(twin.partial_fit(X, y)._theta, clf.partial_fit(X, y)._theta)
    fresh = clone(clf)
    assert fresh.get_params() == clf.get_params()
    with pytest.raises(NotFittedError):
        fresh.predict(X)
    with pytest.raises(AttributeError, match="is not fitted"):
        fresh.coefs_  # noqa: B018


@QUIET
@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_grid_search_with_threads_and_processes(rng, backend):
    X, y = blobs(rng)
    pipeline = make_pipeline(StandardScaler(), FastMLPClassifier(max_iter=5, random_state=0))
    grid = {"fastmlpclassifier__hidden_layer_sizes": [(4,), (8,)]}
    serial = GridSearchCV(pipeline, grid, cv=2, n_jobs=1).fit(X, y)
    with joblib.parallel_backend(backend, n_jobs=2), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        both = GridSearchCV(pipeline, grid, cv=2, n_jobs=2).fit(X, y)
    scores = "mean_test_score"
    assert np.array_equal(serial.cv_results_[scores], both.cv_results_[scores])


@QUIET
def test_cross_validation_of_a_regressor(rng):
    X = rng.standard_normal((150, 3))
    scores = cross_val_score(
        FastMLPRegressor((16,), solver="lbfgs", random_state=0), X, np.abs(X[:, 0]), cv=3
    )
    assert scores.min() > 0.9


# errors


@pytest.mark.parametrize(
    "settings, message",
    [
        (dict(activation="softsign"), "'activation' parameter .*'relu'.* Got 'softsign' instead"),
        (dict(solver="newton"), "'solver' parameter .* Got 'newton'"),
        (dict(learning_rate="fast"), "'learning_rate' parameter .* Got 'fast'"),
        (dict(batch_size=0), "'batch_size' parameter .* Got 0"),
        (dict(hidden_layer_sizes=(4, -1)), r"hidden_layer_sizes\[1\] is -1"),
        (dict(validation_fraction=1.5), "'validation_fraction' parameter .* Got 1.5"),
        (dict(max_iter=0), "'max_iter' parameter .* Got 0"),
    ],
)
def test_wrong_parameters_are_named(rng, settings, message):
    X, y = blobs(rng)
    with pytest.raises(ValueError, match=message):
        FastMLPClassifier(**settings).fit(X, y)
    with pytest.raises(ValueError, match=r"'loss' parameter .* Got 'gamma' instead"):
        FastMLPRegressor(loss="gamma").fit(X, y)


def test_wrong_data_are_named(rng):
    X, y = blobs(rng)
    with pytest.raises(ValueError, match="NaN"):
        FastMLPClassifier().fit(np.where(X > 2, np.nan, X), y)
    with pytest.raises(ValueError, match="sample_weight has the value -1"):
        FastMLPClassifier().fit(X, y, sample_weight=np.full(120, -1.0))
    with pytest.raises(ValueError, match=r"validation set is too small \(1 rows of 20"):
        FastMLPRegressor(early_stopping=True, validation_fraction=0.01).fit(X[:20], X[:20, 0])
    with pytest.raises(ValueError, match="The loss is not finite"), pytest.warns(RuntimeWarning):
        FastMLPRegressor(solver="sgd", learning_rate_init=1e3).fit(100 * X, 1e6 * X[:, 0])
    with pytest.warns(UserWarning, match="batches of 120 are taken"):
        FastMLPRegressor(batch_size=500, tol=9e9, n_iter_no_change=1).fit(X, X[:, 0])
    with pytest.warns(ConvergenceWarning, match="2 epochs"):
        FastMLPClassifier(max_iter=2).fit(X, y)
    with pytest.warns(ConvergenceWarning, match="L-BFGS ended before"):
        FastMLPClassifier(solver="lbfgs", max_iter=1).fit(X, y)


def test_without_scikit_learn_the_extra_is_named():
    out = run_python(
        """
        import sys
        sys.modules["sklearn"] = None
        try:
            import fastgrad.interop.sklearn
        except ImportError as error:
            print(error)
        """
    )
    assert 'pip install "fastgrad[sklearn]"' in out


def test_importing_fastgrad_imports_no_guest():
    out = run_python(
        """
        import sys, numba
        before = set(sys.modules)  # Numba imports SciPy where it is installed
        import fastgrad
        guests = {"torch", "jax", "sklearn", "scipy", "pandas"}
        print(sorted(guests & (set(sys.modules) - before)))
        """
    )
    assert out.strip() == "[]"


@QUIET
@pytest.mark.parametrize("activation", ["relu", "identity", "logistic", "tanh"])
@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
@pytest.mark.parametrize("labels", [0, 2, 4])
def test_one_random_state_trains_the_same_network_as_scikit_learn(rng, labels, solver, activation):
    X = rng.normal(size=(90, 5))
    y = np.abs(X[:, 0]) if labels == 0 else np.arange(90) % labels
    kinds = (FastMLPRegressor, MLPRegressor) if labels == 0 else (FastMLPClassifier, MLPClassifier)
    settings = dict(
        hidden_layer_sizes=(12, 7), solver=solver, max_iter=25, batch_size=30, alpha=0.1,
        random_state=3, shuffle=False, tol=0, learning_rate_init=0.02, activation=activation,
    )  # fmt: skip
    ours, theirs = (kind(**settings).fit(X, y) for kind in kinds)
    tolerance = 1e-5 if solver == "lbfgs" else 1e-9  # a line search magnifies the last bit
    for found, expected in zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_):
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_warm_start_wants_the_same_classes_as_scikit_learn_does(rng):
    X, y = rng.normal(size=(30, 3)), np.arange(30) % 3
    for kind in (FastMLPClassifier, MLPClassifier):
        clf = kind((4,), warm_start=True, max_iter=2000, tol=1e9).fit(X, y)
        with pytest.raises(ValueError, match="classes"):
            clf.fit(X[y < 2], y[y < 2])


def test_epsilon_means_what_it_means_in_scikit_learn(rng):
    """It joins sqrt(v) before the bias is taken out, which matters for the first steps."""
    from sklearn.neural_network._stochastic_optimizers import AdamOptimizer

    theirs = AdamOptimizer([np.zeros(7)], learning_rate_init=1e-2, epsilon=1e-3)
    model = FastMLPRegressor((4,), epsilon=1e-3, learning_rate_init=1e-2, max_iter=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(rng.normal(size=(9, 2)), rng.normal(size=9))
    ours = new_optimizer(model)
    expected, theta = np.zeros(7), np.zeros(7)
    for _ in range(5):
        g = rng.normal(size=7) * 1e-3
        expected += theirs._get_updates([g])[0]
        # scikit-learn halves the squared error; the estimator's loss does not.
        ours.step(theta, model._gradient_scale * g)
        np.testing.assert_allclose(theta, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("beta_1", 1.0, ValueError), ("beta_1", "0.9", TypeError), ("beta_2", -0.1, ValueError),
        ("epsilon", 0.0, ValueError), ("epsilon", np.nan, ValueError),
        ("momentum", 1.5, ValueError), ("learning_rate_init", 0.0, ValueError),
        ("alpha", -1.0, ValueError),
    ],
)  # fmt: skip
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_errors_name_the_estimators_parameters(solver, name, value, error):
    model = FastMLPRegressor((4,), solver=solver, **{name: value})
    with pytest.raises(error, match=f"The '{name}' parameter of FastMLPRegressor must be"):
        model.fit(np.ones((9, 2)), np.arange(9.0))
    assert not hasattr(model, "coefs_")


@pytest.mark.parametrize(
    ("solver", "name", "value"),
    [("adam", "epsilon", 1e-60), ("adam", "learning_rate_init", 1e39),
     ("sgd", "learning_rate_init", 1e39), ("adam", "alpha", 1e45)],
)  # fmt: skip
def test_numbers_that_float32_does_not_hold_name_the_estimators_parameters(solver, name, value):
    model = FastMLPRegressor((4,), solver=solver, **{name: value})
    with pytest.raises(ValueError, match=f"^{name} is .*; expected a number that float32 holds"):
        model.fit(np.ones((9, 2), np.float32), np.arange(9, dtype=np.float32))
