"""`out=` of layers and neurons: the caller's arrays are written, and nothing else."""

import numpy as np
import pytest
from helpers import DTYPES, assert_same_bits

import fastgrad as fg

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPES = [(1, 1, 1), (7, 5, 3), (40, 3, 17), (300, 24, 2), (2000, 130, 66), (0, 4, 3)]


def draw(n, d, k, dtype, single):
    rng = np.random.default_rng(8)
    X, W, b = (rng.standard_normal(s).astype(dtype) for s in ((n, d), (d, k), k))
    grad_a = rng.standard_normal((n, k)).astype(dtype)
    if single:
        return X, W[:, 0].copy(), float(b[0]), grad_a[:, 0].copy()
    return X, W, b, grad_a


def empty_like(arrays):
    """Arrays of the same kind, full of what must not be seen again."""
    return tuple(None if a is None else np.full(a.shape, 7).astype(a.dtype) for a in arrays)


def assert_written(function, fresh, out):
    """`function(out)` gives the bits of `fresh`, in the arrays of `out`."""
    got = function(out)
    got, given = (x if isinstance(x, tuple) else (x,) for x in (got, out))
    fresh = fresh if isinstance(fresh, tuple) else (fresh,)
    for result, array, expected in zip(got, given, fresh):
        assert result is array
        if expected is not None:
            assert_same_bits(result, expected)
    assert_same_bits(got[-1], fresh[-1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize(("n", "d", "k"), SHAPES)
def test_row01_row02_row23_the_arrays_given_are_written(n, d, k, single, dtype):
    X, W, b, grad_a = draw(n, d, k, dtype, single)
    Z = fg.affine(X, W, b)
    assert_written(lambda out: fg.affine(X, W, b, out=out), Z, np.empty_like(Z))
    forward = a, mask = fg.affine_relu(X, W, b)
    assert_written(lambda out: fg.affine_relu(X, W, b, out=out), forward, empty_like(forward))
    assert_written(lambda out: fg.relu(Z, out=out), a, np.empty_like(Z))
    assert_written(lambda out: fg.relu_mask(Z, out=out), mask, np.empty_like(mask))
    assert_written(lambda out: fg.relu(out, out=out), a, Z.copy())
    for need in (True, False):

        def backward(out, need=need):
            return fg.affine_relu_backward(grad_a, X, W, mask, need_gX=need, out=out)

        fresh = backward(None)
        assert_written(backward, fresh, empty_like(fresh[: 2 if single else 3]))
        for again, before in zip(backward(None), fresh):  # and the next call is as ever
            assert (again is before is None) or np.array_equal(again, before)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n", [1, 30, 20_000])
def test_row19_a_neurons_gradient_is_written_to_the_array_given(n, weighted, dtype):
    X, w, b, y = draw(n, 9, 1, dtype, True)
    s = np.ones(n, dtype) if weighted else None
    loss, gw, gb = fg.neuron_loss_and_grad(w, b, X, y, s)
    out = np.full_like(gw, 7)
    again, result, same = fg.neuron_loss_and_grad(w, b, X, y, s, out=out)
    assert result is out and (again, same) == (loss, gb)
    assert_same_bits(out, gw)


X, W, b, grad_a = draw(6, 3, 2, np.float64, False)
A, M = np.zeros((6, 2)), np.ones((6, 2), bool)
G = np.zeros((6, 3)), np.zeros((3, 2)), np.zeros(2)


def back(*out, **options):
    return fg.affine_relu_backward(grad_a, X, W, M, out=out, **options)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: fg.affine(X, W, b, out=A[:5]), ValueError, r"out has shape \(5, 2\); expected"),
        (lambda: fg.affine(X, W, b, out=A.astype("f4")), TypeError, "out has dtype float32"),
        (lambda: fg.affine(X, W, b, out=[[0]]), TypeError, "out is a list; expected a NumPy"),
        (lambda: fg.affine(X, W, b, out=X[:, :2]), ValueError, "out is not contiguous; expected"),
        (lambda: fg.affine(A[:3], W[:2], b, out=A[:3]), ValueError, "out overlaps X"),
        (lambda: fg.affine_relu(X, W, b, out=A), TypeError, "expected a tuple of 2 arrays"),
        (lambda: fg.affine_relu(X, W, b, out=(A, A)), TypeError, r"out\[1\] has dtype float64"),
        (lambda: fg.affine_relu(X, W, b, out=(A, A.view(bool)[:, :2])), ValueError, r"out\[1\]"),
        (lambda: fg.relu(A, out=M), TypeError, "out has dtype bool; expected float64"),
        (lambda: fg.relu(A[1:], out=A[:-1]), ValueError, "out overlaps Z"),
        (lambda: fg.relu_mask(A, out=A), TypeError, "out has dtype float64; expected bool"),
        (lambda: back(*G[:2]), TypeError, "expected a tuple of 3 arrays"),
        (lambda: back(*G, need_gX=False), TypeError, r"out\[0\] is a ndarray; expected None"),
        (lambda: back(None, *G[1:]), TypeError, r"out\[0\] is a NoneType; expected a NumPy"),
        (lambda: back(X, *G[1:]), ValueError, r"out\[0\] overlaps X"),
        (lambda: back(G[0], W, G[2]), ValueError, r"out\[1\] overlaps W"),
        (lambda: back(G[0], G[1], G[1][0]), ValueError, r"out\[2\] overlaps out\[1\]"),
        (lambda: back(G[0], G[1].T, G[2]), ValueError, r"out\[1\] has shape \(2, 3\); expected"),
        (lambda: fg.neuron_loss_and_grad(W[:, 0], 0.5, X, A[:, 0], out=X[0]), ValueError,
         "out overlaps X"),
    ],
)  # fmt: skip
def test_arrays_that_cannot_be_written_to(call, kind, message):
    kept = [array.copy() for array in (X, W, A, M, *G)]
    with pytest.raises(kind, match=message):
        call()
    for array, before in zip((X, W, A, M, *G), kept):
        assert_same_bits(array, before)
