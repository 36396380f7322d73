"""Dask: losses, training and estimators over partitions, by Dask's own scheduler.

Clusters are in test_dask_cluster.py.
"""

import pickle
import warnings

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, UndefinedMetricWarning

import fastgrad as fg
from fastgrad.interop import dask as guest
from fastgrad.interop.dask import DaskMLPClassifier, DaskMLPRegressor, loss_and_grad
from fastgrad.interop.dask.partitions import Batch, Part
from fastgrad.interop.sklearn import FastMLPClassifier, FastMLPRegressor

pytestmark = pytest.mark.usefixtures("one_thread", "in_this_process")


@pytest.fixture
def in_this_process():
    with dask.config.set(scheduler="synchronous"):
        yield


def parted(array, rows=30):
    return da.from_array(array, chunks=(rows, *array.shape[1:]))


@pytest.fixture
def rows(rng):
    X = rng.standard_normal((100, 4)).astype(np.float32)
    return X, np.sin(X[:, :2]).astype(np.float32), rng.random(100).astype(np.float32)


NET = fg.MLP([4, 6, 2], dtype="float32", l2=0.1)


# sums


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_the_loss_and_gradient_are_those_of_all_rows(rows, loss, weighted):
    X, y, s = rows
    y = y if loss == "mse" else (y[:, 0] > 0).astype(np.int64)
    net = fg.MLP([4, 6, 2], loss, dtype="float32", l2=0.1)
    theta = net.init(seed=0)
    s = s if weighted else None
    expected = net.loss_and_grad(theta, X, y, s)
    found = loss_and_grad(net, theta, parted(X), parted(y), None if s is None else parted(s))
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-4, atol=1e-7)
    assert found[1].dtype == np.float32


def kinds_of_partitions(X, y):
    """The same rows in the same partitions, in every way that Dask has."""
    X_cut, y_cut = parted(X), parted(y)
    frame = pd.DataFrame(np.hstack([X, y]), columns=list("abcdvw"))
    parts = [frame.iloc[first : first + 30] for first in range(0, 100, 30)]
    frame = dd.from_delayed([dask.delayed(part) for part in parts], meta=frame.iloc[:0])
    blocks = [dask.delayed(X[first : first + 30]) for first in range(0, 100, 30)]
    empty = da.concatenate([X_cut[:30], X_cut[:0], X_cut[30:]])
    y_empty = da.concatenate([y_cut[:30], y_cut[:0], y_cut[30:]])
    return {
        "columns in blocks": (X_cut.rechunk({1: 3}), y_cut.rechunk({1: 1})),
        "frames": (frame[list("abcd")], frame[list("vw")]),
        "chunk sizes not known": (frame[list("abcd")].values, y_cut),
        "delayed": (blocks, [dask.delayed(y[first : first + 30]) for first in range(0, 100, 30)]),
        "arrays": ([X[first : first + 30] for first in range(0, 100, 30)], y_cut),
        "an empty partition": (empty, y_empty),
        "of float64": (X_cut.astype(np.float64), y_cut.astype(np.float64)),
    }


def test_the_bits_are_those_of_the_partitions_however_they_come(rows):
    X, y, _ = rows
    theta = NET.init(seed=0)
    expected = loss_and_grad(NET, theta, parted(X), parted(y))
    for kind, (X_cut, y_cut) in kinds_of_partitions(X, y).items():
        found = loss_and_grad(NET, theta, X_cut, y_cut)
        assert found[0] == expected[0], kind
        np.testing.assert_array_equal(found[1], expected[1], kind)


def test_partitions_may_be_sparse(rows):
    X, y, _ = rows
    X = np.where(X > 0.5, X, 0)
    theta = NET.init(seed=0)
    sparse = [dask.delayed(csr_matrix)(X[first : first + 30]) for first in range(0, 100, 30)]
    found = loss_and_grad(NET, theta, sparse, parted(y))
    expected = loss_and_grad(NET, theta, parted(X), parted(y))
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-4, atol=1e-7)


def test_a_partition_of_weight_zero_adds_nothing(rows):
    X, y, s = rows
    s[30:60] = 0
    kept = np.flatnonzero(s)
    theta = NET.init(seed=0)
    found = loss_and_grad(NET, theta, parted(X), parted(y), parted(s))
    expected = NET.loss_and_grad(theta, X[kept], y[kept], s[kept])
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-4, atol=1e-7)


def test_products_with_gauss_newton(rows, rng):
    X, y, s = rows
    theta, v = NET.init(seed=0), rng.standard_normal(NET.n_parameters).astype(np.float32)
    found = guest.PartedLoss(NET, parted(X), parted(y), parted(s)).ggn_vp(theta, v)
    expected = fg.curvature.ggn_vp(NET, theta, X, y, v, s)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


# training


@pytest.mark.parametrize("optimizer", ["lbfgs", "newtoncg", "levenbergmarquardt", "adam"])
def test_fit_over_partitions_is_fit(rows, optimizer):
    X, y, s = rows
    X, y, s = (array.astype(np.float64) for array in (X, y, s))
    net = fg.MLP([4, 6, 2], l2=0.01)
    settings = {"optimizer": optimizer, "epochs": 6, "seed": 0, "validation": (X, y)}
    found = guest.fit(net, parted(X), parted(y), sample_weight=parted(s), **settings)
    if optimizer == "adam":
        settings["batch_size"] = 100
    expected = fg.fit(net, X, y, sample_weight=s, **settings)
    np.testing.assert_allclose(found.history.loss, expected.history.loss, rtol=1e-6)
    np.testing.assert_allclose(found.history.val_r2, expected.history.val_r2, rtol=1e-6)
    np.testing.assert_allclose(found.theta, expected.theta, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("seed", [(1, 2), None])
def test_the_batches_of_an_epoch_have_every_row_once(seed):
    part = Part(0, np.arange(13), np.arange(13), None, 13.0)
    orders = []
    for epoch in range(2):
        batches = [part._rows(Batch(epoch, step, 5, seed), 0)[0] for step in range(5)]
        assert {len(batch) for batch in batches} == {2, 3}
        orders.append(np.concatenate(batches))
        np.testing.assert_array_equal(np.sort(orders[-1]), np.arange(13))
    assert np.array_equal(*orders) == (seed is None)


def test_a_run_over_partitions_resumes_to_the_bit(rows, folder):
    X, y, _ = rows
    given = NET, parted(X), parted(y)
    settings = {"batch_size": 25, "seed": 3, "optimizer": fg.Adam(0.01)}
    whole = guest.fit(*given, epochs=6, **settings)
    guest.fit(*given, epochs=3, checkpoint="run.npz", **settings)
    resumed = guest.fit(*given, epochs=6, checkpoint="run.npz", resume=True, **settings)
    np.testing.assert_array_equal(resumed.theta, whole.theta)
    np.testing.assert_array_equal(resumed.history.loss, whole.history.loss)
    with pytest.raises(ValueError, match="its weighted is False, this one's True"):
        guest.fit(*given, sample_weight=parted(np.ones(100)), epochs=6, checkpoint="run.npz",
                  resume=True, **settings)  # fmt: skip
    with pytest.raises(ValueError, match="its partitions is 4, this one's 5"):
        guest.fit(NET, parted(X, 20), parted(y, 20), epochs=6, checkpoint="run.npz", resume=True,
                  **settings)  # fmt: skip


def test_callbacks_and_patience_stop(rows):
    X, y, _ = rows
    result = guest.fit(NET, parted(X), parted(y), seed=0, epochs=9, optimizer=fg.SGD(0.0),
                       patience=2)  # fmt: skip
    assert (result.stopped, result.epochs) == ("patience", 3)

    class AfterThreeSteps:
        def on_step(self, result):
            return result.optimizer.steps == 3

    result = guest.fit(
        NET, parted(X), parted(y), seed=0, batch_size=50, callbacks=AfterThreeSteps()
    )
    assert (result.stopped, result.epochs, result.optimizer.steps) == ("callback", 1, 3)


# what does not fit


def frame_with(columns):
    return pd.DataFrame(np.ones((30, len(columns))), columns=list(columns))


def frames(*parts):
    return dd.from_delayed([dask.delayed(part) for part in parts], meta=parts[0].iloc[:0],
                           verify_meta=False)  # fmt: skip


X_OK, Y_OK = da.ones((90, 4), chunks=(30, 4)), da.ones((90, 2), chunks=(30, 2))
WRONG = {
    "another number of partitions": (
        X_OK, Y_OK.rechunk({0: 45}), None, "X has 3 partitions, y 2; expected the same rows"
    ),
    "other rows": (
        X_OK, Y_OK.rechunk({0: (30, 20, 40)}), None, "partition 1 of X has 30 rows, of y 20"
    ),
    "other rows, not known before": (
        [np.ones((30, 4))] * 2, [np.ones((30, 2)), np.ones((29, 2))], None,
        r"partition 1: X has 30 rows, y has shape \(29, 2\)",
    ),
    "weights of other rows": (
        X_OK, Y_OK, da.ones(90, chunks=(30, 31, 29)), "partition 1 of X has 30 rows, of sample_w"
    ),
    "columns": ([np.ones((30, 4)), np.ones((30, 3))], [np.ones((30, 2))] * 2, None,
                r"partition 1: X has shape \(30, 3\)"),
    "text": ([np.ones((30, 4)), np.full((30, 4), "a")], [np.ones((30, 2))] * 2, None,
             "partition 1: X has dtype <U1"),
    "a column that is missing": (
        frames(frame_with("abcd"), frame_with("abce")), Y_OK[:60], None,
        "partition 1: X has no column 'd'",
    ),
    "columns in another order": (
        frames(frame_with("abcd"), frame_with("abdc")), Y_OK[:60], None,
        "partition 1: X has the columns a, b, d, c; expected a, b, c, d",
    ),
    "a column too many": (
        frames(frame_with("abcd"), frame_with("abcde")), Y_OK[:60], None,
        "partition 1: X has the column 'e'",
    ),
    "negative weights": (
        X_OK, Y_OK, da.concatenate([da.ones(60, chunks=30), -da.ones(30, chunks=30)]),
        "partition 2: sample_weight has the value -1.0 at row 0",
    ),
    "weights that are too large": (
        X_OK, Y_OK, da.full(90, 1e20, chunks=30), "partition 0: sample_weight has the largest val"
    ),
    "no weights": (X_OK, Y_OK, da.zeros(90, chunks=30), "sample_weight is zero everywhere"),
    "no rows": (X_OK[:0], Y_OK[:0], None, "X has no rows in any partition"),
    "no collection": (np.ones((30, 4)), Y_OK, None, "X is a ndarray; expected a dask array or"),
    "rows of lists": ([[1.0, 2.0]], Y_OK, None, "X is a list with a list; expected a list of"),
    "dimensions": (X_OK[:, 0], Y_OK, None, "X has 1 dimensions; expected 2"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_names_the_partition(case):
    X, y, s, message = WRONG[case]
    with pytest.raises((TypeError, ValueError), match=message):
        loss_and_grad(fg.MLP([4, 2]), np.zeros(10), X, y, s)


def test_labels_that_are_no_class_name_the_partition():
    y = da.from_array(np.repeat([0, 1, 5], 30), chunks=30)
    with pytest.raises(ValueError, match="partition 2: y has the label 5"):
        loss_and_grad(fg.MLP([4, 2], "cross_entropy"), np.zeros(10), X_OK, y)


def test_other_arguments():
    with pytest.raises(TypeError, match="client is 'tcp"):
        loss_and_grad(fg.MLP([4, 2]), np.zeros(10), X_OK, Y_OK, client="tcp://x:8786")
    with pytest.raises(ValueError, match=r"theta has shape \(9,\)"):
        loss_and_grad(fg.MLP([4, 2]), np.zeros(9), X_OK, Y_OK)
    with pytest.raises(ValueError, match="batch_size is 5, and optimizer 'lbfgs'"):
        guest.fit(fg.MLP([4, 2]), X_OK, Y_OK, optimizer="lbfgs", batch_size=5)


# estimators


@pytest.fixture
def labelled(rng):
    X = rng.standard_normal((120, 4))
    y = np.array(["low", "mid", "top"])[np.digitize(X[:, 0] + X[:, 1], [-0.8, 0.8])]
    return X, y, rng.integers(0, 3, 120).astype(float)


def quiet(estimator, *args):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(*args)


@pytest.mark.parametrize("weight", [None, "balanced", {"low": 2.0, "top": 0.5}])
def test_the_classifier_is_scikit_learns_over_partitions(labelled, weight):
    X, y, s = labelled
    settings = {"hidden_layer_sizes": (5,), "solver": "lbfgs", "max_iter": 8, "random_state": 0,
                "class_weight": weight}  # fmt: skip
    given = [parted(X), parted(y), parted(s)]
    found = quiet(DaskMLPClassifier(**settings), *given)
    expected = quiet(FastMLPClassifier(**settings), X, y, s)
    np.testing.assert_array_equal(found.classes_, expected.classes_)
    np.testing.assert_allclose(found.loss_, expected.loss_, rtol=1e-9)
    lazy = found.predict_proba(given[0])
    assert lazy.chunks == ((30, 30, 30, 30), (3,)) and lazy.dtype == np.float64
    np.testing.assert_allclose(lazy.compute(), expected.predict_proba(X), rtol=1e-5, atol=1e-8)
    assert found.predict(given[0]).compute().tolist() == expected.predict(X).tolist()
    np.testing.assert_allclose(found.score(*given), expected.score(X, y, s), rtol=1e-12)


@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
def test_the_regressor_is_scikit_learns_over_partitions(labelled, loss):
    X, _, s = labelled
    y = np.exp(0.3 * X[:, :2])
    settings = {"hidden_layer_sizes": (5,), "solver": "lbfgs", "max_iter": 8, "random_state": 0,
                "loss": loss}  # fmt: skip
    given = [parted(X), parted(y), parted(s)]
    found = quiet(DaskMLPRegressor(**settings), *given)
    expected = quiet(FastMLPRegressor(**settings), X, y, s)
    np.testing.assert_allclose(found.loss_, expected.loss_, rtol=1e-9)
    np.testing.assert_allclose(found.predict(given[0]), expected.predict(X), rtol=1e-5)
    np.testing.assert_allclose(found.score(*given), expected.score(X, y, s), rtol=1e-6)


@pytest.mark.parametrize("kind", [DaskMLPClassifier, DaskMLPRegressor])
def test_a_score_of_rows_that_do_not_count(rows, kind):
    X = parted(rows[0])
    y = (X[:, 0] > 0).astype(np.int64)
    fitted = quiet(kind((3,), max_iter=2, random_state=0), X, y)
    with pytest.raises(ValueError, match="no rows that count"):
        fitted.score(X, y, da.zeros(100, chunks=30))


def test_r2_of_one_row_is_nan_with_scikit_learns_warning(rows):
    X, y, _ = rows
    fitted = quiet(DaskMLPRegressor((3,), max_iter=2, random_state=0), parted(X), parted(y))
    for data in (parted(X[:1]), parted(y[:1])), (X[:1], y[:1]):
        with pytest.warns(UndefinedMetricWarning, match="less than two samples"):
            assert np.isnan(fitted.score(*data))


def test_two_classes_columns_of_labels_and_one_class(labelled):
    X, y, _ = labelled
    settings = {"hidden_layer_sizes": (3,), "max_iter": 2, "random_state": 0}
    two = quiet(DaskMLPClassifier(**settings), parted(X), parted(y == "top"))
    assert two.n_outputs_ == 1 and two.predict(parted(X)).dtype == bool
    columns = np.stack([y == "top", y == "low"], axis=1).astype(int)
    many = quiet(DaskMLPClassifier(**settings), parted(X), parted(columns))
    assert many.predict(parted(X)).chunks == ((30,) * 4, (2,))
    assert many.score(parted(X), parted(columns)) == many.to_local().score(X, columns)
    one = quiet(DaskMLPClassifier(**settings), parted(X), parted(np.full(120, "x")))
    assert set(one.predict(parted(X)).compute()) == {"x"}


def test_first_order_solvers_and_warm_start(labelled):
    X, y, s = labelled
    given = [parted(X), parted(y), parted(s)]
    for solver in ("adam", "sgd"):
        settings = {"hidden_layer_sizes": (5,), "solver": solver, "random_state": 0,
                    "batch_size": 60, "learning_rate_init": 0.05}  # fmt: skip
        clf = quiet(DaskMLPClassifier(max_iter=4, **settings), *given)
        assert clf.n_iter_ == 4 and clf.loss_curve_[-1] < clf.loss_curve_[0]
        again = quiet(DaskMLPClassifier(max_iter=4, **settings), *given)
        np.testing.assert_array_equal(again._theta, clf._theta)
        warm = quiet(clone(clf).set_params(warm_start=True, max_iter=2), *given)
        assert len(quiet(warm, *given).loss_curve_) == 4


def test_an_estimator_without_dask(labelled):
    X, y, _ = labelled
    clf = quiet(DaskMLPClassifier((3,), max_iter=2, random_state=0), parted(X), parted(y))
    local = clf.to_local()
    assert type(local) is FastMLPClassifier and "client" not in local.get_params()
    np.testing.assert_array_equal(local.predict(X), clf.predict(parted(X)))
    np.testing.assert_array_equal(clf.predict(X), local.predict(X))
    assert clf.client_ is None and not hasattr(clf, "partial_fit")
    twin = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(twin.predict(X), local.predict(X))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(local)).predict(X), local.predict(X))


def test_predictions_are_lazy_and_of_frames_too(labelled):
    X, y, _ = labelled
    frame = dd.from_pandas(pd.DataFrame(X, columns=list("abcd")), npartitions=3)
    labels = dd.from_pandas(pd.Series(y), npartitions=3)
    clf = quiet(DaskMLPClassifier((3,), max_iter=2, random_state=0), frame, labels)
    assert clf.feature_names_in_.tolist() == list("abcd")

    def no(*args, **kwargs):
        raise AssertionError("computed")

    with dask.config.set(scheduler=no):
        lazy = clf.predict(frame)
    assert np.isnan(lazy.chunks[0]).all()
    assert lazy.compute().tolist() == clf.to_local().predict(frame.compute()).tolist()


@pytest.mark.parametrize(("value", "message"), [
    (np.nan, "partition 3: X has nan at row 10; expected finite numbers"),
    (-np.inf, "partition 3: X has -inf at row 10"),
])  # fmt: skip
def test_estimators_name_the_partition_of_a_number_that_is_none(labelled, value, message):
    X, y, _ = labelled
    X[100, 2] = value
    with pytest.raises(ValueError, match=message):
        DaskMLPClassifier().fit(parted(X), parted(y))


def test_estimators_refuse_what_partitions_have_not(labelled):
    X, y, _ = labelled
    with pytest.raises(ValueError, match="early_stopping is True"):
        DaskMLPClassifier(early_stopping=True).fit(parted(X), parted(y))
    with pytest.raises(ValueError, match="partition 1: X has 3 columns; expected 4"):
        DaskMLPClassifier().fit([X[:30], X[30:60, :3]], [y[:30], y[30:60]])
    with pytest.raises(ValueError, match="partition 0: y has the value -"):
        DaskMLPRegressor(loss="poisson").fit(parted(X), parted(X[:, 0]))
