"""Every memory layout gives the bits of plain C order, and no input is ever changed."""

import numpy as np
import pytest
from helpers import (
    DTYPES,
    LAYOUTS,
    LOSSES,
    assert_same_bits,
    draw_problem,
    dyadic,
    run_for_each,
    snapshot,
)
from layout_matrix import ORDERS

import fastgrad as fg

pytestmark = pytest.mark.usefixtures("one_thread")
N, D, K = 37, 19, 21


def calls(dtype):
    """(name, function, arguments in plain C order)."""
    rng = np.random.default_rng(7)
    X, W, b, w = (dyadic(rng, s, dtype) for s in [(N, D), (D, K), (K,), (D,)])
    grad_a, mask = dyadic(rng, (N, K), dtype), rng.random((N, K)) < 0.5
    yield "relu", fg.relu, [X]
    yield "relu_mask", fg.relu_mask, [X]
    yield "affine", fg.affine, [X, W, b]
    yield "affine of one", lambda X, w: fg.affine(X, w, 0.5), [X, w]
    yield "affine_relu", fg.affine_relu, [X, W, b]
    yield "affine_relu_backward", fg.affine_relu_backward, [grad_a, X, W, mask]
    yield "neuron_grad", lambda w, X: fg.neuron_grad(w, 0.5, X), [w, X]
    y, s = dyadic(rng, N, dtype), rng.integers(1, 4, N).astype(dtype)
    yield "neuron", lambda w, X, y, s: fg.neuron_loss_and_grad(w, 0.5, X, y, s), [w, X, y, s]
    for loss in LOSSES:
        net = fg.MLP([D, 6, K], loss=loss, dtype=dtype, l2=0.1)
        theta, X, y, s = draw_problem(rng, net.layer_sizes, N, loss, dtype, True)
        yield f"{loss} loss_and_grad", net.loss_and_grad, [theta, X, y, s]
        yield f"{loss} grad_input", net.grad_input, [theta, X, y, s]
        yield f"{loss} predict", net.predict, [theta, X]
        if loss == "cross_entropy":
            yield "predict_proba", net.predict_proba, [theta, X]


def parts(result):
    return result if isinstance(result, tuple) else (result,)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_gives_the_same_bits_and_inputs_stay(layout, dtype):
    for name, function, plain in calls(dtype):
        expected = parts(function(*plain))
        given = [LAYOUTS[layout](a) for a in plain]
        for a, b in zip(given, plain):
            np.testing.assert_array_equal(a, b)
        before = snapshot(*given)
        for got, want in zip(parts(function(*given)), expected):
            assert_same_bits(got, want)
        assert snapshot(*given) == before, name


@pytest.mark.parametrize("order", ORDERS)
def test_every_argument_in_every_layout_whatever_was_seen_first(order):
    """A fresh process each: byte order, alignment, strides and access of every array argument, on
    the fast path and beside it, serial and parallel."""
    code = "import sys, layout_matrix\nprint(*layout_matrix.check(sys.argv[1]))"
    said = run_for_each(code, tuple(ORDERS), order, NUMBA_NUM_THREADS="2")
    equal, refused = map(int, said.split())
    assert equal > 5000 and refused > 100


def test_the_layouts_are_what_they_say():
    a = np.arange(12.0).reshape(3, 4)
    flags = {name: make(a).flags for name, make in LAYOUTS.items()}
    assert flags["Fortran"].f_contiguous and not flags["Fortran"].c_contiguous
    assert not flags["strided"].contiguous and not flags["negative"].contiguous
    assert not flags["readonly"].writeable and not flags["unaligned"].aligned
    assert LAYOUTS["negative"](a).strides == (-32, -8)
    assert not LAYOUTS["byteswapped"](a).dtype.isnative


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_and_columns_that_repeat_by_stride_zero(rng, dtype):
    net = fg.MLP([D, K], dtype=dtype)
    theta = net.init(0)
    row, column = dyadic(rng, (1, D), dtype), dyadic(rng, (N, 1), dtype)
    y = np.broadcast_to(dyadic(rng, (1, K), dtype), (N, K))
    for X in (np.broadcast_to(row, (N, D)), np.broadcast_to(column, (N, D))):
        assert 0 in X.strides
        expected = net.loss_and_grad(theta, X.copy(), y.copy())
        for a, e in zip(net.loss_and_grad(theta, X, y), expected):
            assert_same_bits(a, e)


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_array_as_several_arguments(rng, dtype):
    net = fg.MLP([5, 5], dtype=dtype)
    theta, X = net.init(0), dyadic(rng, (9, 5), dtype)
    for a, e in zip(net.loss_and_grad(theta, X, X), net.loss_and_grad(theta, X, X.copy())):
        assert_same_bits(a, e)


def test_subclasses_and_objects_with_arrays(rng):
    class Mine(np.ndarray):
        pass

    class Holder:
        def __init__(self, array):
            self.array = array

        def __array__(self, dtype=None, copy=None):
            return self.array

    net = fg.MLP([4, 3])
    theta, X, y, _ = draw_problem(rng, [4, 3], 8, "mse", np.dtype(np.float64))
    expected = net.loss_and_grad(theta, X, y)
    for wrap in (lambda a: a.view(Mine), Holder, memoryview):
        loss, grad = net.loss_and_grad(*map(wrap, (theta, X, y)))
        assert loss == expected[0] and type(grad) is np.ndarray
        assert_same_bits(grad, expected[1])


def test_memory_maps(rng, tmp_path):
    net = fg.MLP([4, 3])
    theta, X, y, _ = draw_problem(rng, [4, 3], 8, "mse", np.dtype(np.float64))
    expected = net.loss_and_grad(theta, X, y)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    loss, grad = net.loss_and_grad(theta, mapped, y)
    assert loss == expected[0]
    assert_same_bits(grad, expected[1])
