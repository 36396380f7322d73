"""A network for compiled code: a handle with workspaces for threads, its loss and its outputs.

`derivatives.py` has the other methods of the handle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numba import types
from numba.extending import overload_method, register_jitable
from numpy.typing import NDArray

from ..._core import check
from ..._core.calls import checked_network
from ..._core.csr import sorts_entries
from ..._core.rows import row_plan
from ..._core.threads import max_threads
from ...kernels import records as at
from ...kernels.bind import bind_forward, bind_step
from ...kernels.jit import OPTIONS
from ...kernels.records import call_in
from ...kernels.simd import pointer
from .checks import (
    check_targets,
    require,
    require_disjoint,
    require_native,
    require_output,
    require_targets,
    weights_of,
)
from .lazy import check_version
from .locks import LINE, free_after_fork, give_back, take
from .rows import checked, keep, require_disjoint_rows, require_rows, rows_of
from .steps import run_step

if TYPE_CHECKING:
    from ...network import MLP

Array: TypeAlias = NDArray[Any]
Rows: TypeAlias = Array | tuple[Array, Array, Array]  # or CSR's three arrays


class Network(NamedTuple):
    """A network ready for compiled code; made by `network`. Its fields are the kernels' business.

    In `@njit` code and in Python alike it has `loss_and_grad` and `predict`; made with
    ``derivatives=True`` it has `vjp`, `grad_norms` and `hvp`.
    """

    gradient: Array
    forward: Array
    back: Array
    norms: Array
    curved: Array
    busy: Array
    like: Array
    targets_like: Array
    rows: int
    inputs: int
    outputs: int
    parameters: int
    weighted: bool
    targets: int
    sparse: bool
    sorts: bool

    def loss_and_grad(
        self,
        theta: Array,
        X: Rows,
        y: Array,
        sample_weight: Array | None = None,
        out: Array | None = None,
    ) -> tuple[float, Array]:
        """As `MLP.loss_and_grad`."""
        X = checked(self, X)
        return self.net.loss_and_grad(theta, X, y, sample_weight, out=out, threads=1)

    def predict(self, theta: Array, X: Rows, out: Array | None = None) -> Array:
        """As `MLP.predict`."""
        result = self.net.predict(theta, checked(self, X), threads=1)
        if out is None:
            return result
        out[...] = result
        return out

    def vjp(self, theta: Array, X: Array, cotangent: Array, out: Array | None = None) -> Array:
        """As `fastgrad.jacobians.vjp`."""
        from ... import jacobians

        return jacobians.vjp(self.net, theta, X, cotangent, out=out, threads=1)

    def grad_norms(
        self,
        theta: Array,
        X: Array,
        y: Array,
        sample_weight: Array | None = None,
        out: Array | None = None,
    ) -> Array:
        """As `fastgrad.per_sample.grad_norms`."""
        from ... import per_sample

        return per_sample.grad_norms(self.net, theta, X, y, sample_weight, out=out, threads=1)

    def hvp(
        self,
        theta: Array,
        X: Array,
        y: Array,
        v: Array,
        sample_weight: Array | None = None,
        out: Array | None = None,
    ) -> Array:
        """As `fastgrad.curvature.hvp`."""
        from ... import curvature

        return curvature.hvp(self.net, theta, X, y, v, sample_weight, out=out, threads=1)

    def __reduce__(self) -> tuple[Any, ...]:
        copies, derivatives = self.gradient.shape[0], self.curved.shape[0] > 0
        return network, (self.net, self.rows, self.weighted, copies, self.sparse, derivatives)


class _Network(Network):
    """Remembers what it was made from."""

    net: MLP[Any]

    def __repr__(self) -> str:
        return f"Network({self.net!r}, n={self.rows}, copies={self.gradient.shape[0]})"


def _workspaces(plan, copies: int) -> np.ndarray:
    """(copies, words): a workspace with its plan for each caller at a time."""
    check.addressable(copies * plan.words, np.dtype(np.float64), "copies")
    return plan.workspaces(copies)


def network(
    net: MLP[Any],
    n: int,
    weighted: bool = False,
    copies: int | None = None,
    sparse: bool = False,
    derivatives: bool = False,
) -> Network:
    """A network for compiled code, for batches of n rows.

    Parameters
    ----------
    net : MLP
    n : int
        Rows of every X that it will be given.
    weighted : bool
        Whether functions of the loss will be given `sample_weight`.
    copies : int, optional
        How many threads may be inside at once without waiting for each other; as many as Numba has.
    sparse : bool
        Whether X will be CSR, which compiled code takes as a tuple of its three arrays,
        ``(X.data, X.indices, X.indptr)``, the latter two int32 or int64; what their entries are
        sorted in is allocated anew by each call.
    derivatives : bool
        Whether workspaces of `vjp`, `grad_norms` and `hvp` are made too, for a dense X.

    Returns
    -------
    handle : Network
        Pass it to `@njit` functions. There,
        ``loss, grad = handle.loss_and_grad(theta, X, y, out=grad)`` and
        ``out = handle.predict(theta, X, out=out)`` mean what they mean for `MLP`, with the same
        bits; without `out` a fresh array is made. So do, with ``derivatives=True``,
        ``handle.vjp(theta, X, cotangent, out=gtheta)``, which is `jacobians.vjp` without `need_gX`,
        ``handle.grad_norms(theta, X, y, out=norms)``, that of `per_sample`, and
        ``handle.hvp(theta, X, y, v, out=product)``, that of `curvature`. Arrays are C-contiguous
        and of the network's dtype, labels int64. One handle serves all iterations of a `prange`.

    Raises
    ------
    TypeError, ValueError
        If net is not a network or a number is not positive.
    MemoryError
        If no machine holds so many rows or copies.

    Examples
    --------
    >>> import numba
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> from fastgrad.interop.numba import network, optimizer
    >>> @numba.njit
    ... def train(net, opt, theta, X, y, steps):
    ...     grad = np.empty_like(theta)
    ...     loss = 0.0
    ...     for _ in range(steps):
    ...         loss, _ = net.loss_and_grad(theta, X, y, out=grad)
    ...         opt.step(theta, grad)
    ...     return loss
    >>> net = fg.MLP([1, 16, 1])
    >>> theta, X = net.init(seed=0), np.linspace(-1, 1, 50).reshape(-1, 1)
    >>> handle, opt = network(net, 50), optimizer(fg.Adam(0.02), net)
    >>> train(handle, opt, theta, X, np.abs(X), 1000) < 0.01
    True
    """
    checked_network(net)
    n = check.integer(n, "n")
    check.addressable(n * ((0 if sparse else net.n_inputs) + net.n_outputs), net.dtype, "n")
    copies = max_threads() if copies is None else check.integer(copies, "copies")
    weighted, sparse = bool(weighted), bool(sparse)
    more = copies if check.boolean(derivatives, "derivatives") else 0
    plan = net._plan(n, at.LOSS | at.GRADIENT, weighted, sparse)
    second = at.LOSS | at.GRADIENT | at.TANGENT | at.SECOND
    handle = _Network(
        gradient=_workspaces(plan, copies),
        forward=_workspaces(net._plan(n, at.OUTPUTS, False, sparse), copies),
        back=_workspaces(net._plan(n, at.COTANGENT | at.GRADIENT, False), more),
        norms=_workspaces(row_plan(net, n, at.ROW_NORMS, weighted), more),
        curved=_workspaces(net._plan(n, second, weighted), more),
        busy=np.zeros(copies * LINE, np.int64),
        like=np.zeros(1, net.dtype),
        targets_like=np.zeros(1, np.int64 if net.spec.loss.labelled else net.dtype),
        rows=n,
        inputs=net.n_inputs,
        outputs=net.n_outputs,
        parameters=net.n_parameters,
        weighted=weighted,
        targets=net.spec.loss.target_kind,
        sparse=sparse,
        sorts=bool(sorts_entries(plan)),
    )
    handle.net = net
    free_after_fork(handle.busy)
    return handle


@register_jitable
def acquire(busy):
    """The number of a workspace that nobody else uses now."""
    copies = busy.size // LINE
    number = 0
    while not take(busy, number * LINE):
        number = (number + 1) % copies
    return number


@register_jitable
def release(busy, number):
    give_back(busy, number * LINE)


def is_network(kind) -> bool:
    return isinstance(kind, types.NamedTuple) and issubclass(kind.instance_class, Network)


@register_jitable
def _check_size(net, theta):
    if theta.size != net.parameters:
        raise ValueError("theta has the wrong size for this network")


@register_jitable
def check_sizes(net, theta, X):
    _check_size(net, theta)
    if X.shape[0] != net.rows:
        raise ValueError("X has another number of rows than the network was prepared for")
    if X.shape[1] != net.inputs:
        raise ValueError("X has the wrong number of columns for this network")


@overload_method(types.NamedTuple, "loss_and_grad", jit_options=OPTIONS)
def _loss_and_grad(net, theta, X, y, sample_weight=None, out=None):
    if not is_network(net):
        return None
    dtype = require_targets(net, theta, y, sample_weight)
    require_rows(X, dtype)
    require_output(out, "out", dtype, 1)

    def implementation(net, theta, X, y, sample_weight=None, out=None):
        check_version()
        _check_size(net, theta)
        require_native(theta, "theta")
        rows = rows_of(net, X)
        require_native(y, "y")
        check_targets(net, y)
        weight = weights_of(net, sample_weight)
        grad = np.empty_like(theta) if out is None else out
        if grad.size != net.parameters:
            raise ValueError("out has the wrong size for this network")
        require_native(out, "out")
        require_disjoint(out, "out", theta, "theta")
        require_disjoint_rows(out, X)
        require_disjoint(out, "out", y, "y")
        require_disjoint(out, "out", sample_weight, "sample_weight")
        number = acquire(net.busy)
        call = call_in(net.gradient[number], pointer(theta))
        bind_step(call, theta, rows, y, weight, grad, None)
        loss = run_step(call)
        keep(rows)
        release(net.busy, number)
        return loss, grad

    return implementation


@overload_method(types.NamedTuple, "predict", jit_options=OPTIONS)
def _predict(net, theta, X, out=None):
    if not is_network(net):
        return None
    dtype = dict(zip(net.fields, net.types))["like"].dtype
    require(theta, "theta", dtype, 1)
    require_rows(X, dtype)
    require_output(out, "out", dtype, 2)

    def implementation(net, theta, X, out=None):
        check_version()
        _check_size(net, theta)
        require_native(theta, "theta")
        rows = rows_of(net, X)
        outputs = np.empty((net.rows, net.outputs), theta.dtype) if out is None else out
        if outputs.shape != (net.rows, net.outputs):
            raise ValueError("out has the wrong shape for X and this network")
        require_native(out, "out")
        require_disjoint(out, "out", theta, "theta")
        require_disjoint_rows(out, X)
        number = acquire(net.busy)
        call = call_in(net.forward[number], pointer(theta))
        bind_forward(call, theta, theta, rows, outputs)
        run_step(call)
        keep(rows)
        release(net.busy, number)
        return outputs

    return implementation
