"""SciPy: objectives for `scipy.optimize.minimize`, residuals and Jacobian for `least_squares`.

A float64 network needs nothing from here for first-order methods of `minimize`:
``minimize(net.loss_and_grad, theta, args=(X, y), jac=True)``. `objective` adds ``hess`` and
``hessp``, for those of second order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

try:
    import scipy  # noqa: F401
except ImportError:
    raise ImportError('fastgrad.interop.scipy needs SciPy: pip install "fastgrad[scipy]"') from None

from .._core import check
from .._core.calls import checked_network
from .._core.names import list_public
from ..curvature import ggn, ggn_vp, hessian, hvp
from ..jacobians import jacobian
from ..losses import LOSSES
from ..network import MLP
from ..typing import ArrayOf, CurvatureName, D, Numbers, Rows

__all__ = ["LeastSquares", "objective"]
list_public(globals())

_CURVATURES = {"hessian": (hessian, hvp), "ggn": (ggn, ggn_vp)}


def objective(
    net: MLP[D],
    X: Rows,
    y: Numbers,
    sample_weight: Numbers | None = None,
    *,
    kind: CurvatureName = "hessian",
) -> Objective:
    """The loss of a network of either dtype with its derivatives, as SciPy wants them: in float64.

    Parameters
    ----------
    net : MLP
        A float32 network computes in float32: ask for no more than about 1e-3 of the gradient.
    X, y, sample_weight
        As for `MLP.loss_and_grad`.
    kind : {"hessian", "ggn"}
        The second derivatives: exact, or Gauss and Newton's, which are positive semi-definite.

    Returns
    -------
    function : callable
        theta (p,) of float64 to (loss, gradient (p,) of float64), for `minimize(..., jac=True)`.
        ``function.hessp(theta, v)`` is the product with v (p,), for ``hessp=``;
        ``function.hess(theta)`` the matrix (p, p), for ``hess=`` and up to some thousand
        parameters. All three can be pickled, with the data that they hold.

    Raises
    ------
    TypeError, ValueError
        If net is not a network or `kind` is another; otherwise at the first call, as
        `MLP.loss_and_grad`.

    Notes
    -----
    Formulas 34 and 35: `fastgrad.curvature`. A matrix costs many products: take ``hessp`` with
    "trust-krylov", "trust-ncg", "Newton-CG" and "trust-constr", ``hess`` with "trust-exact" and,
    of the kind "ggn" alone, "dogleg".

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.optimize import minimize
    >>> import fastgrad as fg
    >>> from fastgrad.interop.scipy import objective
    >>> net = fg.MLP([1, 1], dtype="float32")
    >>> X = np.array([[0.0], [1.0]], np.float32)
    >>> line = objective(net, X, np.array([1.0, 3.0], np.float32))
    >>> minimize(line, np.zeros(2), jac=True, method="BFGS", tol=1e-4).x.round(2)
    array([2., 1.])
    >>> minimize(line, np.zeros(2), jac=True, method="trust-krylov", hessp=line.hessp).x.round(2)
    array([2., 1.])
    """
    if kind not in _CURVATURES:
        raise ValueError(f"kind is {kind!r}; expected 'hessian' or 'ggn'")
    return Objective(checked_network(net), X, y, sample_weight, kind)


class Objective:
    """What `objective` returns: a function that can be pickled."""

    def __init__(self, net: MLP[Any], X: Any, y: Any, sample_weight: Any, kind: str) -> None:
        self.net: MLP[Any] = net
        self.data: tuple[Any, Any, Any] = X, y, sample_weight
        self.kind: str = kind

    def __call__(self, theta: Numbers) -> tuple[float, NDArray[np.float64]]:
        """The loss and its gradient (p,)."""
        loss, grad = self.net.loss_and_grad(self._vector(theta, "theta"), *self.data)
        return loss, grad.astype(np.float64, copy=False)

    def hessp(self, theta: Numbers, v: Numbers) -> NDArray[np.float64]:
        """The matrix times v (p,)."""
        X, y, sample_weight = self.data
        theta, v = self._vector(theta, "theta"), self._vector(v, "v")
        product = _CURVATURES[self.kind][1](self.net, theta, X, y, v, sample_weight)
        return product.astype(np.float64, copy=False)

    def hess(self, theta: Numbers) -> NDArray[np.float64]:
        """The matrix (p, p)."""
        matrix = _CURVATURES[self.kind][0](self.net, self._vector(theta, "theta"), *self.data)
        return matrix.astype(np.float64, copy=False)

    def __repr__(self) -> str:
        return f"Objective({self.net!r}, X {np.shape(self.data[0])}, kind={self.kind!r})"

    def _vector(self, value: Any, name: str) -> Any:
        value = check.as_array(value, name)
        return value.astype(self.net.dtype) if value.dtype.kind in "biuf" else value


class LeastSquares:
    """The residuals of a network and their Jacobian, for `scipy.optimize.least_squares`.

    Parameters
    ----------
    net : MLP
        Of float64, loss "mse": half the sum of squared residuals is n k / 2 times its loss.
    X : array (n, d)
    y : array (n, k), or (n,) for k = 1
    sample_weight : array (n,), optional
        A row's residuals are multiplied by its root.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it.

    Notes
    -----
    The Jacobian is dense, (n k, p): for networks of up to some thousand parameters. `l2` of the
    network is not part of it.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.optimize import least_squares
    >>> import fastgrad as fg
    >>> from fastgrad.interop.scipy import LeastSquares
    >>> net = fg.MLP([1, 6, 1])
    >>> X = np.linspace(-1, 1, 40).reshape(-1, 1)
    >>> problem = LeastSquares(net, X, np.abs(X))
    >>> fit = least_squares(problem.residuals, net.init(seed=0), jac=problem.jacobian)
    >>> bool(fit.cost < 1e-3)
    True
    """

    def __init__(
        self,
        net: MLP[np.float64],
        X: Numbers,
        y: Numbers,
        sample_weight: Numbers | None = None,
    ) -> None:
        if checked_network(net).dtype != np.float64:
            raise TypeError(f"net has dtype {net.dtype}; expected float64")
        if not net.spec.loss.squared:
            squared = " or ".join(repr(loss.name) for loss in LOSSES.values() if loss.squared)
            raise ValueError(f"net has the loss {net.loss_name!r}; expected {squared}")
        self.net: MLP[np.float64] = net
        self.X: NDArray[np.float64] = check.matrix(X, "X", net.dtype, net.n_inputs, nonempty=True)
        n = self.X.shape[0]
        self.y: NDArray[np.float64] = check.targets(y, "y", net.dtype, n, net.n_outputs).reshape(
            n, -1
        )
        self._root = None
        if sample_weight is not None:
            weight = check.weights(sample_weight, "sample_weight", net.dtype, n)
            self._root = np.sqrt(weight)[:, None]

    def __repr__(self) -> str:
        return f"LeastSquares({self.net!r}, X {self.X.shape})"

    def residuals(self, theta: ArrayOf[np.float64]) -> NDArray[np.float64]:
        """(outputs - y) row by row, (n k,)."""
        difference = self.net.predict(theta, self.X) - self.y
        if self._root is not None:
            difference *= self._root
        return difference.reshape(-1)

    def jacobian(self, theta: ArrayOf[np.float64]) -> NDArray[np.float64]:
        """d residuals / d theta, (n k, p)."""
        out = jacobian(self.net, theta, self.X).reshape(-1, self.net.n_parameters)
        if self._root is not None:
            out *= np.repeat(self._root, self.net.n_outputs, axis=0)
        return out
