"""A layer with few outputs: forward with lanes along the inputs, four outputs of a row together.

In: rows of X, W's transpose. Out: Z = epilogue(X W + b); or, for one output, its row of dW. A tile
of `gemm.py` would leave most of a vector's lanes idle. Loop order: chunks of four outputs, then of
two and one; groups of rows; vectors of columns, each loaded once for the outputs of a chunk. A
group's eight sums, of a chunk's outputs for some rows, run side by side, so that none waits for
another, and become one vector, or two, by a transposing reduction (`gemv.py`), which is row-major
as Z is: bias and ReLU are vector operations (32 -> 4, 500,000 rows, AVX2 on Zen 5: 5.2 ms by tiles
of the outputs, 4.3 by this). The order of a sum is that of `dot_rows`, in a group and alone.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils

from .gemv import RowGroup, add_rows, in_groups, transposed_sums
from .micro_kernel import RELU
from .routines import procedure, routine
from .simd import I1, I32, I64, VOID, Vectors, shift

CHUNKS = (4, 2, 1)  # of outputs
SUMS = 8  # side by side: enough for two FMA units


def _lanes_of(builder, vector, first: int, count: int):
    numbers = ir.Constant(ir.VectorType(I32, count), list(range(first, first + count)))
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), numbers)


def _bias_of(vec, part: Vectors, bias, first: int, outputs: int):
    """What is added to the sums `first` on of a group."""
    vector = ir.Constant(part.type, ir.Undefined)
    for lane in range(part.lanes):
        place = vec.builder.gep(bias, [I64((first + lane) % outputs)])
        vector = vec.builder.insert_element(vector, vec.builder.load(place), I32(lane))
    return vector


def _chunk(vec, columns, outputs: int, z, ldz, x, ldx, d, w_t, bias, linear, ahead, m):
    """`outputs` columns of Z, all rows."""
    builder = vec.builder
    weights = [builder.gep(w_t, [builder.mul(I64(j), d)]) for j in range(outputs)]

    def run(first, count):
        numbers = [builder.add(first, I64(r)) for r in range(count)]
        rows = [builder.gep(x, [builder.mul(number, ldx)]) for number in numbers]
        with builder.if_then(builder.icmp_signed(">", ahead, I64(0)), likely=False):
            span = builder.mul(ldx, I64(count))
            vec.prefetch_span(builder.gep(rows[0], [ahead]), span, level=1)
        sums = columns.sums(rows, weights)
        part = Vectors(builder, vec.elem, min(len(sums), vec.lanes))
        together = min(outputs, part.lanes)  # outputs of one row in one vector
        for start in range(0, len(sums), part.lanes):
            value = transposed_sums(vec, sums[start : start + part.lanes])
            value = part.add(value, _bias_of(vec, part, bias, start, outputs))
            keep = builder.or_(part.whole_mask(part.passes(value)), part.whole_mask(linear))
            value = part.kept(value, keep)
            for lane in range(0, part.lanes, together):
                row, output = divmod(start + lane, outputs)
                place = builder.add(builder.mul(numbers[row], ldz), I64(output))
                some = Vectors(builder, vec.elem, together)
                some.store(_lanes_of(builder, value, lane, together), builder.gep(z, [place]))

    in_groups(vec, m, SUMS // outputs, run)


def _outputs_body(elem):
    def body(builder, z, ldz, x, ldx, d, w_t, bias, linear, ahead, m, k):
        vec = Vectors(builder, elem)
        columns = RowGroup(vec, d)

        def chunk(first, outputs, ahead):
            _chunk(
                vec, columns, outputs, builder.gep(z, [first]), ldz, x, ldx, d,
                builder.gep(w_t, [builder.mul(first, d)]), builder.gep(bias, [first]), linear,
                ahead, m,
            )  # fmt: skip

        whole = builder.sdiv(k, I64(CHUNKS[0]))
        with cgutils.for_range(builder, whole) as number:
            chunk(builder.mul(number.index, I64(CHUNKS[0])), CHUNKS[0], ahead)
        for outputs in CHUNKS[1:]:
            some = builder.icmp_signed("!=", builder.and_(k, I64(outputs)), I64(0))
            with builder.if_then(some):
                chunk(builder.and_(k, I64(-2 * outputs)), outputs, ahead)
        builder.ret_void()

    return body


output_rows = routine(
    "output_rows",
    "z ldz x ldx d w_t bias linear ahead m k",
    VOID,
    lambda p: [p, I64, p, I64, I64, p, p, I1, I64, I64, I64],
    _outputs_body,
    """z[r*ldz + j] = max(0, w_t[j] . x[r] + bias[j]) for m rows of d and k outputs; the sum
    itself if `linear`. x[ahead:] is prefetched unless `ahead` is 0.""",
)


def _forward_arguments(real):
    p, i = types.CPointer(real), types.int64
    return p, i, p, i, p, p, i, i, i, i, i


@procedure(types.none, _forward_arguments)
def skinny_forward(z, ldz, x, ldx, w_t, bias, m, d, k, epilogue, ahead):
    """z (m, k) = epilogue(x (m, d) w + bias), w_t (k, d) its transpose; x[ahead:] is prefetched
    meanwhile unless `ahead` is 0."""
    output_rows(z, ldz, x, ldx, d, w_t, bias, epilogue != RELU, ahead, m, k)


def _gradient_arguments(real):
    p, i = types.CPointer(real), types.int64
    return p, i, p, i, p, i, i, i, i, types.boolean


@procedure(types.none, _gradient_arguments)
def skinny_gradient(dw_t, ld_dw, x, ldx, delta, ld, m, d, k, fresh):
    """dw_t (k, d) (+)= delta^T x; `fresh` overwrites."""
    for j in range(k):
        row = shift(dw_t, j * ld_dw)
        if fresh:
            for i in range(d):
                row[i] = 0
        add_rows(row, x, ldx, d, shift(delta, j), ld, m)


def _pack_arguments(real):
    p, i = types.CPointer(real), types.int64
    return p, p, i, i, i, i


@procedure(types.none, _pack_arguments)
def pack_skinny(out, w, d, k, start, stop):
    """Rows start..stop of w (d, k) as columns of out (k, d)."""
    for i in range(start, stop):
        for j in range(k):
            out[j * d + i] = w[i * k + j]
