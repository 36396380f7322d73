"""JAX on the CPU: `affine_relu`, `predict` and `loss`, with their derivatives, under jit and grad.

Each calls back to NumPy: XLA stops, its buffers go to NumPy and the results come back. That costs
some 0.2 ms a call and a copy of every array, so XLA alone is faster wherever a gradient takes it
less than about half a millisecond: what this buys there is one implementation, with the same bits,
for several frameworks. vmap calls once for each element.

`predict` and `loss` have forward and reverse mode. The gradients of `loss` by theta and X can be
differentiated once more, in either mode: ``jax.jvp(jax.grad(f), ...)`` is
`fastgrad.curvature.hvp`. No other derivative of a derivative is there, and each that is not says so
as it is asked for. `affine_relu` has reverse mode alone, once.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

try:
    import jax
except ImportError:
    raise ImportError('fastgrad.interop.jax needs JAX: pip install "fastgrad[jax]"') from None

import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike

from .._core.calls import checked_network
from .._core.names import list_public
from ..curvature import hvp
from ..dense import affine_relu as dense_forward
from ..dense import affine_relu_backward as dense_backward
from ..jacobians import jvp, vjp
from ..network import MLP
from ._jax_arrays import as_arrays, callback, floats, like, rows, shape
from ._jax_linear import linear
from ._network import loss_and_grads

__all__ = ["affine_relu", "loss", "predict"]
list_public(globals())


# One layer


def affine_relu(X: ArrayLike, W: ArrayLike, b: ArrayLike) -> jax.Array:
    """max(0, X @ W + b), fused (formulas 1, 2 and 23).

    Parameters
    ----------
    X : array (n, d)
    W : array (d, k)
    b : array (k,)
        All of one dtype, float32 or float64.

    Returns
    -------
    a : array (n, k)
        The derivative at the kink is 0; NaN stays NaN.

    Raises
    ------
    TypeError, ValueError
        If a dtype or a shape does not fit.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from fastgrad.interop.jax import affine_relu
    >>> affine_relu(jnp.ones((1, 2)), jnp.array([[1.0, -1.0], [1.0, -1.0]]), jnp.zeros(2))
    Array([[2., 0.]], dtype=float32)
    """
    W = floats("W", W)
    if W.ndim != 2:
        raise ValueError(f"W has shape {W.shape}; expected (d, k)")
    X, b = rows(X, W.shape[0], W.dtype), floats("b", b, W.dtype)
    shape("b", b, (W.shape[1],))
    return _affine_relu(X, W, b)


def _forward(X, W, b):
    result = jax.ShapeDtypeStruct((X.shape[0], W.shape[1]), W.dtype)
    return callback(lambda *args: dense_forward(*as_arrays(*args))[0], result, X, W, b)


_affine_relu = jax.custom_vjp(_forward)


def _affine_relu_fwd(X, W, b):
    a = _forward(X, W, b)
    return a, (X, W, a)


def _affine_relu_bwd(saved, grad_a):
    X, W, a = saved

    def backward(grad_a, X, W, a):
        grad_a, X, W, a = as_arrays(grad_a, X, W, a)
        return dense_backward(grad_a, X, W, ~(a <= 0))

    results = (*like(X, W), jax.ShapeDtypeStruct((W.shape[1],), W.dtype))
    return callback(backward, results, grad_a, X, W, a)


_affine_relu.defvjp(_affine_relu_fwd, _affine_relu_bwd)


# A network


def _checked(net, theta, X):
    theta = floats("theta", theta, checked_network(net).dtype)
    shape("theta", theta, (net.n_parameters,))
    return theta, rows(X, net.n_inputs, net.dtype)


def predict(net: MLP[Any], theta: ArrayLike, X: ArrayLike) -> jax.Array:
    """The outputs of a network, differentiable in theta and X.

    Parameters
    ----------
    net : fastgrad.MLP
        Static under jit. JAX is float32 unless told otherwise: so must net be.
    theta : array (p,)
    X : array (n, d)

    Returns
    -------
    out : array (n, k)
        The backward pass makes the forward pass again; for training take `loss`.

    Raises
    ------
    TypeError, ValueError
        If a dtype or a shape does not fit.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import fastgrad as fg
    >>> from fastgrad.interop.jax import predict
    >>> net = fg.MLP([2, 8, 3], dtype="float32")
    >>> predict(net, net.init(seed=0), jnp.ones((5, 2))).shape
    (5, 3)
    """
    return _predict(net, *_checked(net, theta, X))


def _outputs(net, theta, X):
    result = jax.ShapeDtypeStruct((X.shape[0], net.n_outputs), theta.dtype)
    return callback(lambda theta, X: net.predict(*as_arrays(theta, X)), result, theta, X)


_predict = jax.custom_jvp(_outputs, nondiff_argnums=(0,))


@_predict.defjvp
def _predict_jvp(net, primals, tangents):
    theta, X = primals

    def forward(fixed, tangents):
        def compute(*arrays):
            return jvp(net, *as_arrays(*arrays))

        result = jax.ShapeDtypeStruct((X.shape[0], net.n_outputs), theta.dtype)
        return (callback(compute, result, *fixed, *tangents),)

    def back(fixed, cotangents):
        def compute(*arrays):
            return vjp(net, *as_arrays(*arrays), need_gX=True)

        return callback(compute, like(*fixed), *fixed, *cotangents)

    fixed = tuple(_final(value, _OUTPUTS_TWICE) for value in primals)
    (moved,) = linear(forward, back, fixed, tuple(tangents))
    return _outputs(net, theta, X), moved


_OUTPUTS_TWICE = (
    "the outputs of `predict` have no second derivatives here: `loss` has those of a network's own "
    "loss, and fastgrad.curvature.output_hvp has those of the outputs"
)
_THIRD = "`loss` has no third derivatives"


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _final(value, why):
    """The value, as what no derivative is taken by; `why` is said where one is."""
    return value


@_final.defjvp
def _final_jvp(why, primals, tangents):
    raise NotImplementedError(why)


def loss(
    net: MLP[Any],
    theta: ArrayLike,
    X: ArrayLike,
    y: ArrayLike,
    sample_weight: ArrayLike | None = None,
) -> jax.Array:
    """The loss of a network, differentiable in theta and X: one pass for value and gradients.

    Parameters
    ----------
    net : fastgrad.MLP
        Static under jit; its loss, whose normalisation `fastgrad.MLP` states.
    theta : array (p,)
    X : array (n, d)
    y : array
        As for `MLP.loss_and_grad`; integer labels may be int32.
    sample_weight : array (n,), optional

    Returns
    -------
    loss : scalar

    Raises
    ------
    TypeError, ValueError
        If a dtype or a shape does not fit, or a derivative with respect to y or sample_weight is
        asked for.
    NotImplementedError
        If a third derivative is asked for.

    Notes
    -----
    ``jax.jvp(jax.grad(f), (theta,), (v,))`` is the Hessian's product with v, in one pass and with
    the bits of `fastgrad.curvature.hvp` (formula 34); ``jax.hessian`` makes p of them, where
    `fastgrad.curvature.hessian` is far cheaper.

    Examples
    --------
    >>> import jax
    >>> import jax.numpy as jnp
    >>> import fastgrad as fg
    >>> from fastgrad.interop.jax import loss
    >>> net = fg.MLP([2, 8, 3], loss="cross_entropy", dtype="float32")
    >>> step = jax.jit(jax.value_and_grad(lambda t, X, y: loss(net, t, X, y)))
    >>> value, grad = step(jnp.array(net.init(seed=0)), jnp.ones((5, 2)), jnp.zeros(5, int))
    >>> grad.shape
    (51,)
    """
    theta, X = _checked(net, theta, X)
    y = jnp.asarray(y)
    if y.dtype.kind == "f":
        y = floats("y", y, net.dtype)
    extra = () if sample_weight is None else (floats("sample_weight", sample_weight, net.dtype),)
    return _loss(net, theta, X, y, *extra)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _loss(net, theta, X, y, *extra):
    def value(*args):
        return np.asarray(net.loss(*as_arrays(*args)), net.dtype)

    return callback(value, jax.ShapeDtypeStruct((), theta.dtype), theta, X, y, *extra)


def _loss_jvp(net, primals, tangents):
    """The loss in one pass with its gradients, whose products with the tangents are JAX's own: it
    goes back through them by itself."""
    along_theta, along_X = _tangents(tangents)
    loss, *grads = _loss_and_grads(net, along_X is not None, *primals)
    return loss, _inner(grads, along_theta, along_X)


_loss.defjvp(_loss_jvp, symbolic_zeros=True)


def _tangents(tangents):
    """Those of theta and X, None where they are zero; others must be."""
    for name, tangent in zip(("y", "sample_weight"), tangents[2:]):
        if type(tangent) is not SymbolicZero:
            raise ValueError(f"the derivative with respect to {name} is not computed")
    return [None if type(tangent) is SymbolicZero else tangent for tangent in tangents[:2]]


def _inner(grads, *tangents):
    pairs = zip(grads, tangents)
    found = [jnp.sum(grad * tangent) for grad, tangent in pairs if tangent is not None]
    return sum(found) if found else jnp.zeros((), grads[0].dtype)


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _loss_and_grads(net, need_x, theta, X, y, *extra):
    def values(*args):
        compute = partial(loss_and_grads, net) if need_x else net.loss_and_grad
        loss, *grads = compute(*as_arrays(*args))
        return np.asarray(loss, net.dtype), *grads

    results = (jax.ShapeDtypeStruct((), theta.dtype), *like(theta, *((X,) if need_x else ())))
    return tuple(callback(values, results, theta, X, y, *extra))


def _loss_and_grads_jvp(net, need_x, primals, tangents):
    along_theta, along_X = _tangents(tangents)
    loss, *grads = _loss_and_grads(net, need_x or along_X is not None, *primals)
    moved = _grads_along(net, need_x, primals, along_theta, along_X)
    return (loss, *grads[: 1 + need_x]), (_inner(grads, along_theta, along_X), *moved)


_loss_and_grads.defjvp(_loss_and_grads_jvp, symbolic_zeros=True)


def _grads_along(net, need_x, primals, along_theta, along_X):
    """How the gradients by theta and, if needed, X move: H, which is its own transpose."""
    fixed = *(_final(value, _THIRD) for value in primals[:2]), *primals[2:]
    if along_theta is None:
        along_theta = jnp.zeros_like(primals[0])
    tangents = (along_theta,) if along_X is None else (along_theta, along_X)

    def product(need_X, fixed, tangents):
        def compute(*arrays):
            theta, X, y, *rest = as_arrays(*arrays)
            weight = rest.pop(0) if len(fixed) == 4 else None
            v, v_X = rest if len(rest) == 2 else (rest[0], None)
            found = hvp(net, theta, X, y, v, weight, v_X=v_X, need_X=need_X)
            return found if need_X else (found,)

        return callback(compute, like(*fixed[: 1 + need_X]), *fixed, *tangents)

    forward, back = partial(product, need_x), partial(product, along_X is not None)
    return linear(forward, back, fixed, tangents)
