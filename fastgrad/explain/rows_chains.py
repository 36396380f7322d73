"""Formulas 11 to 14: the chain rules of the paper's section 4.5, on the paper's own examples."""

from __future__ import annotations

import numpy as np

from .. import calculus
from .checks import differences, nonzero, numbers
from .rows_calculus import _column, _derivative, _number, _scalar
from .steps import Step, Value


def row_11(x=0.9):
    """The single-variable chain rule."""
    x = _scalar("x", x)
    nonzero("x", x, "ln(sin(x³)²)")
    dy_dx = r"\frac{dy}{dx}"
    square = calculus.single_variable_chain(np.cos(x**2), calculus.power_rule(x, 2))
    u1 = x**3
    u2 = np.sin(u1)
    u3 = u2**2
    factors = (1 / u3, calculus.power_rule(u2, 2), np.cos(u1), calculus.power_rule(x, 3))
    four = calculus.single_variable_chain(*factors)
    names = (r"\frac{dy}{du_3}", r"\frac{du_3}{du_2}", r"\frac{du_2}{du_1}", r"\frac{du_1}{dx}")
    calls = ("1 / np.sin(x**3)**2", "fg.calculus.power_rule(np.sin(x**3), 2)", "np.cos(x**3)",
             "fg.calculus.power_rule(x, 3)")  # fmt: skip
    return (
        Step(
            "One intermediate variable",
            11,
            (
                rf"{dy_dx} = \frac{{dy}}{{du}} \frac{{du}}{{dx}}",
                r"y = \sin(x^2), \quad u = x^2, \quad y = \sin(u)",
                rf"{dy_dx} = \cos(u) \cdot 2 x = 2 x \cos(x^2)",
            ),
            (
                _number("x", x),
                _number(r"\frac{dy}{du}", np.cos(x**2), "np.cos(x**2)"),
                _number(r"\frac{du}{dx}", calculus.power_rule(x, 2),
                        "fg.calculus.power_rule(x, 2)"),
                _number(dy_dx, square, "fg.calculus.single_variable_chain(np.cos(x**2), "
                        "fg.calculus.power_rule(x, 2))"),
            ),
            checks=(differences("y by x", lambda t: np.sin(t**2), x, [[square]]),),
        ),
        Step(
            "A chain of four",
            11,
            (
                r"y = \ln(\sin(x^3)^2)",
                r"u_1 = x^3, \quad u_2 = \sin(u_1), \quad u_3 = u_2^2, \quad y = \ln(u_3)",
                rf"{dy_dx} = {names[0]} {names[1]} {names[2]} {names[3]}",
                rf"{dy_dx} = \frac{{1}}{{u_3}} \cdot 2 u_2 \cdot \cos(u_1) \cdot 3 x^2"
                r" = 6 x^2 \cos(x^3) / \sin(x^3)",
            ),
            (
                *(_number(*named) for named in zip(names, factors, calls)),
                _number(dy_dx, four, f"fg.calculus.single_variable_chain({', '.join(calls)})"),
            ),
            notes=("Each variable takes the one before it: the factors stand outermost first.",),
            checks=(
                differences("y by x", lambda t: np.log(np.sin(t**3) ** 2), x, [[four]]),
            ),
        ),
    )  # fmt: skip


def row_12(x=0.9):
    """The single-variable total derivative."""
    x = _scalar("x", x)
    du = calculus.power_rule(x, 2)
    c = np.cos(x + x**2)
    examples = (
        ("x + x²", r"f = x + u, u = x^2", r"1 + 1 \cdot 2 x = 1 + 2 x",
         (1.0, [1.0], [du]), "1.0, [1.0], [fg.calculus.power_rule(x, 2)]", lambda t: t + t**2),
        ("sin(x + x²)", r"f = \sin(x + u), u = x^2",
         r"\cos(x + u) + \cos(x + u) \cdot 2 x = \cos(x + x^2) (1 + 2 x)",
         (c, [c], [du]), "np.cos(x + x**2), [np.cos(x + x**2)], [fg.calculus.power_rule(x, 2)]",
         lambda t: np.sin(t + t**2)),
        ("x · x²", r"f = u_1 u_2, u_1 = x, u_2 = x^2", r"u_2 \cdot 1 + u_1 \cdot 2 x = 3 x^2",
         (0.0, [x**2, x], [1.0, du]),
         "0.0, [x**2, x], [1.0, fg.calculus.power_rule(x, 2)]", lambda t: t * t**2),
    )  # fmt: skip
    return tuple(
        Step(
            f"x along several ways: {title}",
            12,
            (
                r"\frac{df}{dx} = \frac{\partial f}{\partial x} + "
                r"\sum_i \frac{\partial f}{\partial u_i} \frac{\partial u_i}{\partial x}",
                f,
                rf"\frac{{df}}{{dx}} = {result}",
            ),
            (
                _number("x", x),
                _number(
                    r"\frac{df}{dx}",
                    calculus.total_derivative(*arguments),
                    f"fg.calculus.total_derivative({source})",
                ),
            ),
            notes=("Changes of x reach f along each u, and the ways are added up.",),
            checks=(differences("f by x", function, x, [[calculus.total_derivative(*arguments)]]),),
        )
        for title, f, result, arguments, source, function in examples
    )


def row_13(x=0.9):
    """The vector chain rule."""
    x = _scalar("x", x)
    nonzero("x", x, "ln(x²)")
    outer = np.diag([1 / x**2, np.cos(3 * x)])
    inner = _column([calculus.power_rule(x, 2), calculus.constant_multiple_rule(3.0, 1.0)])
    product = calculus.vector_chain(outer, inner)
    df_dg = r"\frac{\partial \mathbf{f}}{\partial \mathbf{g}}"
    dg_dx, df_dx = (rf"\frac{{\partial \mathbf{{{v}}}}}{{\partial x}}" for v in "gf")
    calls = (
        "np.diag([1 / x**2, np.cos(3 * x)])",
        "np.array([[fg.calculus.power_rule(x, 2)], "
        "[fg.calculus.constant_multiple_rule(3.0, 1.0)]])",
    )
    return (
        Step(
            "A product of Jacobians",
            13,
            (
                r"\frac{\partial}{\partial \mathbf{x}} \mathbf{f}(\mathbf{g}(\mathbf{x})) = "
                rf"{df_dg} \frac{{\partial \mathbf{{g}}}}{{\partial \mathbf{{x}}}}",
                r"\mathbf{f} = [\ln(x^2), \sin(3 x)], \quad \mathbf{g} = [x^2, 3 x]",
                rf"{df_dx} = \begin{{bmatrix}} 1/g_1 & 0 \\ 0 & \cos(g_2) \end{{bmatrix}} "
                r"\begin{bmatrix} 2 x \\ 3 \end{bmatrix} = "
                r"\begin{bmatrix} 2/x \\ 3 \cos(3 x) \end{bmatrix}",
            ),
            (
                _number("x", x),
                _derivative(df_dg, outer, ("m", "k"), calls[0]),
                _derivative(dg_dx, inner, ("k", "n"), calls[1]),
                _derivative(df_dx, product, ("m", "n"), "fg.calculus.vector_chain(df_dg, dg_dx)"),
            ),
            notes=(
                "(m, k) times (k, n) is (m, n): the k intermediate variables in the middle are "
                "summed over, which is the total derivative of each entry. The order matters.",
                "In denominator layout the transposes stand in the other order.",
            ),
            checks=(
                differences(
                    "g by x", lambda t: np.array([t**2, 3 * t]), x, inner
                ),
                differences(
                    "f by x", lambda t: np.array([np.log(t**2), np.sin(3 * t)]), x, product
                ),
            ),
        ),
    )  # fmt: skip


def row_14(x=(0.5, 1.0, -1.5)):
    """Its diagonal case."""
    x = numbers(x, "x", 1)
    outer, inner = np.cos(x**2), calculus.power_rule(x, 2)
    full = calculus.vector_chain(np.diag(outer), np.diag(inner))
    diagonal = calculus.diagonal_chain(outer, inner)
    relu = calculus.relu_vjp(np.arange(1.0, x.size + 1), x)
    return (
        Step(
            "Where f_i takes g_i alone and g_i takes x_i alone".replace("_i", "ᵢ"),
            14,
            (
                r"\mathbf{y} = \sin(\mathbf{x}^2), \quad g_i = x_i^2, \quad f_i = \sin(g_i)",
                r"\frac{\partial f_i}{\partial x_i} = \frac{\partial f_i}{\partial g_i} "
                r"\frac{\partial g_i}{\partial x_i} = \cos(x_i^2) \cdot 2 x_i",
            ),
            (
                Value(r"\mathbf{x}", x, ("n",)),
                _derivative(r"\frac{\partial \mathbf{f}}{\partial \mathbf{x}}", full, ("n", "n"),
                            "fg.calculus.vector_chain(np.diag(np.cos(x**2)), "
                            "np.diag(fg.calculus.power_rule(x, 2)))"),
                Value(r"\operatorname{diagonal}", diagonal, ("n",),
                      "fg.calculus.diagonal_chain(np.cos(x**2), fg.calculus.power_rule(x, 2))"),
            ),
            notes=(
                "The product of two diagonal matrices is diagonal: multiply the diagonals entry by "
                "entry and form no matrix.",
            ),
            checks=(differences("f by x", lambda t: np.sin(t**2), x, full),),
        ),
        Step(
            "What a ReLU's mask does",
            14,
            (
                r"\mathbf{a} = \max(0, \mathbf{x})",
                r"\mathbf{v}^T \frac{\partial \mathbf{a}}{\partial \mathbf{x}} = "
                r"(\mathbf{v} \otimes (\mathbf{x} > 0))^T",
            ),
            (
                Value(r"\mathbf{v}", np.arange(1.0, x.size + 1), ("n",)),
                _derivative(r"\mathbf{v}^T \frac{\partial \mathbf{a}}{\partial \mathbf{x}}",
                            relu[None], ("1", "n"),
                            "fg.calculus.relu_vjp(np.arange(1.0, x.size + 1), x)[None]"),
            ),
            checks=(
                differences(
                    "v·a by x",
                    lambda t: np.sum(np.arange(1.0, x.size + 1) * np.maximum(t, 0)),
                    x,
                    relu[None],
                ),
            ),
        ),
    )  # fmt: skip
