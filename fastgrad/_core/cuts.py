"""What a step is cut into: chunks, row tasks and blocks of rows, slices; and what is wide.

Plain arithmetic, as all of a plan (`plan.py`). Nothing here depends on the number of threads.
"""

from __future__ import annotations

from typing import NamedTuple

from ..kernels import records as at
from ..kernels import tuning
from ..kernels.jit import jitable
from ..kernels.micro_kernel import MR
from .tuning import Tuning
from .workspace import round_up

BOTH = at.LOSS | at.GRADIENT


class Job(NamedTuple):
    """What is planned, besides the layers' sizes."""

    n: int
    itemsize: int
    want: int
    labelled: bool
    weighted: bool
    flat: bool  # biases lie in theta behind their weights
    sparse: bool
    tuned: Tuning


class Totals(NamedTuple):
    """Of all layers."""

    parameters: int
    flops: int  # as if in float32
    squares: int  # numbers of the factors of Kronecker's approximation
    inputs: int  # of a row that are read: of a sparse one a guess
    copies: int  # rows that are kept for each row: its own, and their tangents


class Kind(NamedTuple):
    """Which way the whole step goes."""

    one_pass: bool
    wide: bool
    gathered: bool


class Widths(NamedTuple):
    """What the layers' shapes add up to."""

    inputs: int
    outputs: int  # with what pads them
    widest: int
    rearranged: bool  # a weight gradient is not where the flat one has it


class Cut(NamedTuple):
    """Rows, and tasks of them."""

    wide: bool
    chunk: int
    task_rows: int
    block_rows: int
    tasks: int
    gradients: int  # of tasks
    float64_blocks: int
    direct: bool
    slices: int
    parallel: bool
    own: bool  # each row task packs for itself


@jitable
def count(sizes, job) -> Totals:
    """Parameters and work; of a sparse row some TYPICAL_ENTRIES are expected."""
    layers, want = len(sizes) - 1, job.want
    products = outputs = squares = 0
    for layer in range(layers):
        products += sizes[layer] * sizes[layer + 1]
        squares += (sizes[layer] + 1) ** 2 + sizes[layer + 1] ** 2
        outputs += sizes[layer + 1]
    back, parameters = want & at.OUTPUTS == 0, products + outputs
    inputs = min(sizes[0], tuning.TYPICAL_ENTRIES) if job.sparse else sizes[0]
    copies = 2 if want & at.TANGENT else 1
    ways = copies * (sizes[layers] if want & at.SEEDED else outputs if want & at.MATRIX else 1)
    met = products
    if job.sparse:
        met += inputs * max(sizes[1], tuning.ENTRY_OUTPUTS) - sizes[0] * sizes[1]
    flops = 2 * job.n * met * (3 if back else 1) * ways * job.itemsize // 4
    if scattered_bytes(sizes, job) > tuning.SCATTERED_BYTES // 2:  # all of dW is written
        flops += tuning.WRITE_FLOPS * parameters if back else 0
    return Totals(parameters, flops, squares, inputs, copies)


@jitable
def scattered_bytes(sizes, job) -> int:
    """Of a task's float64 gradient of a sparse first layer."""
    return 8 * sizes[0] * sizes[1] if job.sparse else 0


@jitable
def bucket_bits(d, k, itemsize) -> int:
    """Of the columns whose rows of dW a weight task has in cache, where that is GATHERED."""
    least, most = tuning.BUCKET_BITS
    bits = least
    while bits < most and (
        2 << bits <= d // tuning.LEAST_BUCKETS
        and (2 << bits) * max(k, tuning.BUCKET_OUTPUTS) * itemsize <= tuning.BUCKET_BYTES
    ):
        bits += 1
    return bits


@jitable
def kind_of(sizes, job, totals) -> Kind:
    """Whether the gradient is split by rows of W, and of a sparse X by its columns."""
    want, back = job.want, job.want & at.OUTPUTS == 0
    single = len(sizes) == 2 and sizes[1] == 1
    one_pass = single and not (job.labelled or job.sparse) and want | at.GRADIENT == BOTH
    wide = totals.parameters * job.itemsize >= job.tuned.wide
    wide = wide or totals.parameters >= tuning.WIDE_RATIO * job.n
    wide = wide and back and want & at.FACTORS == 0 and totals.flops >= tuning.PARALLEL_FLOPS
    large = scattered_bytes(sizes, job) > tuning.SCATTERED_BYTES // 2
    gathered = job.sparse and (wide or large)
    return Kind(one_pass, wide or want & at.MATRIX != 0 or (gathered and back), gathered)


@jitable
def _slices(parameters: int, flops: int) -> int:
    """Tasks of packing and of adding up: an even number, or one."""
    if flops < tuning.PARALLEL_FLOPS or parameters < tuning.LEAST_SLICED:
        return 1
    return min(tuning.MAX_SLICES, max(2, parameters // tuning.SLICE_PARAMETERS // 2 * 2))


@jitable
def even_cut(n: int, most: int, unit: int) -> int:
    """Rows of each of the fewest equal parts of n that have at most `most` rows."""
    parts = -(-n // most)
    return min(n, round_up(-(-n // parts), unit))


@jitable
def _wide_task_rows(rows: int) -> int:
    """An even number of row tasks, for two threads; one where there are few rows."""
    tasks = -(-rows // tuning.WIDE_TASK_ROWS)
    if tasks % 2 and rows >= 2 * tuning.WIDE_LEAST_ROWS:
        tasks += 1
    return -(-rows // tasks)


@jitable
def _wide_cut(n, width, itemsize, tuned):
    """(rows of a chunk, of a task): `width` of all layers."""
    row_bytes = 2 * itemsize * width  # activations and deltas
    chunk = even_cut(
        n, min(tuning.CHUNK_ROWS, max(tuning.WIDE_TASK_ROWS, tuned.chunk // row_bytes)), 24
    )
    rows = even_cut(chunk, _wide_task_rows(chunk), MR)
    return min(n, round_up(chunk, rows)), rows


@jitable
def _row_cut(n, row_bytes, back, gradient_bytes, flops, tuned):
    """(rows of a task, of a block)."""
    low, high = tuning.BLOCK_ROWS
    block = min(high, max(low, tuned.rows // row_bytes // low * low))
    tasks = 1
    if flops >= tuning.PARALLEL_FLOPS:
        few = max(
            2 if n >= tuning.PAIR_ROWS else 1,
            min(n // tuning.SMALL_TASKS[0], tuning.SMALL_TASKS[1]),
        )
        power = 1  # even shares for 2 and 4 threads
        while 2 * power <= few:
            power *= 2
        tasks = min(tuning.MAX_TASKS, max(power, n // tuning.TASK_ROWS // 4 * 4))
        if back:
            tasks = max(1, min(tasks, tuning.TASK_GRADIENT_BYTES // gradient_bytes))
    rows = -(-n // tasks)
    return rows, even_cut(rows, block, 2 if rows <= high else 24)


@jitable
def _one_pass_cut(n, row_bytes):
    """(rows of a task, of a block)."""
    tasks = 1
    if n * row_bytes >= tuning.NEURON_PARALLEL_BYTES:
        tasks = min(tuning.MAX_TASKS, -(-n // tuning.NEURON_BLOCK_ROWS))
    return round_up(-(-n // tasks), 8), tuning.NEURON_BLOCK_ROWS


@jitable
def _sparse_cut(n, d, k, row_bytes, itemsize, gathered, tuned):
    """(rows of a chunk, of a task, of a block) where X is sparse.

    GATHERED: a chunk, of which entries and deltas are kept, is a quarter of the rows where they are
    many, so that they are little beside X. SCATTERED: a task has a gradient of float64.
    """
    low, high = tuning.BLOCK_ROWS
    block = min(high, max(low, tuned.rows // row_bytes // low * low))
    chunk, least = n, tuning.SPARSE_TASK_ROWS
    if gathered:
        chunk = max(tuning.CHUNK_ROWS, -(-n // tuning.SPARSE_CHUNKS))
        chunk, most = min(n, chunk, tuning.MOST_CHUNK_ROWS), tuning.SPARSE_TASKS
    else:
        most = min(tuning.MAX_TASKS, max(4, tuning.SCATTERED_BYTES // (8 * d * k) // 4 * 4))
    tasks = max(1, min(most, chunk // least))
    rows = -(-chunk // tasks)
    return min(n, round_up(chunk, rows)), rows, min(rows, block)


@jitable
def cut_rows(sizes, job, totals, kind, widths) -> Cut:
    """The order of every sum follows from this."""
    n, itemsize, want, tuned = job.n, job.itemsize, job.want, job.tuned
    back, gradient, matrix = want & at.OUTPUTS == 0, want & at.GRADIENT != 0, want & at.MATRIX != 0
    factors, wide, chunk, flops = want & at.FACTORS != 0, kind.wide, n, totals.flops
    kept = totals.copies * widths.outputs
    if kind.one_pass:
        wide = False
        task_rows, block_rows = _one_pass_cut(n, sizes[0] * itemsize)
    elif wide:
        chunk, task_rows = _wide_cut(n, 2 * widths.outputs if matrix else kept, itemsize, tuned)
        block_rows = task_rows
    else:
        row_bytes = itemsize * (totals.inputs + kept)
        gradient_bytes = itemsize * (totals.squares if factors else totals.parameters)
        task_rows, block_rows = _row_cut(n, row_bytes, back, gradient_bytes, flops, tuned)
    if job.sparse:
        row_bytes = itemsize * (2 * totals.inputs + widths.outputs)
        chunk, task_rows, block_rows = _sparse_cut(
            n, sizes[0], sizes[1], row_bytes, itemsize, kind.gathered, tuned
        )
        if not back:
            task_rows, block_rows = _row_cut(n, row_bytes, back, 1, flops, tuned)
    # Otherwise the same row tasks, so the loss has the same bits; but nothing is kept.
    if not gradient and not matrix:
        wide, chunk = False, n
    tasks = n // chunk * -(-chunk // task_rows) + -(-(n % chunk) // task_rows)
    float64_blocks = 0
    if kind.one_pass:
        float64_blocks = 1 if task_rows > block_rows else 0
    elif matrix:
        float64_blocks = 1 if itemsize == 4 else 0
    elif wide:
        float64_blocks = 1 if n > chunk else 0
    elif gradient and itemsize == 4 and task_rows > tuning.FLOAT64_ROWS:
        float64_blocks = tuning.FLOAT64_ROWS // block_rows
    gradients = 1 if wide else tasks
    plain = want & (at.TANGENT | at.SEEDED | at.MATRIX | at.OF_ROWS) == 0
    direct = gradient and gradients == 1 and float64_blocks == 0
    direct = (
        direct
        and (plain or not widths.rearranged)
        and not (factors or (job.sparse and not kind.gathered))
    )
    slices = 1 if kind.one_pass else _slices(totals.parameters, flops)
    parallel = flops >= tuning.PARALLEL_FLOPS and (matrix or tasks > 1 or slices > 1)
    if kind.one_pass:
        parallel = tasks > 1
    own = parallel and not wide and tasks <= tuning.OWN_TASKS
    own = own and totals.parameters <= tuning.OWN_PANELS
    return Cut(
        wide, chunk, task_rows, block_rows, tasks, gradients, float64_blocks, direct, slices,
        parallel, own,
    )  # fmt: skip
