"""The fast path into a kernel: the same bits for what it takes, the same errors for the rest."""

import pickle
import sys
import threading

import numba
import numpy as np
import pytest
from helpers import assert_same_bits, draw_targets

import fastgrad as fg
from fastgrad._core import fast_path, threads
from fastgrad._core.choice import CallChoice
from fastgrad.kernels import tuning
from fastgrad.kernels.fast_path import quick_neuron, quick_step


def a_network(loss, dtype, outputs):
    net = fg.MLP([5, 7, outputs], loss, dtype=dtype)
    rng = np.random.default_rng(1)
    X = rng.normal(size=(20, 5)).astype(dtype)
    return net, net.init(0), X, draw_targets(rng, loss, 20, outputs, dtype)


@pytest.fixture
def counted(monkeypatch):
    """How many calls the fast path took."""
    calls, through = {"step": 0, "neuron": 0}, fast_path.FastPath.call

    def call(path, *args):
        result = through(path, *args)
        if result is not None:
            calls["step" if path._brief is quick_step else "neuron"] += 1
        return result

    monkeypatch.setattr(fast_path.FastPath, "call", call)
    return calls


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "loss, outputs",
    [
        ("mse", 1),
        ("mse", 3),
        ("huber", 2),
        ("logistic", 1),
        ("logistic", 4),
        ("cross_entropy", 3),
        ("absolute_error", 1),
        ("quantile", 2),
        ("poisson", 1),
        ("poisson", 3),
    ],
)
def test_a_network_has_the_same_bits_both_ways(counted, loss, outputs, dtype):
    net, theta, X, y = a_network(loss, dtype, outputs)
    given = np.empty_like(theta)
    expected, _ = net.loss_and_grad(theta, X, y, out=given)
    assert counted["step"] == 0
    shapes = [y, y.reshape(-1)] if outputs == 1 else [y]
    for i, targets in enumerate(shapes * 2, 1):
        loss, grad = net.loss_and_grad(theta, X, targets)
        assert (loss, counted["step"]) == (expected, i)
        np.testing.assert_array_equal(grad, given)
    grad[:] = 0  # the caller's own array, not the workspace
    np.testing.assert_array_equal(net.loss_and_grad(theta, X, y)[1], given)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_neuron_has_the_same_bits_both_ways(counted, dtype):
    rng = np.random.default_rng(2)
    w, X, y = (rng.normal(size=shape).astype(dtype) for shape in (6, (30, 6), 30))
    first = fg.neuron_loss_and_grad(w, 0.25, X, y)
    for b in (0.25, np.float64(0.25), np.float32(0.25)):
        loss, gw, gb = fg.neuron_loss_and_grad(w, b, X, y)
        assert (loss, gb) == (first[0], first[2])
        np.testing.assert_array_equal(gw, first[1])
    assert counted["neuron"] == 3


@pytest.mark.parametrize("loss, outputs", [("mse", 1), ("cross_entropy", 3)])
def test_the_fast_path_is_compiled_once_for_all_sizes(loss, outputs):
    net, theta, X, y = a_network(loss, np.float64, outputs)
    X, y = np.repeat(X, 20, axis=0), np.repeat(y, 20, axis=0)
    w, z = X[0].copy(), X[:, 0].copy()
    net.loss_and_grad(theta, X[:1], y[:1])
    fg.neuron_loss_and_grad(w, 0.5, X, z)
    before = [len(kernel.call.signatures) for kernel in (quick_step, quick_neuron)]
    for _ in range(2):
        for n in range(1, 300):  # more than plans are kept for
            net.loss_and_grad(theta, X[:n], y[:n])
            fg.neuron_loss_and_grad(w, 0.5, X[:n], z[:n])
    assert [len(kernel.call.signatures) for kernel in (quick_step, quick_neuron)] == before
    assert pickle.loads(pickle.dumps(net))._path is not net._path  # another process's


def test_the_very_first_call_compiles_no_fast_path(monkeypatch):
    monkeypatch.setattr(tuning, "FAST_PATH_AFTER", 1)
    net, theta, X, y = a_network("mse", np.float64, 3)
    for n, opened in ((20, 0), (20, 1), (20, 1), (19, 2), (19, 2)):
        net.loss_and_grad(theta, X[:n], y[:n])
        assert len(net._path.plans) == opened


def variants(theta, X, y):
    """Name, arguments: none of them is what the fast path takes as it stands."""
    frozen = X.copy()
    frozen.setflags(write=False)
    yield "few columns", (theta, X[:, :-1].copy(), y)
    yield "short theta", (theta[:-1].copy(), X, y)
    yield "long theta", (np.append(theta, 1).astype(theta.dtype), X, y)
    yield "few targets", (theta, X, y[:-1].copy())
    yield "targets of another shape", (theta, X, np.stack([y, y], -1))
    yield "other dtype", (theta, X.astype("f4" if X.dtype == "f8" else "f8"), y)
    yield "complex", (theta.astype(complex), X, y)
    yield "masked", (theta, np.ma.masked_array(X), y)
    yield "no rows", (theta, X[:0], y[:0])
    yield "0-d", (theta, np.array(1.0), y)
    yield "one dimension", (theta, X.ravel(), y)
    yield "read-only", (theta, frozen, y)
    yield "columns first", (theta, np.asfortranarray(X), y)
    yield "every other row", (theta, np.repeat(X, 2, axis=0)[::2], y)
    yield "a list", (theta, X.tolist(), y)
    yield "swapped bytes", (theta, X.astype(X.dtype.newbyteorder()), y)


def outcome(function, args):
    try:
        loss, *grads = function(*args)
    except (TypeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return loss, *(np.asarray(grad).tolist() for grad in grads)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss, outputs", [("mse", 1), ("logistic", 2), ("cross_entropy", 3)])
def test_whatever_else_a_network_is_given_ends_as_the_first_time(loss, outputs, dtype):
    net, theta, X, y = a_network(loss, dtype, outputs)
    cases = list(variants(theta, X, y))
    cases += [
        ("a label too large", (theta, X, np.where(y == y.max(), 7, y).astype(y.dtype))),
        ("a label below 0", (theta, X, np.where(y == y.max(), -1, y).astype(y.dtype))),
        ("integers", (theta, X, np.ones(y.shape, int))),
        ("floats", (theta, X, np.ones(y.shape, dtype))),
    ]
    first = {name: outcome(net.loss_and_grad, args) for name, args in cases}
    for _ in range(2):
        net.loss_and_grad(theta, X, y)
        for name, args in cases:
            assert (name, outcome(net.loss_and_grad, args)) == (name, first[name])


def test_whatever_else_a_neuron_is_given_ends_as_the_first_time():
    rng = np.random.default_rng(2)
    w, X, y = (rng.normal(size=shape) for shape in (6, (30, 6), 30))
    cases = [(name, (args[0], 0.5, *args[1:])) for name, args in variants(w, X, y)]
    cases += [(repr(b), (w, b, X, y)) for b in (True, 1, "1", None, 1j, [1.0], np.array(1.0))]
    first = {name: outcome(fg.neuron_loss_and_grad, args) for name, args in cases}
    for _ in range(2):
        fg.neuron_loss_and_grad(w, 0.5, X, y)
        for name, args in cases:
            assert (name, outcome(fg.neuron_loss_and_grad, args)) == (name, first[name])


def test_one_wrong_object_for_every_option_is_an_error_both_times():
    net, theta, X, y = a_network("mse", np.float64, 1)
    w, z = np.ones(5), np.ones(20)
    for _ in range(2):
        net.loss_and_grad(theta, X, y)
        fg.neuron_loss_and_grad(w, 0.5, X, z)
        with pytest.raises(ValueError, match="sample_weight"):
            net.loss_and_grad(theta, X, y, 1, out=1, threads=1)
        with pytest.raises(ValueError, match="sample_weight"):
            fg.neuron_loss_and_grad(w, 0.5, X, z, 1, threads=1)


def test_nan_takes_the_fast_path_and_shows():
    net, theta, X, y = a_network("mse", np.float64, 1)
    net.loss_and_grad(theta, X, y)
    X[3, 2] = np.nan
    loss, grad = net.loss_and_grad(theta, X, y)
    assert np.isnan(loss) and np.isnan(grad).any()


def a_parallel_work(dtype):
    """A network and a neuron of so much work that their plans are parallel, and their arrays."""
    rng = np.random.default_rng(4)
    net = fg.MLP([20, 40, 3], "cross_entropy", dtype=dtype)
    X, y = rng.normal(size=(2000, 20)).astype(dtype), rng.integers(0, 3, 2000)
    V, z = rng.normal(size=(4000, 40)).astype(dtype), rng.normal(size=4000).astype(dtype)
    w, theta = V[0].copy(), net.init(0)
    return lambda: net.loss_and_grad(theta, X, y), lambda: fg.neuron_loss_and_grad(w, 0.5, V, z)


@pytest.fixture
def ways(monkeypatch):
    """Which way, "checked" in Python or "fast", each call of a parallel plan."""
    taken = []

    def noting(function, name):
        def call(*args):
            result = function(*args)
            taken.append(name)
            return result

        return call

    monkeypatch.setattr(CallChoice, "parallel", lambda self: True)
    monkeypatch.setattr(fast_path.FastPath, "launch", noting(fast_path.FastPath.launch, "fast"))
    for module in (fg.network, fg.neuron):
        monkeypatch.setattr(module, "run", noting(module.run, "checked"))
    return taken


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parallel_work_has_the_same_bits_both_ways_under_every_bound(ways, dtype):
    for work in a_parallel_work(dtype):
        expected = work()
        for most in (1, fg.get_num_threads()):
            with fg.num_threads(most):
                for _ in range(3):
                    assert_same_bits(work()[1], expected[1])
        bound = numba.get_num_threads()
        numba.set_num_threads(1)  # the smaller bound holds
        try:
            assert_same_bits(work()[1], expected[1])
        finally:
            numba.set_num_threads(bound)
        assert ways.count("fast") >= 3, ways
        ways.clear()


def test_while_another_thread_has_the_threads_the_long_way_is_serial(ways):
    for work in a_parallel_work(np.float64):
        expected = work()
        with threads._parallel:
            assert_same_bits(work()[1], expected[1])
        assert ways[-1] == "checked"


@pytest.mark.parametrize("rows", [20, 2000])
def test_an_output_given_takes_the_fast_path_and_is_checked_there(rows):
    net, theta, X, y = a_network("mse", np.float64, 1)
    X, y = np.repeat(X, rows // 20, axis=0), np.repeat(y, rows // 20, axis=0)
    net = fg.MLP([5, 50, 1])
    both = net.init(0).repeat(2)
    theta, out = both[: len(both) // 2], np.empty(len(both) // 2)
    expected = net.loss_and_grad(theta, X, y)
    for _ in range(2):
        loss, grad = net.loss_and_grad(theta, X, y, out=out)
        assert grad is out and loss == expected[0]
        assert_same_bits(out, expected[1])
        before = both.copy()
        with pytest.raises(ValueError, match="out overlaps theta"):
            net.loss_and_grad(theta, X, y, out=both[1 : 1 + len(theta)])
        with pytest.raises(ValueError, match="out has shape"):
            net.loss_and_grad(theta, X, y, out=out[:-1])
        out.setflags(write=False)
        with pytest.raises(ValueError, match="read-only"):
            net.loss_and_grad(theta, X, y, out=out)
        out.setflags(write=True)
        assert_same_bits(both, before)


@pytest.mark.parametrize("rows", [20, 3000])
def test_parameters_and_an_output_of_one_wrong_size_are_refused(rows):
    net, theta, X, y = a_network("mse", np.float64, 3)
    X, y = (np.resize(a, (rows, a.shape[1])) for a in (X, y))
    for _ in range(2):
        net.loss_and_grad(theta, X, y)
    for wrong in (theta[:3].copy(), np.resize(theta, 2 * theta.size)):
        with pytest.raises(ValueError, match="theta has shape"):
            net.loss_and_grad(wrong, X, y, out=np.empty(wrong.size))


def test_no_call_compiles_the_fast_path_for_types_of_its_own():
    """Not even while another thread opens it for new types: the step would read int32 as int64."""
    net, theta, X, y = a_network("cross_entropy", np.float64, 3)
    expected = net.loss_and_grad(theta, X, y)
    net.loss_and_grad(theta, X, y)
    wrong, stop = [], threading.Event()

    def call_with_other_types():
        while not stop.is_set():
            try:
                if net.loss_and_grad(theta, X, y.astype(np.int32))[0] != expected[0]:
                    wrong.append("another loss")
            except Exception as error:
                wrong.append(repr(error))

    thread, interval = threading.Thread(target=call_with_other_types), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread.start()
    try:
        for loss, dtype in (("mse", "f4"), ("cross_entropy", "f4"), ("mse", "f8")):
            other, theta_, X_, y_ = a_network(loss, np.dtype(dtype), 3)
            other.loss_and_grad(theta_, X_, y_)
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(interval)
    assert not wrong
    labels = {signature[2].dtype for signature in quick_step.call.signatures}
    assert numba.types.int32 not in labels
