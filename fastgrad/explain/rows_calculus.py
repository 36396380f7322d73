"""Formulas 3 to 14: the rules of the paper's sections 2 to 4, on the paper's own examples.

Each function takes the point (or the vectors) and returns the steps; defaults are small numbers at
which every entry of a result is another.
"""

from __future__ import annotations

import numpy as np

from .. import calculus
from .checks import differences, nonzero, numbers, same
from .notation import plain
from .steps import Step, Value


def _scalar(name, value):
    return float(numbers(value, name, 0))


def _number(latex, value, source=""):
    return Value(latex, np.array(float(value)), (), source)


def _derivative(latex, array, letters, source=""):
    return Value(latex, np.asarray(array, np.float64), letters, source, derivative=True)


def _column(values):
    return np.asarray(values, np.float64)[:, None]


def row_03(x=2.0):
    """Scalar rules."""
    x = _scalar("x", x)
    rules = (
        ("Constant", "c = 7", "0", calculus.constant_rule(x), "fg.calculus.constant_rule(x)",
         lambda t: 0 * t + 7),
        ("Power", "x^3", "3 x^2", calculus.power_rule(x, 3), "fg.calculus.power_rule(x, 3)",
         lambda t: t**3),
        ("Multiplication by a constant", "3 x", "3", calculus.constant_multiple_rule(3.0, 1.0),
         "fg.calculus.constant_multiple_rule(3.0, 1.0)", lambda t: 3 * t),
        ("Sum", "x + x^2", "1 + 2 x", calculus.sum_rule(1.0, calculus.power_rule(x, 2)),
         "fg.calculus.sum_rule(1.0, fg.calculus.power_rule(x, 2))", lambda t: t + t**2),
        ("Difference", "x^2 - x^3", "2 x - 3 x^2",
         calculus.difference_rule(calculus.power_rule(x, 2), calculus.power_rule(x, 3)),
         "fg.calculus.difference_rule(fg.calculus.power_rule(x, 2), fg.calculus.power_rule(x, 3))",
         lambda t: t**2 - t**3),
        ("Product", "x^2 x", "x^2 + 2 x x",
         calculus.product_rule(x**2, calculus.power_rule(x, 2), x, 1.0),
         "fg.calculus.product_rule(x**2, fg.calculus.power_rule(x, 2), x, 1.0)",
         lambda t: t**2 * t),
        ("Sum and multiplication by a constant: the paper's example", "9 (x + x^2)", "9 + 18 x",
         calculus.constant_multiple_rule(9.0, calculus.sum_rule(1.0, calculus.power_rule(x, 2))),
         "fg.calculus.constant_multiple_rule(9.0, fg.calculus.sum_rule(1.0, "
         "fg.calculus.power_rule(x, 2)))", lambda t: 9 * (t + t**2)),
    )  # fmt: skip
    return tuple(
        Step(
            f"{title}",
            3,
            (rf"f(x) = {f}" if "=" not in f else f, rf"\frac{{df}}{{dx}} = {df}"),
            (_number("x", x), _number(r"\frac{df}{dx}", value, source)),
            checks=(differences("f by x", function, x, [[value]]),),
        )
        for title, f, df, value, source, function in rules
    )


def _paper_f(t):
    return 3 * t[0] ** 2 * t[1]


def _paper_g(t):
    return 2 * t[0] + t[1] ** 8


def _paper_gradients(x, y):
    """The gradients of f = 3x²y and g = 2x + y⁸, by the scalar rules."""
    multiple, power = calculus.constant_multiple_rule, calculus.power_rule
    return (
        np.array([multiple(3 * y, power(x, 2)), multiple(3 * x**2, 1.0)]),
        np.array([multiple(2.0, 1.0), power(y, 8)]),
    )


_SOURCE_F = (
    "np.array([[fg.calculus.constant_multiple_rule(3 * y, fg.calculus.power_rule(x, 2)), "
    "fg.calculus.constant_multiple_rule(3 * x**2, 1.0)]])"
)
_SOURCE_G = (
    "np.array([[fg.calculus.constant_multiple_rule(2.0, 1.0), fg.calculus.power_rule(y, 8)]])"
)


def row_04(x=1.5, y=0.5):
    """∇f and ∇g of the paper."""
    x, y = _scalar("x", x), _scalar("y", y)
    by_f, by_g = _paper_gradients(x, y)
    at, point = np.array([x, y]), (_number("x", x), _number("y", y))
    return (
        Step(
            "A partial derivative holds the other variable constant",
            4,
            (
                r"f(x, y) = 3x^2y",
                r"\frac{\partial f}{\partial x} = 3y \frac{\partial}{\partial x} x^2 = 6yx",
                r"\frac{\partial f}{\partial y} = 3x^2 \frac{\partial y}{\partial y} = 3x^2",
                r"\nabla f = [\frac{\partial f}{\partial x}, \frac{\partial f}{\partial y}]"
                r" = [6yx, 3x^2]",
            ),
            (*point, _derivative(r"\nabla f", by_f[None], ("1", "n"), _SOURCE_F)),
            notes=("A gradient is a row in numerator layout; the library keeps it as (n,).",),
            checks=(differences("f by (x, y)", _paper_f, at, by_f[None]),),
        ),
        Step(
            "The paper's second function",
            4,
            (r"g(x, y) = 2x + y^8", r"\nabla g = [2, 8y^7]"),
            (*point, _derivative(r"\nabla g", by_g[None], ("1", "n"), _SOURCE_G)),
            checks=(differences("g by (x, y)", _paper_g, at, by_g[None]),),
        ),
    )


def row_05(x=1.5, y=0.5):
    """Their Jacobian."""
    gradients = row_04(x, y)
    x, y = _scalar("x", x), _scalar("y", y)
    J = calculus.stack_gradients(_paper_gradients(x, y))
    return (
        *gradients,
        Step(
            "The gradients as rows of one matrix",
            5,
            (
                r"J = \begin{bmatrix} \nabla f \\ \nabla g \end{bmatrix} = "
                r"\begin{bmatrix} 6yx & 3x^2 \\ 2 & 8y^7 \end{bmatrix}",
            ),
            (_derivative("J", J, ("m", "n"), "fg.calculus.stack_gradients([grad_f, grad_g])"),),
            notes=(
                "m functions of n variables: in numerator layout a row a function, a column a "
                "variable. Papers in denominator layout print the transpose. (In the call, grad_f "
                "and grad_g are the two gradients above.)",
            ),
            checks=(
                differences(
                    "(f, g) by (x, y)",
                    lambda t: np.array([_paper_f(t), _paper_g(t)]),
                    [x, y],
                    J,
                ),
            ),
        ),
    )


def row_06(x=(1.0, -2.0, 0.5)):
    """The identity."""
    x = numbers(x, "x", 1)
    J = calculus.identity_jacobian(x.size)
    y_by_x = r"\frac{\partial \mathbf{y}}{\partial \mathbf{x}}"
    gradients = [calculus.power_rule(x, 2) * (np.arange(x.size) == i) for i in range(x.size)]
    squares = calculus.stack_gradients(gradients)
    return (
        Step(
            "A vector of functions: m gradients, one under the other",
            6,
            (
                rf"\mathbf{{y}} = \mathbf{{f}}(\mathbf{{x}}), {y_by_x} = "
                r"\begin{bmatrix} \nabla f_1(\mathbf{x}) \\ \vdots \\ \nabla f_m(\mathbf{x})"
                r" \end{bmatrix}",
                r"f_i(\mathbf{x}) = x_i^2",
            ),
            (
                Value(r"\mathbf{x}", x, ("n",)),
                _derivative(y_by_x, squares, ("m", "n"), "fg.calculus.stack_gradients("
                            "[fg.calculus.power_rule(x, 2) * (np.arange(x.size) == i) "
                            "for i in range(x.size)])"),
            ),
            checks=(differences("y by x", lambda t: t**2, x, squares),),
        ),
        Step(
            "The identity function",
            6,
            (r"\mathbf{y} = \mathbf{x}", rf"{y_by_x} = I"),
            (_derivative(y_by_x, J, ("n", "n"), "fg.calculus.identity_jacobian(x.size)"),),
            notes=("Each y takes its own x alone, with the derivative 1.",),
            checks=(differences("y by x", lambda t: t, x, J),),
        ),
    )  # fmt: skip


def _pair(w, x):
    w, x = numbers(w, "w", 1), numbers(x, "x", 1)
    same("x", x, w.shape)
    return w, x


def row_07(w=(1.0, 2.0, -1.0), x=(0.5, 1.0, 2.0)):
    """f(w) ○ g(x), element-wise."""
    w, x = _pair(w, x)
    f, g = w**2, np.sin(x)
    outer = calculus.elementwise_jacobians_diag("multiply", f, g)
    inner = calculus.power_rule(w, 2), np.cos(x)
    diagonals = [calculus.diagonal_chain(o, i) for o, i in zip(outer, inner)]
    call = 'fg.calculus.elementwise_jacobians_diag("multiply", w**2, np.sin(x))'
    sources = (
        "np.diag(fg.calculus.diagonal_chain(dy_df, fg.calculus.power_rule(w, 2)))",
        "np.diag(fg.calculus.diagonal_chain(dy_dg, np.cos(x)))",
    )
    functions = (lambda t: t**2 * g, lambda t: f * np.sin(t))
    given = (Value(r"\mathbf{w}", w, ("n",)), Value(r"\mathbf{x}", x, ("n",)))
    formulas = (
        r"\frac{\partial y_i}{\partial w_i} = f'(w_i) g(x_i) = 2 w_i \sin(x_i)",
        r"\frac{\partial y_i}{\partial x_i} = f(w_i) g'(x_i) = w_i^2 \cos(x_i)",
    )
    return tuple(
        Step(
            f"An element-wise operator: by {name}",
            7,
            (r"\mathbf{y} = \mathbf{f}(\mathbf{w}) \otimes \mathbf{g}(\mathbf{x})",
             r"y_i = w_i^2 \sin(x_i)", formula),
            (
                *given,
                Value(rf"\operatorname{{diag}}(\frac{{\partial \mathbf{{y}}}}{{\partial {inner}}})",
                      outer[place], ("n",), f"{call}[{place}]"),
                _derivative(rf"\frac{{\partial \mathbf{{y}}}}{{\partial \mathbf{{{name}}}}}",
                            np.diag(diagonal), ("n", "n"), source),
            ),
            notes=(
                f"In the call, dy_d{inner} is the diagonal before it.",
                f"yᵢ takes {name}ᵢ alone, so every entry off the diagonal is 0.",
            ),
            checks=(differences(f"y by {name}", function, at, np.diag(diagonal)),),
        )
        for place, (name, inner, formula, diagonal, source, function, at) in enumerate(
            zip("wx", "fg", formulas, diagonals, sources, functions, (w, x))
        )
    )  # fmt: skip


_OPERATORS = (
    ("add", r"\mathbf{w} + \mathbf{x}", "I", "I", np.add),
    ("subtract", r"\mathbf{w} - \mathbf{x}", "I", "-I", np.subtract),
    ("multiply", r"\mathbf{w} \otimes \mathbf{x}", r"\operatorname{diag}(\mathbf{x})",
     r"\operatorname{diag}(\mathbf{w})", np.multiply),
    ("divide", r"\mathbf{w} \oslash \mathbf{x}", r"\operatorname{diag}(1/x_i)",
     r"\operatorname{diag}(-w_i/x_i^2)", np.divide),
    ("maximum", r"\max(\mathbf{w}, \mathbf{x})", r"\operatorname{diag}(w_i \ge x_i)",
     r"\operatorname{diag}(x_i > w_i)", np.maximum),
    ("greater", r"\mathbf{w} > \mathbf{x}", "0", "0",
     lambda w, x: np.greater(w, x).astype(np.float64)),
)  # fmt: skip


def row_08(w=(1.0, 2.0, -1.0), x=(0.5, 4.0, 2.0)):
    """+, −, ⊗, ⊘, max and >."""
    w, x = _pair(w, x)
    nonzero("x", x, "w ⊘ x")
    given = (Value(r"\mathbf{w}", w, ("n",)), Value(r"\mathbf{x}", x, ("n",)))
    steps = []
    for op, latex, by_w, by_x, function in _OPERATORS:
        jacobians = calculus.elementwise_jacobians(op, w, x)
        call = f'fg.calculus.elementwise_jacobians("{op}", w, x)'
        names = [rf"\frac{{\partial \mathbf{{y}}}}{{\partial \mathbf{{{name}}}}}" for name in "wx"]
        values = [
            _derivative(name, J, ("n", "n"), f"{call}[{i}]")
            for i, (name, J) in enumerate(zip(names, jacobians))
        ]
        checks = (
            differences("y by w", lambda t, f=function: f(t, x), w, jacobians[0]),
            differences("y by x", lambda t, f=function: f(w, t), x, jacobians[1]),
        )
        formula = rf"{names[0]} = {by_w}, \quad {names[1]} = {by_x}"
        notes = ("At a tie w = x the whole derivative goes to w.",) if op == "maximum" else ()
        steps.append(
            Step(f"The operator {op}", 8, (rf"\mathbf{{y}} = {latex}", formula),
                 (*given, *values), (), notes, checks)
        )  # fmt: skip
    return tuple(steps)


def row_09(x=(1.0, -2.0, 0.5), z=3.0):
    """A scalar expanded to a vector."""
    x, z = numbers(x, "x", 1), _scalar("z", z)
    given = (Value(r"\mathbf{x}", x, ("n",)), _number("z", z))
    steps = []
    for op, latex, expanded, by_x, by_z, function in (
        ("add", r"\mathbf{x} + z", r"\mathbf{x} + \vec{1} z", "I", r"\vec{1}", np.add),
        (
            "multiply",
            r"\mathbf{x} z",
            r"\mathbf{x} \otimes \vec{1} z",
            "I z",
            r"\mathbf{x}",
            np.multiply,
        ),
    ):
        Jx, Jz = calculus.scalar_expansion_jacobians(op, x, z)
        call = f'fg.calculus.scalar_expansion_jacobians("{op}", x, z)'
        names = (
            r"\frac{\partial \mathbf{y}}{\partial \mathbf{x}}",
            r"\frac{\partial \mathbf{y}}{\partial z}",
        )
        steps.append(
            Step(
                f"{plain(latex)}, z a scalar",
                9,
                (
                    rf"\mathbf{{y}} = {latex} = {expanded}",
                    rf"{names[0]} = {by_x}, \quad {names[1]} = {by_z}",
                ),
                (*given, _derivative(names[0], Jx, ("n", "n"), f"{call}[0]"),
                 _derivative(names[1], Jz, ("n", "1"), f"{call}[1]")),
                notes=("Every y takes the same z: its derivative is a column, not a diagonal.",),
                checks=(
                    differences("y by x", lambda t, f=function: f(t, z), x, Jx),
                    differences("y by z", lambda t, f=function: f(x, t), z, Jz),
                ),
            )
        )  # fmt: skip
    return tuple(steps)


def row_10(x=(1.0, -2.0, 0.5), z=3.0):
    """Sums."""
    x, z = numbers(x, "x", 1), _scalar("z", z)
    given, by_x = (Value(r"\mathbf{x}", x, ("n",)),), r"\frac{\partial y}{\partial \mathbf{x}}"
    square = np.diag(calculus.power_rule(x, 2))
    ones = calculus.sum_gradient(calculus.identity_jacobian(x.size))
    dx, dz = calculus.scaled_sum_gradients(x, z)
    sums = calculus.sum_gradient(square)
    call = "fg.calculus.scaled_sum_gradients(x, z)"
    return (
        Step(
            "A sum of functions: add the gradients up",
            10,
            (
                r"y = \sum_i f_i(\mathbf{x}), \frac{\partial y}{\partial x_j} = "
                r"\sum_i \frac{\partial f_i}{\partial x_j}",
                r"f_i(\mathbf{x}) = x_i^2, "
                rf"{by_x} = [2 x_1, \ldots, 2 x_n]",
            ),
            (
                *given,
                _derivative(r"\frac{\partial \mathbf{f}}{\partial \mathbf{x}}", square, ("m", "n"),
                            "np.diag(fg.calculus.power_rule(x, 2))"),
                _derivative(by_x, sums[None], ("1", "n"), "fg.calculus.sum_gradient("
                            "np.diag(fg.calculus.power_rule(x, 2)))[None]"),
            ),
            notes=("The sum of the Jacobian's rows.",),
            checks=(differences("y by x", lambda t: np.sum(t**2), x, sums[None]),),
        ),
        Step(
            "The sum of x",
            10,
            (r"y = \operatorname{sum}(\mathbf{x})", rf"{by_x} = \vec{{1}}^T"),
            (
                *given,
                _derivative(by_x, ones[None], ("1", "n"), "fg.calculus.sum_gradient("
                            "fg.calculus.identity_jacobian(x.size))[None]"),
            ),
            checks=(differences("y by x", np.sum, x, ones[None]),),
        ),
        Step(
            "The sum of x z",
            10,
            (
                r"y = \operatorname{sum}(\mathbf{x} z)",
                rf"{by_x} = [z, \ldots, z], \quad \frac{{\partial y}}{{\partial z}}"
                r" = \operatorname{sum}(\mathbf{x})",
            ),
            (
                *given,
                _number("z", z),
                _derivative(by_x, dx[None], ("1", "n"), f"{call}[0][None]"),
                _number(r"\frac{\partial y}{\partial z}", dz, f"{call}[1]"),
            ),
            checks=(
                differences("y by x", lambda t: np.sum(t * z), x, dx[None]),
                differences("y by z", lambda t: np.sum(x * t), z, [[dz]]),
            ),
        ),
    )  # fmt: skip
