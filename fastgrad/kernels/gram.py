"""Inner products of the gradients of single rows, from their factors (formula 33).

In: what enters each layer, A (n, d), and its deltas D (n, k), of two sets of rows, as the step kept
them. Out: the sum over layers of (1 + A A2^T) * (D D2^T), element by element; no gradient is made.
With several deltas a row, one for each output, D is (n channels, k), and a number of A A2^T meets
channels^2 of D D2^T: the neural tangent kernel. Loop order: the transposes of the second set into
panels, once; then tiles of the result, each through all layers while it is in cache, by two
products of `gemm.py` a layer. Of a symmetric result only what lies on or above the diagonal is
computed. A number is written by one tile, so by one thread.
"""

from __future__ import annotations

from numba import prange, types
from numba.extending import intrinsic

from .gemm import PANELS, gemm
from .jit import inner, kernel, parallel_kernel
from .micro_kernel import NV, STORE
from .pack import pack_transposed
from .record_types import RecordType
from .records import GRAM, LINE
from .rounding import control_word, set_control_word
from .routines import procedure
from .simd import I64, lanes, pointer, shift
from .work_queue import claim

PACK_COLUMNS = 256  # rows of X2 that one task transposes: whole panels


@intrinsic
def gram_in(typingctx, buffer, like):
    """The GRAM at the beginning of an array; its real numbers are of the dtype of `like`."""

    def codegen(context, builder, signature, args):
        array = context.make_array(signature.args[0])(context, builder, value=args[0])
        return builder.bitcast(array.data, I64.as_pointer())

    return RecordType(GRAM, like.dtype)(buffer, like), codegen


@inner
def _sizes(gram, layer):
    """Of a layer: numbers in a row of inputs, and from row to row; then the same of deltas."""
    sizes = shift(gram.sizes, 4 * layer)
    return sizes[0], sizes[1], sizes[2], sizes[3]


@inner
def _whole(count, like):
    """The least number of whole vectors, in numbers."""
    vl = lanes(like)
    return (count + vl - 1) // vl * vl


@inner
def _inputs(gram, layer, x, activations, n):
    """The inputs of a layer, of n rows."""
    if layer == 0:
        return x
    for below in range(1, layer):
        activations = shift(activations, n * _sizes(gram, below)[1])
    return activations


@inner
def _deltas(gram, layer, deltas, n):
    for below in range(layer):
        deltas = shift(deltas, n * gram.channels * _sizes(gram, below)[3])
    return deltas


@inner
def _packed(gram, layer):
    """The panels of a layer's inputs; those of its deltas lie behind."""
    packed = gram.packed
    columns, all_columns = _whole(gram.n2, packed), _whole(gram.n2 * gram.channels, packed)
    for below in range(layer):
        d, _, k, _ = _sizes(gram, below)
        packed = shift(packed, columns * d + all_columns * k)
    return packed


@procedure(types.none, lambda real: (RecordType(GRAM, real), types.int64))
def pack_factors(gram, index):
    """Some rows of the second set's factors, transposed."""
    channels, n2 = gram.channels, gram.n2
    for layer in range(gram.layers):
        d, ld, k, ldd = _sizes(gram, layer)
        to = _packed(gram, layer)
        a, delta = _inputs(gram, layer, gram.x2, gram.activations2, n2), gram.deltas2
        start, stop = index * PACK_COLUMNS, min(n2, (index + 1) * PACK_COLUMNS)
        pack_transposed(to, a, ld, n2, d, start, stop)
        to = shift(to, _whole(n2, to) * d)
        delta = _deltas(gram, layer, delta, n2)
        pack_transposed(to, delta, ldd, n2 * channels, k, start * channels, stop * channels)


@inner
def _multiply(gram, total, ld, inputs, ldi, first_input, deltas, row, rows, column, columns, fresh):
    """total (+)= the tile of 1 + A A2^T, each number as often as it has channels, times D D2^T."""
    channels = gram.channels
    first = row // channels
    for r in range(rows):
        sums, products = shift(total, r * ld), shift(deltas, r * ld)
        i = (row + r) // channels - first
        factors = shift(inputs, i * ldi)
        if channels == 1:
            factors = shift(factors, column - first_input)
            if fresh:
                for q in range(columns):
                    sums[q] = factors[q] * products[q]
            else:
                for q in range(columns):
                    sums[q] += factors[q] * products[q]
            continue
        q = 0
        while q < columns:
            j = (column + q) // channels
            stop, factor = min(columns, (j + 1) * channels - column), factors[j - first_input]
            while q < stop:
                sums[q] = (0.0 if fresh else sums[q]) + factor * products[q]
                q += 1


@inner
def _place(gram, r, q):
    """Where in the result row r and column q of the products are."""
    channels = gram.channels
    if channels == 1:
        return r * gram.n2 + q
    i, j = r // channels, q // channels
    return ((i * gram.n2 + j - i) * channels + r) * channels + q - j * channels


@inner
def _write(gram, total, ld, row, rows, column, columns):
    """A tile to the result; of a symmetric one what is on or above the diagonal, to both places."""
    out, factor = gram.out, gram.factor[0]
    for r in range(rows):
        start = max(row + r - column, 0) if gram.symmetric else 0
        come = shift(total, r * ld)
        if gram.channels == 1:
            to = shift(out, (row + r) * gram.n2 + column)
            for q in range(start, columns):
                to[q] = factor * come[q]
        else:
            for q in range(start, columns):
                out[_place(gram, row + r, column + q)] = factor * come[q]
    if gram.symmetric == 0:
        return
    for q in range(columns):
        stop = min(rows, column + q - row)
        come = shift(total, q)
        if gram.channels == 1:
            to = shift(out, (column + q) * gram.n2 + row)
            for r in range(stop):
                to[r] = factor * come[r * ld]
        else:
            for r in range(stop):
                out[_place(gram, column + q, row + r)] = factor * come[r * ld]


@procedure(types.none, lambda real: (RecordType(GRAM, real), types.CPointer(real), types.int64))
def gram_tile(gram, scratch, index):
    """One tile of the result."""
    n, n2, channels = gram.n, gram.n2, gram.channels
    across = (n2 * channels + gram.columns - 1) // gram.columns
    row, column = index // across * gram.rows, index % across * gram.columns
    rows = min(gram.rows, n * channels - row)
    columns = min(gram.columns, n2 * channels - column)
    if gram.symmetric and column + columns <= row:
        return
    # The rows of X and of X2 that these are of; of X2 whole panels.
    panel = NV * lanes(scratch)
    first, last = row // channels, (row + rows - 1) // channels
    first2 = column // channels // panel * panel
    last2 = min(n2, ((column + columns - 1) // channels // panel + 1) * panel)
    ld, ldi = gram.columns, gram.inputs
    total = scratch
    deltas = shift(total, gram.rows * ld)
    inputs = shift(deltas, gram.rows * ld)
    ones = shift(inputs, gram.rows * ldi)
    zeros = shift(ones, ldi)
    for q in range(ldi):
        ones[q] = 1
    for q in range(ld):
        zeros[q] = 0
    for layer in range(gram.layers):
        d, lda, k, ldd = _sizes(gram, layer)
        a = shift(_inputs(gram, layer, gram.x, gram.activations, n), first * lda)
        b, store = _packed(gram, layer), types.int64(STORE)
        gemm(
            inputs, ldi, a, lda, 1, shift(b, first2 * d), PANELS, last + 1 - first, last2 - first2,
            d, ones, 0, inputs, 0, store, 0,
        )  # fmt: skip
        b = shift(b, _whole(n2, b) * d + column * k)
        a = shift(_deltas(gram, layer, gram.deltas, n), row * ldd)
        gemm(deltas, ld, a, ldd, 1, b, PANELS, rows, columns, k, zeros, 0, deltas, 0, store, 0)
        _multiply(
            gram, total, ld, inputs, ldi, first2, deltas, row, rows, column, columns, layer == 0
        )
    _write(gram, total, ld, row, rows, column, columns)


@inner
def _share_packing(gram, worker):
    tasks = (gram.n2 + PACK_COLUMNS - 1) // PACK_COLUMNS
    for index in range(worker, tasks, gram.workers):
        pack_factors(gram, index)


@inner
def _share_tiles(gram, worker):
    """The tiles that no other worker has claimed."""
    scratch = shift(gram.scratch, worker * gram.scratch_stride)
    for index in range(gram.tiles):
        if claim(shift(gram.queue, index * LINE), 1):
            gram_tile(gram, scratch, index)


@kernel
def bind_gram(
    buffer, sizes, x, activations, deltas, x2, activations2, deltas2, packed, scratch, queue,
    factor, out,
):  # fmt: skip
    gram = gram_in(buffer, pointer(out))
    gram.sizes, gram.queue, gram.factor = pointer(sizes), pointer(queue), pointer(factor)
    gram.x, gram.activations, gram.deltas = pointer(x), pointer(activations), pointer(deltas)
    gram.x2, gram.activations2 = pointer(x2), pointer(activations2)
    gram.deltas2 = pointer(deltas2)
    gram.packed, gram.scratch, gram.out = pointer(packed), pointer(scratch), pointer(out)


@kernel
def serial_gram(like, buffer):
    """The Gram matrix of a GRAM, whose dtype is that of `like`."""
    gram = gram_in(buffer, pointer(like))
    for worker in range(gram.workers):
        _share_packing(gram, worker)
    _share_tiles(gram, types.int64(0))


@parallel_kernel
def parallel_gram(like, buffer):
    """`serial_gram` by several threads."""
    gram = gram_in(buffer, pointer(like))
    word = control_word()
    for thread in prange(gram.workers):
        own_word = control_word()
        set_control_word(word)
        _share_packing(gram_in(buffer, pointer(like)), types.int64(thread))
        set_control_word(own_word)
    for thread in prange(gram.workers):
        own_word = control_word()
        set_control_word(word)
        _share_tiles(gram_in(buffer, pointer(like)), types.int64(thread))
        set_control_word(own_word)
