"""What a step is told, declared once: records of eight-byte fields that kernels read by name.

- CALL: where the caller's arrays are, and the workspace; 0 means not given or not wanted.
- PLAN: immutable, from shapes and the network alone, with a LAYER for each layer behind it.
- WORKER: what one thread changes.

A record is memory: `_core/plan.py` and `_core/workspace.py` write it as a vector of int64 at the
positions `PLAN.n`, ...; in a kernel it is a pointer, and `plan.n` is a load. A field that
holds an address is read as a typed pointer, so it costs nothing to follow. Offsets count elements
of `call.sums` (float64) or `call.work` (the parameters' type).
"""

from __future__ import annotations

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .record_types import BYTES, FLOATS, INT, INTS, REAL, REALS, Record, RecordType, field_place
from .simd import I64

LAYER = Record(
    "layer",
    d=INT,
    k=INT,
    forward=INT,  # variant of Z = X W + b
    input_gradient=INT,  # variant of dX = dZ W^T
    weight_gradient=INT,  # variant of dW = X^T dZ
    activation=INT,  # code
    weight=INT,  # theta: W (d, k)
    bias=INT,  # bias: b (k,)
    panels=INT,  # work: W in panels, or its transpose where forward is DOT_PRODUCTS
    panels_t=INT,  # work: the transpose of W in panels
    tangent_panels=INT,  # work: both, of the tangent of W
    tangent_panels_t=INT,
    output=INT,  # task's part: activations (rows, ld), and their tangents behind them
    delta=INT,  # task's part: d loss / d z (rows, ld); in the place of the activations unless wide
    # or with tangents: then those come first
    seed=INT,  # task's part: the deltas of one seed; with MATRIX what an activation's bend adds
    unit_tangent=INT,  # scratch: tangents of the activations along a unit
    unit_delta=INT,  # scratch: and of the deltas
    ld=INT,
    task_dw=INT,  # task's part (direct: the gradient): the task's dW, or its transpose (k, ld_dw)
    ld_dw=INT,
    task_db=INT,
    flat_db=INT,  # flat gradient: where db goes
    first_weight_task=INT,  # with MATRIX the first unit's task
    weight_rows=INT,  # wide: rows of W of a weight task
    delta_panels=INT,  # where dW is PACKED_BOTH, task's part: the chunk's deltas in panels
    transposed=INT,  # 1: `task_dw` is the transpose of dW, (k, ld_dw)
)

PLAN = Record(
    "plan",
    n=INT,
    layers=INT,
    want=INT,  # flags, below
    loss=INT,  # code
    labelled=INT,  # 1: the targets are classes
    targets=INT,  # which real targets the loss takes, below
    averaged=INT,  # k where the loss is a mean over outputs, else 1
    weighted=INT,
    one_pass=INT,  # 1: one layer of one output, loss and gradient in one pass over X
    wide=INT,  # 1: the deltas of a chunk are kept, and the weight gradient is split by rows of W
    chunk_rows=INT,  # if wide, rows between two weight gradients: their deltas are kept; else n
    task_rows=INT,  # rows of a row task: fixed by the shapes, so that the order of every sum is
    tasks=INT,  # row tasks in all
    block_rows=INT,  # rows taken through the whole network while they are in cache
    slices=INT,  # tasks of packing and of adding up the tasks' gradients
    weight_tasks=INT,
    kc=INT,  # wide: rows of X between two additions to a weight gradient
    direct=INT,  # 1: a single task's gradient is the caller's array, but for the transpose of a dW
    flat=INT,  # 1: biases lie behind their weights, in theta and in the gradient
    float64_blocks=INT,  # after so many a task's gradient is added to its float64 one; 0: never
    zeros=INT,  # work: zeros as wide as the widest layer
    task_base=INT,  # work: the first task's own part
    task_stride=INT,  # 0 if wide: all tasks write to one part, each its own rows
    task_gradient_size=INT,  # elements of a task's gradient
    gradient_sums=INT,  # sums: the tasks' float64 gradients (where float64_blocks)
    losses=INT,  # sums: loss of each row task, then sum of squared weights of each slice
    queue=INT,  # sums, as int64: the work queue (`work_queue.py`)
    scratch=INT,  # work: where a thread copies operands side by side
    scratch_stride=INT,  # from one thread's scratch to the next one's
    workers=INT,  # the most threads
    panel_stride=INT,  # work: from the panels of one row task to the next one's, where each thread
    # packs for itself; 0: all read the same ones
    parameters=INT,  # p
    unit_rows=INT,  # rows that a unit task takes at a time (`hessian.py`)
    unit_ld=INT,  # scratch: leading dimension of their gradients along a unit
    roots=INT,  # task's part: the roots of the curvature of a block's outputs
    squares=INT,  # task's part: the squares of X
    queue_tasks=INT,  # the most tasks of a stage
    row_norms=INT,  # sums: the norms of a block's rows, and their factors, of each worker
    sparse=INT,  # 1: X is CSR (`csr.py`)
    places=INT,  # sums, as int32: where row tasks' buckets of entries begin, if dW is GATHERED
    scattered=INT,  # sums: the first task's float64 dW, where that is SCATTERED
    buckets=INT,  # of columns: weight tasks of the first layer, where dW is GATHERED
    bucket_bits=INT,  # a bucket has 2**bits columns
)

WORKER = Record(
    "worker",
    number=INT,
    parallel=INT,  # 1: other threads are at the same step
    passed=INT,  # the tasks of all stages that this thread has left behind
    order=INTS,  # the numbers of the rows to gather; 0: they lie in order
)
LINE = 8  # eight-byte words of a cache line
WORKER_STRIDE = LINE

CALL = Record(
    "call",
    theta=REALS,
    tangent=REALS,  # of theta
    bias=REALS,  # theta, or the array of biases of a layer by itself
    x=REALS,
    x_tangent=REALS,
    targets=REALS,  # y, or the given d loss / d a
    labels=INTS,  # y, where it is classes
    weights=REALS,  # of the samples
    mask=BYTES,  # beside a given d loss / d a; or where to write it
    out=REALS,  # outputs (n, k), or the gradient
    bias_gradient=REALS,  # where db goes unless the plan is flat
    dx=REALS,
    norms=REALS,  # where each row's gradient norm goes (n,)
    row_gradients=REALS,  # where each row's gradient goes (n, p)
    activations=REALS,  # where what enters each layer but the first is kept (n, ld), layer by layer
    deltas=REALS,  # and the deltas of each layer (n, channels, ld)
    channels=INT,  # rows of deltas that a row of X has there,
    channel=INT,  # and the number of this one
    neuron_bias=REAL,  # where one neuron's b, which is a number, is put
    neuron_bias_gradient=REAL,
    x_source=REALS,  # what rows of X, and of y, are gathered from
    targets_source=REALS,
    labels_source=INTS,
    indices=BYTES,  # X in CSR, whose values are x: column numbers and row pointers, and the bytes
    indptr=BYTES,  # of one of each
    index_bytes=INT,
    indptr_bytes=INT,
    last_entry=INT,  # of X
    entries=REALS,  # a chunk's entries in buckets, if GATHERED: two elements for each
    plan=PLAN,
    worker=WORKER,  # the first of `plan.workers`
    sums=FLOATS,  # the workspace: float64
    work=REALS,  # and of the parameters' type
)

GRAM = Record(
    "gram",
    n=INT,  # rows of X
    n2=INT,  # and of X2
    layers=INT,
    channels=INT,  # rows of deltas that a row of X has
    symmetric=INT,  # 1: X2 is X
    rows=INT,  # of a tile of the result
    columns=INT,
    inputs=INT,  # columns of a tile of A A2^T
    tiles=INT,
    workers=INT,  # the most threads
    sizes=INTS,  # of each layer: what its inputs' rows and its deltas' rows hold, (d, ld, k, ld)
    x=REALS,
    activations=REALS,  # CALL's
    deltas=REALS,
    x2=REALS,
    activations2=REALS,
    deltas2=REALS,
    packed=REALS,  # X2's, the transposes in panels, layer by layer
    scratch=REALS,
    scratch_stride=INT,  # from one worker's to the next one's
    queue=INTS,  # a line for each tile: whether it is claimed
    factor=FLOATS,  # of all numbers
    out=REALS,  # (n, n2, channels, channels)
)

# What is wanted
OUTPUTS, MASK, LOSS, GRADIENT, INPUT_GRADIENT = 1, 2, 4, 8, 16
COTANGENT = 32  # outputs are computed for their slopes; d loss / d outputs is given
TANGENT = 512  # the derivative along a tangent of theta: of the outputs, or of the gradient
JACOBIAN = 2048  # of each row's outputs, by theta; with INPUT_GRADIENT by X
DIAGONAL = 4096  # of Gauss and Newton's matrix, in the place of the gradient
FACTORS = 8192  # of Kronecker's approximation to it
SEEDED = JACOBIAN | DIAGONAL | FACTORS
MATRIX = 16384  # of second derivatives: the Hessian with SECOND, else Gauss and Newton's
SECOND = 1024  # of the gradient in full; without it in Gauss and Newton's approximation
# Of each row's own loss, not divided by their number: norms of gradients (with GRADIENT: of what is
# clipped to MAX_NORM), gradients, and the two factors of the gradients, activations and deltas.
ROW_NORMS, ROW_GRADIENTS, ROW_FACTORS = 64, 128, 256
OF_ROWS = ROW_NORMS | ROW_GRADIENTS | ROW_FACTORS

# Which targets a loss takes
ANY_TARGETS, UNIT_TARGETS, COUNT_TARGETS = 0, 1, 2  # all numbers; 0 to 1; 0 or more

# Variants of a layer's forward: W in panels; in place; dot products with the rows of its transpose;
# sums of the rows of W that a sparse row of X names; W in panels that each row task makes anew.
PACKED, IN_PLACE, DOT_PRODUCTS, SPARSE, PANEL_BY_PANEL = 0, 1, 2, 3, 4
# Of its input gradient: the transpose of W in panels; dot products with the rows of W in place.
PACKED_T, DOT_ROWS = 0, 1
# Of its weight gradient: X^T dZ in bands of rows of W; with both operands packed; its transpose
# dZ^T X; that of one output, as a sum of scaled rows; of a sparse X, row by row in float64 or
# column by column.
BANDS, PACKED_BOTH, TRANSPOSED, SCALED_ROWS, SCATTERED, GATHERED = 0, 1, 2, 3, 4, 5

# sums: numbers of the network, before all others
LOSS_PARAMETER, L2 = 0, 1
SCALE = 2  # of the loss: 1 / (what it is a mean over)
MAX_NORM = 3  # to which a row's gradient is clipped
SCALARS = 4


def call_and_plan(real):
    """The types of a task's first arguments,"""
    return RecordType(CALL, real), RecordType(PLAN, real)


def step_records(real):
    """and with the worker."""
    return *call_and_plan(real), RecordType(WORKER, real)


@intrinsic
def call_at(typingctx, address, like):
    """The CALL at an address (int64); its real numbers are of the dtype of `like`, a pointer."""

    def codegen(context, builder, signature, args):
        return builder.inttoptr(args[0], I64.as_pointer())

    return RecordType(CALL, like.dtype)(types.int64, like), codegen


@intrinsic
def call_in(typingctx, buffer, like):
    """The CALL at the beginning of a workspace, an array; `like` as in `call_at`."""

    def codegen(context, builder, signature, args):
        array = context.make_array(signature.args[0])(context, builder, value=args[0])
        return builder.bitcast(array.data, I64.as_pointer())

    return RecordType(CALL, like.dtype)(buffer, like), codegen


@intrinsic
def layer_of(typingctx, plan, index):
    """The LAYER of that index behind a PLAN."""

    def codegen(context, builder, signature, args):
        index = context.cast(builder, args[1], signature.args[1], types.int64)
        offset = builder.add(I64(PLAN.size), builder.mul(index, I64(LAYER.size)))
        return builder.gep(args[0], [offset])

    return RecordType(LAYER, plan.real)(plan, index), codegen


@intrinsic
def worker_of(typingctx, call, index):
    """The WORKER of that index."""

    def codegen(context, builder, signature, args):
        index = context.cast(builder, args[1], signature.args[1], types.int64)
        first = builder.load(field_place(builder, args[0], signature.args[0], "worker"))
        first = builder.inttoptr(first, I64.as_pointer())
        return builder.gep(first, [builder.mul(index, I64(WORKER_STRIDE))])

    return RecordType(WORKER, call.real)(call, index), codegen


@intrinsic
def is_given(typingctx, pointer):
    """Whether a field that holds an address is not 0."""

    def codegen(context, builder, signature, args):
        return cgutils.is_not_null(builder, args[0])

    return types.boolean(pointer), codegen
