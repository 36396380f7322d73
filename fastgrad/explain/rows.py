"""The table of formulas: number, section, what it says, and the steps that explain it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._core import check
from . import rows_calculus, rows_chains, rows_models, rows_products, rows_samples
from .notation import plain, width
from .steps import Explanation

__all__ = ["ROWS", "Row", "formula", "table"]


@dataclass(frozen=True)
class Row:
    """One formula: `build(**numbers)` gives its steps."""

    number: int
    section: str  # of the paper; "" beyond it
    title: str
    latex: str
    build: Callable[..., Any]


def _row(number: int, section: str, title: str, latex: str) -> Row:
    modules = (rows_calculus, rows_chains, rows_models, rows_products, rows_samples)
    name = f"row_{number:02d}"
    build = next(getattr(module, name) for module in modules if hasattr(module, name))
    return Row(number, section, title, latex, build)


ROWS = {
    row.number: row
    for row in (
        _row(1, "5", "The affine function", r"z = \mathbf{w}{\cdot}\mathbf{x} + b"),
        _row(2, "5", "The activation", r"a = \max(0, z)"),
        _row(3, "2", "Scalar derivative rules", r"\frac{d}{dx} 9 (x + x^2) = 9 + 18x"),
        _row(4, "3", "Partial derivatives and the gradient", r"\nabla (3x^2y) = [6yx, 3x^2]"),
        _row(5, "4", "The Jacobian",
             r"J = \begin{bmatrix} 6yx & 3x^2 \\ 2 & 8y^7 \end{bmatrix}"),
        _row(6, "4.1", "Generalization of the Jacobian; the identity",
             r"\frac{\partial \mathbf{x}}{\partial \mathbf{x}} = I"),
        _row(7, "4.2", "Element-wise binary operators",
             r"\mathbf{y} = \mathbf{f}(\mathbf{w}) \circ \mathbf{g}(\mathbf{x})"
             r"\text{: diagonal Jacobians}"),
        _row(8, "4.2", "The operators one by one",
             r"\frac{\partial (\mathbf{w} \otimes \mathbf{x})}{\partial \mathbf{w}} = "
             r"\operatorname{diag}(\mathbf{x})"),
        _row(9, "4.3", "Scalar expansion",
             r"\frac{\partial (\mathbf{x} z)}{\partial z} = \mathbf{x}"),
        _row(10, "4.4", "Vector sum reduction",
             r"\frac{\partial}{\partial x_j} \operatorname{sum}(\mathbf{f}) = "
             r"\sum_i \frac{\partial f_i}{\partial x_j}"),
        _row(11, "4.5.1", "Single-variable chain rule",
             r"\frac{dy}{dx} = \frac{dy}{du} \frac{du}{dx}"),
        _row(12, "4.5.2", "Single-variable total-derivative chain rule",
             r"\frac{df}{dx} = \frac{\partial f}{\partial x} + "
             r"\sum_i \frac{\partial f}{\partial u_i} \frac{\partial u_i}{\partial x}"),
        _row(13, "4.5.3", "Vector chain rule",
             r"\frac{\partial \mathbf{f}}{\partial \mathbf{x}} = "
             r"\frac{\partial \mathbf{f}}{\partial \mathbf{g}} "
             r"\frac{\partial \mathbf{g}}{\partial \mathbf{x}}"),
        _row(14, "4.5.3", "Its diagonal case",
             r"\frac{\partial f_i}{\partial x_i} = \frac{\partial f_i}{\partial g_i} "
             r"\frac{\partial g_i}{\partial x_i}"),
        _row(15, "5", "The affine function by w and b",
             r"\frac{\partial z}{\partial \mathbf{w}} = \mathbf{x}^T, "
             r"\frac{\partial z}{\partial b} = 1"),
        _row(16, "5", "The derivative of max(0, z)",
             r"\frac{d}{dz} \max(0, z) = 0 \text{ or } 1"),
        _row(17, "5", "The gradient of neuron activation",
             r"\frac{\partial a}{\partial \mathbf{w}} = \vec{0}^T \text{ or } \mathbf{x}^T"),
        _row(18, "6", "The loss",
             r"C = \frac{1}{N} \sum_i (y_i - \max(0, \mathbf{w}{\cdot}\mathbf{x}_i + b))^2"),
        _row(19, "6.1", "The gradient with respect to the weights",
             r"\frac{\partial C}{\partial \mathbf{w}} = \frac{2}{N} \sum_{i \text{ active}} "
             r"e_i \mathbf{x}_i^T"),
        _row(20, "6.2", "The derivative with respect to the bias",
             r"\frac{\partial C}{\partial b} = \frac{2}{N} \sum_{i \text{ active}} e_i"),
        _row(21, "6", "Gradient descent",
             r"\mathbf{w} \leftarrow \mathbf{w} - \eta \frac{\partial C}{\partial \mathbf{w}}"),
        _row(22, "6.2", "The bias as one more weight",
             r"\mathbf{w}{\cdot}\mathbf{x} + b = \hat{\mathbf{w}}{\cdot}\hat{\mathbf{x}}"),
        _row(23, "", "A layer",
             r"\frac{\partial C}{\partial W} = X^T \Delta, "
             r"\frac{\partial C}{\partial X} = \Delta W^T"),
        _row(24, "", "A network", r"\Delta_{l} = (\Delta_{l+1} W_{l+1}^T) \odot (Z_l > 0)"),
        _row(25, "", "Softmax cross-entropy",
             r"\Delta = \frac{1}{n} (\operatorname{softmax}(Z) - \operatorname{onehot}(y))"),
        _row(26, "", "Logistic loss", r"\Delta = \frac{1}{n} (\sigma(Z) - Y)"),
        _row(27, "", "Huber loss",
             r"h'(e) = e \text{ for } |e| \le \delta, \text{ else } \pm \delta"),
        _row(28, "", "Activations by slope from the output", r"\tanh\text{: } 1 - a^2"),
        _row(29, "", "Absolute error, quantile, Poisson",
             r"\operatorname{sign}(e), -\tau \text{ or } 1 - \tau, \exp(z) - y"),
        _row(30, "", "Products with the Jacobian", r"J \mathbf{v} \text{ and } \mathbf{u}^T J"),
        _row(31, "", "Norms of the samples' gradients",
             r"\|\mathbf{g}_i\|^2 = \sum_l (1 + \|\mathbf{a}_i\|^2) \|\delta_i\|^2"),
        _row(32, "", "The clipped mean of gradients",
             r"\frac{1}{n} \sum_i \min(1, \frac{c}{\|\mathbf{g}_i\|}) \mathbf{g}_i"),
        _row(33, "", "Inner products of gradients",
             r"K = \sum_l (1 + A_l A_l^T) \odot (\Delta_l \Delta_l^T)"),
        _row(34, "", "The Hessian times a vector",
             r"H \mathbf{v} = \frac{d}{dt} \nabla C(\theta + t \mathbf{v})"),
        _row(35, "", "Gauss and Newton's matrix times a vector",
             r"G \mathbf{v} = J^T H_{\text{out}} J \mathbf{v}"),
    )
}  # fmt: skip


def formula(number: int, **values: Any) -> Explanation:
    """A formula of the guide's table, derived on the paper's example or on numbers of your own.

    Parameters
    ----------
    number : int
        1 to 35; `table` lists them.
    **values
        The example's numbers by name, as in ``formula(13, x=2.0)`` or ``formula(19, w=w, b=b, X=X,
        y=y)``; what is not given is the example's.

    Returns
    -------
    explanation : Explanation

    Raises
    ------
    TypeError, ValueError
        No such formula, or no such number of it; numbers that do not fit.

    Examples
    --------
    >>> import fastgrad as fg
    >>> explanation = fg.explain.formula(13, x=2.0)
    >>> print(explanation.steps[0].values[3].array.round(6))
    [[1.      ]
     [2.880511]]
    """
    if isinstance(number, str):
        raise TypeError(f"number is {number!r}; expected a whole number{of_section(number)}")
    number = check.integer(number, "number")
    if number not in ROWS:
        known = ", ".join(map(str, ROWS))
        raise ValueError(f"number is {number}; expected one of {known}")
    row = ROWS[number]
    known = inspect.signature(row.build).parameters
    for name in values:
        if name not in known:
            raise TypeError(f"formula {number} has no {name!r}; it takes {', '.join(known)}")
    where = f"section {row.section} of the paper" if row.section else "beyond the paper"
    try:
        with np.errstate(all="ignore"):  # what overflows is an error of its own
            steps = row.build(**values)
    except OverflowError:
        raise ValueError(
            f"formula {number} overflows for the numbers given; expected smaller ones"
        ) from None
    return Explanation(f"Formula {number}: {row.title} ({where})", steps)


def of_section(section: str) -> str:
    """Which formulas a section of the paper has, as the end of an error; "" for none.

    Examples
    --------
    >>> of_section("4.5.3")
    ': section 4.5.3 has the formulas 13, 14'
    """
    rows = [str(row.number) for row in ROWS.values() if row.section == section]
    return f": section {section} has the formulas {', '.join(rows)}" if rows else ""


def table() -> str:
    """The formulas that `formula` explains, a line each.

    Examples
    --------
    >>> import fastgrad as fg
    >>> print(fg.explain.table().splitlines()[0])
    1   5      The affine function           z = w·x + b
    """
    lines, start = [], 42
    for row in ROWS.values():
        line = f"{row.number:<3} {row.section or '–':<6} {row.title}"
        if width(line) >= start:
            lines.append(line)
            line = ""
        lines.append(f"{line:<{start}}{plain(row.latex)}")
    return "\n".join(lines)
