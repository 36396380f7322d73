"""The short way into a kernel: the same bits for what it takes, the same errors for the rest."""

import pickle

import numpy as np
import pytest

import fastgrad as fg
from fastgrad.kernels.quick import quick_neuron, quick_step


def a_network(loss, dtype, outputs):
    net = fg.MLP([5, 7, outputs], loss, dtype=dtype)
    rng = np.random.default_rng(1)
    X = rng.normal(size=(20, 5)).astype(dtype)
    if loss == "cross_entropy":
        y = rng.integers(0, outputs, 20)
    elif loss == "logistic":
        y = rng.integers(0, 2, (20, outputs)).astype(dtype)
    else:
        y = rng.normal(size=(20, outputs)).astype(dtype)
    return net, net.init(0), X, y


@pytest.fixture
def counted(monkeypatch):
    """How many calls the short way took."""
    import fastgrad.network
    import fastgrad.neuron

    calls = {"step": 0, "neuron": 0}

    def count(module, name, kernel):
        def call(*args):
            result = kernel.call(*args)
            calls[name] += 1
            return result

        monkeypatch.setattr(module, f"_quick_{name}", call)

    count(fastgrad.network, "step", quick_step)
    count(fastgrad.neuron, "neuron", quick_neuron)
    return calls


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "loss, outputs",
    [("mse", 1), ("mse", 3), ("huber", 2), ("logistic", 1), ("logistic", 4), ("cross_entropy", 3)],
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
def test_the_short_way_is_prepared_once_for_all_sizes(monkeypatch, loss, outputs):
    import fastgrad.network
    import fastgrad.neuron

    asked = []
    for module in (fastgrad.network, fastgrad.neuron):

        def address_of(kernel, args, found=module.address_of):
            asked.append(kernel)
            return found(kernel, args)

        monkeypatch.setattr(module, "address_of", address_of)
    net, theta, X, y = a_network(loss, np.float64, outputs)
    X, y = np.repeat(X, 20, axis=0), np.repeat(y, 20, axis=0)
    w, z = X[0].copy(), X[:, 0].copy()
    fg.neuron_loss_and_grad(w, 0.5, X, z)
    asked.clear()
    for _ in range(2):
        for n in range(1, 300):  # more than plans are kept for
            net.loss_and_grad(theta, X[:n], y[:n])
            fg.neuron_loss_and_grad(w, 0.5, X[:n], z[:n])
    assert asked == [fastgrad.network.step]
    assert pickle.loads(pickle.dumps(net))._address == 0  # another process's


def variants(theta, X, y):
    """Name, arguments: none of them is what the short way takes as it stands."""
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


def test_nan_takes_the_short_way_and_shows():
    net, theta, X, y = a_network("mse", np.float64, 1)
    net.loss_and_grad(theta, X, y)
    X[3, 2] = np.nan
    loss, grad = net.loss_and_grad(theta, X, y)
    assert np.isnan(loss) and np.isnan(grad).any()
