"""Many fits in one call: each is the fit that it would be alone."""

import io
import pickle
import signal
import threading
import warnings

import numpy as np
import pytest
from helpers import assert_same_bits

import fastgrad as fg
from fastgrad._core.pool import run_all
from fastgrad._core.progress import Together
from fastgrad._core.run import whole_rounds

SPLIT = [(np.array([0, 2, 4, 6, 8]), np.array([1, 3])), (np.array([9, 3, 1, 1]), np.array([0]))]


@pytest.fixture
def data(rng):
    X = rng.normal(size=(60, 4))
    return X, (X.sum(axis=1) > 0).astype(np.int64)


def same(result, alone):
    assert_same_bits(result.theta, alone.theta)
    assert_same_bits(result.best_theta, alone.best_theta)
    assert (result.stopped, result.best_epoch) == (alone.stopped, alone.best_epoch)
    assert result.history.columns == alone.history.columns
    for name in alone.history.columns:
        if name != "seconds":
            assert_same_bits(result.history[name], alone.history[name])
    if alone.optimizer is not None:
        assert result.optimizer.steps == alone.optimizer.steps
        assert_same_bits(result.optimizer._state, alone.optimizer._state)


def check(net, X, y, sample_weight=None, **options):
    """`fit_many` beside `fit` in a loop; the results."""
    results = fg.fit_many(net, X, y, sample_weight=sample_weight, progress=False, **options)
    common = {name: value for name, value in options.items()
              if name not in ("seeds", "optimizers", "folds", "l2", "threads")}  # fmt: skip
    for result, own in zip(results, results.settings):
        rows, parts = slice(None), dict(common)
        if own.train is not None:
            rows, held = own.train, own.held_out
            parts["validation"] = (X[held], y[held])
            if sample_weight is not None:
                parts["validation"] += (sample_weight[held],)
        weight = None if sample_weight is None else sample_weight[rows]
        alone = fg.fit(own.net, X[rows], y[rows], sample_weight=weight, optimizer=own.optimizer,
                       seed=own.seed, progress=False, **parts)  # fmt: skip
        same(result, alone)
    return results


@pytest.mark.parametrize("threads", [1, 2])
def test_row39_every_combination_is_the_fit_alone(data, rng, threads):
    X, y = data
    net = fg.MLP([4, 6, 2], "cross_entropy", dtype="float32")
    optimizers = [fg.Adam(0.01), "momentum"]
    results = check(net, X, y, rng.random(60), seeds=range(2), optimizers=optimizers, folds=3,
                    l2=[0.0, 0.1], epochs=3, batch_size=7, threads=threads)  # fmt: skip
    assert results.shape == (2, 2, 2, 3) and len(results) == 24
    assert [own.net.l2 for own in results.settings[::6]] == [0.0, 0.1, 0.0, 0.1]
    assert [own.seed for own in results.settings[:6]] == [0, 0, 0, 1, 1, 1]
    last = results.last("val_accuracy")
    assert last.shape == results.shape and last[0, 0, 0, 1] == results[1].history.val_accuracy[-1]
    assert_same_bits(results.thetas[5], results[5].theta)
    assert_same_bits(results.best_thetas[5], results[5].best_theta)
    again = pickle.loads(pickle.dumps(results))
    assert again.shape == results.shape and again[3].stopped == "epochs"


@pytest.mark.parametrize(
    "options",
    [
        dict(shuffle=False, batch_size=16),
        dict(patience=1, min_delta=0.05, epochs=30),
        dict(optimizers="lbfgs", epochs=4),
        dict(optimizers="lbfgs", epochs=4, folds=3),
        dict(folds=SPLIT, batch_size=3),
        dict(epochs=0),
        dict(seeds=[np.random.SeedSequence(5), 7]),
        dict(threads=2, seeds=range(3), batch_size=60),
    ],
)
def test_row39_other_options_are_as_alone(data, options):
    if options.get("optimizers") == "lbfgs":
        pytest.importorskip("scipy")
    X, y = data
    options = {"epochs": 3, "seeds": [3, 1], **options}
    check(fg.MLP([4, 5, 1], "logistic"), X, y.astype(float), **options)


def test_early_stopping_is_each_fits_own(data):
    X, y = data
    net = fg.MLP([4, 5, 2], "cross_entropy")
    rates = [fg.SGD(0.0), fg.SGD(0.3)]
    results = check(net, X, y, seeds=[0], optimizers=rates, epochs=20, patience=2,
                    validation=(X, y))  # fmt: skip
    assert results[0].stopped == "patience" and results[0].epochs == 3
    assert results[1].epochs > 3


def test_a_memory_map_and_any_dtype(data, tmp_path):
    X, y = data
    X = X.astype("f4").astype(float)
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    net = fg.MLP([4, 3, 2], "cross_entropy", dtype="float32")
    for folds in (None, 3):
        options = dict(seeds=range(2), folds=folds, epochs=2)
        for result, wanted in zip(fg.fit_many(net, mapped, y, **options),
                                  fg.fit_many(net, X.astype("f4"), y, **options)):  # fmt: skip
            same(result, wanted)


def test_folds_hold_every_row_out_once_and_are_always_the_same(data):
    X, y = data
    net = fg.MLP([4, 2], "cross_entropy")
    found = [fg.fit_many(net, X, y, seeds=[0], folds=7, epochs=1).settings for _ in range(2)]
    held = np.concatenate([own.held_out for own in found[0]])
    assert sorted(held) == list(range(60))
    for own, other in zip(*found):
        assert_same_bits(own.train, other.train)
        assert sorted([*own.train, *own.held_out]) == list(range(60))


def test_scikit_learns_splitters(data):
    splits = pytest.importorskip("sklearn.model_selection")
    X, y = data
    folds = splits.StratifiedKFold(4).split(X, y)
    assert check(fg.MLP([4, 3, 2], "cross_entropy"), X, y, seeds=[0], folds=folds).shape[-1] == 4


def test_nothing_that_is_passed_is_changed_and_generators_go_on(data):
    X, y = data
    optimizer, rng = fg.Adam(0.1), np.random.default_rng(3)
    fg.fit_many(fg.MLP([4, 2], "cross_entropy"), X, y, seeds=[rng, rng], optimizers=optimizer,
                epochs=1, folds=2)  # fmt: skip
    assert optimizer.steps == 0
    other = np.random.default_rng(3)
    other.integers(2**32, size=8)
    assert rng.integers(2**32) == other.integers(2**32)


def test_a_fit_that_diverges_is_named_and_the_others_go_on(data):
    X, y = data
    net = fg.MLP([4, 5, 1])
    with pytest.warns(RuntimeWarning, match="fit 1: the loss or a parameter is not finite") as seen:
        results = fg.fit_many(net, X, y.astype(float), seeds=[0], epochs=5,
                              optimizers=[fg.SGD(0.01), fg.SGD(1e200)])  # fmt: skip
    assert [result.stopped for result in results] == ["epochs", "not finite"]
    assert seen[0].filename == __file__


BAD = [
    (dict(seeds=10), TypeError, r"seeds is 10; expected a sequence such as range\(10\)"),
    (dict(seeds=[]), ValueError, "seeds is empty; expected one or more, such as range"),
    (dict(optimizers=[]), ValueError, "optimizers is empty"),
    (dict(l2=[]), ValueError, "l2 is empty"),
    (dict(folds=[]), ValueError, "folds is empty"),
    (dict(seeds=[-1]), ValueError, r"seeds\[0\] is -1"),
    (dict(seeds=["a"]), TypeError, r"seeds\[0\] is 'a'"),
    (dict(optimizers=[fg.Adam(), "none"]), ValueError, "optimizer is 'none'"),
    (dict(optimizers=5), TypeError, "optimizers is 5"),
    (dict(l2=[0.1, -1]), ValueError, r"l2\[1\] is -1"),
    (dict(l2="a"), TypeError, "l2"),
    (dict(folds=1), ValueError, "folds is 1; expected 2 or more"),
    (dict(folds=61), ValueError, "folds is 61; expected at most 60"),
    (dict(folds=2.5), TypeError, "folds is 2.5; expected a sequence"),
    (dict(folds=[([0], [1], [2])]), TypeError, r"folds\[0\] is no pair"),
    (dict(folds=[([0], [60])]), ValueError, r"held_out of folds\[0\] has the row 60; .* 0 to 59"),
    (dict(folds=[([0], [1]), ([-1], [0])]), ValueError, r"train of folds\[1\] has the row -1"),
    (dict(folds=[([], [1])]), TypeError, r"train of folds\[0\] .*one or more"),
    (dict(folds=[(np.ones(60, bool), [1])]), TypeError, r"train of folds\[0\] .*bool"),
    (dict(folds=2, validation=(0, 0)), ValueError, "validation is given beside folds"),
    (dict(sample_weight=np.ones(59)), ValueError, "sample_weight has 59 rows"),
    (dict(sample_weight=np.eye(60)[0], folds=[([1, 2], [0])]), ValueError,
     r"sample_weight of the train rows of folds\[0\] is zero"),
    (dict(epochs=-1), ValueError, "epochs is -1"),
    (dict(threads=0), ValueError, "threads is 0"),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "kind", "words"), BAD)
def test_bad_input_is_named_before_the_first_step(data, wrong, kind, words, monkeypatch):
    monkeypatch.setattr("fastgrad.training.Run.train", lambda *_: pytest.fail("it trained"))
    with pytest.raises(kind, match=words):
        fg.fit_many(fg.MLP([4, 2], "cross_entropy"), *data, **{"seeds": [0], **wrong})


def test_data_are_checked_as_for_fit(data):
    X, y = data
    net = fg.MLP([4, 2], "cross_entropy")
    with pytest.raises(ValueError, match="y has 59 rows, X has 60"):
        fg.fit_many(net, X, y[:-1], seeds=[0])
    with pytest.raises(ValueError, match="y has the label 2"):
        fg.fit_many(net, X, y * 2, seeds=[0])
    with pytest.raises(TypeError, match="expected an MLP"):
        fg.fit_many(5, X, y, seeds=[0])


@pytest.mark.parametrize("threads", [1, 2])
def test_ctrl_c_ends_all_fits_at_a_whole_step(data, threads):
    X, y = data
    net = fg.MLP([4, 50, 2], "cross_entropy")
    timer = threading.Timer(0.3, signal.raise_signal, [signal.SIGINT])
    fg.fit_many(net, X, y, seeds=range(3), epochs=1)  # compiled
    timer.start()
    results = fg.fit_many(net, X, y, seeds=range(6), epochs=10**7, threads=threads)
    timer.join()
    assert all(result.interrupted for result in results)
    assert results[0].epochs > 0 and results[-1].epochs == 0
    for result in results:
        assert np.isfinite(result.theta).all() and len(result.history) == result.epochs


def test_an_exception_in_a_thread_ends_the_others():
    stop, began = threading.Event(), []

    def fails():
        raise MemoryError("no")

    def waits(number):
        began.append(number)
        assert stop.wait(20)

    with pytest.raises(MemoryError, match="no"):
        run_all([lambda: waits(1), fails, *[lambda: waits(2)] * 50], 2, stop)
    assert 1 in began and len(began) < 50


def test_threads_have_the_callers_errstate():
    def underflows():
        return np.float64(1e-300) * np.float64(1e-300)

    with np.errstate(under="raise"), pytest.raises(FloatingPointError):
        run_all([underflows, underflows], 2, threading.Event())


def test_threads_go_over_whole_rounds_and_inside_the_rest():
    class Plan:
        parallel, workers = True, 8

    assert [whole_rounds(m, 2, Plan) for m in (1, 2, 3, 10)] == [0, 2, 2, 10]
    assert [whole_rounds(m, 8, Plan) for m in (3, 8, 15, 17)] == [0, 8, 8, 16]
    Plan.workers = 2  # no more tasks than that: better one round more
    assert [whole_rounds(m, 8, Plan) for m in (1, 3)] == [0, 3]
    Plan.parallel = False
    assert [whole_rounds(m, 8, Plan) for m in (1, 9)] == [1, 9]


def test_one_bar_or_some_lines_for_all_fits(data, capsys):
    X, y = data
    net = fg.MLP([4, 2], "cross_entropy")
    fg.fit_many(net, X, y, seeds=range(30), epochs=2, progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("fit 1/30: loss ") and lines[-1].startswith("fit 30/30: loss ")
    assert len(lines) == 11
    fg.fit_many(net, X, y, seeds=range(3), epochs=2)
    assert capsys.readouterr().err == ""
    pytest.importorskip("tqdm")

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    shown = Together(True, 2, 5, stream=Terminal())
    history = fg.History({"loss": [0.5]})
    for epochs in (5, 2):  # the second is stopped early
        part = shown.part()
        for epoch in range(epochs):
            part.epoch(epoch + 1, history)
        part.close()
    assert (shown._bar.n, shown._bar.total) == (10, 10)
    shown.close()


def test_no_warning_otherwise(data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fg.fit_many(fg.MLP([4, 2], "cross_entropy"), *data, seeds=range(2), epochs=1)


def test_row38_sparse_rows_in_folds_have_the_bits_of_fit_alone():
    sparse = pytest.importorskip("scipy.sparse")
    rng = np.random.default_rng(3)
    dense = rng.normal(size=(30, 6)) * (rng.random((30, 6)) < 0.4)
    y, net = dense @ rng.normal(size=(6, 1)), fg.MLP([6, 4, 1])
    for optimizer in ("adam", "lbfgs"):
        results = fg.fit_many(net, sparse.csr_array(dense), y, seeds=[0, 1], folds=3, epochs=2,
                              optimizers=optimizer)  # fmt: skip
        close = fg.fit_many(net, dense, y, seeds=[0, 1], folds=3, epochs=2, optimizers=optimizer)
        np.testing.assert_allclose(results.thetas, close.thetas, rtol=1e-9, atol=1e-10)
        np.testing.assert_allclose(results.last("val_loss"), close.last("val_loss"), rtol=1e-9)


def test_row38_row39_an_ensemble_of_sparse_rows():
    sparse = pytest.importorskip("scipy.sparse")
    rng = np.random.default_rng(4)
    dense = rng.normal(size=(30, 6)) * (rng.random((30, 6)) < 0.4)
    X, y, net = sparse.csr_array(dense), rng.integers(0, 3, 30), fg.MLP([6, 4, 3], "cross_entropy")
    thetas = fg.stack.init(net, range(3))
    expected = fg.stack.ensemble(net, thetas, dense)
    np.testing.assert_allclose(fg.stack.ensemble(net, thetas, X), expected, rtol=1e-12)
    ours, theirs = (fg.evaluate(net, thetas, rows, y) for rows in (X, dense))
    np.testing.assert_allclose(ours.loss, theirs.loss, rtol=1e-12)
    assert ours.score == theirs.score


def test_second_order_optimisers_alone_and_beside_others():
    rng = np.random.default_rng(5)
    X = rng.normal(size=(20, 2))
    y, net = X @ rng.normal(size=(2, 1)), fg.MLP([2, 3, 1], activation="tanh")
    (one,) = fg.fit_many(net, X, y, seeds=[0], epochs=3, optimizers=fg.LevenbergMarquardt())
    alone = fg.fit(net, X, y, seed=0, epochs=3, optimizer=fg.LevenbergMarquardt())
    assert one.theta.tobytes() == alone.theta.tobytes()
    both = fg.fit_many(net, X, y, seeds=[0], epochs=1,
                       optimizers=[fg.LevenbergMarquardt(), fg.Adam()])  # fmt: skip
    damping = both.last("damping").ravel()
    assert damping[0] > 0 and np.isnan(damping[1])
    with pytest.raises(KeyError, match="nonsense"):
        both.last("nonsense")
    with pytest.raises(ValueError, match="batch_size is 8, and optimizer NewtonCG takes all"):
        fg.fit_many(net, X, y, seeds=[0], optimizers=["adam", fg.NewtonCG()], batch_size=8)
