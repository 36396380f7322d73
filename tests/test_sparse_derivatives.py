"""Further derivatives of sparse rows: what dense rows give, bits on threads, duplicates, errors."""

import numpy as np
import pytest
from curved import draw, network
from helpers import (
    CUTS,
    DTYPES,
    F64,
    assert_close,
    assert_same_bits,
    cut_plans,
    forget_plans,
    run_python,
)

from fastgrad.activations import ACTIVATIONS
from fastgrad.curvature import ggn_vp, hvp, operator, output_hvp
from fastgrad.jacobians import jvp, vjp
from fastgrad.losses import LOSSES
from fastgrad.per_sample import clipped_loss_and_grad, grad_norms, grads

sparse = pytest.importorskip("scipy.sparse")


def sparse_problem(rng, net, n, density=0.2, index=np.int32, weighted=False):
    """(theta, X as CSR, X, y, s) with rows of no entry, unsorted columns and duplicates."""
    theta, X, y, s = draw(rng, net, n, weighted)
    X[rng.random(X.shape) >= density] = 0
    X[n // 2] = 0
    rows, columns = np.nonzero(X)
    share = rng.integers(0, 3, rows.size) == 0  # of these entries two halves are stored
    values = np.where(share, X[rows, columns] / 2, X[rows, columns])
    rows, columns, values = (
        np.concatenate([part, part[share]]) for part in (rows, columns, values)
    )
    order = rng.permutation(rows.size)
    order = order[np.argsort(rows[order], kind="stable")]
    indptr = np.searchsorted(rows[order], np.arange(n + 1))
    S = sparse.csr_array(
        (values[order], columns[order].astype(index), indptr.astype(index)), shape=X.shape
    )
    assert not S.has_sorted_indices
    return theta, S, X, y, s


def functions(net, theta, y, s, rng, n):
    """All that take sparse rows, of X."""
    v = rng.standard_normal(theta.size).astype(net.dtype)
    cotangent = rng.standard_normal((n, net.n_outputs)).astype(net.dtype)
    return {
        "vjp": lambda X, **k: vjp(net, theta, X, cotangent, **k),
        "jvp": lambda X, **k: jvp(net, theta, X, v, **k),
        "hvp": lambda X, **k: hvp(net, theta, X, y, v, s, **k),
        "ggn_vp": lambda X, **k: ggn_vp(net, theta, X, y, v, s, **k),
        "output_hvp": lambda X, **k: output_hvp(net, theta, X, cotangent, v, **k),
        "grad_norms": lambda X, **k: grad_norms(net, theta, X, y, s, **k),
        "clipped": lambda X, **k: clipped_loss_and_grad(net, theta, X, y, 0.5, s, **k)[1],
    }


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_sparse_rows_give_what_dense_rows_give(rng, loss, activation, dtype):
    for sizes, index in (([17, 5], np.int32), ([30, 9, 4], np.int64), ([25, 1], np.int32)):
        net = network(sizes, loss, dtype, activation=activation, l2=0.1)
        theta, S, X, y, s = sparse_problem(rng, net, 23, index=index, weighted=sizes[-1] != 5)
        for function in functions(net, theta, y, s, rng, 23).values():
            assert_close(function(S), function(X), dtype, 100)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("cut", CUTS)
def test_the_same_bits_on_any_number_of_threads(rng, cut, dtype, monkeypatch):
    cut_plans(cut, monkeypatch.setattr)
    try:
        for sizes in ([40, 13, 3], [4000, 70, 3]):  # gradients added up, and by columns
            net = network(sizes, "cross_entropy", dtype)
            theta, S, X, y, s = sparse_problem(rng, net, 260, 0.1, weighted=True)
            for function in functions(net, theta, y, s, rng, 260).values():
                one, two, more = (function(S, threads=threads) for threads in (1, 2, None))
                assert_same_bits(one, two)
                assert_same_bits(one, more)
                assert_close(one, function(X), dtype, 100)
    finally:
        forget_plans()


GUARDED = """
import numpy as np
import scipy.sparse as sp
from curved import network
from guards import check
from helpers import cut_plans
from test_sparse_derivatives import functions, sparse_problem

rng = np.random.default_rng(4)
for cut in "one task", "flushed", "wide, stored in parts":
    cut_plans(cut)
    for sizes, dtype, index in ([50, 3], "f4", np.int64), ([600, 40, 2], "f8", np.int32):
        net = network(sizes, "cross_entropy", dtype)
        theta, S, _, y, s = sparse_problem(rng, net, 150, 0.1, index, weighted=True)
        for name in functions(net, theta, y, s, rng, 150):

            def call(data, indices, indptr, theta, y, s, name=name, sizes=sizes, dtype=dtype):
                X = sp.csr_array((150, sizes[0]), dtype=data.dtype)
                X.data, X.indices, X.indptr = data, indices, indptr
                net, rng = network(sizes, "cross_entropy", dtype), np.random.default_rng(5)
                return functions(net, theta, y, s, rng, 150)[name](X)

            check(call, S.data, S.indices, S.indptr, theta, y, s)
print("swept")
"""


def test_arrays_flush_against_unreadable_pages():
    assert run_python(GUARDED, NUMBA_NUM_THREADS="2") == "swept\n"


def test_norms_of_rows_whose_columns_stand_twice(rng):
    net = network([3, 4, 2], "mse")
    theta, _, y, _ = draw(rng, net, 3)
    S = sparse.csr_array(
        (np.array([2.0, -2.0, 1.0, 5.0, 0.5, 1.5]), np.array([1, 1, 0, 2, 0, 2]), [0, 2, 3, 6]),
        shape=(3, 3),
    )
    before = S.data.copy(), S.indices.copy()
    X = S.toarray()
    assert_close(grad_norms(net, theta, S, y), np.linalg.norm(grads(net, theta, X, y), axis=1), F64)
    assert_close(grad_norms(net, theta, S[1:], y[1:]), grad_norms(net, theta, X[1:], y[1:]), F64)
    assert all(np.array_equal(a, b) for a, b in zip(before, (S.data, S.indices)))


def test_norms_that_square_beyond_float64_are_right(rng):
    net = network([4, 3, 2], "mse")
    theta, X, y, _ = draw(rng, net, 3)
    X[0] = 1e200, 0, -3e200, 0
    X[1] = 1e-200
    X[2, 1] = np.nan
    found, expected = (grad_norms(net, theta, A, y) for A in (sparse.csr_array(X), X))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_rows_without_entries_and_no_rows(rng):
    net = network([4, 3, 2], "mse")
    theta, _, y, _ = draw(rng, net, 3)
    for rows in (3, 0):
        empty = sparse.csr_array((rows, 4))
        dense = np.zeros((rows, 4))
        assert_close(vjp(net, theta, empty, y[:rows]), vjp(net, theta, dense, y[:rows]), F64)
        assert jvp(net, theta, empty, theta).shape == (rows, 2)
        found = grad_norms(net, theta, empty, y[:rows])
        assert_close(found, grad_norms(net, theta, dense, y[:rows]), F64)


def test_the_operator_takes_sparse_rows(rng):
    net = network([30, 9, 4], "cross_entropy", l2=0.1)
    theta, S, X, y, s = sparse_problem(rng, net, 23, weighted=True)
    v = rng.standard_normal(theta.size)
    assert_close(operator(net, theta, S, y, s) @ v, hvp(net, theta, X, y, v, s), F64, 100)


X0 = sparse.csr_array(np.eye(4, 5))
Y0, T0 = np.ones((4, 3)), np.ones(66)
DENSE = "X is a sparse csr_array; expected a dense array"
BAD = [
    (lambda net: vjp(net, T0, X0, Y0, need_gX=True), TypeError, DENSE),
    (lambda net: jvp(net, T0, X0, T0, np.ones((4, 5))), TypeError, DENSE),
    (lambda net: hvp(net, T0, X0, Y0, T0, v_X=np.ones((4, 5))), TypeError, DENSE),
    (lambda net: hvp(net, T0, X0, Y0, T0, need_X=True), TypeError, DENSE),
    (lambda net: grads(net, T0, X0, Y0), TypeError, DENSE),
    (lambda net: vjp(net, T0, X0.tocsc(), Y0), TypeError, r"expected CSR: use X\.tocsr"),
    (lambda net: vjp(net, T0, X0[:3], Y0), ValueError, "cotangent has 4 rows, X has 3"),
    (lambda net: hvp(net, T0, X0.astype("f4"), Y0, T0), TypeError, r"X\.data has dtype float32"),
    (lambda net: grad_norms(net, T0, X0[:, :4], Y0), ValueError, r"X has shape \(4, 4\)"),
    (lambda net: vjp(net, T0, OVERLAPS, Y0, out=MEMORY[:66]), ValueError, r"out overlaps X\.data"),
    (lambda net: hvp(net, T0, OVERLAPS, Y0, T0, out=MEMORY[:66]), ValueError, r"overlaps X\.data"),
    (
        lambda net: grad_norms(net, T0, OVERLAPS, Y0, out=MEMORY[:4]),
        ValueError,
        r"overlaps X\.data",
    ),
]
MEMORY = np.ones(70)
OVERLAPS = X0.copy()
OVERLAPS.data = MEMORY[:4]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_errors_name_the_argument(call, error, message):
    net = network([5, 7, 3], "mse")
    before = MEMORY.copy()
    with pytest.raises(error, match=message):
        call(net)
    assert np.array_equal(MEMORY, before)
