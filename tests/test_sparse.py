"""Sparse X (formula 38): the results of the dense X to rounding, the same bits on any number of
threads, and errors that name the array."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastgrad as fg
from fastgrad._core.plan import network_plan
from fastgrad.kernels.records import GATHERED, GRADIENT, LAYER, LOSS, PLAN, SCATTERED

sp = pytest.importorskip("scipy.sparse")

SHAPES = [[7, 1], [50, 3], [20, 16, 1], [2500, 64, 5], [9000, 20, 1]]


def draw(rng, n, d, dtype=np.float64, index=np.int32, kind=sp.csr_array):
    """CSR with empty rows and columns, duplicates, no order, and explicit zeros."""
    lengths = rng.integers(0, 6, n)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(index)
    data = rng.integers(-3, 4, indptr[-1]).astype(dtype)
    indices = rng.integers(0, max(1, d - d // 3), indptr[-1]).astype(index)
    X = kind((data, indices, indptr), shape=(n, d))
    X.indices, X.indptr = indices, indptr
    return X


def problem(rng, sizes, n, loss, dtype):
    net = fg.MLP(sizes, loss, dtype=dtype, l2=0.01)
    k = sizes[-1]
    y = rng.integers(0, k, n) if loss == "cross_entropy" else rng.integers(0, 2, (n, k))
    y = y if loss == "cross_entropy" else y.astype(dtype)
    return (
        net,
        net.init(seed=1) + rng.normal(size=net.n_parameters).astype(dtype) / 8,
        y,
    )  # no kinks


def close(found, expected, dtype):
    tolerance = 2e-5 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(
        found, expected, rtol=0, atol=tolerance * (1 + np.abs(expected).max(initial=0))
    )


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 300),
    sizes=st.sampled_from(SHAPES),
    dtype=st.sampled_from(["float32", "float64"]),
    index=st.sampled_from([np.int32, np.int64]),
    kind=st.sampled_from([sp.csr_array, sp.csr_matrix]),
    loss=st.sampled_from(["mse", "cross_entropy", "logistic"]),
    weighted=st.booleans(),
)
def test_row38_equals_the_dense_result_on_any_number_of_threads(
    seed, n, sizes, dtype, index, kind, loss, weighted
):
    rng = np.random.default_rng(seed)
    loss = "mse" if sizes[-1] == 1 and loss == "cross_entropy" else loss
    net, theta, y = problem(rng, sizes, n, loss, dtype)
    X = draw(rng, n, sizes[0], dtype, index, kind)
    s = rng.uniform(0.5, 2, n).astype(dtype) if weighted else None
    before = X.data.tobytes(), X.indices.tobytes(), X.indptr.tobytes()
    expected, gradient = net.loss_and_grad(theta, X.toarray(), y, s)
    one, first = net.loss_and_grad(theta, X, y, s, threads=1)
    two, second = net.loss_and_grad(theta, X, y, s, threads=2)
    assert one == two == net.loss(theta, X, y, s) and first.tobytes() == second.tobytes()
    close(one, expected, dtype)
    close(first, gradient, dtype)
    close(net.predict(theta, X), net.predict(theta, X.toarray()), dtype)
    assert before == (X.data.tobytes(), X.indices.tobytes(), X.indptr.tobytes())


def test_row38_many_chunks_of_rows():
    rng = np.random.default_rng(0)
    net, theta, y = problem(rng, [2500, 64, 5], 9001, "cross_entropy", "float64")
    X = draw(rng, 9001, 2500)
    plan = network_plan(net.spec, 9001, LOSS | GRADIENT, False, True).vector
    assert plan[PLAN.chunk_rows] < 9001
    found = [net.loss_and_grad(theta, X, y, threads=threads) for threads in (1, 2)]
    expected, gradient = net.loss_and_grad(theta, X.toarray(), y)
    assert found[0][0] == found[1][0] and found[0][1].tobytes() == found[1][1].tobytes()
    close(found[0][0], expected, "float64")
    close(found[0][1], gradient, "float64")


def test_the_plan_knows_both_variants():
    variants = set()
    for sizes in SHAPES:
        plan = network_plan(fg.MLP(sizes).spec, 100, LOSS | GRADIENT, False, True).vector
        variants.add(int(plan[PLAN.size + LAYER.weight_gradient]))
    assert variants == {SCATTERED, GATHERED}


@pytest.mark.parametrize("sizes", [[12, 1], [12, 6, 3], [2500, 64, 1]])
def test_row38_finite_differences(sizes):
    rng = np.random.default_rng(2)
    net, theta, y = problem(rng, sizes, 30, "mse", "float64")
    X = draw(rng, 30, sizes[0])
    assert fg.check_gradient(lambda t: net.loss_and_grad(t, X, y), theta, seed=0).ok


@pytest.mark.parametrize("optimizer", ["adam", "momentum"])
@pytest.mark.parametrize("sizes", [[40, 1], [2500, 64, 3]])
def test_row21_row38_fit_equals_that_of_the_dense_rows(sizes, optimizer, tmp_path):
    rng = np.random.default_rng(3)
    loss = "logistic" if sizes[-1] == 1 else "cross_entropy"
    net, theta, y = problem(rng, sizes, 230, loss, "float64")
    X = draw(rng, 230, sizes[0])
    settings = {"theta": theta, "optimizer": optimizer, "batch_size": 50, "seed": 0}

    def fit(X, epochs=3, **more):
        return fg.fit(net, X, y, validation=(X[:50], y[:50]), epochs=epochs, **settings, **more)

    dense, one, two = fit(X.toarray()), fit(X, threads=1), fit(X, threads=2)
    assert one.theta.tobytes() == two.theta.tobytes()
    close(one.theta, dense.theta, "float64")
    close(np.array(one.history.val_loss), np.array(dense.history.val_loss), "float64")
    fit(X, 2, checkpoint=tmp_path / "c.npz")
    again = fit(X, 3, checkpoint=tmp_path / "c.npz", resume=True)
    assert again.theta.tobytes() == one.theta.tobytes()
    scores = fg.evaluate(net, one.theta, X.tocsc(), y)
    assert scores.score == fg.evaluate(net, one.theta, X.toarray(), y).score


def test_nan_in_a_stored_value_shows():
    rng = np.random.default_rng(4)
    for sizes in SHAPES:
        net, theta, y = problem(rng, sizes, 40, "mse", "float64")
        X = draw(rng, 40, sizes[0])
        X.data[0] = np.nan
        assert np.isnan(net.loss_and_grad(theta, X, y)[0])
        assert np.isnan(net.predict(theta, X)).any()


def broken(part, value):
    X = sp.csr_array(np.eye(4))
    setattr(X, part, np.asarray(value))
    return X


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (
            sp.csc_array(np.eye(4)),
            TypeError,
            r"X is a sparse csc_array; expected CSR: use X\.tocsr",
        ),
        (sp.coo_array(np.eye(4)), TypeError, r"expected CSR: use X\.tocsr"),
        (sp.csr_array(np.eye(4, dtype="f4")), TypeError, r"X\.data has dtype float32"),
        (sp.csr_array(np.eye(5)), ValueError, r"X has shape \(5, 5\); expected \(n, 4\)"),
        (broken("indices", [0, 1, 4, 3]), ValueError, r"X\.indices has the column 4 in row 2"),
        (broken("indices", [0, -1, 2, 3]), ValueError, r"X\.indices has the column -1 in row 1"),
        (broken("indices", [0.0, 1, 2, 3]), TypeError, r"X\.indices has dtype float64"),
        (broken("indices", [0, 1]), ValueError, r"X\.indices has 2 numbers; expected 4"),
        (
            broken("indptr", [0, 2, 1, 3, 4]),
            ValueError,
            r"X\.indptr goes back from 2 to 1 at row 1",
        ),
        (broken("indptr", [1, 1, 2, 3, 4]), ValueError, r"X\.indptr begins with 1"),
        (broken("indptr", [0, 1, 4]), ValueError, r"X\.indptr has 3 numbers; expected 5"),
        (broken("indptr", [0, 1, 2, 3, 9]), ValueError, r"X\.data has 4 numbers; expected 9"),
    ],
)
def test_what_is_wrong_is_named_before_anything_is_written(X, error, message):
    net = fg.MLP([4, 2])
    theta, out = net.init(seed=0), np.full(net.n_parameters, 7.0)
    with pytest.raises(error, match=message):
        net.loss_and_grad(theta, X, np.zeros((X.shape[0], 2)), out=out)
    assert (out == 7).all()


def test_the_gradient_by_a_sparse_x_is_refused_and_out_is_disjoint():
    net, X = fg.MLP([4, 2]), sp.csr_array(np.eye(4))
    with pytest.raises(TypeError, match=r"X is sparse, but its gradient is not: use X\.toarray"):
        net.grad_input(net.init(seed=0), X, np.zeros((4, 2)))
    X.data = np.ones(10)
    with pytest.raises(ValueError, match=r"out overlaps X\.data"):
        net.loss_and_grad(net.init(seed=0), X, np.zeros((4, 2)), out=X.data)
