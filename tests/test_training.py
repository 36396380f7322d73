"""`fit`: against a plain loop, its promises of repeatability, its ends and its errors."""

import os
import pickle
import signal
import threading
import warnings

import numpy as np
import pytest
from helpers import CUTS, F32, forget_plans, run_python, set_tuning, snapshot
from hypothesis import given
from hypothesis import strategies as st

import fastgrad as fg
from fastgrad._core.choice import TrainingChoice
from fastgrad._core.progress import Progress
from fastgrad._training import batches, lbfgs, stepper
from fastgrad._training.stepper import NO_LOSS, Stepper
from fastgrad.kernels import tuning
from fastgrad.kernels.records import GRADIENT, LOSS

N, D = 50, 5


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, D)).astype(np.float32)
    labels = (X[:, 0] + X[:, 1] > 0).astype(np.int64) + (X[:, 2] > 1)
    return X, labels


def network(loss="cross_entropy", dtype=np.float32, sizes=(D, 8, 3), **options):
    return fg.MLP(sizes, loss=loss, dtype=dtype, **options)


def plain_loop(net, X, y, opt, epochs, batch_size, seed, s=None, shuffle=True):
    """What `fit` computes, in Python."""
    sequence = np.random.SeedSequence(seed)
    theta = net.init(sequence)
    rng = np.random.default_rng(sequence.spawn(1)[0])
    losses = []
    for _ in range(epochs):
        order = np.arange(len(X), dtype=np.int32)
        if shuffle:
            rng.shuffle(order)
        total = weight = 0.0
        for first in range(0, len(X), batch_size):
            rows = order[first : first + batch_size]
            w = None if s is None else s[rows]
            loss, grad = net.loss_and_grad(theta, X[rows], y[rows], w)
            opt.step(theta, grad)
            share = len(rows) if w is None else w.sum(dtype=np.float64)
            total, weight = total + loss * share, weight + share
        losses.append(total / weight)
    return theta, np.array(losses)


OPTIMIZERS = [
    fg.SGD(0.1),
    fg.Momentum(0.05),
    fg.Nesterov(0.05),
    fg.RMSprop(),
    fg.Adam(),
    fg.AdamW(),
]


@pytest.mark.parametrize("opt", OPTIMIZERS, ids=lambda o: type(o).__name__)
def test_same_bits_as_a_plain_loop(table, opt):
    net = network()
    result = fg.fit(net, *table, optimizer=opt, epochs=4, batch_size=16, seed=7)
    theta, losses = plain_loop(net, *table, opt.copy(), 4, 16, 7)
    assert result.theta.tobytes() == theta.tobytes()
    np.testing.assert_allclose(result.history.loss, losses, rtol=1e-14)
    assert opt.steps == 0 and result.optimizer.steps == 16


@pytest.mark.parametrize("loss", ["mse", "huber", "logistic"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_other_losses_and_weights(table, loss, dtype):
    X = table[0].astype(dtype)
    net = network(loss, dtype, (D, 4, 2), l2=0.01)
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, (N, 2)).astype(dtype)
    s = rng.random(N).astype(dtype)
    schedule = fg.schedules.Cosine(0.1, 20)
    result = fg.fit(net, X, y, optimizer=fg.SGD(schedule, clip_norm=1.0), epochs=3, batch_size=7,
                    seed=2, sample_weight=s)  # fmt: skip
    theta, losses = plain_loop(net, X, y, fg.SGD(schedule, clip_norm=1.0), 3, 7, 2, s)
    assert result.theta.tobytes() == theta.tobytes()
    np.testing.assert_allclose(result.history.loss, losses, rtol=1e-5)


@given(
    n=st.integers(1, 40), batch=st.integers(1, 50), shuffle=st.booleans(), weighted=st.booleans()
)
def test_any_number_of_rows_and_batch(n, batch, shuffle, weighted):
    rng = np.random.default_rng(n)
    X, y = rng.standard_normal((n, 2)), rng.standard_normal(n)
    s = rng.random(n) + 0.1 if weighted else None
    net = network("mse", np.float64, (2, 3, 1))
    result = fg.fit(net, X, y, optimizer="sgd", epochs=2, batch_size=batch, seed=5,
                    shuffle=shuffle, sample_weight=s)  # fmt: skip
    theta, _ = plain_loop(net, X, y, fg.SGD(), 2, min(batch, n), 5, s, shuffle)
    assert result.theta.tobytes() == theta.tobytes()


def test_batches_of_zero_weight_are_no_steps(table):
    X, y = table
    s = np.zeros(N, np.float32)
    s[:10] = 1
    result = fg.fit(network(), X, y, epochs=1, batch_size=10, shuffle=False, sample_weight=s)
    assert result.optimizer.steps == 1
    assert np.isfinite(result.theta).all()


@pytest.mark.parametrize("size", [5e-324, 1e-300, 1e-41, 1e38, 1e307])
def test_only_the_ratios_of_weights_count(table, size):
    X, y = table
    net, given = network(), np.full(N, size)
    plain = fg.fit(net, X, y, epochs=2, batch_size=16, seed=3, validation=(X, y))
    same = fg.fit(net, X, y, epochs=2, batch_size=16, seed=3, sample_weight=given,
                  validation=(X, y, given))  # fmt: skip
    np.testing.assert_allclose(same.theta, plain.theta, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(same.history.loss, plain.history.loss, rtol=1e-5)
    np.testing.assert_allclose(same.history.val_loss, plain.history.val_loss, rtol=1e-5)
    full_batch = fg.fit(net, X, y, optimizer="lbfgs", epochs=2, seed=3, sample_weight=given)
    assert full_batch.history.loss[1] < full_batch.history.loss[0]


@pytest.mark.parametrize("dtype, small", [("float32", 1e-41), ("float64", 1e-310)])
def test_a_batch_of_very_small_weights_is_a_step_of_its_own_mean(table, dtype, small):
    X, y = table[0].astype(dtype), table[1]
    ones = np.ones(N, dtype)
    for rows, batch in ((slice(10), 10), (slice(48, None), 12)):  # the first, and a rest of two
        s = ones.copy()
        s[rows] = small
        options = dict(epochs=1, batch_size=batch, shuffle=False, seed=0)
        result = fg.fit(network(dtype=dtype), X, y, sample_weight=s, **options)
        want = fg.fit(network(dtype=dtype), X, y, sample_weight=ones, **options)
        np.testing.assert_allclose(result.theta, want.theta, rtol=1e-4, atol=1e-6)
        assert (result.optimizer.steps, result.stopped) == (5, "epochs")


def test_digits_to_97_percent():
    digits = fg.datasets.load_digits(dtype="float32")
    X, X_test, y, y_test = fg.datasets.split(digits, seed=0)
    net = fg.MLP([64, 128, 10], loss="cross_entropy", dtype="float32")
    result = fg.fit(net, X / 16, y, epochs=50, seed=0, validation=(X_test / 16, y_test))
    assert result.history.val_accuracy[-1] >= 0.97
    assert fg.evaluate(net, result.theta, X_test / 16, y_test).score >= 0.97


def test_diamonds_r2():
    X, X_test, y, y_test = fg.datasets.split(fg.datasets.load_diamonds(), seed=0)
    X, X_test, _ = fg.datasets.standardize(X, X_test)
    y, y_test, _ = fg.datasets.standardize(np.log(y), np.log(y_test))
    net = fg.MLP([9, 32, 1], dtype="float32")
    result = fg.fit(net, X, y, epochs=3, batch_size=64, seed=0, validation=(X_test, y_test))
    assert result.history.val_r2[-1] > 0.97


def test_same_seed_same_bits_on_any_number_of_threads():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((1500, 64)).astype(np.float32)
    y = rng.integers(0, 10, 1500)
    net = fg.MLP([64, 128, 10], loss="cross_entropy", dtype="float32")
    options = dict(epochs=3, batch_size=700, seed=1)
    runs = [fg.fit(net, X, y, threads=threads, **options) for threads in (1, None, 1)]
    assert len({run.theta.tobytes() for run in runs}) == 1
    assert len({run.history.loss.tobytes() for run in runs}) == 1
    other = fg.fit(net, X, y, **{**options, "seed": 2})
    assert other.theta.tobytes() != runs[0].theta.tobytes()


def test_a_generator_gives_the_next_seed(table):
    def runs():
        seed = np.random.default_rng(5)
        return [fg.fit(network(), *table, epochs=1, seed=seed).theta.tobytes() for _ in range(2)]

    first, second = runs()
    assert first != second and runs() == [first, second]


def test_the_parallel_twin_gives_the_same_bits():
    rng = np.random.default_rng(0)
    net = fg.MLP([64, 128, 10], loss="cross_entropy", dtype="float32")
    X = rng.standard_normal((1400, 64)).astype(np.float32)
    y = rng.integers(0, 10, 1400)
    order, thetas = np.arange(1400), []
    for parallel in (False, True):
        theta = net.init(seed=0)
        stepper = Stepper(net, theta, fg.Adam(), False, None)
        stepper._call(parallel, NO_LOSS, X, y, None, order, 600)
        thetas.append(theta.tobytes())
    assert thetas[0] == thetas[1]


def test_threads_are_tried_and_kept_only_if_faster():
    choice = TrainingChoice()
    assert not choice.parallel and not choice.due(0.02)
    choice.ran(0.03, 3)
    assert choice.due(0.02) and not choice.due(2.0)  # later if the kernel is not compiled
    assert not choice.hopeless([]) and not choice.hopeless([0.04]) and choice.hopeless([0.06])
    choice.tried(best=0.02, total=0.05)
    assert not choice.parallel and not choice.due(0.02)
    choice.ran(2.2, 220)
    assert choice.due(0.02)
    choice.tried(best=0.004, total=0.008)
    assert choice.parallel


def test_a_rest_says_nothing_of_the_threads(monkeypatch):
    """A call of one row, as `on_step` makes them, is not a batch that took very long."""
    net = fg.MLP([64, 128, 10], "cross_entropy", dtype=F32)
    steps = Stepper(net, net.init(seed=0), fg.Adam(), False, threads=2)
    now, rows = [0.0], {True: 0, False: 0}

    def call(parallel, total, x, y, s, order, m):
        rows[parallel] += order.size
        now[0] += 0.01 + order.size * (1e-4 if parallel and order.size > 500 else 2e-4)
        return total

    monkeypatch.setattr(steps, "_call", call)
    monkeypatch.setattr(steps, "_parallel_code", "memory")
    monkeypatch.setattr(stepper, "_choices", {})
    monkeypatch.setattr(stepper.time, "perf_counter", lambda: now[0])
    for _ in range(100):
        for size in (1000, 1):
            steps.run(NO_LOSS, None, None, None, np.arange(size), 1000)
    assert rows[True] > 90_000


def test_a_rest_too_small_for_threads_comes_after_them():
    net = fg.MLP([64, 128, 10], "cross_entropy", dtype=F32)
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(1210, 64)).astype(F32), rng.integers(0, 10, 1210)
    found = set()
    for parallel in (False, True):
        steps = Stepper(net, net.init(seed=0), fg.Adam(fg.schedules.Step(1e-2, every=1)), False, 2)
        assert steps._plan(600).parallel and not steps._plan(10).parallel
        total = steps._call(parallel, NO_LOSS, X, y, None, np.arange(1210), 600)
        found.add((total, steps.theta.tobytes(), steps.optimizer.steps))
    assert len(found) == 1


def test_a_second_fit_begins_where_a_single_row_is_worth_threads(monkeypatch):
    monkeypatch.setattr(tuning, "PARALLEL_FLOPS", 0)
    monkeypatch.setattr(stepper, "_choices", {})
    forget_plans()
    try:
        net = fg.MLP([64, 128, 10], loss="cross_entropy", dtype="float32")
        first = Stepper(net, net.init(seed=0), fg.Adam(), False, threads=2)
        assert net._plan(1, LOSS | GRADIENT, False).parallel
        first._choice(1).ran(100.0, 1)  # threads are due
        Stepper(net, net.init(seed=0), fg.Adam(), False, threads=2)
    finally:
        forget_plans()


OPTIMIZERS = [
    fg.SGD(0.01, clip_norm=0.1),
    fg.Nesterov(0.01, weight_decay=0.1),
    fg.RMSprop(1e-3),
    fg.Adam(fg.schedules.Step(1e-2, every=2), clip_norm=0.5, weight_decay=0.01),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda opt: type(opt).__name__)
@pytest.mark.parametrize("cut", CUTS)
def test_threads_that_stay_for_many_steps_make_the_same_bits(cut, optimizer, monkeypatch, rng):
    """Gathered rows, weights (also none in a batch), clipping and the update's slices."""
    set_tuning(monkeypatch.setattr, **CUTS[cut])
    monkeypatch.setattr(tuning, "LEAST_SLICED", 1)
    forget_plans()
    weighted = type(optimizer) is not fg.RMSprop
    net = fg.MLP([7, 33, 19, 3], "huber" if weighted else "cross_entropy", l2=0.01, dtype=F32)
    n, m, steps = 700, 130, 6  # the last of 50 rows
    X, y = rng.normal(size=(n, 7)).astype(F32), rng.integers(0, 3, n)
    y = rng.normal(size=3 * n).astype(F32) if weighted else y
    s = rng.uniform(0, 2, n).astype(F32) if weighted else None
    order = rng.permutation(n)
    if weighted:
        s[order[m : 2 * m]] = 0
    runs, shared = [], []
    kernel = stepper.train_steps_parallel
    monkeypatch.setattr(
        stepper, "train_steps_parallel", lambda *args: shared.append(1) or kernel(*args)
    )
    for parallel in (False, True, True):
        steps_of = Stepper(net, net.init(seed=0), optimizer.copy(), weighted, threads=2)
        buffers = [X, y, s, order.copy()]
        given = [array for array in buffers if array is not None]
        before = snapshot(*given)
        total = steps_of._call(parallel, (1.5, 0.0), *buffers, m)
        assert snapshot(*given) == before
        opt = steps_of.optimizer
        assert opt.steps == steps - weighted
        runs.append((total, steps_of.theta.tobytes(), opt._state.tobytes(), opt._hyper[0]))
    assert np.isfinite(runs[0][0]).all() and runs[1] == runs[0] and runs[2] == runs[0]
    assert len(shared) == (0 if cut in ("one task", "small blocks") else 2)
    # What was gathered in a call is not gathered in the next one of the same plan.
    targets = y.reshape(n, -1)[:m] if weighted else y[:m]
    other = fg.MLP(net.layer_sizes, net.loss_name, l2=0.01, dtype=F32)
    assert net.loss(steps_of.theta, X[:m], targets) == other.loss(steps_of.theta, X[:m], targets)
    forget_plans()


@pytest.mark.parametrize("parallel", [False, True])
def test_a_batch_without_weight_is_no_step_however_steps_make_up_calls(monkeypatch, rng, parallel):
    """Nor does it take a learning rate from the schedule."""
    monkeypatch.setattr(tuning, "PARALLEL_FLOPS", 0)
    forget_plans()
    net = fg.MLP([7, 33, 19, 3], "huber", l2=0.01, dtype=F32)
    X, y, s = rng.normal(size=(1300, 7)), rng.normal(size=3900), np.ones(1300)
    s[130:260] = s[520:780] = 0
    arrays = [array.astype(F32) for array in (X, y, s)]
    order, found = np.arange(1280), set()  # the last batch has 110 rows
    for size in (1, 3, 10):
        optimizer = fg.Momentum(fg.schedules.Step(1e-2, every=2))
        steps, total = Stepper(net, net.init(seed=0), optimizer, True, threads=2), NO_LOSS
        for first in range(0, 1280, 130 * size):
            total = steps._call(parallel, total, *arrays, order[first : first + 130 * size], 130)
        assert optimizer.steps == 7
        found.add((total, steps.theta.tobytes()))
    assert len(found) == 1
    forget_plans()


FEWER = """
import numpy as np
import fastgrad as fg
from fastgrad._training import stepper
from fastgrad._training.stepper import NO_LOSS, Stepper
from helpers import cut_plans
cut_plans("many tasks")
fg.set_num_threads(int(sys.argv[1]))
rng = np.random.default_rng(0)
net = fg.MLP([9, 40, 5], dtype="float32", l2=0.1)
X, y = rng.normal(size=(400, 9)).astype("f4"), rng.normal(size=2000).astype("f4")
order, found, shared = np.arange(400), [], []
kernel = stepper.train_steps_parallel
stepper.train_steps_parallel = lambda *args: shared.append(1) or kernel(*args)
for parallel in (False, True, True):
    steps = Stepper(net, net.init(seed=0), fg.Adam(clip_norm=0.1), False, None)
    loss = steps._call(parallel, NO_LOSS, X, y, None, order, 150)
    found.append((loss, steps.theta.tobytes()))
assert found[0] == found[1] == found[2] and len(shared) == 2
print("same")
"""


@pytest.mark.parametrize(
    ("threads", "environment"),
    [(2, {"NUMBA_NUM_THREADS": "8"}),
     (8, {"NUMBA_NUM_THREADS": "8", "OMP_THREAD_LIMIT": "1", "NUMBA_THREADING_LAYER": "omp"}),
     (3, {"NUMBA_NUM_THREADS": "3", "NUMBA_THREADING_LAYER": "workqueue"})],
)  # fmt: skip
def test_fewer_threads_than_shares(threads, environment):
    """One thread does what several were meant to, in turn."""
    assert run_python("import sys" + FEWER, threads, **environment).strip() == "same"


def test_a_validation_loss_that_is_never_a_number_is_told(table):
    X, y = table
    bad = X.copy()
    bad[3, 1] = np.nan
    net = network()
    with pytest.warns(RuntimeWarning, match="look for NaN in validation"):
        result = fg.fit(net, X, y, epochs=3, validation=(bad, y), seed=0)
    assert result.best_epoch == 0 and np.isnan(result.history.val_loss).all()


@given(n=st.integers(1, 3000), batch=st.integers(1, 300), window=st.integers(1, 8))
def test_windows_take_every_row_once(n, batch, window):
    window = window * batch * -(-batches.RUN_ROWS // batch)
    for rng in (None, np.random.default_rng(0)):
        orders = list(batches.windows(n, batch, window, rng))
        rows = np.concatenate(orders)
        np.testing.assert_array_equal(np.sort(rows), np.arange(n))
        assert all(order.size % batch == 0 for order in orders[:-1])
        assert all(order.size <= window + batches.RUN_ROWS + batch for order in orders)
        if rng is None:
            np.testing.assert_array_equal(rows, np.arange(n))


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_memory_map_in_windows(tmp_path, table, monkeypatch, dtype):
    X = (10 * np.abs(table[0])).astype(dtype)
    X.tofile(tmp_path / "x.bin")
    mapped = np.memmap(tmp_path / "x.bin", dtype=dtype, mode="r", shape=X.shape)
    options = dict(epochs=3, batch_size=8, seed=3, sample_weight=np.ones(N))
    want = fg.fit(network(), X, table[1], **options)
    got = fg.fit(network(), mapped, table[1], **options)
    assert got.theta.tobytes() == want.theta.tobytes()
    monkeypatch.setattr(batches, "FILE_WINDOW_BYTES", 20 * D * 4)
    monkeypatch.setattr(batches, "BUFFER_BYTES", 20 * D * 4)
    monkeypatch.setattr(batches, "RUN_ROWS", 4)
    small = fg.fit(network(), mapped, table[1], validation=(mapped, table[1]), **options)
    assert small.optimizer.steps == want.optimizer.steps
    assert small.history.val_loss[-1] < small.history.val_loss[0]
    in_order = [fg.fit(network(), x, table[1], shuffle=False, **options) for x in (X, mapped)]
    assert in_order[0].theta.tobytes() == in_order[1].theta.tobytes()


def test_batches_from_a_function_and_an_iterable(table):
    X, y = table
    net = network()
    want = fg.fit(net, X, y, epochs=2, batch_size=20, seed=0, shuffle=False)
    parts = [(X[i : i + 20], y[i : i + 20]) for i in range(0, N, 20)]
    for source in (lambda: iter(parts), lambda epoch: parts, parts):
        got = fg.fit(net, source, epochs=2, seed=0)
        assert got.theta.tobytes() == want.theta.tobytes()
    epochs = []
    fg.fit(net, lambda epoch: epochs.append(epoch) or parts, epochs=3)
    assert epochs == [0, 1, 2]
    weighted = [(x, t, np.ones(len(x))) for x, t in parts]
    assert fg.fit(net, weighted, epochs=2, seed=0).theta.tobytes() == want.theta.tobytes()
    assert fg.fit(net, iter(parts), epochs=1, seed=0).epochs == 1


def test_inputs_are_converted_once_and_left_alone(table):
    X, y = table
    want = fg.fit(network(), X, y, epochs=1, seed=0)
    for other in (X.astype(np.float64), np.asfortranarray(X), X.tolist(), X[::-1][::-1]):
        got = fg.fit(network(), other, y.tolist(), epochs=1, seed=0)
        assert got.theta.tobytes() == want.theta.tobytes()
    frozen = X.copy()
    frozen.flags.writeable = False
    start = network().init(seed=0)
    before = start.tobytes()
    got = fg.fit(network(), frozen, y, theta=start, epochs=1, seed=0)
    assert got.theta.tobytes() == want.theta.tobytes() and start.tobytes() == before


def test_going_on_with_theta_and_optimizer(table):
    first = fg.fit(network(), *table, epochs=2, shuffle=False, seed=0)
    second = fg.fit(network(), *table, epochs=2, shuffle=False, theta=first.theta,
                    optimizer=first.optimizer)  # fmt: skip
    whole = fg.fit(network(), *table, epochs=4, shuffle=False, seed=0)
    assert second.theta.tobytes() == whole.theta.tobytes()


def test_validation_and_best_parameters(table):
    X, y = table
    net = network()
    s = np.linspace(0, 1, N)
    result = fg.fit(net, X[:30], y[:30], epochs=30, batch_size=5, seed=0,
                    optimizer=fg.Adam(0.05), validation=(X[30:], y[30:], s[30:]))  # fmt: skip
    history = result.history
    assert result.best_epoch == int(history.val_loss.argmin()) + 1
    scores = fg.evaluate(net, result.best_theta, X[30:], y[30:], s[30:])
    assert scores.loss == history.val_loss.min()
    assert scores.score == history.val_accuracy[result.best_epoch - 1]


def test_patience(table):
    X, y = table
    result = fg.fit(network(), X[:30], y[:30], epochs=500, batch_size=5, seed=0, patience=4,
                    optimizer=fg.Adam(0.05), validation=(X[30:], y[30:]))  # fmt: skip
    assert result.stopped == "patience"
    assert result.epochs == result.best_epoch + 4
    frozen = fg.fit(network(), X, y, optimizer=fg.SGD(0.0), epochs=50, seed=0, patience=3,
                    min_delta=1e-3)  # fmt: skip
    assert (frozen.stopped, frozen.epochs) == ("patience", 4)


def test_loss_that_is_not_finite_stops_and_shows(table):
    X = table[0].copy()
    X[3, 2] = np.nan
    with pytest.warns(RuntimeWarning, match=r"not finite after epoch 1, training stopped: look"):
        result = fg.fit(network(), X, table[1], epochs=5, seed=0)
    assert (result.stopped, result.epochs) == ("not finite", 1)
    assert np.isnan(result.history.loss[0])


@pytest.mark.parametrize("loss", ["mse", "huber", "logistic"])
@pytest.mark.parametrize("lr", [1e3, 1e20, 1e37])
def test_a_fit_that_diverges_stops_with_one_warning_at_most(table, loss, lr):
    X, s = table[0].astype(np.float64), np.arange(N)
    y = (X[:, :2] > 0) * 1.0
    net = network(loss, np.float64, (D, 4, 2))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = fg.fit(net, X, y, optimizer=fg.SGD(lr), epochs=20, validation=(X, y, s), seed=0)
    assert [w.category for w in caught] == [RuntimeWarning] * (result.stopped == "not finite")
    assert all("not finite" in str(w.message) for w in caught)


def test_the_best_parameters_before_a_loss_that_is_not_finite_are_named(table):
    rates = fg.SGD(lambda step: 0.1 if step < 4 else 1e30)
    with pytest.warns(RuntimeWarning, match=r"epoch 3, training stopped \(best_theta is of epoch"):
        result = fg.fit(network(), *table, optimizer=rates, epochs=9, batch_size=25, seed=0,
                        validation=table)  # fmt: skip
    assert result.stopped == "not finite" and np.isfinite(result.best_theta).all()


def test_a_last_step_to_parameters_that_are_not_finite_shows(table):
    with pytest.warns(RuntimeWarning, match="not finite after epoch 1") as caught:
        result = fg.fit(network(l2=1e30), *table, optimizer=fg.SGD(1e30), epochs=1, batch_size=N)
    assert result.stopped == "not finite" and np.isfinite(result.history.loss).all()
    assert caught[0].filename == __file__


def test_callbacks(table):
    seen = []

    class Both:
        def on_epoch(self, result):
            seen.append(("epoch", result.epochs))

        def on_step(self, result):
            seen.append(("step", result.optimizer.steps))

    plain = fg.fit(network(), *table, epochs=2, batch_size=25, seed=0)
    called = fg.fit(network(), *table, epochs=2, batch_size=25, seed=0, callbacks=Both())
    assert called.theta.tobytes() == plain.theta.tobytes()
    assert called.history.loss.tobytes() == plain.history.loss.tobytes()
    assert seen == [("step", 1), ("step", 2), ("epoch", 1), ("step", 3), ("step", 4), ("epoch", 2)]
    stopped = fg.fit(network(), *table, epochs=9, callbacks=[lambda r: r.epochs == 3])
    assert (stopped.stopped, stopped.epochs) == ("callback", 3)


def test_a_callback_may_change_the_optimisers_numbers(table):
    def decay(result):
        result.optimizer.lr, result.optimizer.weight_decay = 0.05, 0.5

    got = fg.fit(network(), *table, epochs=2, shuffle=False, seed=0, optimizer=fg.SGD(0.1),
                 callbacks=decay)  # fmt: skip
    first = fg.fit(network(), *table, epochs=1, shuffle=False, seed=0, optimizer=fg.SGD(0.1))
    want = fg.fit(network(), *table, epochs=1, shuffle=False, theta=first.theta,
                  optimizer=fg.SGD(0.05, weight_decay=0.5))  # fmt: skip
    assert got.theta.tobytes() == want.theta.tobytes()


def test_a_step_may_stop(table):
    class Stop:
        def on_step(self, result):
            return result.optimizer.steps == 3

    result = fg.fit(network(), *table, epochs=9, batch_size=10, callbacks=[Stop()])
    assert (result.stopped, result.optimizer.steps, result.epochs) == ("callback", 3, 0)


def test_a_stop_after_the_last_step_of_an_epoch_ends_that_epoch(table, tmp_path):
    class Stop:
        def on_step(self, result):
            return result.optimizer.steps == 10

    options = dict(batch_size=10, seed=0)
    stopped = fg.fit(network(), *table, epochs=9, callbacks=Stop(), checkpoint=tmp_path / "run.npz",
                     checkpoint_every=5, **options)  # fmt: skip
    whole = fg.fit(network(), *table, epochs=2, **options)
    assert (stopped.stopped, stopped.epochs) == ("callback", 2)
    assert stopped.best_theta.tobytes() == whole.best_theta.tobytes()
    assert fg.load_checkpoint(tmp_path / "run.npz").run["epoch"] == 2


def test_a_batch_without_weight_is_no_step_for_a_callback_and_from_an_iterator(table):
    X, y = table
    seen = []

    class Steps:
        def on_step(self, result):
            seen.append(result.optimizer.steps)

    s = np.ones(N)
    s[:20] = 0
    options = dict(epochs=2, seed=0, callbacks=Steps())
    want = fg.fit(network(), X, y, sample_weight=s, batch_size=10, shuffle=False, **options)
    batches = [(X[i : i + 10], y[i : i + 10], s[i : i + 10]) for i in range(0, N, 10)]
    got = fg.fit(network(), batches, **options)
    assert seen == 2 * [1, 2, 3, 4, 5, 6] and got.theta.tobytes() == want.theta.tobytes()


def test_a_callback_that_raises_leaves_whole_steps(table):
    kept = []

    def fail(result):
        kept.append(result)
        if result.epochs == 2:
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        fg.fit(network(), *table, epochs=5, seed=0, callbacks=fail)
    want = fg.fit(network(), *table, epochs=2, seed=0)
    assert kept[-1].theta.tobytes() == want.theta.tobytes()
    np.testing.assert_array_equal(kept[-1].history.loss, want.history.loss)


def test_ctrl_c_returns_what_there_is(table):
    def interrupt(result):
        if result.epochs == 3:
            os.kill(os.getpid(), signal.SIGINT)

    result = fg.fit(network(), *table, epochs=10**6, seed=0, callbacks=interrupt)
    assert result.interrupted and result.epochs == 3
    want = fg.fit(network(), *table, epochs=3, seed=0)
    assert result.theta.tobytes() == want.theta.tobytes()


def test_ctrl_c_at_any_moment(table):
    """An alarm's interrupt arrives inside or between compiled calls."""
    fg.fit(network(), *table, epochs=2, batch_size=7, seed=0)  # what it calls is compiled
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.15)
        result = fg.fit(network(), *table, epochs=10**7, batch_size=7, seed=0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert result.interrupted
    again = fg.fit(network(), *table, epochs=result.epochs, batch_size=7, seed=0)
    np.testing.assert_array_equal(again.history.loss, result.history.loss)
    extra = result.optimizer.steps - again.optimizer.steps
    assert 0 <= extra <= 8
    assert np.isfinite(result.theta).all()


def test_ctrl_c_leaves_a_checkpoint_to_go_on_from(tmp_path, table):
    def interrupt(result):
        if result.epochs == 3:
            os.kill(os.getpid(), signal.SIGINT)

    options = dict(epochs=7, seed=0, checkpoint=tmp_path / "run.npz")
    stopped = fg.fit(network(), *table, callbacks=interrupt, **options)
    assert stopped.interrupted
    resumed = fg.fit(network(), *table, resume=True, **options)
    want = fg.fit(network(), *table, epochs=7, seed=0)
    assert resumed.theta.tobytes() == want.theta.tobytes()
    np.testing.assert_array_equal(resumed.history.loss, want.history.loss)


def test_two_python_threads_at_once(table):
    want = fg.fit(network(), *table, epochs=20, seed=0).theta.tobytes()
    got = []
    workers = [
        threading.Thread(target=lambda: got.append(fg.fit(network(), *table, epochs=20, seed=0)))
        for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [result.theta.tobytes() for result in got] == [want] * 4


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lbfgs(table, dtype):
    X, y = table
    net = network(dtype=dtype, l2=1e-3)
    result = fg.fit(net, X, y, optimizer="lbfgs", epochs=30, seed=0, validation=(X, y))
    assert result.history.loss[-1] < 0.2 * result.history.loss[0]
    assert result.epochs <= 30 and result.theta.dtype == dtype
    assert result.history.loss[-1] == pytest.approx(net.loss(result.theta, X.astype(dtype), y))
    stopped = fg.fit(net, X, y, optimizer="lbfgs", epochs=30, callbacks=lambda r: r.epochs == 4)
    assert (stopped.stopped, stopped.epochs) == ("callback", 4)
    linear = fg.MLP([D, 1])
    done = fg.fit(linear, X, X @ np.arange(D), optimizer="lbfgs", epochs=200, seed=0)
    assert done.stopped == "converged" and done.history.loss[-1] < 1e-6


@pytest.mark.parametrize("where", ["X", "theta"])
def test_lbfgs_of_a_loss_that_is_not_finite_has_not_converged(table, where):
    X, net = table[0].copy(), network()
    theta = net.init(seed=0)
    {"X": X, "theta": theta}[where].flat[0] = np.nan
    with pytest.warns(RuntimeWarning, match="not finite"):
        result = fg.fit(net, X, table[1], theta=theta, optimizer="lbfgs", epochs=5)
    assert (result.stopped, result.epochs) == ("not finite", 0)


def test_lbfgs_that_ends_early_says_why(table, monkeypatch):
    class Uphill(fg.MLP):
        def loss_and_grad(self, theta, *args, **options):
            return float(theta @ theta), -2 * theta

    net = Uphill([D, 8, 3], loss="cross_entropy")
    lost = fg.fit(net, *table, optimizer="lbfgs", epochs=5, seed=0)
    assert (lost.stopped, lost.epochs) == ("line search", 0)
    monkeypatch.setattr(lbfgs, "EVALUATIONS", 1)
    far = fg.fit(network(), table[0] * 1000, table[1], optimizer="lbfgs", epochs=12, seed=0)
    assert far.stopped == "evaluations" and 0 < far.epochs < 12


def test_evaluate_in_blocks(table, monkeypatch):
    X, y = table
    s = np.linspace(0.1, 1, N)
    net = network()
    theta = net.init(seed=0)
    big = np.tile(X, (20, 1)), np.tile(y, 20), np.tile(s, 20)
    whole = fg.evaluate(net, theta, *big)
    monkeypatch.setattr("fastgrad._training.tally.BLOCK_BYTES", 1)
    np.testing.assert_allclose(fg.evaluate(net, theta, *big), whole, rtol=1e-6)
    hit = net.classify(theta, X) == y
    assert whole.score == pytest.approx(np.average(hit, weights=s), rel=1e-6)


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_evaluate_of_blocks_with_very_small_weights(table, monkeypatch, loss):
    monkeypatch.setattr("fastgrad._training.tally.BLOCK_BYTES", 1)
    net = network(loss)
    theta, X, y = net.init(seed=0), np.tile(table[0], (12, 1)), np.tile(table[1], 12)
    if loss == "mse":
        y = np.eye(3)[y]
    s = np.full(len(X), 1e-38, np.float32)
    everywhere = fg.evaluate(net, theta, X, y, s)
    np.testing.assert_allclose(everywhere, fg.evaluate(net, theta, X, y), rtol=1e-5)
    s[512:] = 1
    beside = fg.evaluate(net, theta, X, y, s)
    np.testing.assert_allclose(beside, fg.evaluate(net, theta, X[512:], y[512:]), rtol=1e-5)


def test_r2_is_the_one_of_scikit_learn(rng):
    from sklearn.metrics import r2_score

    net = fg.MLP([3, 2])
    theta, X, y, s = net.init(seed=0), *rng.random((2, 40, 3)), rng.random(40)
    y = y[:, :2]
    for weights in (None, s):
        want = r2_score(y, net.predict(theta, X), sample_weight=weights)
        assert fg.evaluate(net, theta, X, y, weights).score == pytest.approx(want)
    assert fg.evaluate(net, theta, X, np.ones((40, 2))).score == 0.0


def test_r2_of_a_single_row_is_nan(rng):
    """It has no mean to be compared with; scikit-learn warns and says NaN."""
    net = fg.MLP([3, 2])
    theta, X, y = net.init(seed=0), rng.random((4, 3)), rng.random((4, 2))
    loss, score = fg.evaluate(net, theta, X[:1], y[:1])
    assert np.isnan(score) and loss == pytest.approx(net.loss(theta, X[:1], y[:1]))
    assert np.isnan(fg.evaluate(net, theta, X, y, np.array([0.0, 1.0, 0.0, 0.0])).score)
    result = fg.fit(net, X, y, epochs=1, seed=0, validation=(X[:1], y[:1]), progress=False)
    assert np.isnan(result.history.val_r2).all() and result.best_epoch == 1


@pytest.mark.parametrize("loss", ["mse", "huber", "logistic", "cross_entropy"])
@pytest.mark.parametrize("n", [1, 5])
def test_no_score_hides_nan(rng, loss, n):
    net = network(loss, np.float64, (3, 2))
    theta, X = net.init(seed=0), rng.standard_normal((n, 3))
    y = np.zeros(n, np.int64) if loss == "cross_entropy" else np.ones((n, 2))
    scores = fg.evaluate(net, theta, X, y)
    single = n == 1 and loss in ("mse", "huber")  # one row has no R^2
    assert np.isfinite(scores.loss) and np.isnan(scores.score) == single
    bad = X.copy()
    bad[n - 1, 1] = np.nan
    assert np.isnan(fg.evaluate(net, theta, bad, y)).all()
    if loss != "cross_entropy":  # labels cannot be NaN
        y[0, 0] = np.nan
        assert np.isnan(fg.evaluate(net, theta, X, y)).all()
    if loss in ("logistic", "cross_entropy"):
        with pytest.raises(ValueError, match=f"outputs of row {n - 1} of X are NaN: it has no cl"):
            net.classify(theta, bad)


def test_accuracy_of_logistic(rng):
    net = fg.MLP([3, 1], loss="logistic")
    theta, X = net.init(seed=0), rng.standard_normal((40, 3))
    y = net.classify(theta, X)
    y[:10] = 1 - y[:10]
    assert fg.evaluate(net, theta, X, y).score == 0.75


@pytest.mark.parametrize(
    "change, error, words",
    [
        (dict(net="mlp"), TypeError, "net is a str"),
        (dict(epochs=-1), ValueError, "epochs is -1"),
        (dict(batch_size=0), ValueError, "batch_size is 0"),
        (dict(batch_size=2.5), TypeError, "batch_size is 2.5"),
        (dict(patience=0), ValueError, "patience is 0"),
        (dict(min_delta=-1), ValueError, "min_delta is -1"),
        (dict(seed="x"), TypeError, "seed is 'x'"),
        (dict(seed=-1), ValueError, "seed is -1"),
        (dict(optimizer="adamax"), ValueError, "expected an optimiser"),
        (dict(optimizer=3), TypeError, "optimizer is 3"),
        (dict(theta=np.zeros(3)), ValueError, r"theta has shape \(3,\)"),
        (dict(X=np.zeros((N, 4))), ValueError, r"X has shape \(50, 4\)"),
        (dict(X=np.zeros((0, D)), y=[]), ValueError, "0 rows"),
        (dict(X=np.zeros((N, D), complex)), TypeError, "X has dtype complex128"),
        (dict(y=np.zeros(49, int)), ValueError, "y has 49 rows, X has 50"),
        (dict(y=np.full(N, 3)), ValueError, "label 3 at row 0"),
        (dict(y=np.zeros(N)), TypeError, "integer class labels"),
        (dict(y=None), TypeError, "y is missing"),
        (dict(sample_weight=-np.ones(N)), ValueError, "sample_weight has the value -1"),
        (dict(sample_weight=np.zeros(N)), ValueError, "zero everywhere"),
        (dict(validation=np.zeros((3, D))), TypeError, "pair"),
        (dict(validation=(np.zeros((3, D)), [0, 1])), ValueError, "validation y has 2 rows"),
        (dict(validation=(np.zeros((3, 2)), [0, 1, 2])), ValueError, "validation X has shape"),
        (dict(callbacks=[3]), TypeError, "callbacks has 3"),
        (dict(callbacks=3), TypeError, "callbacks is 3; expected something to call"),
        (dict(shuffle="no"), TypeError, "shuffle is 'no'; expected True or False"),
        (dict(progress="x"), TypeError, "progress is 'x'; expected True or False"),
        (dict(resume="x"), TypeError, "resume is 'x'; expected True or False"),
        (dict(callbacks=None), TypeError, "callbacks is None; expected something to call"),
        (dict(checkpoint=3), TypeError, "checkpoint is 3; expected a file name"),
        (dict(checkpoint="."), ValueError, "checkpoint . is a folder; expected a file name"),
        (
            dict(checkpoint="no/such/c.npz"),
            ValueError,
            "checkpoint no/such/c.npz: no folder no/such",
        ),
        (dict(X=lambda: None, y=None), TypeError, "X returned None for epoch 0; expected an iter"),
        (dict(resume=True), ValueError, "no checkpoint"),
        (dict(optimizer="lbfgs", checkpoint="x.npz"), ValueError, "cannot resume"),
        (dict(threads=10**6), ValueError, "threads is 1000000"),
        (dict(X=iter([]), y=None, epochs=2), TypeError, "used up"),
        (dict(X=[], y=None), ValueError, "no rows"),
        (dict(X=lambda: None, y=None), TypeError, "X returned None for epoch 0; expected an iter"),
        (dict(X=(batch for batch in [])), TypeError, "X is a generator of batches, beside y"),
        (dict(X=lambda: []), TypeError, "X is a function of batches, beside y"),
        (dict(X=[np.zeros((3, D))], y=None), TypeError, "batch 0 is not"),
        (dict(X=[(np.zeros((3, D)), [9, 9, 9])], y=None), ValueError, "batch 0: y has the label 9"),
        (dict(X=[], y=None, sample_weight=[1]), TypeError, "beside batches"),
    ],
)
def test_errors_name_the_argument(table, change, error, words):
    arguments = {"net": network(), "X": table[0], "y": table[1], **change}
    with pytest.raises(error, match=words):
        fg.fit(**arguments)


def test_evaluate_takes_a_network(table):
    with pytest.raises(TypeError, match="net is a str; expected an MLP"):
        fg.evaluate("net", np.zeros(3), *table)


def test_history(tmp_path, table):
    result = fg.fit(network(), *table, epochs=3, validation=table, seed=0)
    history = result.history
    assert history.columns == ("loss", "learning_rate", "val_loss", "val_accuracy", "seconds")
    assert len(history) == len(history.loss) == 3
    assert (np.diff(history.seconds) > 0).all()
    lines = history.to_csv().splitlines()
    assert lines[0].startswith("epoch,loss") and lines[3].startswith("3,")
    assert float(lines[3].split(",")[1]) == history.loss[-1]
    twin = pickle.loads(pickle.dumps(history))
    np.testing.assert_array_equal(twin["val_loss"], history["val_loss"])
    with pytest.raises(KeyError, match="the columns are loss"):
        history["val_r2"]
    with pytest.raises(AttributeError):
        history.val_r2  # noqa: B018
    with pytest.raises(ValueError, match="expected"):
        history.append(loss=1.0)


def test_history_plot(tmp_path, table):
    history = fg.fit(network(), *table, epochs=3, validation=table, seed=0).history
    figure = history.plot(tmp_path / "history.png")
    assert [axis.get_ylabel() for axis in figure.axes] == ["loss", "validation accuracy"]
    assert (tmp_path / "history.png").read_bytes()[:4] == b"\x89PNG"


def test_plot_without_matplotlib_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"fastgrad\[plot\]"):
        fg.History({"loss": [1.0]}).plot()


def test_lbfgs_without_scipy_names_the_extra(monkeypatch, table):
    monkeypatch.setitem(__import__("sys").modules, "scipy.optimize", None)
    with pytest.raises(ImportError, match=r"fastgrad\[scipy\]"):
        fg.fit(network(), *table, optimizer="lbfgs")


class _Stream(list):
    def __init__(self, terminal):
        self.terminal = terminal

    def isatty(self):
        return self.terminal

    def write(self, text):
        self.append(text)

    def flush(self):
        pass


@pytest.mark.parametrize(
    "show, terminal, lines", [(None, False, 0), (True, False, 11), (False, True, 0)]
)
def test_progress_in_a_log(show, terminal, lines):
    stream, history = _Stream(terminal), fg.History({"loss": [0.5]})
    progress = Progress(show, 50, stream=stream)
    for epoch in range(1, 51):
        progress.epoch(epoch, history)
    progress.close()
    assert "".join(stream).count("\n") == lines
    if lines:
        assert "epoch 50/50: loss 0.5000\n" in "".join(stream)


def test_progress_bar_on_a_terminal(monkeypatch):
    stream, history = _Stream(True), fg.History({"loss": [0.5]})
    progress = Progress(True, 3, stream=stream)
    progress._bar.delay = 0
    for epoch in range(1, 4):
        progress.epoch(epoch, history)
    progress.close()
    assert "3/3" in "".join(stream)
    monkeypatch.setitem(__import__("sys").modules, "tqdm", None)
    stream = _Stream(True)
    Progress(None, 1, stream=stream).epoch(1, history)
    assert "epoch 1/1" in "".join(stream)
