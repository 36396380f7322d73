"""A step of a network: forward, loss and backward of a block of rows while it is in cache.

In: flat parameters, X, targets. Out: the loss and the flat gradient (or outputs, or dX).
Three phases, each a number of independent tasks that the plan fixed from the shapes alone:

0. pack: a slice of every W into panels (and of its transpose, for dX);
1. rows: a task takes its rows block by block: every layer forward, the loss, every layer backward,
   its own partial gradient accumulated; nothing but X, y and the weights is read from memory;
2. reduce: a slice of the gradient is the sum of the partials in task order, in float64, plus l2.

Serial or parallel, the tasks are the same, so the bits are. A parallel loop's task writes only its
own part of the workspace (phase 1) or its own slice (phases 0 and 2).
One layer with a given output gradient (`affine_relu_backward`) is the same step, and so is a
forward pass that also writes the ReLU mask. Formulas 18 to 20, 23 and 24.
"""

from __future__ import annotations

from numba import prange, types
from numba.extending import overload

from . import layout as at
from . import losses
from .gemm import GATE, PACKED, RELU, STORE, gemm, pack, pack_transposed
from .jit import OPTIONS, inner, kernel, parallel_kernel, pasted
from .simd import lanes, null_like, pointer, shift


def _output_delta(z, ldz, y, s, first, m, k, scale, plan, scalars):
    """Loss of a block and its derivative over the outputs; by the targets' type."""


@overload(_output_delta, jit_options=OPTIONS)
def _output_delta_typed(z, ldz, y, s, first, m, k, scale, plan, scalars):
    if y.dtype == types.uint8:  # a forward pass with a mask
        return lambda z, ldz, y, s, first, m, k, scale, plan, scalars: 0.0
    if s.dtype == types.uint8:

        def given(z, ldz, y, s, first, m, k, scale, plan, scalars):
            """The output gradient is given, with a mask: no loss."""
            for i in range(m):
                row = shift(z, i * ldz)
                grad = shift(y, (first + i) * k)
                mask = shift(s, (first + i) * k)
                for j in range(k):
                    row[j] = grad[j] if mask[j] != 0 else 0
            return 0.0

        return given
    if isinstance(y.dtype, types.Integer):

        def labelled(z, ldz, y, s, first, m, k, scale, plan, scalars):
            weights = shift(s, first) if plan[at.WEIGHTED] else null_like(s)
            return losses.cross_entropy(z, ldz, shift(y, first), weights, m, k, scale)

        return labelled

    def elementwise(z, ldz, y, s, first, m, k, scale, plan, scalars):
        targets = shift(y, first * k)
        weights = shift(s, first) if plan[at.WEIGHTED] else null_like(s)
        gated = plan[at.OUTPUT_RELU] != 0
        huber = scalars[at.HUBER_DELTA]
        row, column, ldy = 1, 0, k
        if k == 1 and ldz == 1:  # one long row
            m, k, row, column = 1, m, 0, 1
        if plan[at.LOSS] == losses.MSE:
            return losses.mse(z, ldz, targets, ldy, weights, row, column,
                                      m, k, scale, huber, gated)
        if plan[at.LOSS] == losses.HUBER:
            return losses.huber(z, ldz, targets, ldy, weights, row, column,
                                      m, k, scale, huber, gated)
        return losses.logistic(z, ldz, targets, ldy, weights, row, column,
                                  m, k, scale, huber, gated)

    return elementwise


def _write_mask(mask, out, first, m, k):
    """mask = not (out <= 0) where the caller asked for one (a uint8 `y`)."""


@overload(_write_mask, jit_options=OPTIONS)
def _write_mask_typed(mask, out, first, m, k):
    if mask.dtype == types.uint8:

        def write(mask, out, first, m, k):
            target = shift(mask, first * k)
            source = shift(out, first * k)
            for i in range(m * k):
                target[i] = not (source[i] <= 0)

        return write
    return lambda mask, out, first, m, k: None


@pasted
def pack_slice(index, theta, workspace, plan):
    slices, job = plan[at.SLICES], plan[at.JOB]
    vl = lanes(workspace)
    for layer in range(plan[at.LAYERS]):
        r = at.HEADER + layer * at.RECORD
        d, k = plan[r + at.D], plan[r + at.K]
        blocks = (d + vl - 1) // vl
        start = min(d, blocks * index // slices * vl)
        stop = min(d, blocks * (index + 1) // slices * vl)
        if start == stop:
            continue
        w = shift(theta, plan[r + at.WEIGHT])
        if plan[at.LOSS] >= 0 or job == at.FORWARD:
            pack(shift(workspace, plan[r + at.PANELS]), w, k, d, k, start, stop)
        if job >= at.GRADIENT_AND_INPUT or (job == at.GRADIENT and layer > 0):
            pack_transposed(shift(workspace, plan[r + at.PANELS_T]), w, k, d, k, start, stop)


@pasted
def _forward(x, m, part, theta, bias, out, workspace, plan):
    """Every layer of one block; the last goes to `out` (leading dimension k)."""
    layers = plan[at.LAYERS]
    a, lda = x, plan[at.HEADER + at.D]
    for layer in range(layers):
        r = at.HEADER + layer * at.RECORD
        d, k = plan[r + at.D], plan[r + at.K]
        c, ldc = shift(part, plan[r + at.ACTIVATION]), plan[r + at.LD]
        mode = RELU
        if layer == layers - 1:
            if plan[at.JOB] == at.FORWARD:
                c, ldc = out, k
            if plan[at.OUTPUT_RELU] == 0:
                mode = STORE
        gemm(c, ldc, a, lda, 1, shift(workspace, plan[r + at.PANELS]), PACKED, m, k, d,
             shift(bias, plan[r + at.BIAS]), 0, c, 0, mode)
        a, lda = c, ldc


@pasted
def _backward(x, m, part, dx, fresh, workspace, plan):
    """Gradients of every layer from the output delta of one block; each delta replaces the
    activation it belongs to, after the activation gated it."""
    job = plan[at.JOB]
    zeros, one = shift(workspace, plan[at.ZEROS]), shift(workspace, plan[at.ONE])
    for layer in range(plan[at.LAYERS] - 1, -1, -1):
        r = at.HEADER + layer * at.RECORD
        d, k = plan[r + at.D], plan[r + at.K]
        delta, ld = shift(part, plan[r + at.ACTIVATION]), plan[r + at.LD]
        below, ldb = x, d
        if layer > 0:
            below = shift(part, plan[r - at.RECORD + at.ACTIVATION])
            ldb = plan[r - at.RECORD + at.LD]
        if job != at.INPUT:
            dw, db = shift(part, plan[r + at.PARTIAL]), shift(part, plan[r + at.PARTIAL_BIAS])
            ldg = plan[r + at.LDG]
            gemm(dw, ldg, below, 1, ldb, delta, ld, d, k, m, zeros if fresh else dw,
                 0 if fresh else ldg, dw, 0, STORE)
            gemm(db, ldg, one, 0, 0, delta, ld, 1, k, m, zeros if fresh else db, 0, db, 0, STORE)
        panels = shift(workspace, plan[r + at.PANELS_T])
        if layer > 0:
            gemm(below, ldb, delta, ld, 1, panels, PACKED, m, d, k, zeros, 0, below, ldb, GATE)
        elif job >= at.GRADIENT_AND_INPUT:
            gemm(dx, d, delta, ld, 1, panels, PACKED, m, d, k, zeros, 0, dx, 0, STORE)


@pasted
def rows_task(index, scale, theta, bias, x, y, s, out, dx, workspace, workspace64, plan):
    """All blocks of one row task; returns its sum of losses."""
    job, layers = plan[at.JOB], plan[at.LAYERS]
    first = index * plan[at.TASK_ROWS]
    stop = min(plan[at.ROWS], first + plan[at.TASK_ROWS])
    part = shift(workspace, plan[at.TASK_BASE] + index * plan[at.TASK_STRIDE])
    last = at.HEADER + (layers - 1) * at.RECORD
    d, k = plan[at.HEADER + at.D], plan[last + at.K]
    delta, ld = shift(part, plan[last + at.ACTIVATION]), plan[last + at.LD]
    grad = shift(part, plan[at.HEADER + at.PARTIAL])
    sums = shift(workspace64, plan[at.SUMS] + index * plan[at.GRAD_SIZE])
    flush, size = plan[at.FLUSH_BLOCKS], plan[at.GRAD_SIZE]
    if flush:
        for i in range(size):
            sums[i] = 0.0
    loss, waiting = 0.0, 0
    for row in range(first, stop, plan[at.BLOCK_ROWS]):
        m = min(plan[at.BLOCK_ROWS], stop - row)
        x_block = shift(x, row * d)
        if plan[at.LOSS] >= 0 or job == at.FORWARD:
            _forward(x_block, m, part, theta, bias, shift(out, row * k), workspace, plan)
        if job == at.FORWARD:
            _write_mask(y, out, row, m, k)
            continue
        loss += _output_delta(delta, ld, y, s, row, m, k, scale, plan, workspace64)
        if job == at.LOSS_ONLY:
            continue
        _backward(x_block, m, part, shift(dx, row * d), waiting == 0, workspace, plan)
        waiting += 1
        if flush and (waiting == flush or row + m == stop):
            for i in range(size):
                sums[i] += grad[i]
            waiting = 0
    return loss


@inner
def _reduce_row(out, first, stride, tasks, k, workspace, workspace64, plan):
    """out (k,) = sum over tasks, in order, in float64."""
    flush = plan[at.FLUSH_BLOCKS]
    partial = shift(workspace, plan[at.TASK_BASE] + plan[at.HEADER + at.PARTIAL] + first)
    sums = shift(workspace64, plan[at.SUMS] + first)
    if flush:
        for j in range(k):
            total = sums[j]
            for t in range(1, tasks):
                total += sums[t * plan[at.GRAD_SIZE] + j]
            out[j] = total
    elif tasks == 1:
        for j in range(k):
            out[j] = partial[j]
    elif tasks == 2:
        other = shift(partial, stride)
        for j in range(k):
            out[j] = partial[j] + other[j]
    else:
        for j in range(k):
            total = types.float64(partial[j])
            for t in range(1, tasks):
                total += partial[t * stride + j]
            out[j] = total


@pasted
def reduce_slice(index, theta, out, workspace, workspace64, plan):
    """A slice of the gradient from the partials; returns its sum of squared weights if l2."""
    slices, tasks, stride = plan[at.SLICES], plan[at.TASKS], plan[at.TASK_STRIDE]
    l2 = workspace64[at.L2]
    origin = plan[at.HEADER + at.PARTIAL]
    squares = 0.0
    for layer in range(plan[at.LAYERS]):
        r = at.HEADER + layer * at.RECORD
        d, k = plan[r + at.D], plan[r + at.K]
        start, stop = d * index // slices, d * (index + 1) // slices
        gradient = plan[at.JOB] == at.GRADIENT or plan[at.JOB] == at.GRADIENT_AND_INPUT
        for i in range(start, stop):
            offset = plan[r + at.WEIGHT] + i * k
            row = shift(out, offset)
            if gradient:
                _reduce_row(row, plan[r + at.PARTIAL] - origin + i * plan[r + at.LDG], stride,
                            tasks, k, workspace, workspace64, plan)
            if l2 != 0.0:
                w = shift(theta, offset)
                for j in range(k):
                    squares += types.float64(w[j]) * w[j]
                    if gradient:
                        row[j] += l2 * w[j]
        if index == 0 and gradient:
            _reduce_row(shift(out, plan[r + at.BIAS_OUT]), plan[r + at.PARTIAL_BIAS] - origin,
                        stride, tasks, k, workspace, workspace64, plan)
    return squares


@inner
def weight_sum(s, n):
    """Sum of the sample weights in float64, in four interleaved chains."""
    s = pointer(s)
    a = b = c = d = 0.0
    stop = n // 4 * 4
    for i in range(0, stop, 4):
        a += s[i]
        b += s[i + 1]
        c += s[i + 2]
        d += s[i + 3]
    for i in range(stop, n):
        a += s[i]
    return (a + b) + (c + d)


@inner
def _scale(s, plan):
    """1 / (n or sum of weights), and also / k for the losses that are means over outputs."""
    total = weight_sum(s, plan[at.ROWS]) if plan[at.WEIGHTED] else float(plan[at.ROWS])
    if plan[at.LOSS] == losses.MSE or plan[at.LOSS] == losses.HUBER:
        total *= plan[at.HEADER + (plan[at.LAYERS] - 1) * at.RECORD + at.K]
    return 1.0 / total


def _task(phase, index, scale, theta, bias, x, y, s, out, dx, workspace, workspace64, plan):
    theta, workspace, workspace64 = pointer(theta), pointer(workspace), pointer(workspace64)
    plan = pointer(plan)
    if phase == 0:
        pack_slice(index, theta, workspace, plan)
    elif phase == 1:
        workspace64[plan[at.PARTS] + index] = rows_task(
            index, scale, theta, pointer(bias), pointer(x), pointer(y), pointer(s), pointer(out),
            pointer(dx), workspace, workspace64, plan)
    else:
        workspace64[plan[at.PARTS] + plan[at.TASKS] + index] = reduce_slice(
            index, theta, pointer(out), workspace, workspace64, plan)


_pasted_task, _called_task = pasted(_task), inner(_task)


@inner
def _loss(scale, workspace64, plan):
    """The parts in task order, plus l2 / 2 times the sum of squared weights."""
    if plan[at.JOB] == at.FORWARD or plan[at.LOSS] < 0:
        return 0.0
    first, tasks = plan[at.PARTS], plan[at.TASKS]
    loss, squares = 0.0, 0.0
    for t in range(tasks):
        loss += workspace64[first + t]
    for t in range(plan[at.SLICES]):
        squares += workspace64[first + tasks + t]
    return loss * scale + 0.5 * workspace64[at.L2] * squares


@kernel
def step(theta, bias, x, y, s, out, dx, workspace, workspace64, plan):
    """All tasks of all phases, one after the other; returns the loss."""
    scale = _scale(s, plan)
    for phase in range(3):
        count = plan[at.TASKS] if phase == 1 else plan[at.SLICES]
        if phase == 2 and plan[at.JOB] == at.FORWARD:
            continue
        for index in range(count):
            _pasted_task(phase, index, scale, theta, bias, x, y, s, out, dx, workspace, workspace64,
                  plan)
    return _loss(scale, workspace64, plan)


@parallel_kernel
def step_parallel(theta, bias, x, y, s, out, dx, workspace, workspace64, plan):
    """`step` with each phase's tasks shared among the threads."""
    scale = _scale(s, plan)
    for phase in range(3):
        count = plan[at.TASKS] if phase == 1 else plan[at.SLICES]
        if phase == 2 and plan[at.JOB] == at.FORWARD:
            continue
        if count == 1:
            _called_task(phase, 0, scale, theta, bias, x, y, s, out, dx, workspace, workspace64, plan)
        else:
            # A task owns its slice of the panels (0), its part of the workspace (1) or its slice
            # of the gradient (2).
            for index in prange(count):
                _called_task(phase, types.int64(index), scale, theta, bias, x, y, s, out, dx, workspace,
                      workspace64, plan)
    return _loss(scale, workspace64, plan)


@kernel
def probabilities(out, is_softmax):
    """Outputs (n, k) to probabilities, in place."""
    if is_softmax:
        losses.softmax(pointer(out), out.shape[0], out.shape[1])
    else:
        losses.sigmoid(pointer(out), out.shape[0], out.shape[1])
