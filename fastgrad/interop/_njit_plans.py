"""Plans and workspaces made inside compiled code, where no Python can be called.

The same arithmetic as `_core/plan.py`, for one layer and for one neuron; a test holds the two
against each other shape by shape. Workspaces are allocated by the call and freed with it.
"""

from __future__ import annotations

import numpy as np
from numba.extending import register_jitable

from .._core import plan as python
from ..kernels import layout as at
from ..kernels import neuron as one
from ..kernels.columns import scratch_elements as _scratch_elements
from ..kernels.simd import VECTOR_BYTES

_round_up = register_jitable(python._round_up)
_even_cut = register_jitable(python._even_cut)
scratch_elements = register_jitable(_scratch_elements)
_wide_task_rows = register_jitable(python._wide_task_rows)
_slices = register_jitable(python._slices)
_is_skinny = register_jitable(python._is_skinny)
_is_turned = register_jitable(python._is_turned)
_leading_dimension = register_jitable(python._leading_dimension)

_LOW_ROWS, _HIGH_ROWS = python.BLOCK_ROWS
_LEAST_ROWS, _MOST_TASKS = python.SMALL_TASKS
_MANY_INPUTS, _FEW_INPUTS = python.WEIGHT_ROWS
_UNIT = VECTOR_BYTES // 8
VECTOR = at.HEADER + at.RECORD


@register_jitable
def _wide_cut(n, d, ld, itemsize):
    """(store rows, task rows, rows of W of a weight task)."""
    rows = max(python.WIDE_TASK_ROWS, python.STORE_BYTES // (2 * itemsize * ld))
    store = _even_cut(n, min(python.STORE_ROWS, rows), 24)
    rows = _even_cut(store, _wide_task_rows(store), 6)
    many = d >= 16 * _MANY_INPUTS
    return min(n, _round_up(store, rows)), rows, _MANY_INPUTS if many else _FEW_INPUTS


@register_jitable
def _row_cut(n, d, ld, back, itemsize, parameters, flops):
    """(task rows, block rows)."""
    most = python.CACHE_BYTES // (itemsize * (d + ld)) // _LOW_ROWS * _LOW_ROWS
    block = min(_HIGH_ROWS, max(_LOW_ROWS, most))
    tasks = 1
    if flops >= python.PARALLEL_FLOPS:
        few = max(1, min(n // _LEAST_ROWS, _MOST_TASKS))
        power = 1
        while 2 * power <= few:
            power *= 2
        tasks = min(python.MAX_TASKS, max(power, n // python.TASK_ROWS // 4 * 4))
        if back:
            tasks = max(1, min(tasks, python.PARTIAL_BYTES // (itemsize * parameters)))
    rows = -(-n // tasks)
    return rows, _even_cut(rows, block, 2 if rows <= _HIGH_ROWS else 24)


@register_jitable
def layer_plan(vector, n, d, k, itemsize, job, relu):
    """Write the plan of one layer (`flat=False`, no loss); (elements, doubles) of its workspace."""
    lanes = VECTOR_BYTES // itemsize
    gradient = job == at.GRADIENT or job == at.GRADIENT_AND_INPUT
    ld = _leading_dimension(k, lanes)
    parameters = d * k + k
    flops = 2 * n * d * k * (1 if job == at.FORWARD else 3)
    back = job != at.FORWARD
    wide = back and parameters * itemsize >= python.WIDE_BYTES
    wide = wide and flops >= python.PARALLEL_FLOPS
    store, weight_rows = n, 1
    if wide:
        store, task_rows, weight_rows = _wide_cut(n, d, ld, itemsize)
        block_rows = task_rows
    else:
        task_rows, block_rows = _row_cut(n, d, ld, back, itemsize, parameters, flops)
    if not gradient:
        wide, store = False, n
    tasks = n // store * -(-store // task_rows) + -(-(n % store) // task_rows)
    partials = 1 if wide else tasks
    flush = 0
    if wide:
        flush = 1 if n > store else 0
    elif gradient and itemsize == 4 and task_rows > python.FLUSH_ROWS:
        flush = python.FLUSH_ROWS // block_rows
    skinny = _is_skinny(d, k, lanes)
    turned = _is_turned(d, k, n, skinny, lanes)
    direct = gradient and partials == 1 and flush == 0 and not (turned and k > 1)
    slices = _slices(parameters, flops)
    padded = _round_up(k, lanes)

    vector[:] = 0
    record = vector[at.HEADER :]
    record[at.SKINNY], record[at.TURNED] = skinny, turned
    most = python.FEW_ROWS[1] if k >= python.FEW_VECTORS * lanes else python.FEW_ROWS[0]
    record[at.FEW_BACK] = n <= most
    record[at.IN_PLACE] = n <= python.IN_PLACE_ROWS and k % lanes == 0
    record[at.D], record[at.K], record[at.LD] = d, k, ld
    record[at.BIAS_OUT] = d * k
    shared = _round_up(d * k, lanes) if skinny else d * padded
    if back:
        record[at.PANELS_T] = shared
        shared += k * _round_up(d, lanes)
    part = _round_up((store if wide else block_rows) * ld + lanes, lanes)
    partial = 0
    if direct:
        record[at.LDG] = d if turned else k
        record[at.PARTIAL], record[at.PARTIAL_BIAS] = 0, d * k
    elif gradient:
        record[at.LDG] = _round_up(d, lanes) if turned else padded
        bias = record[at.LDG] * (k if turned else d)
        partial = bias + padded
        record[at.PARTIAL_BIAS] = bias
    if not direct:
        record[at.PARTIAL] += part
        record[at.PARTIAL_BIAS] += part
    stride = 0 if wide else _round_up(part + partial, 64) + lanes
    base = shared + _round_up(max(d, k) + lanes, lanes)
    parts = at.SCALARS + (partials * partial if flush else 0)
    vector[at.ROWS], vector[at.LAYERS], vector[at.WIDE] = n, 1, wide
    vector[at.STORE_ROWS], vector[at.TASK_ROWS], vector[at.TASKS] = store, task_rows, tasks
    vector[at.BLOCK_ROWS], vector[at.SLICES] = block_rows, slices
    vector[at.WEIGHT_ROWS], vector[at.WEIGHT_TASKS] = weight_rows, -(-d // weight_rows)
    vector[at.DIRECT], vector[at.JOB], vector[at.LOSS] = direct, job, -1
    vector[at.OUTPUT_RELU], vector[at.FLUSH_BLOCKS] = relu, flush
    vector[at.ZEROS] = shared
    vector[at.TASK_BASE], vector[at.TASK_STRIDE] = base, stride
    vector[at.GRAD_SIZE], vector[at.SUMS], vector[at.PARTS] = partial, at.SCALARS, parts
    scratch = base + (part + partial if wide else tasks * stride) + lanes
    in_scratch = scratch_elements(lanes, weight_rows if wide else 0)
    vector[at.SCRATCH], vector[at.SCRATCHES] = scratch, 1  # for one thread
    vector[at.SCRATCH_STRIDE] = _round_up(in_scratch, lanes) + lanes if gradient else 0
    tickets = _round_up(parts + tasks + slices + at.DONE, at.DONE)
    vector[at.TICKETS] = tickets
    return scratch + vector[at.SCRATCH_STRIDE], tickets + at.TICKET_WORDS


@register_jitable
def neuron_plan(vector, n, d, itemsize, weighted):
    """Write the plan of one neuron; the elements and doubles of its workspace are the same."""
    parallel = n * d * itemsize >= python.NEURON_PARALLEL_BYTES
    tasks = min(python.MAX_TASKS, -(-n // python.NEURON_BLOCK_ROWS)) if parallel else 1
    rows = _round_up(-(-n // tasks), 8)
    tasks = -(-n // rows)
    stride = _round_up(d + 2, 16) + 16
    vector[one.ROWS], vector[one.INPUTS], vector[one.TASKS] = n, d, tasks
    vector[one.TASK_ROWS], vector[one.BLOCK_ROWS] = rows, python.NEURON_BLOCK_ROWS
    vector[one.WEIGHTED], vector[one.STRIDE] = weighted, stride
    return tasks * stride


@register_jitable
def workspace(vector, elements, doubles, itemsize, position64, position):
    """An aligned buffer that carries the plan, as `Plan.acquire` gives one."""
    first64 = vector.size
    first = _round_up(first64 + doubles, _UNIT)
    words = first + -(-elements * itemsize // 8)
    memory = np.zeros(words + _UNIT)
    start = -(memory.ctypes.data // 8) % _UNIT
    buffer = memory[start : start + words]
    vector[position64], vector[position] = first64, first
    buffer[:first64].view(np.int64)[:] = vector
    return buffer
