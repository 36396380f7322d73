"""What a wrong argument gets: an error of the promised kind that names it, and nothing written."""

import re

import numpy as np
import pytest
import scipy.sparse

import fastgrad as fg
from fastgrad.interop.numba import network

pytestmark = pytest.mark.usefixtures("one_thread")

N, D, K = 6, 3, 2
SIZES = [D, 4, K]
P = fg.MLP(SIZES).n_parameters


class Liar:
    """Says one thing in its attributes and hands out another array."""

    shape, dtype, ndim = (N, D), np.dtype(np.float64), 2

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


class Broken:
    def __array__(self, dtype=None, copy=None):
        return "no array"


def good(loss="mse"):
    rng = np.random.default_rng(0)
    y = rng.integers(0, K, N) if loss == "cross_entropy" else np.ones((N, K))
    return {"theta": rng.normal(size=P), "X": rng.normal(size=(N, D)), "y": y}


def check_network_error(kind, message, loss="mse", **changes):
    """Every entry point that takes the argument refuses it; `out` and the arguments stay."""
    net = fg.MLP(SIZES, loss=loss)
    arguments = {**good(loss), **changes}
    out = np.full(P, 3.25)
    kept = [np.array(a, copy=True) for a in arguments.values() if type(a) is np.ndarray]
    calls = [
        lambda: net.loss_and_grad(**arguments, out=out),
        lambda: net.loss(**arguments),
        lambda: net.grad_input(**arguments),
    ]
    if set(changes) <= {"theta", "X"}:
        calls.append(lambda: net.predict(arguments["theta"], arguments["X"]))
    for call in calls:
        with pytest.raises(kind, match=message):
            call()
    assert (out == 3.25).all()
    for a, b in zip(kept, (a for a in arguments.values() if type(a) is np.ndarray)):
        assert a.tobytes() == b.tobytes()


WRONG_ARRAYS = {
    "masked": (TypeError, "is a masked array", lambda s: np.ma.zeros(s)),
    "object": (TypeError, "dtype object.*float32 or float64", lambda s: np.zeros(s, object)),
    "complex": (TypeError, "dtype complex128", lambda s: np.zeros(s, complex)),
    "float16": (TypeError, "dtype float16", lambda s: np.zeros(s, np.float16)),
    "longdouble": (TypeError, "float32 or float64", lambda s: np.zeros(s, np.longdouble)),
    "strings": (TypeError, "dtype <U", lambda s: np.full(s, "1")),
    "dates": (TypeError, "dtype datetime64", lambda s: np.zeros(s, "M8[s]")),
    "record": (TypeError, "dtype", lambda s: np.zeros(s, [("a", "f8")])),
    "float32 for float64": (TypeError, "has dtype float32.*float64", lambda s: np.zeros(s, "f4")),
    "big-endian float32": (TypeError, "has dtype .*float64", lambda s: np.zeros(s, ">f4")),
    "one rank more": (ValueError, "has shape", lambda s: np.zeros((*s, 1))),
    "no rank": (ValueError, "has shape|rows", lambda s: np.float64(1.0)),
    "None": (TypeError, "is None; expected an array|dtype object", lambda s: None),
    "a dict": (TypeError, "dtype object", lambda s: {}),
    "ragged": (ValueError, "cannot be made an array", lambda s: [[1.0], [1.0, 2.0]]),
    "no array": (ValueError, "cannot be made an array", lambda s: Broken()),
}


@pytest.mark.parametrize("argument", ["theta", "X", "y", "sample_weight"])
@pytest.mark.parametrize("case", WRONG_ARRAYS)
def test_arrays_that_are_not_real_numbers_of_the_right_rank(argument, case):
    kind, message, make = WRONG_ARRAYS[case]
    shape = {"theta": (P,), "X": (N, D), "y": (N, K), "sample_weight": (N,)}[argument]
    value = make(shape)
    if value is None and argument == "sample_weight":
        value = [None] * N  # None itself means no weights
    check_network_error(kind, f"(?s){argument}.*({message})", **{argument: value})


class TwoPartsError(Exception):
    def __init__(self, one, two):
        super().__init__(one, two)


@pytest.mark.parametrize("argument", ["theta", "X", "y", "sample_weight"])
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RuntimeError("no memory of its own"), TypeError),
        (KeyError("a"), TypeError),
        (TwoPartsError("a", "b"), TypeError),
        (NotImplementedError(), TypeError),
        (RecursionError("too deep"), TypeError),
        (UnicodeDecodeError("utf-8", b"a", 0, 1, "no"), ValueError),
        (OverflowError("large"), TypeError),
        (MemoryError("all of it"), MemoryError),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.__name__,
)
def test_whatever_an_array_method_raises_is_named(argument, error, kind):
    class Raises:
        def __array__(self, dtype=None, copy=None):
            raise error

    message = "all of it" if kind is MemoryError else f"^{argument} cannot be made an array"
    check_network_error(kind, message, **{argument: Raises()})


@pytest.mark.parametrize(
    "name", ["csr_matrix", "csr_array", "csc_array", "coo_matrix", "dia_array"]
)
def test_sparse_arrays_of_scipy_say_what_to_do(name):
    value = getattr(scipy.sparse, name)(np.ones((N, D)))
    if not name.startswith("csr"):
        for message, call in (
            (rf"^X is a sparse {name}; expected CSR: use X\.tocsr\(\)", fg.MLP.loss_and_grad),
            (r"^X is sparse, but its gradient is not: use X\.toarray\(\)", fg.MLP.grad_input),
        ):
            with pytest.raises(TypeError, match=message):
                call(fg.MLP(SIZES), **{**good(), "X": value})
    message = rf"^X is a sparse {name}; expected a dense array: use X\.toarray\(\)"
    for call in (lambda: fg.affine(value, np.ones((D, K)), np.ones(K)),
                 lambda: fg.neuron_loss_and_grad(np.ones(D), 0.0, value, np.ones(N))):  # fmt: skip
        with pytest.raises(TypeError, match=message):
            call()


@pytest.mark.parametrize("argument", ["theta", "X", "y", "sample_weight"])
def test_np_matrix(argument):
    with pytest.warns(PendingDeprecationWarning):
        value = np.matrix(np.zeros((N, D)))
    check_network_error(
        TypeError, f"{argument} is a np.matrix; pass np.asarray", **{argument: value}
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y": np.ones((N - 1, K))}, f"y has {N - 1} rows, X has {N}"),
        ({"y": np.ones((N + 1, K))}, f"y has {N + 1} rows, X has {N}"),
        ({"y": np.ones((0, K))}, f"y has 0 rows, X has {N}"),
        ({"y": np.ones((N, K + 1))}, r"y has shape \(6, 3\); expected \(6, 2\)"),
        ({"y": np.ones(N)}, r"y has shape \(6,\); expected \(6, 2\)"),
        ({"X": np.ones((N, D + 1))}, r"X has shape \(6, 4\); expected \(n, 3\)"),
        ({"X": np.ones((N, 0))}, r"X has shape \(6, 0\); expected \(n, 3\)"),
        ({"X": np.ones(D)}, r"X has shape \(3,\); expected two dimensions"),
        ({"X": Liar(np.ones((N, D + 2)))}, r"X has shape \(6, 5\)"),
        ({"X": Liar(np.ones((2, N, D)))}, r"X has shape \(2, 6, 3\)"),
        ({"theta": np.ones(P - 1)}, rf"theta has shape \({P - 1},\); expected \({P},\)"),
        ({"theta": np.ones((1, P))}, r"theta has shape .* expected one dimension"),
        ({"sample_weight": np.ones(N - 1)}, f"sample_weight has {N - 1} rows, X has {N}"),
        ({"sample_weight": np.ones((N, 1))}, r"sample_weight has shape \(6, 1\)"),
        ({"sample_weight": np.zeros(N)}, "sample_weight is zero everywhere"),
        ({"sample_weight": -np.zeros(N)}, "sample_weight is zero everywhere"),
        ({"sample_weight": np.array([1, 1, 1, -1e-300, 1, 1])},
         "sample_weight has the value -1e-300 at row 3; expected 0 or more"),
        ({"sample_weight": np.array([1, 1, 1, 1, 1, -np.inf])}, "sample_weight has the value -inf"),
    ],
)  # fmt: skip
def test_shapes_that_do_not_fit(changes, message):
    check_network_error(ValueError, message, **changes)


def test_no_rows_have_no_mean():
    changes = {"X": np.ones((0, D)), "y": np.ones((0, K))}
    net = fg.MLP(SIZES)
    for call in (net.loss, net.loss_and_grad, net.grad_input):
        with pytest.raises(ValueError, match=r"X has 0 rows.*at least one"):
            call(good()["theta"], **changes)
    with pytest.raises(ValueError, match=r"X has 0 rows.*at least one"):
        fg.neuron_loss_and_grad(np.ones(D), 0.0, np.ones((0, D)), np.ones(0))


@pytest.mark.parametrize(
    ("y", "kind", "message"),
    [
        (np.array([0, 1, 2, 0, 0, 0]), ValueError, "y has the label 2 at row 2; expected 0 to 1"),
        (np.array([0, 1, 0, 0, 0, -1]), ValueError, "y has the label -1 at row 5; expected 0 to 1"),
        (np.array([0, 1, 0, 0, 0, -1], np.int8), ValueError, "y has the label -1 at row 5"),
        (np.array([2**64 - 1] * N, np.uint64), ValueError, "y has the label 18446744073709551615"),
        (np.array([2**63] * N, np.uint64), ValueError, "y has the label 9223372036854775808"),
        (np.array([-(2**63)] * N), ValueError, "y has the label -9223372036854775808 at row 0"),
        (np.zeros(N), TypeError, "y has dtype float64; expected integer class labels 0 to 1"),
        (np.zeros(N, bool), TypeError, "y has dtype bool; expected integer class labels"),
        ([0.0] * N, TypeError, "y has dtype float64"),
        (["a"] * N, TypeError, "y has dtype <U1"),
        (np.zeros(N, object), TypeError, "y has dtype object"),
        (np.zeros((N, K), int), ValueError, r"y has shape \(6, 2\); expected \(6,\)"),
        (np.zeros(N - 1, int), ValueError, "y has 5 rows, X has 6"),
        (0, ValueError, r"y has shape \(\)"),
        (np.ma.zeros(N, int), TypeError, "y is a masked array"),
    ],
)  # fmt: skip
def test_class_labels(y, kind, message):
    check_network_error(kind, message, loss="cross_entropy", y=y)


@pytest.mark.parametrize("value", [-1e-9, 1.0000001, 2.0, -1.0, np.inf, -np.inf])
def test_labels_of_the_logistic_loss(value):
    y = np.ones((N, K))
    y[4, 1] = value
    message = rf"y has the value {re.escape(str(value))} at position 9; expected labels 0 or 1"
    check_network_error(ValueError, message, loss="logistic", y=y)


def overlapping(net, problem):
    """(name, arguments, out) where `out` shares memory with the argument of that name."""
    big = np.ones(max(P, N * D) + P)
    yield "theta", {"theta": big[:P]}, big[:P]
    yield "theta", {"theta": big[:P]}, big[1 : P + 1]
    yield "X", {"X": big[: N * D].reshape(N, D)}, big[N * D - 1 : N * D - 1 + P]
    yield "X", {"X": big[: N * D].reshape(D, N).T}, big[:P]  # a copy is made of this one
    yield "X", {"X": np.ones((2 * N, D))[::2]}, None
    yield "y", {"y": big[: N * K].reshape(N, K)}, big[:P]
    yield "sample_weight", {"sample_weight": big[:N]}, big[N - 1 : N - 1 + P]
    yield "sample_weight", {"sample_weight": big[: 2 * N : 2]}, big[:P]


@pytest.mark.parametrize("case", range(8))
def test_out_that_overlaps_an_input(case):
    net, problem = fg.MLP(SIZES), good()
    name, changes, out = list(overlapping(net, problem))[case]
    if out is None:
        out = changes["X"].base.reshape(-1)[:P]
    arguments = {**problem, **changes}
    kept = out.copy()
    with pytest.raises(ValueError, match=f"out overlaps {name}"):
        net.loss_and_grad(**arguments, out=out)
    assert out.tobytes() == kept.tobytes()


def test_out_between_the_rows_of_an_input_does_not_overlap_it():
    net, problem = fg.MLP(SIZES), good()
    table = np.ones((N, D + P))
    table[:, :D] = problem["X"]
    out = table[2, D:]
    _, expected = net.loss_and_grad(**problem)
    net.loss_and_grad(**{**problem, "X": table[:, :D]}, out=out)
    assert out.tobytes() == expected.tobytes()


def test_out_that_overlaps_an_input_of_another_type():
    net = fg.MLP([D, K], loss="cross_entropy")
    buffer = np.zeros(100, np.int64)
    with pytest.raises(ValueError, match="out overlaps y"):
        net.loss_and_grad(np.zeros(8), np.ones((N, D)), buffer[:N], out=buffer.view(float)[:8])


def _readonly():
    a = np.zeros(P)
    a.flags.writeable = False
    return a


@pytest.mark.parametrize(
    ("out", "kind", "message"),
    [
        ([0.0] * P, TypeError, "out is a list; expected a NumPy array"),
        (np.zeros(P, np.float32), TypeError, "out has dtype float32; expected float64"),
        (np.zeros(P, np.int64), TypeError, "out has dtype int64; expected float64"),
        (np.zeros(P, ">f8"), TypeError, "out has dtype >f8; expected float64"),
        (np.zeros(P + 1), ValueError, r"out has shape \(\d+,\); expected"),
        (np.zeros((1, P)), ValueError, r"out has shape \(1, \d+\); expected"),
        (np.zeros(2 * P)[::2], ValueError, "out is not contiguous; expected it C-contiguous, al"),
        (np.zeros(P)[::-1], ValueError, "out is not contiguous; expected it C-contiguous, aligned"),
        (np.zeros(8 * P + 1, np.uint8)[1:].view(float), ValueError, "out is not aligned; expected"),
        (np.broadcast_to(np.zeros(1), (P,)), ValueError, "out is read-only; expected it C-contig"),
        (
            _readonly(),
            ValueError,
            "out is read-only; expected it C-contiguous, aligned and writable",
        ),
        (np.ma.zeros(P), TypeError, "out is a MaskedArray; expected a plain NumPy array"),
    ],
)
def test_out_of_the_wrong_kind(out, kind, message):
    kept = np.asarray(out).tobytes()
    with pytest.raises(kind, match=message):
        fg.MLP(SIZES).loss_and_grad(**good(), out=out)
    assert np.asarray(out).tobytes() == kept


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"layer_sizes": [3]}, ValueError, r"layer_sizes is \[3\]; expected at least two sizes"),
        ({"layer_sizes": []}, ValueError, "layer_sizes .* at least two"),
        ({"layer_sizes": 3}, TypeError, "layer_sizes is 3; expected a sequence of integers"),
        ({"layer_sizes": None}, TypeError, "layer_sizes is None"),
        ({"layer_sizes": [3, 0]}, ValueError, r"layer_sizes\[1\] is 0; expected 1 or more"),
        ({"layer_sizes": [3, -2, 1]}, ValueError, r"layer_sizes\[1\] is -2"),
        ({"layer_sizes": [3, 2.0]}, TypeError, r"layer_sizes\[1\] is 2.0; expected an integer"),
        ({"layer_sizes": [True, 2]}, TypeError, r"layer_sizes\[0\] is True; expected an integer"),
        ({"layer_sizes": "34"}, TypeError, r"layer_sizes\[0\] is '3'; expected an integer"),
        ({"layer_sizes": [3, np.array([2, 2])]}, TypeError, r"layer_sizes\[1\]"),
        ({"loss": "msee"}, ValueError, "loss is 'msee'; expected one of mse, huber, logistic, cro"),
        ({"loss": None}, TypeError, "loss is None; expected one of"),
        ({"loss": []}, TypeError, r"loss is \[\]; expected one of"),
        ({"output_activation": "tanh"}, ValueError, "output_activation is 'tanh'; expected 'ident"),
        ({"output_activation": "relu", "loss": "logistic"}, ValueError, "output_activation is 'relu"),
        ({"output_activation": "relu", "loss": "cross_entropy"}, ValueError, "takes logits"),
        ({"layer_sizes": [3, 1], "loss": "cross_entropy"}, ValueError, "2 or more"),
        ({"dtype": np.float16}, TypeError, "dtype is float16; expected float32 or float64"),
        ({"dtype": ">f8"}, TypeError, "dtype is >f8; expected float32 or float64"),
        ({"dtype": "nothing"}, TypeError, "dtype is 'nothing'; expected float32 or float64"),
        ({"dtype": int}, TypeError, "dtype is int64; expected float32 or float64"),
        ({"l2": -0.1}, ValueError, "l2 is -0.1; expected a finite number, 0 or more"),
        ({"l2": np.nan}, ValueError, "l2 is nan"),
        ({"l2": np.inf}, ValueError, "l2 is inf"),
        ({"l2": "1"}, TypeError, "l2 is '1'; expected one number"),
        ({"l2": True}, TypeError, "l2 is True; expected one number"),
        ({"l2": 1j}, TypeError, "l2 is 1j; expected one number"),
        ({"l2": 10**400}, (TypeError, ValueError), "l2 is 1000"),
        ({"huber_delta": 0}, ValueError, "huber_delta is 0.0; expected a finite number above 0"),
        ({"huber_delta": [1.0]}, TypeError, r"huber_delta is \[1.0\]; expected one number"),
        ({"huber_delta": 1e-50, "dtype": "f4"}, ValueError, "huber_delta is 1e-50; .* float32 holds"),
        ({"huber_delta": 1e39, "dtype": "f4"}, ValueError, "huber_delta is 1e.39; .* float32 holds"),
        ({"l2": 1e39, "dtype": "f4"}, ValueError, "l2 is 1e.39; expected a number that float32 holds"),
    ],
)  # fmt: skip
def test_networks_that_cannot_be(arguments, kind, message):
    with pytest.raises(kind, match=message):
        fg.MLP(**{"layer_sizes": [3, 2], **arguments})


@pytest.mark.parametrize("sizes", [[2**40, 2**40], [2**62, 2**62, 2**62], [10**30, 1], [1, 2**45]])
def test_sizes_that_no_machine_holds_are_memory_errors(sizes):
    with pytest.raises(MemoryError, match="layer_sizes asks for"):
        fg.MLP(sizes)


def test_arrays_that_cannot_be_copied_are_memory_errors():
    big = np.broadcast_to(np.zeros((1, D)), (2**43, D))
    net = fg.MLP(SIZES)
    with pytest.raises(MemoryError):
        net.predict(net.init(0), big)
    with pytest.raises(MemoryError):
        fg.relu(big)


BIG = 2**24  # its square is a number of elements that no machine holds
IMPOSSIBLE = {
    "a layer": lambda: fg.affine(np.zeros((BIG, 1)), np.zeros((1, BIG)), np.zeros(BIG)),
    "its mask": lambda: fg.affine_relu(np.zeros((BIG, 1)), np.zeros((1, BIG)), np.zeros(BIG)),
    "outputs": lambda: fg.MLP([1, BIG]).predict(np.zeros(2 * BIG), np.zeros((BIG, 1))),
    "parameters": lambda: fg.MLP([2**20, 2**23]).init(0),
    "a neuron's rows": lambda: fg.neuron_grad(np.zeros(1), 0, np.broadcast_to(0.0, (2**45, 1))),
    "an identity": lambda: fg.calculus.identity_jacobian(2**30),
    "a Jacobian": lambda: fg.numerical_jacobian(lambda theta: theta, np.zeros(2**22)),
    "an optimiser": lambda: fg.Adam().prepare(2**45, np.dtype(float)),
    "compiled rows": lambda: network(fg.MLP(SIZES), n=2**50),
    "more compiled rows": lambda: network(fg.MLP(SIZES), n=2**80),
    "compiled copies": lambda: network(fg.MLP(SIZES), n=4, copies=2**62),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_impossible_sizes_are_memory_errors(case):
    with pytest.raises(MemoryError):
        IMPOSSIBLE[case]()


@pytest.mark.parametrize("rows", [2**40, 2**62, 2**80])
def test_a_batch_may_be_larger_than_the_data(rows):
    X, y = np.ones((N, D)), np.ones((N, K))
    runs = [fg.fit(fg.MLP(SIZES), X, y, epochs=2, seed=0, batch_size=m) for m in (N, rows)]
    assert runs[0].theta.tobytes() == runs[1].theta.tobytes()


def test_huge_dimensions_of_no_elements_are_empty_answers():
    Z = np.zeros((2**59, 0))
    assert fg.relu(Z).shape == fg.relu_mask(Z).shape == Z.shape
    with pytest.raises(ValueError, match=r"X has shape \(576460752303423488, 0\)"):
        fg.MLP(SIZES).predict(np.zeros(P), Z)
    net = fg.MLP([2**30, 1])
    with pytest.raises(ValueError, match=r"theta has shape \(0,\)"):
        net.predict(np.zeros(0), np.zeros((0, 2**30)))


@pytest.mark.parametrize(
    ("threads", "kind", "message"),
    [
        (0, ValueError, "threads is 0; expected 1 or more"),
        (-1, ValueError, "threads is -1"),
        (2**70, ValueError, "expected at most"),
        (1.0, TypeError, "threads is 1.0; expected an integer"),
        (True, TypeError, "threads is True"),
        ("2", TypeError, "threads is '2'"),
    ],
)
def test_threads(threads, kind, message):
    net, out = fg.MLP(SIZES), np.full(P, 3.25)
    X, w = np.ones((N, D)), np.ones(D)
    calls = [
        lambda: net.loss_and_grad(**good(), out=out, threads=threads),
        lambda: net.predict(good()["theta"], X, threads=threads),
        lambda: fg.affine(X, w, 0.0, threads=threads),
        lambda: fg.neuron_loss_and_grad(w, 0.0, X, np.ones(N), threads=threads),
        lambda: fg.set_num_threads(threads),
    ]
    for call in calls:
        with pytest.raises(kind, match=message):
            call()
    assert (out == 3.25).all()


X, W, B, M = np.ones((N, D)), np.ones((D, K)), np.ones(K), np.ones((N, K), bool)
# ruff: noqa: E501
LAYER_ERRORS = [
    (lambda: fg.affine(X, np.ones((D + 1, K)), B), ValueError, r"X has shape \(6, 3\); expected \(n, 4\)"),
    (lambda: fg.affine(X, W, np.ones(K + 1)), ValueError, r"b has shape \(3,\); expected \(2,\)"),
    (lambda: fg.affine(X, W, 1.0), ValueError, r"b has shape \(\); expected one dimension"),
    (lambda: fg.affine(X, np.ones(D), np.ones(1)), TypeError, "b is .*; expected one number"),
    (lambda: fg.affine(X, np.ones(D), "1"), TypeError, "b .*"),
    (lambda: fg.affine(X, np.ones((D, K, 1)), B), ValueError, r"w has shape \(3, 2, 1\); expected \(d,\)"),
    (lambda: fg.affine(X, np.ones(()), B), ValueError, r"w has shape \(\)"),
    (lambda: fg.affine(X, np.ones((D, 0)), np.ones(0)), ValueError, r"w has shape \(3, 0\); expected at"),
    (lambda: fg.affine(np.ones((N, 0)), np.ones(0), 0.0), ValueError, r"w has shape \(0, 1\)|w has shape \(0,\)"),
    (lambda: fg.affine(np.ones(D), W, B), ValueError, r"X has shape \(3,\); expected two"),
    (lambda: fg.affine_relu(X.astype("f4"), W, B), TypeError, "w has dtype float64, X has float32: convert"),
    (lambda: fg.affine_relu(X, W, B.astype("f4")), TypeError, "b has dtype float32, X has float64: convert"),
    (lambda: fg.affine_relu(X.astype("f2"), W, B), TypeError, "X has dtype float16"),
    (lambda: fg.affine_relu(X * 1j, W, B), TypeError, "X has dtype complex128"),
    (lambda: fg.affine_relu(np.ma.ones((N, D)), W, B), TypeError, "X is a masked array"),
    (lambda: fg.affine_relu_backward(np.ones((N, K + 1)), X, W, M), ValueError, r"grad_a has shape \(6, 3\); expected \(6, 2\)"),
    (lambda: fg.affine_relu_backward(np.ones(N), X, W, M), ValueError, r"grad_a has shape \(6,\); expected \(6, 2\)"),
    (lambda: fg.affine_relu_backward(np.ones((N - 1, K)), X, W, M), ValueError, "grad_a has"),
    (lambda: fg.affine_relu_backward(np.ones((N, K)), X, W, M[:-1]), ValueError, r"mask has shape \(5, 2\); expected \(6, 2\)"),
    (lambda: fg.affine_relu_backward(np.ones((N, K)), X, W, M.astype(int)), TypeError, "mask has dtype int64; expected bool"),
    (lambda: fg.affine_relu_backward(np.ones((N, K)), X, W, None), TypeError, "mask is None; expected an array"),
    (lambda: fg.affine_relu_backward(np.ones((N, K)), X, np.ones((0, K)), M), ValueError, r"W has shape|w has shape"),
    (lambda: fg.affine_relu_backward(np.ones((N, K), "f4"), X, W, M), TypeError, "dtype float32|has float32"),
    (lambda: fg.neuron_loss_and_grad(np.ones(D + 1), 0.0, X, np.ones(N)), ValueError, r"X has shape \(6, 3\); expected \(n, 4\)"),
    (lambda: fg.neuron_loss_and_grad(np.ones((D, 1)), 0.0, X, np.ones(N)), ValueError, r"w has shape \(3, 1\); expected one dim"),
    (lambda: fg.neuron_loss_and_grad(np.ones(D), np.ones(2), X, np.ones(N)), TypeError, "b is .*expected one number"),
    (lambda: fg.neuron_loss_and_grad(np.ones(D), None, X, np.ones(N)), TypeError, "b .*"),
    (lambda: fg.neuron_loss_and_grad(np.ones(D), 0.0, X, np.ones(N - 1)), ValueError, "y has 5 rows, X has 6"),
    (lambda: fg.neuron_loss_and_grad(np.ones(D), 0.0, X, np.ones((N, 1))), ValueError, r"y has shape \(6, 1\)"),
    (lambda: fg.neuron_loss_and_grad(np.ones(D), 0.0, X, np.ones(N, "f4")), TypeError, "y has dtype float32"),
    (lambda: fg.neuron_loss_and_grad(np.ones(D, "f4"), 0.0, X, np.ones(N)), TypeError, "X has dtype float64, w has float32"),
    (lambda: fg.neuron_loss_and_grad(np.ones(D), 0.0, X, np.ones(N), np.zeros(N)), ValueError, "sample_weight is zero"),
    (lambda: fg.neuron_loss_and_grad(np.ones(D), 0.0, X, np.ones(N), -np.ones(N)), ValueError, "sample_weight has the value -1.0 at row 0"),
    (lambda: fg.neuron_loss_and_grad(np.ones(D), 0.0, X, np.ones(N), np.ones(N + 1)), ValueError, "sample_weight has 7 rows"),
    (lambda: fg.neuron_grad(np.ones(D + 1), 0.0, X), ValueError, r"X has shape \(6, 3\)"),
    (lambda: fg.neuron_grad(np.ones(D, "f4"), 0.0, X), TypeError, "X has dtype float64, w has float32"),
    (lambda: fg.relu(np.ones(3, complex)), TypeError, "Z has dtype complex128"),
    (lambda: fg.relu("abc"), TypeError, "Z has dtype <U3"),
    (lambda: fg.relu_mask(np.ones(3, "f2")), TypeError, "Z has dtype float16"),
    (lambda: fg.relu(None), TypeError, "Z is None; expected an array"),
    (lambda: fg.relu(np.ma.ones(3)), TypeError, "Z is a masked array"),
    (lambda: fg.neuron_loss_and_grad(np.ones(D), 10**400, X, np.ones(N)), (TypeError, ValueError), "b is 1000"),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(LAYER_ERRORS)))
def test_layers_and_neurons(case):
    call, kind, message = LAYER_ERRORS[case]
    with pytest.raises(kind, match=message):
        call()


@pytest.mark.parametrize(
    ("layers", "kind", "message"),
    [
        ([(np.ones((3, 2)), np.ones(2))], ValueError, "layers has 1 pairs .*; expected 2"),
        ([(np.ones((3, 4)), np.ones(4)), np.ones(2)], ValueError, r"b of layers|layers\[1\]"),
        ([(np.ones((3, 4)), np.ones(4)), 5], ValueError, r"layers\[1\] is 5; expected a pair"),
        ([(np.ones((4, 3)), np.ones(4)), (np.ones((4, 2)), np.ones(2))], ValueError,
         r"W of layers\[0\] has shape \(4, 3\); expected \(3, 4\)"),
        ([(np.ones((3, 4)), np.ones(4)), (np.ones((4, 2)), np.ones(3))], ValueError,
         r"b of layers\[1\] has shape \(3,\); expected \(2,\)"),
        ([(np.ones((3, 4), "f4"), np.ones(4)), (np.ones((4, 2)), np.ones(2))], TypeError,
         r"W of layers\[0\] has dtype float32"),
    ],
)  # fmt: skip
def test_flatten(layers, kind, message):
    with pytest.raises(kind, match=message):
        fg.MLP(SIZES).flatten(layers)


@pytest.mark.parametrize(
    ("y", "kind", "message"),
    [
        (["a"] * N, TypeError, r"number the classes with names, labels = np.unique\(y, return"),
        (np.array(["a"] * N, object), TypeError, r"np.unique\(y, return_inverse=True\)"),
        (np.full(N, 0.5), TypeError, "fractions are no labels; for a regression .* loss='mse'"),
        (np.ones(N), TypeError, r"convert them with y.astype\(np.int64\)"),
        (np.ones(N, bool), TypeError, r"convert them with y.astype\(np.int64\)"),
        (np.ones((N, K)), TypeError, r"of one-hot rows take y.argmax\(1\)"),
        (np.ones((N, K), int), ValueError, r"one label a row: of one-hot rows take y.argmax\(1\)"),
    ],
)
def test_advice_on_labels(y, kind, message):
    check_network_error(kind, message, "cross_entropy", y=y)


def test_advice_on_parameters_and_inputs():
    result = fg.FitResult(np.zeros(P), np.zeros(P), fg.History({"loss": []}), None)
    check_network_error(TypeError, "theta is a FitResult; pass its theta", theta=result)
    check_network_error(
        TypeError, "theta has dtype float32, the network has float64", theta=np.zeros(P, "f4")
    )
    check_network_error(ValueError, r"one row is X\[None, :\]", X=np.ones(D))


@pytest.mark.parametrize(
    ("seed", "kind"), [("a", TypeError), (-1, ValueError), (1.5, TypeError), ({}, TypeError)]
)
def test_seeds(seed, kind):
    with pytest.raises(kind, match=re.escape(f"seed is {seed!r}; expected None, an integer")):
        fg.MLP(SIZES).init(seed=seed)


def test_evaluate_takes_the_network_first():
    with pytest.raises(TypeError, match="net is a ndarray; expected an MLP"):
        fg.evaluate(np.zeros(P), fg.MLP(SIZES), np.ones((N, D)), np.ones((N, K)))


def test_unflatten_and_probabilities():
    net = fg.MLP(SIZES)
    with pytest.raises(ValueError, match=r"theta has shape \(3,\); expected \(26,\)"):
        net.unflatten(np.ones(3))
    with pytest.raises(TypeError, match="theta is a list; expected a NumPy array"):
        net.unflatten([1.0] * P)
    for method in (net.predict_proba, net.classify):
        with pytest.raises(ValueError, match="the loss 'mse' has no"):
            method(np.zeros(P), np.ones((N, D)))


@pytest.mark.parametrize("value", [1.7e308, 1e-310])
def test_weights_whose_sum_cannot_be_divided_by_are_refused(value):
    net = fg.MLP([1, 1])
    args = np.zeros(2), np.ones((4, 1)), np.ones(4), np.full(4, value)
    with pytest.raises(ValueError, match="sample_weight sums to"):
        net.loss_and_grad(*args)
    with pytest.raises(ValueError, match="sample_weight sums to"):
        fg.neuron_loss_and_grad(np.ones(1), 0.0, *args[1:])


def test_threads_are_checked_where_there_are_no_rows():
    with pytest.raises(TypeError, match="threads"):
        fg.MLP([2, 1]).predict(np.zeros(3), np.empty((0, 2)), threads="two")
    with pytest.raises(ValueError, match="threads"):
        fg.affine(np.empty((0, 2)), np.ones(2), 0.0, threads=0)
    with pytest.raises(ValueError, match="threads"):
        mask = np.empty((0, 1), bool)
        fg.affine_relu_backward(mask + 0.0, np.empty((0, 2)), np.ones((2, 1)), mask, threads=0)


def test_no_dtype_is_not_a_dtype():
    with pytest.raises(TypeError, match="dtype is None"):
        fg.MLP([2, 1], dtype=None)
