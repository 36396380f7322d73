"""Sparse X elsewhere: buckets of columns, stacks, models, svmlight files, compiled code, memory."""

import json
import tracemalloc

import numba
import numpy as np
import pytest
from helpers import run_python
from test_sparse import close, draw, problem

import fastgrad as fg
from fastgrad._core.plan import network_plan
from fastgrad.kernels.records import COTANGENT, GRADIENT, LOSS, OUTPUTS, PLAN
from fastgrad.kernels.tuning import SORTED_ENTRIES

sp = pytest.importorskip("scipy.sparse")


@pytest.mark.parametrize("d", [20_000, 1_000_000])
@pytest.mark.parametrize("want", [OUTPUTS, LOSS, LOSS | GRADIENT, COTANGENT | GRADIENT])
def test_the_work_queue_does_not_grow_with_the_columns(d, want):
    """A line for each column would be 64 MB of a million, cleared by every parallel call."""
    net = fg.MLP([d, 4, 1], "mse", dtype="float32")
    plan = network_plan(net.spec, 20_000, want, False, True).vector
    assert 0 < plan[PLAN.queue_tasks] < 1000


def few_columns(rng, n, d, each, columns, dtype):
    """Rows of `each` entries in a few columns: some are in every row."""
    indices = rng.integers(0, columns, (n, each)).astype(np.int32)
    indices[:, 0] = d - 1
    data = rng.integers(-3, 4, n * each).astype(dtype)
    X = sp.csr_matrix((data, indices.ravel(), np.arange(0, n * each + 1, each)), shape=(n, d))
    X.indices = indices.ravel()
    return X


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_row38_columns_of_many_entries_and_buckets_beyond_what_is_sorted_at_a_time(dtype):
    rng = np.random.default_rng(0)
    net, theta, y = problem(rng, [6600, 20, 1], 2100, "logistic", dtype)
    X = few_columns(rng, 2100, 6600, 16, 60, dtype)
    plan = network_plan(net.spec, 2100, LOSS | GRADIENT, False, True).vector
    assert plan[PLAN.buckets] > 1 and 15 * plan[PLAN.chunk_rows] > SORTED_ENTRIES
    one, two = (net.loss_and_grad(theta, X, y, threads=threads) for threads in (1, 2))
    expected = net.loss_and_grad(theta, X.toarray(), y)
    assert one[0] == two[0] and one[1].tobytes() == two[1].tobytes()
    close(one[0], expected[0], dtype)
    close(one[1], expected[1], dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_row38_one_output_of_many_columns_equals_two_products(dtype):
    rng = np.random.default_rng(1)
    n, d = 500, 300_000
    net = fg.MLP([d, 1], "logistic", dtype=dtype)
    theta, y = net.init(seed=0), rng.integers(0, 2, n).astype(dtype)
    X = draw(rng, n, d, dtype)
    assert network_plan(net.spec, n, LOSS | GRADIENT, False, True).vector[PLAN.buckets] > 1
    one, two = (net.loss_and_grad(theta, X, y, threads=threads) for threads in (1, 2))
    assert one[0] == two[0] and one[1].tobytes() == two[1].tobytes()
    z = X @ theta[:-1] + theta[-1]
    slope = (1 / (1 + np.exp(-z)) - y) / n
    close(one[1], np.append(X.T @ slope, slope.sum()), dtype)


BITS = """
from hashlib import sha256
import numpy as np
import fastgrad as fg
from test_sparse import draw, problem
rng = np.random.default_rng(2)
for sizes in [2500, 64, 5], [50, 3]:
    net, theta, y = problem(rng, sizes, 3000, "mse", "float64")
    X = draw(rng, 3000, sizes[0])
    found = [net.loss_and_grad(theta, X, y, threads=threads) for threads in (1, 2, 3, 8)]
    print(len({sha256(np.float64(loss).tobytes() + g.tobytes()).hexdigest() for loss, g in found}))
"""


def test_row38_the_same_bits_on_1_2_3_and_8_threads():
    assert run_python(BITS, NUMBA_NUM_THREADS="8") == "1\n1\n"


@pytest.mark.parametrize("sizes", [[50, 3], [2500, 64, 5]])
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_row38_row39_a_stack_of_sparse_rows_has_the_bits_of_single_calls(sizes, loss):
    rng = np.random.default_rng(3)
    net, _, y = problem(rng, sizes, 90, loss, "float64")
    X, thetas = draw(rng, 90, sizes[0]), fg.stack.init(net, range(5))
    for threads in (1, 2):
        losses, grads = fg.stack.loss_and_grad(net, thetas, X, y, threads=threads)
        out = fg.stack.predict(net, thetas, X, threads=threads)
        for i, theta in enumerate(thetas):
            alone, grad = net.loss_and_grad(theta, X, y)
            assert losses[i] == alone and grads[i].tobytes() == grad.tobytes()
            assert out[i].tobytes() == net.predict(theta, X).tobytes()
    own = rng.normal(size=(5, 90, sizes[-1])) if loss == "mse" else rng.integers(0, 3, (5, 90))
    _, grads = fg.stack.loss_and_grad(net, thetas, X, own)
    assert grads[4].tobytes() == net.loss_and_grad(thetas[4], X, own[4])[1].tobytes()
    assert fg.stack.predict(net, thetas, X[:0]).shape == (5, 0, sizes[-1])


def test_a_stack_names_what_is_wrong_with_sparse_rows():
    net, X = fg.MLP([4, 2]), sp.csr_array(np.eye(4))
    thetas, y, out = fg.stack.init(net, range(3)), np.zeros((4, 2)), np.full((3, 10), 7.0)
    wrong = [
        (X.tocsc(), y, TypeError, r"X is a sparse csc_array; expected CSR"),
        (sp.csr_array(np.eye(5)), y, ValueError, r"X has shape \(5, 5\); expected \(n, 4\)"),
        (X[:0], y[:0], ValueError, "X has 0 rows"),
        (X, y[:3], ValueError, "y has 3 rows, X has 4"),
        (X, np.zeros((2, 4, 2)), ValueError, "y has shape .* of 2 networks; thetas has 3"),
    ]
    for x, targets, error, words in wrong:
        with pytest.raises(error, match=words):
            fg.stack.loss_and_grad(net, thetas, x, targets, out=out)
    assert (out == 7).all()
    X.data = out[0, :4]
    with pytest.raises(ValueError, match=r"out overlaps X\.data"):
        fg.stack.loss_and_grad(net, thetas, X, y, out=out)


GUARDED = """
import numpy as np
import scipy.sparse as sp
import fastgrad as fg
from guards import check
from test_sparse import draw, problem

rng = np.random.default_rng(4)
for sizes in [7, 1], [50, 3], [2500, 64, 5]:
    for dtype, index in ("float32", np.int32), ("float64", np.int64):
        net, theta, y = problem(rng, sizes, 60, "mse", dtype)
        X = draw(rng, 60, sizes[0], dtype, index)

        def call(theta, data, indices, indptr, y, net=net, d=sizes[0]):
            X = sp.csr_array((60, d), dtype=data.dtype)
            X.data, X.indices, X.indptr = data, indices, indptr
            return *net.loss_and_grad(theta, X, y), net.predict(theta, X)

        check(call, theta, X.data, X.indices, X.indptr, y)
print("swept")
"""


def test_the_three_arrays_flush_against_unreadable_pages():
    assert run_python(GUARDED, NUMBA_NUM_THREADS="2") == "swept\n"


@pytest.mark.parametrize("sizes", [[50, 3], [2500, 64, 5]])
def test_compiled_code_has_the_bits_of_python_and_names_what_is_wrong(sizes):
    from fastgrad.interop.numba import network

    rng = np.random.default_rng(5)
    net, theta, y = problem(rng, sizes, 40, "mse", "float64")
    handle = network(net, 40, sparse=True)

    @numba.njit
    def step(handle, theta, data, indices, indptr, y, grad):
        loss, grad = handle.loss_and_grad(theta, (data, indices, indptr), y, out=grad)
        return loss

    grad = np.empty_like(theta)
    X = draw(rng, 40, sizes[0])
    expected, gradient = net.loss_and_grad(theta, X, y)
    assert step(handle, theta, X.data, X.indices, X.indptr, y, grad) == expected
    assert grad.tobytes() == gradient.tobytes()
    grad[:] = 7
    for part, place, value, words in [
        ("indices", 3, sizes[0], "a column number outside 0 to d - 1"),
        ("indices", 3, -1, "a column number outside 0 to d - 1"),
        ("indptr", 3, 10**6, "an indptr that goes back"),
        ("indptr", 0, 1, "an indptr that does not begin with 0"),
        ("indptr", 40, 10**6, "fewer data or indices than the last number of its indptr"),
    ]:
        arrays = {name: getattr(X, name).copy() for name in ("data", "indices", "indptr")}
        arrays[part][place] = value
        with pytest.raises(ValueError, match=f"X has {words}"):
            step(handle, theta, *arrays.values(), y, grad)
    assert (grad == 7).all()


def test_memory_is_within_a_fifth_of_what_is_read_and_written():
    rng = np.random.default_rng(6)
    n, d = 8000, 20_000
    net = fg.MLP([d, 64, 1], "logistic", dtype="float32")
    theta, y, out = net.init(seed=0), np.ones(n, "f4"), np.empty(net.n_parameters, "f4")
    indices = rng.integers(0, d, 32 * n, dtype=np.int32)
    X = sp.csr_matrix((np.ones(32 * n, "f4"), indices, np.arange(0, 32 * n + 1, 32)), shape=(n, d))
    net.loss_and_grad(theta, X[:4], y[:4], out=out)
    tracemalloc.start()
    try:
        net.loss_and_grad(theta, X, y, out=out)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    arrays = theta, out, y, X.data, X.indices, X.indptr
    assert peak < 0.2 * sum(array.nbytes for array in arrays)


def test_a_fit_keeps_room_for_the_entries_of_a_chunk():
    rng = np.random.default_rng(8)
    n, each = 9001, 4
    net = fg.MLP([2500, 64, 1], "logistic", dtype="float64")
    indices = rng.integers(0, 2500, each * n, dtype=np.int32)
    X = sp.csr_matrix((np.ones(each * n), indices, np.arange(0, each * n + 1, each)), (n, 2500))
    y = np.ones(n)
    for rows in (9000, 5000):  # and a last batch of one row, and of 4,001
        fg.fit(net, X, y, epochs=1, batch_size=rows, seed=0, threads=1)
        plan = net._plan(rows, LOSS | GRADIENT, False, True)
        chunk = int(plan.vector[PLAN.chunk_rows])
        assert chunk < rows and plan.entries[-1].size < 2.5 * each * chunk


@pytest.mark.parametrize("networks", [1, 3])
def test_a_model_predicts_sparse_rows(networks, tmp_path):
    rng = np.random.default_rng(7)
    X = draw(rng, 30, 6)
    net = fg.MLP([6, 4, 1], "mse")
    theta = net.init(seed=0) if networks == 1 else fg.stack.init(net, range(networks))
    fg.save_model(tmp_path / "m.npz", net, theta, scale=np.arange(1.0, 7.0), target_scale=3.0)
    model = fg.load_model(tmp_path / "m.npz")
    expected = model.predict(X.toarray())
    for rows in (X, X.tocsc(), X.astype("f4"), X.astype(int)):
        np.testing.assert_allclose(model.predict(rows), expected, rtol=1e-12, atol=1e-12)
    assert model.predict(X[:0]).shape == (0, 1)
    with pytest.raises(ValueError, match=r"X has shape \(30, 5\); expected \(n, 6\)"):
        model.predict(X[:, :5])
    model.mean = np.ones(6)
    with pytest.raises(TypeError, match=r"takes a mean from its inputs.*use X\.toarray"):
        model.predict(X)


def svmlight(path, X, y, **options):
    datasets = pytest.importorskip("sklearn.datasets")
    datasets.dump_svmlight_file(X, y, str(path), **{"zero_based": False, **options})


@pytest.fixture
def files(folder):
    rng = np.random.default_rng(8)
    X = sp.random(300, 40, 0.2, random_state=1, format="csr")
    w = rng.normal(size=40)
    y = np.where(X @ w > 0, 1, -1)
    svmlight("train.svm", X[:200], y[:200])
    svmlight("test.svm", X[200:], y[200:])
    svmlight("real.svmlight", X, X @ w)
    return X, y, w


def test_svmlight_files_are_trained_evaluated_and_predicted(cli, files):
    X, y, _ = files
    code, out, err = cli("train", "train.svm", "--layers", "16", "--epochs", "40", "--json")
    assert code == 0 and json.loads(out)["network"]["layer_sizes"] == [40, 16, 2]
    assert "sparse inputs are not standardized" in err
    code, out, _ = cli("evaluate", "train-model.npz", "test.svm", "--json")
    found = json.loads(out)
    assert code == 0 and found["rows"] == 100 and found["classes"] == [-1, 1]
    model = fg.load_model("train-model.npz")
    assert found["accuracy"] == np.mean(model.predict(X[200:].toarray()) == y[200:])
    assert found["accuracy"] > 0.7
    code, out, _ = cli("predict", "train-model.npz", "test.svm")
    assert code == 0
    assert [int(line) for line in out.split()[1:]] == model.predict(X[200:]).tolist()
    assert cli("check", "train-model.npz", "test.svm")[0] == 0


def test_svmlight_files_are_not_read_in_windows(cli, files):
    code, _, err = cli("train", "train.svm", "--window", "50")
    assert code == 2 and "--window is not for svmlight files" in err


def test_svmlight_regressions_ensembles_and_several_files(cli, files):
    code, out, _ = cli("train", "real.svmlight", "--layers", "none", "--networks", "2", "--json",
                       "--epochs", "60")  # fmt: skip
    assert code == 0 and json.loads(out)["task"] == "regression"
    code, out, _ = cli("evaluate", "real-model.npz", "real.svmlight", "--json")
    assert code == 0 and json.loads(out)["r2"] > 0.5
    code, out, _ = cli("train", "train.svm", "test.svm", "--epochs", "1", "--json", "-o", "m.npz")
    assert code == 0 and json.loads(out)["rows"] == 240
    code, out, _ = cli("train", "t*.svm", "--epochs", "1", "--json", "-o", "n.npz")
    assert code == 0 and json.loads(out)["rows"] == 240
    assert "no*.svm: no file matches" in cli("train", "no*.svm")[2]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("1 0:3 2:1\n", "column 0; expected 1 or more, or --zero-based"),
        ("1 41:2\n", "columns beyond 40, those of the model"),
        ("1 a:2\n", "not an svmlight file"),
        ("1,2 1:2\n", "not an svmlight file"),
        ("1 1:nan\n", "row 1, column 1: nan; expected a finite number"),
        ("", "no rows; expected at least one"),
        ("7 1:1\n", "expected one of the classes -1, 1"),
    ],
)
def test_svmlight_files_that_do_not_fit_are_named(cli, files, content, words):
    cli("train", "train.svm", "--layers", "4", "--epochs", "1", "--quiet")
    with open("odd.svm", "w") as file:
        file.write(content)
    code, _, err = cli("evaluate", "train-model.npz", "odd.svm")
    assert code == 2 and "odd.svm" in err and words in err


def test_svmlight_options_that_do_not_fit(cli, files):
    X, y, _ = files
    svmlight("zero.svm", X, y, zero_based=True)
    for options, words in [
        (["train.svm", "--target", "a"], "--target is not for svmlight files"),
        (["train.svm", "digits"], "svmlight files and others together"),
        (["train.svm", "--window", "9"], "--window is not for svmlight files"),
        (["none.svm"], "none.svm: no such file"),
        (["zero.svm"], "expected 1 or more, or --zero-based"),
    ]:
        code, _, err = cli("train", *options)
        assert code == 2 and words in err
    assert cli("train", "zero.svm", "--zero-based", "--epochs", "1", "--json")[0] == 0
    assert fg.load_model("zero-model.npz").net.n_inputs == 40
