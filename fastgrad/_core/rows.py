"""What is of each row in a network's loss, from checked arrays into a step; and the fast path.

After a call that was checked in Python, the next one of so many rows leaves the checks to compiled
code, as `MLP.loss_and_grad` does: on 128 rows of 64-128-10 that is a tenth of the time.
"""

from __future__ import annotations

import numpy as np

from ..kernels import records as at
from ..kernels.bind import run_rows
from ..kernels.engine import parallel_step
from ..kernels.fast_path import REFUSED, quick_rows, shared_rows
from .plan import network_plan
from .run import NOT_OPEN, FastPath, run

_quick_rows = quick_rows.call
_ndarray, _empty = np.ndarray, np.empty
_MOST_PLANS = 32


def row_plan(net, n: int, want: int, weighted: bool):
    """Of the data's loss alone, but for a gradient."""
    if net.l2 == 0 or want & at.GRADIENT:
        return net._plan(n, at.LOSS | want, weighted)
    return network_plan(net.spec.without_penalty(), n, at.LOSS | want, weighted)


def run_checked(net, want, checked, outputs, max_norm, threads) -> float:
    """`outputs`: the gradient, the norms, the rows' gradients; None for what is not wanted."""
    theta, X, y, s = checked
    plan = row_plan(net, len(X), want, s is not None)
    arrays = (theta, X, y, s, *outputs, max_norm)
    return run(plan, run_rows, arrays, threads)


def quick(net, want, theta, X, y, max_norm, out):
    """(loss, out) on the fast path; None where it is not open or does not take these arguments."""
    if not type(theta) is type(X) is type(y) is _ndarray:
        return None
    if out is not None and type(out) is not _ndarray:
        return None
    try:
        plan = net._row_plans[len(X), want]
        buffer = plan.lease()
    except (AttributeError, KeyError, TypeError):
        return None
    if out is None:
        out = _empty(net.n_parameters if want & at.GRADIENT else len(X), net.dtype)
    try:
        arguments = theta, X, y, out, max_norm, buffer
        loss = net._row_path.launch(plan, arguments) if plan.parallel else _quick_rows(*arguments)
    except NOT_OPEN:
        loss = REFUSED
    plan.free.append(buffer)
    return None if loss == REFUSED else (loss, out)


def open_quick(net, want, theta, X, y, max_norm, out) -> None:
    """For calls like this one, whose arrays have been checked; y (n k,) or (n,)."""
    if not hasattr(net, "_row_plans"):
        net._row_path = FastPath(parallel_step, quick_rows, shared_rows)
        net._row_plans = {}
    n, plans = len(X), net._row_plans
    plan = row_plan(net, n, want, False)
    shapes = [y] if net._loss.labelled else [y.reshape(n, -1)]
    if net.n_outputs == 1:
        shapes.append(y)
    buffer = plan.lease()
    try:
        given = [(theta, X, targets, out, float(max_norm), buffer) for targets in shapes]
        if net._row_path.open(plan, (theta, buffer), *given):
            if len(plans) >= _MOST_PLANS:
                plans.clear()
            plans[n, want] = plan
    finally:
        plan.free.append(buffer)
