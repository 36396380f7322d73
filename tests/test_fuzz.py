"""Random calls, right and wrong, of the whole public numerical API.

A call either has arguments that fit, in any layout and of any acceptable type, and then its result
is the twin's; or exactly one argument does not fit, and then a documented error names it. Nothing
else may happen, and no input may change. `pytest -m stress` makes 10,000 calls.
"""

import warnings

import numpy as np
import pytest
from helpers import (
    DTYPES,
    F32,
    F64,
    LAYOUTS,
    LOSSES,
    assert_close,
    draw_problem,
    dyadic,
    snapshot,
    twin,
    wide,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastgrad as fg
from fastgrad import reference as ref

pytestmark = pytest.mark.usefixtures("one_thread")


class Holder:
    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


def other_float(a):
    return a.astype({F32: F64, F64: F32}.get(a.dtype, F32))


def one_more(a):
    return np.concatenate([a, a[..., :1]], axis=-1) if a.shape[-1] else np.ones(1, a.dtype)


FITTING = {**LAYOUTS, "list": np.ndarray.tolist, "holder": Holder, "memoryview": memoryview}
UNFITTING = {
    "other float": other_float,
    "complex": lambda a: a.astype(complex),
    "object": lambda a: a.astype(object),
    "float16": lambda a: a.astype(np.float16),
    "strings": lambda a: a.astype(str),
    "masked": np.ma.masked_array,
    "one more": one_more,
    "one rank more": lambda a: a[..., None],
    "a word": lambda a: "abc",
    "a dictionary": lambda a: {"a": 1},
    "a function": lambda a: np.sum,
}


def layer(rng, n, d, k, dtype):
    return [dyadic(rng, (n, d), dtype), dyadic(rng, (d, k), dtype), dyadic(rng, k, dtype)]


def calls(rng, name, n, d, k, dtype, loss):
    """(function, its twin in float64, names of arguments, arguments)."""
    X, W, b = layer(rng, n, d, k, dtype)
    w = W[:, 0].copy()
    if name in ("affine", "affine_relu"):
        return getattr(fg, name), getattr(ref, name), ["X", "w", "b"], [X, W, b]
    if name == "affine_relu_backward":
        mask = rng.random((n, k)) < 0.5
        names = ["grad_a", "X", "W", "mask"]
        return fg.affine_relu_backward, ref.affine_relu_backward, names, [X @ W, X, W, mask]
    if name == "neuron_grad":
        return (lambda w, X: fg.neuron_grad(w, 0.5, X), lambda w, X: ref.neuron_grad(w, 0.5, X),
                ["w", "X"], [w, X])  # fmt: skip
    if name == "neuron_loss_and_grad":
        y, s = dyadic(rng, n, dtype), rng.integers(1, 4, n).astype(dtype)
        return (lambda w, X, y, s: fg.neuron_loss_and_grad(w, 0.5, X, y, s),
                lambda w, X, y, s: ref.neuron_loss_and_grad(w, 0.5, X, y, s),
                ["w", "X", "y", "sample_weight"], [w, X, y, s])  # fmt: skip
    sizes = [d, 5, k + (loss == "cross_entropy")]
    net = fg.MLP(sizes, loss=loss, dtype=dtype, l2=0.25)
    theta, X, y, s = draw_problem(rng, sizes, max(n, 1), loss, dtype, True)
    X, y, s = X[:n], y[:n], s[:n] + 1
    arguments = [theta, X, y, s]
    names = ["theta", "X", "y", "sample_weight"]
    if name == "predict":
        return net.predict, lambda t, X: ref.mlp_forward(t, X, sizes)[-1], names[:2], arguments[:2]
    twins = {
        "loss_and_grad": lambda t, X, y, s: twin(t, X, y, sizes, loss, l2=0.25, sample_weight=s),
        "grad_input": lambda t, X, y, s: ref.mlp_grad_input(t, X, y, sizes, loss, sample_weight=s),
        "loss": lambda t, X, y, s: twin(t, X, y, sizes, loss, l2=0.25, sample_weight=s)[0],
    }
    return getattr(net, name), twins[name], names, arguments


NAMES = ["affine", "affine_relu", "affine_relu_backward", "neuron_grad", "neuron_loss_and_grad",
         "predict", "loss_and_grad", "grad_input", "loss"]  # fmt: skip
MEANS = {"neuron_loss_and_grad", "loss_and_grad", "grad_input", "loss"}

one_call = given(
    name=st.sampled_from(NAMES),
    loss=st.sampled_from(LOSSES),
    dtype=st.sampled_from(DTYPES),
    shape=st.tuples(st.integers(0, 30), st.integers(1, 40), st.integers(1, 70)),
    fits=st.booleans(),
    kinds=st.lists(st.sampled_from(sorted(FITTING)), min_size=4, max_size=4),
    wrong=st.sampled_from(sorted(UNFITTING)),
    which=st.integers(0, 3),
    seed=st.integers(0, 2**32),
)


def check_call(name, loss, dtype, shape, fits, kinds, wrong, which, seed):
    rng = np.random.default_rng(seed)
    n, d, k = shape
    function, by_twin, names, plain = calls(rng, name, n, d, k, dtype, loss)
    if not fits:
        which %= len(names)
        given_ = list(plain)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            given_[which] = UNFITTING[wrong](plain[which])
        with pytest.raises((TypeError, ValueError)) as caught:
            call(function, given_)
        assert any(word in str(caught.value) for word in names), str(caught.value)
        return
    if n == 0:  # a list of no rows has lost its columns
        kinds = ["C" if kind in ("list", "memoryview") else kind for kind in kinds]
    given_ = [FITTING[kind](a) for kind, a in zip(kinds, plain)]
    if name in MEANS and n == 0:
        with pytest.raises(ValueError, match="0 rows"):
            call(function, given_)
        return
    if "theta" not in names:  # lists take the dtype they meet, float64 among themselves
        own = [a.dtype for a, kind in zip(plain, kinds) if a.dtype.kind == "f" and kind != "list"]
        dtype = own[0] if own else F64
    got = call(function, given_)
    expected = by_twin(*(wide(a) if a.dtype.kind == "f" else a for a in plain))
    got, expected = (r if isinstance(r, tuple) else (r,) for r in (got, expected))
    size = max(1.0, *(np.abs(np.asarray(e, float)).max(initial=0) for e in expected))
    for a, e in zip(got, expected):
        if isinstance(a, np.ndarray) and a.dtype != bool:
            assert a.dtype == dtype
        assert_close(np.append(a, size), np.append(e, size), dtype, 256)


def call(function, arguments):
    arrays = [a for a in arguments if type(a) is np.ndarray and a.dtype != object]
    before = snapshot(*arrays)
    try:
        return function(*arguments)
    finally:
        assert snapshot(*arrays) == before


@one_call
@settings(max_examples=300)
def test_a_call_gives_the_twins_result_or_a_documented_error(**drawn):
    check_call(**drawn)


@pytest.mark.stress
@one_call
@settings(
    max_examples=10_000,
    derandomize=False,
    suppress_health_check=list(HealthCheck),
)
def test_ten_thousand_calls_give_the_twins_results_or_documented_errors(**drawn):
    check_call(**drawn)
