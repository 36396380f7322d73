"""The Jacobian and chain rules of Parr & Howard (arXiv 1802.01528), rows 6 to 17, as functions.

A gradient is an array (n,), a Jacobian an array (m, n) whose rows are gradients (numerator
layout); ``layout="denominator"`` means the transpose. A diagonal Jacobian is kept as its diagonal
(n,) until the matrix is asked for. float32 and float64 are kept and never mixed; integers,
booleans, Python numbers and lists take the dtype of the arrays they meet, float64 if there is none.
Every returned array is new. NaN is never hidden, and NumPy's own warnings are left as they are.
"""

from functools import reduce
from itertools import pairwise

import numpy as np

from ._core import check

__all__ = [
    "activation_gradients",
    "affine_gradients",
    "affine_jvp",
    "affine_vjp",
    "chain",
    "elementwise_jacobians",
    "elementwise_jacobians_diag",
    "identity_jacobian",
    "relu_derivative",
    "relu_jvp",
    "relu_vjp",
    "scaled_sum_gradients",
    "stack_gradients",
    "sum_gradient",
    "total_derivative",
]

_LAYOUTS = ("numerator", "denominator")

# op -> (dy/dw, dy/dx), entry by entry, of y = w op x (rows 7 and 8).
_PARTIALS = {
    "add": lambda w, x: (np.ones_like(w), np.ones_like(x)),
    "subtract": lambda w, x: (np.ones_like(w), -np.ones_like(x)),
    "multiply": lambda w, x: (x.copy(), w.copy()),
    # -w / x**2 written as -(w / x) / x: x**2 would overflow or vanish first
    "divide": lambda w, x: (1 / x, -(w / x) / x),
    "maximum": lambda w, x: (~(w < x), ~(x <= w)),
    "greater": lambda w, x: (np.zeros_like(w), np.zeros_like(x)),
}


def _floats(**given):
    """Return the arguments, None aside, as arrays of one float dtype; errors carry their names."""
    arrays, owner = {}, {}
    for name, value in given.items():
        if value is None:
            continue
        array = check.as_array(value, name)
        dtype = array.dtype
        if not (dtype.kind in "biu" or (dtype.kind == "f" and dtype.itemsize in (4, 8))):
            raise TypeError(f"{name} has dtype {dtype}; expected float32, float64 or integers")
        if dtype.kind == "f" and hasattr(value, "dtype"):
            owner.setdefault(np.dtype(f"f{dtype.itemsize}"), name)
        arrays[name] = array
    if len(owner) == 2:
        wide, narrow = owner[np.dtype("f8")], owner[np.dtype("f4")]
        raise TypeError(
            f"{narrow} is float32, {wide} is float64: convert one, as in {wide}.astype(np.float32)"
        )
    dtype = next(iter(owner), np.dtype("f8"))
    return [arrays[n].astype(dtype, copy=False) if n in arrays else None for n in given]


def _require_ndim(name, array, *allowed):
    shapes = {0: "a scalar ()", 1: "a vector (n,)", 2: "a matrix (m, n)"}
    if array.ndim not in allowed:
        expected = " or ".join(shapes[ndim] for ndim in allowed)
        raise ValueError(f"{name} has shape {array.shape}; expected {expected}")


def _require_equal_shapes(name, array, other_name, other_shape):
    if array.shape != other_shape:
        raise ValueError(
            f"{name} has shape {array.shape}, {other_name} has shape {other_shape}; "
            "expected equal shapes"
        )


def _in_layout(jacobian, layout):
    """Turn numerator into `layout`, or `layout` into numerator: the same transpose."""
    if layout not in _LAYOUTS:
        raise ValueError(f"layout is {layout!r}; expected 'numerator' or 'denominator'")
    return jacobian if layout == "numerator" else np.ascontiguousarray(jacobian.T)


def stack_gradients(gradients, *, layout="numerator"):
    """Stack the gradients of m scalar functions into their Jacobian (row 6, paper section 4.1).

    Parameters
    ----------
    gradients : sequence of m arrays (n,)
        ∂f_i/∂x for i = 1 … m.
    layout : {"numerator", "denominator"}

    Returns
    -------
    jacobian : (m, n); (n, m) in denominator layout

    Raises
    ------
    TypeError, ValueError
        No gradients; one that is not a vector; unequal lengths; a dtype that is not served.

    Examples
    --------
    f = 3x²y and g = 2x + y⁸ at x = 1, y = 1:

    >>> stack_gradients([[6.0, 3.0], [2.0, 8.0]], layout="denominator")
    array([[6., 2.],
           [3., 8.]])
    """
    rows = _floats(**{f"gradients[{i}]": gradient for i, gradient in enumerate(gradients)})
    if not rows:
        raise ValueError("gradients is empty; expected at least one gradient")
    for i, row in enumerate(rows):
        _require_ndim(f"gradients[{i}]", row, 1)
        _require_equal_shapes("gradients[0]", rows[0], f"gradients[{i}]", row.shape)
    return _in_layout(np.stack(rows), layout)


def identity_jacobian(n, *, dtype=np.float64):
    """Return the Jacobian of y = x, the identity (n, n), in either layout (row 6, section 4.1).

    ``dtype`` is float32 or float64 (else a TypeError); a negative n is a ValueError.

    >>> identity_jacobian(2)
    array([[1., 0.],
           [0., 1.]])
    """
    dtype, n = check.float_dtype(dtype), check.integer(n, "n", least=0)
    check.addressable(n * n, dtype, "n")
    return np.eye(n, dtype=dtype)


def elementwise_jacobians_diag(op, w, x):
    """Diagonals of ∂y/∂w and ∂y/∂x for y = w ○ x, no matrix formed (rows 7 to 9).

    ======================  =============  =============================
    y (sections 4.2, 4.3)   ∂y/∂w = diag   ∂y/∂x = diag
    ======================  =============  =============================
    w + x    "add"          1              1
    w − x    "subtract"     1              −1
    w ⊗ x    "multiply"     x              w
    w ⊘ x    "divide"       1/x            −w/x²
    max      "maximum"      not (w < x)    not (x <= w)
    w > x    "greater"      0              0
    ======================  =============  =============================

    At a tie max(w, x) gives the whole derivative to w, the first argument: so max(0, z) has the
    derivative 0 at z = 0 (row 16). Beside a NaN both derivatives of max are 1: what comes from
    above passes. For y = f(w) ○ g(x) take f(w) and g(x) as arguments and go on with `chain` and its
    ``diagonals=True``.

    Parameters
    ----------
    op : {"add", "subtract", "multiply", "divide", "maximum", "greater"}
    w, x : (n,), or one of them a scalar (), which is expanded to z·1⃗ (row 9)

    Returns
    -------
    dw, dx : (n,) each
        For an expanded scalar not a diagonal but the column ∂y/∂z = diag·1⃗, which has the same n
        numbers: ∂(x + z)/∂z = 1⃗, ∂(xz)/∂z = x.

    Raises
    ------
    TypeError, ValueError
        Unknown op; unequal shapes; two scalars; matrices; a dtype that is not served.

    Examples
    --------
    >>> elementwise_jacobians_diag("divide", [1.0, 8.0], [2.0, 4.0])
    (array([0.5 , 0.25]), array([-0.25, -0.5 ]))
    >>> elementwise_jacobians_diag("maximum", 0.0, [-1.0, 0.0, 3.0])
    (array([1., 1., 0.]), array([0., 0., 1.]))
    """
    if not isinstance(op, str) or op not in _PARTIALS:
        raise ValueError(f"op is {op!r}; expected one of {', '.join(_PARTIALS)}")
    w, x = _floats(w=w, x=x)
    _require_ndim("w", w, 0, 1)
    _require_ndim("x", x, 1 if w.ndim == 0 else 0, 1)
    if w.ndim and x.ndim:
        _require_equal_shapes("w", w, "x", x.shape)
    dtype = w.dtype
    dw, dx = _PARTIALS[op](*np.broadcast_arrays(w, x))
    return np.asarray(dw, dtype=dtype), np.asarray(dx, dtype=dtype)


def elementwise_jacobians(op, w, x, *, layout="numerator"):
    """Jacobians ∂y/∂w and ∂y/∂x of y = w ○ x as full matrices (rows 7 to 9).

    Parameters, errors and conventions are those of `elementwise_jacobians_diag`. A diagonal (n, n)
    is the same in both layouts; for an expanded scalar the Jacobian is the column (n, 1), and the
    row (1, n) in denominator layout.

    >>> Jx, Jz = elementwise_jacobians("multiply", [1.0, 2.0], 5.0)
    >>> Jx
    array([[5., 0.],
           [0., 5.]])
    >>> Jz
    array([[1.],
           [2.]])
    """
    dw, dx = elementwise_jacobians_diag(op, w, x)
    return tuple(
        _in_layout(diagonal[:, None] if np.ndim(argument) == 0 else np.diag(diagonal), layout)
        for diagonal, argument in ((dw, w), (dx, x))
    )


def sum_gradient(jacobian, *, layout="numerator"):
    """Gradient of y = sum(f(x)): ∂y/∂x_j = Σ_i ∂f_i/∂x_j (row 10, section 4.4).

    Parameters
    ----------
    jacobian : (m, n)
        ∂f/∂x; (n, m) in denominator layout. A TypeError or ValueError names what does not fit.

    Returns
    -------
    gradient : (n,)

    Examples
    --------
    The identity has y = sum(x), whose gradient is 1⃗ᵀ:

    >>> sum_gradient(identity_jacobian(3))
    array([1., 1., 1.])
    """
    (jacobian,) = _floats(jacobian=jacobian)
    _require_ndim("jacobian", jacobian, 2)
    return _in_layout(jacobian, layout).sum(axis=0)


def scaled_sum_gradients(x, z=1.0):
    """Gradients of y = sum(x z), z a scalar: ∂y/∂x = [z … z], ∂y/∂z = sum(x) (row 10).

    x is (n,), z a scalar (1 gives y = sum(x)); returns (dx (n,), dz scalar). A TypeError or
    ValueError names an argument of another shape or dtype.

    >>> scaled_sum_gradients([1.0, 2.0, 4.0], 5.0)
    (array([5., 5., 5.]), np.float64(7.0))
    """
    x, z = _floats(x=x, z=z)
    _require_ndim("x", x, 1)
    _require_ndim("z", z, 0)
    return np.full_like(x, z), x.sum()


def _compose(outer, inner):
    if outer.ndim == 2 and inner.ndim == 2:
        return outer @ inner
    if outer.ndim == 1 and inner.ndim == 2:
        return outer[:, None] * inner
    return outer * inner


def chain(*derivatives, layout="numerator", diagonals=False):
    """Derivative of a composition by the chain rule, outermost factor first (rows 11, 13, 14).

    ∂f/∂x = (∂f/∂g)(∂g/∂h) … (∂·/∂x), section 4.5. The number of axes says what a factor is:
    none, a scalar derivative c, which stands for c·I (row 11); two, a full Jacobian (row 13), so a
    gradient is written (1, n) here and the derivative by a scalar (n, 1); one, with ``diagonals``,
    the diagonal of a diagonal Jacobian, which only scales rows or columns (row 14).

    Parameters
    ----------
    *derivatives : scalars, diagonals (k,) and Jacobians (m, k), (k, n), …
        In denominator layout the transposes, in the same order.
    layout : {"numerator", "denominator"}
    diagonals : bool
        Whether vectors are diagonals. Without it a vector beside other vectors or matrices is an
        error: it may be meant as a gradient.

    Returns
    -------
    derivative : scalar, diagonal (n,) or Jacobian (m, n): the most that went in

    Raises
    ------
    TypeError, ValueError
        No factors; neighbours that do not fit; a vector without ``diagonals``; a dtype that is not
        served.

    Examples
    --------
    y = [ln x², sin 3x] at x = 2 is [2/x, 3 cos 3x]:

    >>> x = 2.0
    >>> chain([1 / x**2, np.cos(3 * x)], [[2 * x], [3.0]], diagonals=True)
    array([[1.        ],
           [2.88051086]])
    """
    factors = _floats(**{f"derivatives[{i}]": factor for i, factor in enumerate(derivatives)})
    if not factors:
        raise ValueError("derivatives is empty; expected at least one factor")
    given = [factor.shape for factor in factors]
    for i, factor in enumerate(factors):
        _require_ndim(f"derivatives[{i}]", factor, 0, 1, 2)
    factors = [_in_layout(factor, layout) if factor.ndim == 2 else factor for factor in factors]
    sized = [i for i, factor in enumerate(factors) if factor.ndim]
    vectors = [i for i in sized if factors[i].ndim == 1]
    if not check.boolean(diagonals, "diagonals") and vectors and len(sized) > 1:
        i, n = vectors[0], factors[vectors[0]].size
        raise ValueError(
            f"derivatives[{i}] has shape ({n},), which may be a gradient or a diagonal: write a "
            f"gradient (1, {n}) and a derivative by a scalar ({n}, 1) in numerator layout, or pass "
            f"diagonals=True"
        )
    for i, j in pairwise(sized):
        if factors[i].shape[-1] != factors[j].shape[0]:
            raise ValueError(
                f"derivatives[{i}] has shape {given[i]}, derivatives[{j}] has shape {given[j]}; "
                f"expected factors that compose in {layout} layout"
            )
    return np.array(_in_layout(reduce(_compose, factors), layout))[()]


def total_derivative(partial_x, partials_u, du_dx):
    """Derivative of f(x, u_1(x), …, u_k(x)): ∂f/∂x + Σ_i ∂f/∂u_i ∂u_i/∂x (row 12, section 4.5.2).

    Parameters
    ----------
    partial_x : scalar, or (n,) for a vector x
        ∂f/∂x with every u held fixed.
    partials_u : (k,)
        ∂f/∂u_i.
    du_dx : (k,), or (k, n) with the gradients of the u_i as rows

    Returns
    -------
    derivative : scalar, or (n,)

    Raises
    ------
    TypeError, ValueError
        Shapes that do not fit; a dtype that is not served.

    Examples
    --------
    f = sin(x + x²) at x = 0, with u = x² held apart, is cos(x + x²)(1 + 2x) = 1:

    >>> total_derivative(1.0, [1.0], [0.0])
    np.float64(1.0)
    """
    partial_x, partials_u, du_dx = _floats(partial_x=partial_x, partials_u=partials_u, du_dx=du_dx)
    _require_ndim("partial_x", partial_x, 0, 1)
    _require_ndim("partials_u", partials_u, 1)
    expected = partials_u.shape + partial_x.shape
    if du_dx.shape != expected:
        raise ValueError(
            f"du_dx has shape {du_dx.shape}, partials_u has shape {partials_u.shape}, partial_x "
            f"has shape {partial_x.shape}; expected du_dx of shape {expected}"
        )
    return partial_x + partials_u @ du_dx


def affine_gradients(w, x):
    """Gradients of z = w·x + b: ∂z/∂w = xᵀ, ∂z/∂x = wᵀ, ∂z/∂b = 1 (row 15, section 5).

    w and x are (d,); returns (dw (d,), dx (d,), db scalar). A TypeError or ValueError names an
    argument of another shape or dtype. Without the bias, z = w·x, the first two are the same.

    >>> affine_gradients([1.0, 2.0], [3.0, 4.0])
    (array([3., 4.]), array([1., 2.]), np.float64(1.0))
    """
    w, x = _floats(w=w, x=x)
    _require_ndim("w", w, 1)
    _require_equal_shapes("w", w, "x", x.shape)
    return x.copy(), w.copy(), w.dtype.type(1)


def relu_derivative(z):
    """Derivative of max(0, z): 0 where z <= 0, so also at the kink, else 1 (row 16, section 5).

    z has any shape; the result has it too, in z's float dtype. It is ``not (z <= 0)``, so 1 at
    NaN: what comes from above passes. A dtype that is not served is a TypeError.

    >>> relu_derivative([-1.0, 0.0, 2.0, float("nan")])
    array([0., 0., 1., 1.])
    """
    (z,) = _floats(z=z)
    return np.logical_not(z <= 0).astype(z.dtype)[()]


def activation_gradients(w, x, b):
    """Gradients of max(0, w·x + b): ∂/∂w = 0⃗ᵀ or xᵀ, ∂/∂b = 0 or 1 (row 17, section 5).

    w and x are (d,), b a scalar; returns (dw (d,), db scalar): zeros where w·x + b <= 0, exactly.
    A TypeError or ValueError names an argument of another shape or dtype.

    >>> activation_gradients([1.0, 2.0], [3.0, 4.0], -5.0)
    (array([3., 4.]), np.float64(1.0))
    >>> activation_gradients([1.0, 2.0], [3.0, 4.0], -11.0)
    (array([0., 0.]), np.float64(0.0))
    """
    w, x, b = _floats(w=w, x=x, b=b)
    _require_ndim("b", b, 0)
    dw, _, db = affine_gradients(w, x)
    z = w @ x + b
    return relu_vjp(dw, np.broadcast_to(z, dw.shape)), relu_vjp(db, z)


def _require_layer(X, W):
    _require_ndim("X", X, 2)
    _require_ndim("W", W, 1, 2)
    if X.shape[1] != W.shape[0]:
        raise ValueError(
            f"X has shape {X.shape}, W has shape {W.shape}; expected the columns of X to be the "
            "rows of W"
        )


def affine_jvp(X, W, X_dot=None, W_dot=None, b_dot=None):
    """Directional derivative of Z = X W + b: Ż = Ẋ W + X Ẇ + ḃ (rows 15 and 23, forward mode).

    Parameters
    ----------
    X : (n, d)
    W : (d, k), or (d,) for one neuron
    X_dot, W_dot : shapes of X and W, optional
        The direction; None is zero.
    b_dot : (k,), or a scalar for one neuron, optional

    Returns
    -------
    Z_dot : (n, k), or (n,) for one neuron

    Raises
    ------
    TypeError, ValueError
        Shapes that do not fit; a dtype that is not served.

    Examples
    --------
    >>> affine_jvp([[1.0, 2.0]], [3.0, 4.0], W_dot=[1.0, 0.0], b_dot=1.0)
    array([2.])
    """
    X, W, X_dot, W_dot, b_dot = _floats(X=X, W=W, X_dot=X_dot, W_dot=W_dot, b_dot=b_dot)
    _require_layer(X, W)
    Z_dot = np.zeros(X.shape[:1] + W.shape[1:], X.dtype)
    if X_dot is not None:
        _require_equal_shapes("X_dot", X_dot, "X", X.shape)
        Z_dot += X_dot @ W
    if W_dot is not None:
        _require_equal_shapes("W_dot", W_dot, "W", W.shape)
        Z_dot += X @ W_dot
    if b_dot is not None:
        _require_equal_shapes("b_dot", b_dot, "one row of X @ W", W.shape[1:])
        Z_dot += b_dot
    return Z_dot


def affine_vjp(grad_Z, X, W):
    """Gradients through Z = X W + b: dX = dZ Wᵀ, dW = Xᵀ dZ, db = 1ᵀ dZ (rows 15 and 23).

    Parameters
    ----------
    grad_Z : (n, k), or (n,) for one neuron
        Gradient of a scalar with respect to Z.
    X : (n, d)
    W : (d, k), or (d,) for one neuron

    Returns
    -------
    grad_X, grad_W, grad_b : shapes of X, W and b
        Sums over the n rows, no mean; grad_b is added up in float64.

    Raises
    ------
    TypeError, ValueError
        Shapes that do not fit; a dtype that is not served.

    Examples
    --------
    >>> affine_vjp([2.0], [[1.0, 2.0]], [3.0, 4.0])
    (array([[6., 8.]]), array([2., 4.]), np.float64(2.0))
    """
    grad_Z, X, W = _floats(grad_Z=grad_Z, X=X, W=W)
    _require_layer(X, W)
    _require_equal_shapes("grad_Z", grad_Z, "X @ W", X.shape[:1] + W.shape[1:])
    grad_X = np.outer(grad_Z, W) if W.ndim == 1 else grad_Z @ W.T
    grad_b = grad_Z.sum(axis=0, dtype=np.float64).astype(X.dtype)
    return grad_X, X.T @ grad_Z, grad_b


def relu_jvp(z, z_dot):
    """Directional derivative of max(0, z): ż where not (z <= 0), else exactly 0 (rows 14 and 16).

    z and z_dot have one shape, any; so has the result. The diagonal Jacobian is applied as a
    mask, a choice and not a product: an infinity above an inactive entry gives 0, as in PyTorch.
    A TypeError or ValueError names an argument of another shape or dtype.

    >>> relu_jvp([-1.0, 0.0, 2.0], [5.0, 6.0, 7.0])
    array([0., 0., 7.])
    """
    z, z_dot = _floats(z=z, z_dot=z_dot)
    _require_equal_shapes("z", z, "z_dot", z_dot.shape)
    return np.where(z <= 0, z.dtype.type(0), z_dot)[()]


def relu_vjp(grad_a, z):
    """Gradient through a = max(0, z): grad_a where not (z <= 0), else exactly 0 (rows 14 and 16).

    grad_a and z have one shape, any; so has the result. The Jacobian is diagonal, its own
    transpose, so this is `relu_jvp` in reverse mode's order of arguments, with the same mask.

    >>> relu_vjp([5.0, 6.0, 7.0], [-1.0, 0.0, 2.0])
    array([0., 0., 7.])
    """
    grad_a, z = _floats(grad_a=grad_a, z=z)
    _require_equal_shapes("grad_a", grad_a, "z", z.shape)
    return relu_jvp(z, grad_a)
