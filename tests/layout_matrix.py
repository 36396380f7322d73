"""Every array argument in every memory layout, in one process that has seen nothing yet.

Numba's dispatcher knows an array by a fingerprint that leaves out byte order and alignment, and
remembers what it saw first: so what a call makes of a layout may depend on those before it. Run as
a program with the name of an order; any result but the plain call's, or an error that names the
argument, ends it.
"""

import itertools
import sys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from helpers import DTYPES, draw_problem, dyadic

import fastgrad as fg

N, D, K = 7, 5, 3
ROWS = 3000  # times N: enough for two threads
PLAIN = "native", "aligned", "C", "writable"
LAYOUTS = list(
    itertools.product(
        ("native", "swapped"),
        ("aligned", "unaligned"),
        ("C", "Fortran", "strided", "negative"),
        ("writable", "read-only"),
    )
)


def arrange(values, layout):
    """The same numbers in memory of that layout."""
    order, alignment, strides, access = layout
    dtype = values.dtype if order == "native" else values.dtype.newbyteorder()
    shape = tuple(2 * s for s in values.shape) if strides == "strided" else values.shape
    size = int(np.prod(shape)) * dtype.itemsize
    skip = 1 if alignment == "unaligned" else 0
    # The alignment of the first byte is NumPy's; of a strided one that of the second.
    raw = np.zeros(size + 2 * dtype.itemsize, np.uint8)
    raw = raw[-raw.ctypes.data % dtype.itemsize + skip :][:size]
    array = raw.view(dtype).reshape(shape, order="F" if strides == "Fortran" else "C")
    if strides == "strided":
        array = array[tuple(slice(None, None, 2) for _ in values.shape)]
    elif strides == "negative":
        array = array[tuple(slice(None, None, -1) for _ in values.shape)]
    array[...] = values
    array.flags.writeable = access == "writable"
    return array


class Call(NamedTuple):
    """A function of arrays by name; what it returns is what it computes."""

    name: str
    function: Callable
    arrays: dict
    written: str = ""  # the array it writes to, which must be plain


def layer_calls(dtype):
    rng = np.random.default_rng(7)
    X, W, b = (dyadic(rng, s, dtype) for s in [(N, D), (D, K), (K,)])
    grad_a, mask = dyadic(rng, (N, K), dtype), rng.random((N, K)) < 0.5
    yield Call("relu", fg.relu, {"Z": X})
    yield Call("affine", fg.affine, {"X": X, "w": W, "b": b})
    yield Call("affine_relu", fg.affine_relu, {"X": X, "w": W, "b": b})
    back = {"grad_a": grad_a, "X": X, "W": W, "mask": mask}
    yield Call("affine_relu_backward", fg.affine_relu_backward, back)


def neuron_calls(dtype):
    rng = np.random.default_rng(8)
    w, X, y = (dyadic(rng, s, dtype) for s in [(D,), (N, D), (N,)])
    s = rng.integers(1, 4, N).astype(dtype)

    def neuron(w, X, y, sample_weight=None, **options):
        return fg.neuron_loss_and_grad(w, 0.5, X, y, sample_weight, **options)

    yield Call("neuron_grad", lambda w, X: fg.neuron_grad(w, 0.5, X), {"w": w, "X": X})
    yield Call("neuron", neuron, {"w": w, "X": X, "y": y})
    yield Call("weighted neuron", neuron, {"w": w, "X": X, "y": y, "sample_weight": s})
    X, y = np.repeat(X, ROWS, axis=0), np.repeat(y, ROWS)
    yield Call("parallel neuron by w and y", lambda w, y: neuron(w, X, y), {"w": w, "y": y})


def network_calls(dtype, loss):
    rng = np.random.default_rng(9)
    net = fg.MLP([D, 6, K], loss=loss, dtype=dtype, l2=0.1)
    theta, X, y, s = draw_problem(rng, net.layer_sizes, N, loss, dtype, True)
    three = {"theta": theta, "X": X, "y": y}
    yield Call(loss, net.loss_and_grad, three)
    yield Call(f"weighted {loss}", net.loss_and_grad, {**three, "sample_weight": s})
    yield Call(f"{loss} grad_input", net.grad_input, three)
    yield Call(f"{loss} predict", net.predict, {"theta": theta, "X": X})

    def into(theta, X, y, out):
        return net.loss_and_grad(theta, X, y, out=out)

    yield Call(f"{loss} into out", into, {**three, "out": np.zeros_like(theta)}, "out")
    many, labels = np.repeat(X, ROWS, axis=0), np.repeat(y, ROWS, axis=0)

    def parallel(theta, y):
        return net.loss_and_grad(theta, many, y)

    yield Call(f"parallel {loss} by theta and y", parallel, {"theta": theta, "y": labels})


def optimizer_calls(dtype):
    def step(theta, grad):
        fg.Adam(0.1).step(theta, grad)
        return theta

    theta = dyadic(np.random.default_rng(10), 21, dtype)
    yield Call("Adam.step", step, {"theta": theta, "grad": theta[::-1].copy()}, "theta")


def calls():
    for dtype in DTYPES:
        yield from layer_calls(dtype)
        yield from neuron_calls(dtype)
        for loss in ("mse", "logistic", "poisson", "cross_entropy"):  # each kind of targets
            yield from network_calls(dtype, loss)
        yield from optimizer_calls(dtype)


def bits(result):
    parts = result if isinstance(result, tuple) else (result,)
    return [np.asarray(part).tobytes() for part in parts]


def attempt(call, name, layout):
    """The bits of a call with one array in a layout; None where that is refused by name."""
    given = {other: array.copy() for other, array in call.arrays.items()}
    given[name] = arrange(call.arrays[name], layout)
    before = {other: array.tobytes() for other, array in given.items()}
    try:
        result = bits(call.function(**given))
    except (TypeError, ValueError) as error:
        assert name in str(error), error
        result = None
    for other, array in given.items():
        may_change = other == call.written and result is not None
        assert may_change or array.tobytes() == before[other], (call.name, name, layout, other)
    return result


ORDERS = {
    "native first": lambda layout: layout[0] == "swapped",
    "swapped first": lambda layout: layout[0] == "native",
    "unaligned first": lambda layout: (layout[1] == "aligned", layout[0] == "swapped"),
    "read-only first": lambda layout: (layout[3] == "writable", layout[1] == "aligned"),
}


def check(order):
    """(combinations with the bits of the plain call, combinations refused by name)."""
    equal = refused = 0
    layouts = sorted(LAYOUTS, key=ORDERS[order])
    for call in calls():
        seen = {}
        for name, layout in itertools.product(call.arrays, layouts):
            must_be_plain = name == call.written
            if must_be_plain and layout[3] == "read-only":
                continue
            # The first call may open the fast path for the second.
            first, second = (attempt(call, name, layout) for _ in range(2))
            assert first == second, (call.name, name, layout)
            if first is None:
                assert must_be_plain and layout != PLAIN, (call.name, name, layout)
                refused += 1
            else:
                seen[name, layout] = first
                equal += 1
        expected = bits(call.function(**{name: a.copy() for name, a in call.arrays.items()}))
        for where, result in seen.items():
            assert result == expected, (call.name, *where)
    return equal, refused


if __name__ == "__main__":
    print(*check(sys.argv[1]))
