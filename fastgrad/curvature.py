"""Second derivatives of a network's loss: products with a vector, diagonals, factors, matrices.

Functions of an `MLP`, of the loss that `MLP.loss` gives: mean over samples as there, with
`sample_weight` and `l2` (which adds its multiple of the identity, over weights alone). H is the
Hessian by theta; G is Gauss and Newton's matrix, the sum of J_i^T H_i J_i over samples with J_i the
Jacobian of a row's outputs and H_i the Hessian of its loss by them: positive semi-definite for all
our losses, and H itself where outputs are affine in theta. All of it is exact, from closed forms,
but for `kfac_factors`, which factor an approximation. At the kink of an activation or a loss the
second derivative is 0, as it is on either side: none of these sees the jump of the slope there. So
the losses "absolute_error" and "quantile" have no curvature of their own, and their G is 0.
Formulas 34 to 37.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from ._core import check
from ._core.calls import inputs, loss_arguments, outputs, tangents
from ._core.csr import Csr, bound_rows
from ._core.names import list_public
from ._core.run import run
from ._matrices import ggn, ggn_diagonal, hessian, kfac_factors
from .kernels import records as at
from .kernels.bind import run_output_product, run_product
from .typing import ArrayOf, CurvatureName, D, Numbers, Rows

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator

    from .network import MLP

__all__ = [
    "ggn",
    "ggn_diagonal",
    "ggn_vp",
    "hessian",
    "hvp",
    "kfac_factors",
    "operator",
    "output_hvp",
]
list_public(globals())


@overload
def hvp(
    net: MLP[D], theta: ArrayOf[D], X: Rows, y: Numbers, v: ArrayOf[D] | None,
    sample_weight: Numbers | None = ..., *, v_X: Numbers | None = ..., need_X: Literal[False] = ...,
    out: NDArray[D] | None = ..., threads: int | None = ...,
) -> NDArray[D]: ...  # fmt: skip
@overload
def hvp(
    net: MLP[D], theta: ArrayOf[D], X: Rows, y: Numbers, v: ArrayOf[D] | None,
    sample_weight: Numbers | None = ..., *, v_X: Numbers | None = ..., need_X: Literal[True],
    out: tuple[NDArray[D], NDArray[D]] | None = ..., threads: int | None = ...,
) -> tuple[NDArray[D], NDArray[D]]: ...  # fmt: skip
def hvp(
    net: Any, theta: Any, X: Any, y: Any, v: Any, sample_weight: Any = None, *, v_X: Any = None,
    need_X: bool = False, out: Any = None, threads: int | None = None,
) -> Any:  # fmt: skip
    """The Hessian of the loss times a vector, H v: how the gradient moves as theta moves along v.

    Parameters
    ----------
    net : MLP
    theta : array (p,)
    X : array (n, d), or sparse
        n >= 1; CSR as `MLP.loss_and_grad` takes it, but where X moves or `need_X` is asked for.
    y : array
        As for `MLP.loss_and_grad`.
    v : array (p,) or None
        The direction in which theta moves, of the network's dtype. None: theta stays, and `v_X` is
        needed.
    sample_weight : array (n,), optional
        Not negative, not all zero.
    v_X : array (n, d), optional
        The direction in which X moves: H is then the Hessian by theta and X together.
    need_X : bool
        Whether the rows of the product that belong to X are wanted too: how the gradient with
        respect to X moves.
    out : ndarray (p,), optional
        Where to write the product, or with `need_X` a pair of arrays (p,) and (n, d): same dtype,
        contiguous, disjoint from the inputs.
    threads : int, optional
        The most threads of this call; the bits do not depend on it.

    Returns
    -------
    product : ndarray (p,)
        In the order of theta.
    product_X : ndarray (n, d)
        With `need_X` alone.

    Raises
    ------
    TypeError, ValueError
        If net is no MLP, or a dtype, a shape or a label does not fit: the message names the
        argument, and nothing has been written.

    Notes
    -----
    Formula 34 (Pearlmutter, *Fast exact multiplication by the Hessian*, 1994), in one pass over X:
    1.7 to 2.4 times the cost of `MLP.loss_and_grad`. ReLU'' = 0. NaN in any argument shows. The
    gradient by theta of a penalty on dC/dX, say of its square sum, is that of `v_X` = 2 dC/dX and
    v None.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> net = fg.MLP([1, 1], loss="mse")
    >>> theta, X, y = np.array([2.0, 1.0]), np.array([[1.0], [3.0]]), np.array([0.0, 9.0])
    >>> fg.curvature.hvp(net, theta, X, y, np.array([1.0, 0.0]))
    array([10.,  4.])

    As the gradient of sum((dC/dX)^2) by theta:

    >>> gX = net.grad_input(theta, X, y)
    >>> fg.curvature.hvp(net, theta, X, y, None, v_X=2 * gX)
    array([28.,  8.])
    """
    return _product(at.SECOND, net, theta, X, y, v, sample_weight, v_X, need_X, out, threads)


@overload
def ggn_vp(
    net: MLP[D], theta: ArrayOf[D], X: Rows, y: Numbers, v: ArrayOf[D] | None,
    sample_weight: Numbers | None = ..., *, v_X: Numbers | None = ..., need_X: Literal[False] = ...,
    out: NDArray[D] | None = ..., threads: int | None = ...,
) -> NDArray[D]: ...  # fmt: skip
@overload
def ggn_vp(
    net: MLP[D], theta: ArrayOf[D], X: Rows, y: Numbers, v: ArrayOf[D] | None,
    sample_weight: Numbers | None = ..., *, v_X: Numbers | None = ..., need_X: Literal[True],
    out: tuple[NDArray[D], NDArray[D]] | None = ..., threads: int | None = ...,
) -> tuple[NDArray[D], NDArray[D]]: ...  # fmt: skip
def ggn_vp(
    net: Any, theta: Any, X: Any, y: Any, v: Any, sample_weight: Any = None, *, v_X: Any = None,
    need_X: bool = False, out: Any = None, threads: int | None = None,
) -> Any:  # fmt: skip
    """Gauss and Newton's matrix of the loss times a vector, G v.

    Parameters, returns and errors are those of `hvp`.

    Notes
    -----
    Formula 35: `jvp`, the curvature of the loss by the outputs, `vjp`, in one pass over X
    (Schraudolph, *Fast curvature matrix-vector products*, 2002): some 1.6 times the cost of
    `MLP.loss_and_grad`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> net = fg.MLP([1, 1], loss="mse")
    >>> theta, X, y = np.array([2.0, 1.0]), np.array([[1.0], [3.0]]), np.array([0.0, 9.0])
    >>> fg.curvature.ggn_vp(net, theta, X, y, np.array([1.0, 0.0]))
    array([10.,  4.])
    """
    return _product(0, net, theta, X, y, v, sample_weight, v_X, need_X, out, threads)


def _product(second, net, theta, X, y, v, sample_weight, v_X, need_X, out, threads):
    names = "theta", "X", "y", "v", "sample_weight", "v_X"
    given = theta, X, y, v, sample_weight, v_X
    sparse = need_X is False and v_X is None
    theta, X, y, sample_weight = loss_arguments(net, theta, X, y, sample_weight, sparse)
    v, v_X = tangents(net, len(X), v, v_X, ("v", "v_X"))
    checked = theta, X, y, v, sample_weight, v_X
    out, out_X = outputs(out, need_X, "need_X", theta, X, names, given, checked)
    want = at.LOSS | at.GRADIENT | at.TANGENT | second
    if v_X is not None or out_X is not None:
        want |= at.INPUT_GRADIENT
    plan = net._plan(len(X), want, sample_weight is not None, type(X) is Csr)
    v = np.zeros_like(theta) if v is None else v
    with bound_rows(plan, X) as rows:
        run(plan, run_product, (theta, v, rows, v_X, y, sample_weight, out, out_X), threads)
    return (out, out_X) if need_X else out


@overload
def output_hvp(
    net: MLP[D], theta: ArrayOf[D], X: Rows, cotangent: Numbers, v: ArrayOf[D] | None,
    *, v_X: Numbers | None = ..., need_X: Literal[False] = ...,
    out: NDArray[D] | None = ..., threads: int | None = ...,
) -> NDArray[D]: ...  # fmt: skip
@overload
def output_hvp(
    net: MLP[D], theta: ArrayOf[D], X: Rows, cotangent: Numbers, v: ArrayOf[D] | None,
    *, v_X: Numbers | None = ..., need_X: Literal[True],
    out: tuple[NDArray[D], NDArray[D]] | None = ..., threads: int | None = ...,
) -> tuple[NDArray[D], NDArray[D]]: ...  # fmt: skip
def output_hvp(
    net: Any, theta: Any, X: Any, cotangent: Any, v: Any, *, v_X: Any = None,
    need_X: bool = False, out: Any = None, threads: int | None = None,
) -> Any:  # fmt: skip
    """The Hessian of sum(cotangent * outputs) times a vector: how `fastgrad.jacobians.vjp` moves.

    Parameters
    ----------
    net : MLP
        Its loss and `l2` have no part in this.
    theta : array (p,)
    X : array (n, d), or sparse
        n >= 1; CSR as `MLP.loss_and_grad` takes it, but where X moves or `need_X` is asked for.
    cotangent : array (n, k)
        Of the outputs, held still; (n,) stands for (n, 1).
    v, v_X, need_X, out, threads
        As for `hvp`.

    Returns
    -------
    product : ndarray (p,)
        In the order of theta: a sum over samples and outputs, no mean.
    product_X : ndarray (n, d)
        With `need_X` alone.

    Raises
    ------
    TypeError, ValueError
        As for `hvp`.

    Notes
    -----
    Formula 34 with the cotangent for the slope of the loss, which has no curvature of its own. With
    `v` None and `v_X` = e in every row, `product` is the gradient by theta of the outputs' slopes
    along e, weighted by the cotangent, and of one output `product_X` has the second derivatives by
    X and e: terms of a differential equation.

    Examples
    --------
    The second derivative of a network of one input:

    >>> import numpy as np
    >>> import fastgrad as fg
    >>> net = fg.MLP([1, 1, 1], activation="tanh")
    >>> theta, X = np.array([2.0, 0.0, 3.0, 0.0]), np.array([[0.5]])  # 3 tanh(2 x)
    >>> one = np.ones((1, 1))
    >>> _, second = fg.curvature.output_hvp(net, theta, X, one, None, v_X=one, need_X=True)
    >>> bool(np.isclose(second[0, 0], -24 * np.tanh(1.0) * (1 - np.tanh(1.0) ** 2)))
    True
    """
    names, given = ("theta", "X", "cotangent", "v", "v_X"), (theta, X, cotangent, v, v_X)
    sparse = need_X is False and v_X is None
    theta, X = inputs(net, theta, X, nonempty=True, sparse=sparse)
    cotangent = check.targets(cotangent, "cotangent", net.dtype, len(X), net.n_outputs).reshape(-1)
    v, v_X = tangents(net, len(X), v, v_X, ("v", "v_X"))
    checked = theta, X, cotangent, v, v_X
    out, out_X = outputs(out, need_X, "need_X", theta, X, names, given, checked)
    want = at.COTANGENT | at.GRADIENT | at.TANGENT | at.SECOND
    if v_X is not None or out_X is not None:
        want |= at.INPUT_GRADIENT
    v = np.zeros_like(theta) if v is None else v
    plan = net._plan(len(X), want, False, type(X) is Csr)
    with bound_rows(plan, X) as rows:
        run(plan, run_output_product, (theta, v, rows, v_X, cotangent, out, out_X), threads)
    return (out, out_X) if need_X else out


def operator(
    net: MLP[D],
    theta: ArrayOf[D],
    X: Rows,
    y: Numbers,
    sample_weight: Numbers | None = None,
    *,
    kind: CurvatureName = "hessian",
    threads: int | None = None,
) -> LinearOperator:
    """A matrix of second derivatives as SciPy's `LinearOperator`: products with it, no matrix.

    Parameters
    ----------
    net : MLP
    theta, X, y, sample_weight
        As for `hvp`. They are kept, not copied: what changes them changes the operator.
    kind : {"hessian", "ggn"}
        `hvp` or `ggn_vp`.
    threads : int, optional
        The most threads of each product.

    Returns
    -------
    operator : scipy.sparse.linalg.LinearOperator (p, p)
        Of the network's dtype, symmetric: `eigsh`, `cg` and `minres` take it as it is, and
        ``minimize(method="trust-krylov", hessp=lambda theta, v: hvp(net, theta, X, y, v))`` needs
        none.

    Raises
    ------
    ImportError
        Without SciPy.
    TypeError, ValueError
        As for `hvp`, and if `kind` is another.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> net = fg.MLP([1, 1], loss="mse")
    >>> theta, X, y = np.array([2.0, 1.0]), np.array([[1.0], [3.0]]), np.array([0.0, 9.0])
    >>> fg.curvature.operator(net, theta, X, y) @ np.array([1.0, 0.0])
    array([10.,  4.])
    """
    try:
        from scipy.sparse.linalg import LinearOperator
    except ImportError:
        raise ImportError(
            'fastgrad.curvature.operator needs SciPy: pip install "fastgrad[scipy]"'
        ) from None
    if kind not in ("hessian", "ggn"):
        raise ValueError(f"kind is {kind!r}; expected 'hessian' or 'ggn'")
    theta, X, y, sample_weight = loss_arguments(net, theta, X, y, sample_weight, sparse=True)
    y = y.reshape(len(X), -1) if y.dtype == net.dtype else y  # labels stay as they are
    function = hvp if kind == "hessian" else ggn_vp

    def product(v):
        v = v.reshape(-1).astype(net.dtype, copy=False)
        return function(net, theta, X, y, v, sample_weight, threads=threads)

    shape = (net.n_parameters, net.n_parameters)
    return LinearOperator(shape, matvec=product, rmatvec=product, dtype=net.dtype)
