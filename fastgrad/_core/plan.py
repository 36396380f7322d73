"""Shapes to a plan: blocks, tasks, variants, where everything lies in the workspace.

Plain arithmetic on shapes, which compiled code calls too (`jitable`): what a step is cut into
(`cuts.py`), what becomes of each layer (`places.py`), and here the step as a whole. Nothing here
depends on the number of threads, so neither do the results. The plan decides every variant of a
product; kernels look at no shape to choose one.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..kernels import records as at
from ..kernels import tuning
from ..kernels.gemm_tn import scratch_elements
from ..kernels.jit import jitable
from ..kernels.micro_kernel import NV, RELU
from ..kernels.records import LAYER, PLAN
from ..kernels.simd import VECTOR_BYTES
from ..losses import LOSSES
from .cuts import BOTH, Job, count, cut_rows, kind_of
from .places import (
    choose_products,
    place_activations,
    place_gradients,
    place_panels,
    place_parameters,
    place_units,
    shape_layers,
)
from .threads import max_threads, threads_sleep
from .tuning import tuned
from .workspace import Plan, round_up

MSE = LOSSES["mse"].code
jitable(scratch_elements)


@jitable
def write_plan(
    vector, sizes, n, itemsize, want, loss, labelled, targets, averaged, activation,
    output_activation, weighted, flat, threads, tuned, sparse=False,
):  # fmt: skip
    """Write a step's PLAN and LAYERs, zeros before; (work, elements, doubles, cleared, workers) of
    its `Plan`.

    `work`: its flops, as if in float32, if threads can share it, else 0. `averaged`: what the loss
    of a row is divided by; `flat`: biases lie in theta behind their weights, else on their own;
    `threads`: the most ever; `tuned`: a `tuning.Tuning`; `sparse`: X is CSR.
    """
    job = Job(n, itemsize, want, labelled, weighted, flat, sparse, tuned)
    totals = count(sizes, job)
    kind = kind_of(sizes, job, totals)
    widths = shape_layers(vector, sizes, job, totals, kind, activation, output_activation)
    cut = cut_rows(sizes, job, totals, kind, widths)
    vector[PLAN.n], vector[PLAN.layers], vector[PLAN.want] = n, len(sizes) - 1, want
    vector[PLAN.loss], vector[PLAN.labelled], vector[PLAN.averaged] = loss, labelled, averaged
    vector[PLAN.targets], vector[PLAN.one_pass] = targets, kind.one_pass
    vector[PLAN.weighted], vector[PLAN.flat], vector[PLAN.sparse] = weighted, flat, sparse
    vector[PLAN.wide], vector[PLAN.chunk_rows] = cut.wide, cut.chunk
    vector[PLAN.task_rows], vector[PLAN.tasks] = cut.task_rows, cut.tasks
    vector[PLAN.block_rows], vector[PLAN.slices] = cut.block_rows, cut.slices
    vector[PLAN.direct], vector[PLAN.float64_blocks] = cut.direct, cut.float64_blocks
    vector[PLAN.parameters] = totals.parameters

    place_parameters(vector, sizes, flat)
    weight_tasks, packed_rows, deepest = choose_products(
        vector, sizes, job, totals, kind, widths, cut
    )
    panels = place_panels(vector, sizes, job)
    part = place_activations(vector, sizes, job, totals, widths, cut)
    gradient_size = place_gradients(vector, sizes, job, kind, cut, part)
    lanes = VECTOR_BYTES // itemsize
    in_scratch = max(scratch_elements(lanes, vector[PLAN.kc], packed_rows), deepest * NV * lanes)
    queue_tasks = max(cut.tasks, cut.slices, weight_tasks) if cut.parallel else 0
    workers = min(threads, queue_tasks) if cut.parallel else 1  # more would find nothing to do
    widest = widths.widest
    if want & at.MATRIX:
        in_scratch, widest = place_units(vector, sizes, job, totals), totals.parameters
    if vector[PLAN.buckets]:
        in_scratch = max(in_scratch, 2 * tuning.SORTED_ENTRIES + 2 ** vector[PLAN.bucket_bits])
    if want & (at.GRADIENT | at.MATRIX) == 0:
        in_scratch = 0
    cleared, elements = _place_work(
        vector, job, cut, panels, part, gradient_size, widest, in_scratch, workers
    )
    if want & at.MATRIX:
        gradient_size = totals.parameters * totals.parameters
    vector[PLAN.task_gradient_size] = gradient_size
    doubles = _place_sums(vector, sizes, job, cut, gradient_size, queue_tasks, workers)
    return totals.flops if cut.parallel else 0, elements, doubles, cleared, workers


@jitable
def _place_work(vector, job, cut, panels, part, gradient_size, widest, in_scratch, workers):
    """Numbers of the parameters' type; (those that begin as zeros, in all)."""
    lanes = VECTOR_BYTES // job.itemsize
    stride = 0 if cut.wide else round_up(part + gradient_size, 64) + lanes  # in other cache sets
    base = panels + round_up(widest + lanes, lanes)
    panel_stride = round_up(base, 64) + lanes if cut.own else 0
    base = max(base, cut.tasks * panel_stride)
    scratch = base + (part + gradient_size if cut.wide else cut.tasks * stride) + lanes
    scratch_stride = round_up(in_scratch, lanes) + lanes if in_scratch else 0
    vector[PLAN.zeros], vector[PLAN.task_base], vector[PLAN.task_stride] = panels, base, stride
    vector[PLAN.panel_stride], vector[PLAN.workers] = panel_stride, workers
    vector[PLAN.scratch], vector[PLAN.scratch_stride] = scratch, scratch_stride
    return scratch, scratch + workers * scratch_stride


@jitable
def _place_sums(vector, sizes, job, cut, gradient_size, queue_tasks, workers):
    """Numbers of float64, and the work queue; in all."""
    vector[PLAN.gradient_sums] = at.SCALARS
    after = at.SCALARS + (cut.gradients * gradient_size if cut.float64_blocks else 0)
    vector[PLAN.places] = vector[PLAN.scattered] = after
    if job.sparse and job.want & at.GRADIENT:
        if cut.wide:  # of int32
            after += (-(-cut.chunk // cut.task_rows) * (vector[PLAN.buckets] + 1) + 1) // 2
        else:
            after += cut.tasks * sizes[0] * sizes[1]
    queue = round_up(after + cut.tasks + cut.slices + at.LINE, at.LINE)
    doubles = queue + (1 + queue_tasks) * at.LINE
    vector[PLAN.losses], vector[PLAN.queue], vector[PLAN.queue_tasks] = after, queue, queue_tasks
    vector[PLAN.row_norms] = doubles
    if job.want & at.ROW_NORMS:
        doubles += workers * round_up(cut.block_rows, at.LINE)
    return doubles


@lru_cache(maxsize=256)
def network_plan(spec, n: int, want: int, weighted: bool, sparse: bool = False) -> Plan:
    """The plan of one step of a network (`spec.Network`); `sparse`: X is CSR."""
    vector = np.zeros(PLAN.size + (len(spec.layer_sizes) - 1) * LAYER.size, np.int64)
    loss = spec.loss
    sizes, itemsize = spec.layer_sizes, spec.dtype.itemsize
    work, *size = write_plan(
        vector, sizes, n, itemsize, want, loss.code, loss.labelled,
        loss.target_kind, sizes[-1] if loss.mean_over_outputs else 1, spec.activation.code,
        spec.output_activation.code, weighted, True, max_threads(), tuned(), sparse,
    )  # fmt: skip
    return _plan(vector, work, spec.dtype, size, spec.numbers)


@lru_cache(maxsize=256)
def layer_plan(d: int, k: int, n: int, dtype: np.dtype, want: int, activation: int) -> Plan:
    """The plan of one layer: its bias is an array by itself, its output gradient is given."""
    vector = np.zeros(PLAN.size + LAYER.size, np.int64)
    work, *size = write_plan(
        vector, (d, k), n, dtype.itemsize, want, 0, False, False, 1, 0, activation, False, False,
        max_threads(), tuned(),
    )  # fmt: skip
    return _plan(vector, work, dtype, size)


def _plan(vector, work, dtype, size, scalars=(1.0, 0.0)) -> Plan:
    parallel = work > 0 and (work >= tuning.ASLEEP_FLOPS or not threads_sleep())
    elements, doubles, cleared, workers = size
    return Plan(vector, parallel, dtype, elements, doubles, cleared, workers, scalars)


@lru_cache(maxsize=256)
def neuron_plan(n: int, d: int, dtype: np.dtype, weighted: bool) -> Plan:
    """The plan of one neuron max(0, w . x + b) and its mean squared error."""
    vector = np.zeros(PLAN.size + LAYER.size, np.int64)
    work, *size = write_plan(
        vector, (d, 1), n, dtype.itemsize, BOTH, MSE, False, False, 1, 0, RELU, weighted, False,
        max_threads(), tuned(),
    )  # fmt: skip
    return _plan(vector, work, dtype, size)
