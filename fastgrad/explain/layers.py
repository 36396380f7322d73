"""A layer of k neurons, and the jump from the tensor ∂Z/∂W to XᵀΔ (formula 23)."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from .. import calculus, reference
from ..dense import affine, affine_relu, affine_relu_backward
from ..typing import Numbers
from .checks import differences, identity, numbers, same, small, twin
from .steps import Explanation, Product, Step, Value

EXAMPLE = {
    "X": [[1.0, 2.0, -1.0], [3.0, -1.0, 0.5]],
    "W": [[1.0, -1.0], [0.5, 2.0], [-2.0, 1.0]],
    "b": [0.5, -1.0],
    "grad": [[0.5, -1.0], [2.0, 1.5]],
}  # fmt: skip


def layer(X: Numbers, W: Numbers, b: Numbers, grad: Numbers) -> Explanation:
    """The derivation of a layer's gradients, step by step with these numbers (formula 23).

    Z = X W + b, A = max(0, Z), and from ∂C/∂A, the derivative of any loss C by the activations, to
    ∂C/∂W, ∂C/∂b and ∂C/∂X. Shown in full: the tensor ∂Z/∂W, its product with the cotangent
    Δ = ∂C/∂Z entry by entry, and why that is XᵀΔ.

    Parameters
    ----------
    X : array (n, d)
        A few samples: the tensor has n k d k entries.
    W : array (d, k)
    b : array (k,)
    grad : array (n, k)
        ∂C/∂A, as `fastgrad.affine_relu_backward` takes it.

    Returns
    -------
    explanation : Explanation

    Raises
    ------
    TypeError, ValueError
        If numbers are not finite, shapes do not fit or are too large to be written out; the message
        names the argument.

    Notes
    -----
    Numbers are taken as float64; each derivative is checked by five-point differences of
    C = Σ grad ⊙ A, a loss whose derivative by A is `grad`.

    Examples
    --------
    >>> import fastgrad as fg
    >>> X, W, b, grad = [[1.0, 2.0]], [[1.0, 0.0], [0.5, 2.0]], [0.0, 1.0], [[1.0, 2.0]]
    >>> explanation = fg.explain.layer(X, W, b, grad)
    >>> explanation.ok
    True
    >>> explanation.steps[5].title
    'Why that is XᵀΔ'
    """
    with np.errstate(all="ignore"):  # what overflows is an error of its own
        steps = LayerSteps(X, W, b, grad)
        made = tuple(step() for step in steps.all)
    return Explanation("One layer: the gradients of Z = X W + b, A = max(0, Z)", made)


def _at(i: int, j: int) -> str:
    return f"{i}{j}" if max(i, j) < 10 else f"{i},{j}"


class LayerSteps:
    """The steps of a layer's derivation."""

    def __init__(self, X, W, b, grad):
        self.X, self.W = numbers(X, "X", 2), numbers(W, "W", 2)
        self.b, self.grad = numbers(b, "b", 1), numbers(grad, "grad", 2)
        (self.n, self.d), self.k = self.X.shape, self.W.shape[1]
        same("W", self.W, (self.d, self.k))
        same("b", self.b, (self.k,))
        same("grad", self.grad, (self.n, self.k))
        small("∂Z/∂W", self.n * self.k, max(self.d, self.n) * self.k, "fewer rows, as in X[:4]")
        self.Z = affine(self.X, self.W, self.b)
        self.A, self.mask = affine_relu(self.X, self.W, self.b)
        self.dZ = calculus.relu_vjp(self.grad, self.Z)
        self.all = (
            self.affine, self.activation, self.delta, self.tensor, self.contraction,
            self.by_weights, self.by_bias, self.by_inputs,
        )  # fmt: skip

    @cached_property
    def backward(self):
        return affine_relu_backward(self.grad, self.X, self.W, self.mask)

    @cached_property
    def jacobian(self):
        """∂Z/∂W as (n k, d k): a column is the derivative along one entry of W."""
        columns = []
        for entry in range(self.W.size):
            along = np.zeros_like(self.W)
            along.flat[entry] = 1.0
            columns.append(calculus.affine_jvp(self.X, self.W, W_dot=along).ravel())
        return np.stack(columns, axis=1)

    def loss_at(self, X, W, b):
        return np.sum(self.grad * affine_relu(X, W, b)[0])

    def affine(self):
        values = (
            Value("X", self.X, ("n", "d")),
            Value("W", self.W, ("d", "k")),
            Value(r"\mathbf{b}", self.b, ("k",)),
            Value("Z", self.Z, ("n", "k"), "fg.affine(X, W, b)"),
        )
        return Step(
            "The affine output",
            23,
            (r"Z = X W + b", r"Z_{ij} = \sum_l X_{il} W_{lj} + b_j"),
            values,
            notes=("Column j of W are the weights of neuron j; row i of X is sample i.",),
            checks=(twin("Z", self.Z, reference.affine(self.X, self.W, self.b)),),
        )

    def activation(self):
        values = (
            Value("A", self.A, ("n", "k"), "fg.affine_relu(X, W, b)[0]"),
            Value(r"\operatorname{mask}", self.mask, ("n", "k"), "fg.affine_relu(X, W, b)[1]"),
        )
        A, mask = reference.affine_relu(self.X, self.W, self.b)
        return Step(
            "The activation",
            2,
            (r"A = \max(0, Z)",),
            values,
            checks=(twin("A", self.A, A), twin("mask", self.mask, mask)),
        )

    def delta(self):
        values = (
            Value(r"\frac{\partial C}{\partial A}", self.grad, ("n", "k")),
            Value(r"\Delta", self.dZ, ("n", "k"), "fg.calculus.relu_vjp(grad, Z)"),
        )
        return Step(
            "Back through the activation: the cotangent Δ",
            14,
            (
                r"\Delta = \frac{\partial C}{\partial Z} = "
                r"\frac{\partial C}{\partial A} \odot (Z > 0)",
            ),
            values,
            notes=(
                "Δ is the cotangent of Z: the derivative of the loss by Z.",
                "The Jacobian ∂A/∂Z is diagonal, (n·k, n·k): each entry of A takes one entry of "
                "Z. Multiplying by it is multiplying by the mask. ∂C/∂A and Δ are written in the "
                "shape of A and Z, their denominator layout, as cotangents of matrices are in "
                "code; in numerator layout they are transposed.",
            ),
            checks=(
                differences(
                    "C by Z",
                    lambda Z: np.sum(self.grad * np.maximum(Z, 0)),
                    self.Z,
                    self.dZ.reshape(1, -1),
                ),
            ),
        )

    def tensor(self):
        value = Value(
            r"\frac{\partial Z}{\partial W}", self.jacobian, ("n·k", "d·k"),
            "np.stack([fg.calculus.affine_jvp(X, W, W_dot=E).ravel() for E in units], 1)", True,
        )  # fmt: skip
        k = self.k
        return Step(
            "The tensor ∂Z/∂W",
            23,
            (
                r"\frac{\partial Z_{ij}}{\partial W_{lm}} = X_{il} \text{ if } j = m, "
                r"\text{ else } 0",
            ),
            (value,),
            notes=(
                f"Z has n·k entries, W has d·k: the derivative of each by each is a tensor "
                f"(n, k, d, k) = ({self.n}, {k}, {self.d}, {k}). Written as a Jacobian, its rows "
                "are Z₀₀, Z₀₁, …, Z₁₀, … and its columns W₀₀, W₀₁, …, W₁₀, … (indices from 0).",
                "Neuron j takes column j of W alone, so entries with j ≠ m are 0 whatever the "
                f"numbers are: {self.n * self.d * k * (k - 1)} of {self.jacobian.size} here. The "
                "others repeat X, once for each neuron. (In the call, `units` are the d·k matrices "
                "that have one entry 1: a column is the derivative along one entry of W.)",
            ),
            checks=(
                differences(
                    "Z by W", lambda W: affine(self.X, W, self.b), self.W, self.jacobian
                ),
            ),
        )  # fmt: skip

    def contraction(self):
        row = self.dZ.reshape(1, -1)
        product = calculus.vector_chain(row, self.jacobian)
        products = tuple(
            Product(
                rf"\frac{{\partial C}}{{\partial W_{{{_at(place, m)}}}}}",
                tuple(
                    (rf"\Delta_{{{_at(i, m)}}}", float(self.dZ[i, m]),
                     f"X_{{{_at(i, place)}}}", float(self.X[i, place]))
                    for i in range(self.n)
                ),
                float(product[0, place * self.k + m]),
                self.n * (self.k - 1),
            )
            for place in range(self.d)
            for m in range(self.k)
        )  # fmt: skip
        values = (
            Value(r"\operatorname{vec}(\Delta)^T", row, ("1", "n·k"), "Delta.reshape(1, -1)", True),
            Value(r"\frac{\partial C}{\partial \operatorname{vec}(W)}", product, ("1", "d·k"),
                  "fg.calculus.vector_chain(Delta.reshape(1, -1), dZ_dW)", True),
        )  # fmt: skip
        return Step(
            "Its product with the cotangent, entry by entry",
            13,
            (
                r"\frac{\partial C}{\partial W_{lm}} = "
                r"\sum_{ij} \frac{\partial C}{\partial Z_{ij}} "
                r"\frac{\partial Z_{ij}}{\partial W_{lm}} = \sum_{ij} \Delta_{ij} "
                r"\frac{\partial Z_{ij}}{\partial W_{lm}} = \sum_i \Delta_{im} X_{il}",
            ),
            values,
            products,
            notes=(
                "The vector chain rule, (1, n·k) times (n·k, d·k). Of the sum over i and j only "
                "j = m is left, and what is left is a sum over the samples.",
            ),
            checks=(
                differences(
                    "C by W", lambda W: self.loss_at(self.X, W, self.b), self.W, product
                ),
            ),
        )  # fmt: skip

    def by_weights(self):
        gW = self.backward[1]
        entries = calculus.vector_chain(self.dZ.reshape(1, -1), self.jacobian)
        values = (
            Value(r"\frac{\partial C}{\partial W}", gW.T, ("k", "d"),
                  "fg.affine_relu_backward(grad, X, W, mask)[1].T", True),
        )  # fmt: skip
        return Step(
            "Why that is XᵀΔ",
            23,
            (
                r"\sum_i X_{il} \Delta_{im} = \sum_i (X^T)_{li} \Delta_{im} = (X^T \Delta)_{lm}",
                r"\frac{\partial C}{\partial W} = X^T \Delta",
            ),
            values,
            notes=(
                "A sum over the index in the middle is a matrix product, and to have i in the "
                "middle X is transposed: (d, n) times (n, k) is (d, k), the shape of W. The tensor "
                "is never formed.",
                "Numerator layout is the transpose, ΔᵀX (k, d). The library returns XᵀΔ, in the "
                "shape of W, which gradient descent can subtract from W.",
            ),
            checks=(
                identity("XᵀΔ and the entries above", gW.ravel(), entries[0]),
                differences(
                    "C by W",
                    lambda W: self.loss_at(self.X, W, self.b),
                    self.W,
                    gW.reshape(1, -1),
                ),
            ),
        )

    def by_bias(self):
        gb = self.backward[2]
        products = tuple(
            Product(
                rf"\frac{{\partial C}}{{\partial b_{{{j}}}}}",
                tuple(
                    (rf"\Delta_{{{_at(i, j)}}}", float(self.dZ[i, j]), "1", 1.0)
                    for i in range(self.n)
                ),
                float(gb[j]),
            )
            for j in range(self.k)
        )
        values = (
            Value(r"\frac{\partial C}{\partial \mathbf{b}}", gb[None], ("1", "k"),
                  "fg.affine_relu_backward(grad, X, W, mask)[2][None]", True),
        )  # fmt: skip
        return Step(
            "The bias: 1ᵀΔ",
            23,
            (
                r"\frac{\partial Z_{ij}}{\partial b_m} = 1 \text{ if } j = m, \text{ else } 0",
                r"\frac{\partial C}{\partial \mathbf{b}} = \vec{1}^T \Delta",
            ),
            values,
            products,
            notes=("b is added to every row, so its derivative is the sum of Δ's rows.",),
            checks=(
                differences(
                    "C by b", lambda b: self.loss_at(self.X, self.W, b), self.b, gb[None]
                ),
            ),
        )  # fmt: skip

    def by_inputs(self):
        gX = self.backward[0]
        values = (
            Value(r"\frac{\partial C}{\partial X}", gX.T, ("d", "n"),
                  "fg.affine_relu_backward(grad, X, W, mask)[0].T", True),
        )  # fmt: skip
        return Step(
            "The inputs: ΔWᵀ",
            23,
            (
                r"\frac{\partial Z_{ij}}{\partial X_{pl}} = W_{lj} \text{ if } i = p, "
                r"\text{ else } 0",
                r"\frac{\partial C}{\partial X} = \Delta W^T",
            ),
            values,
            notes=(
                "The same argument with a sum over the neurons j: (n, k) times (k, d) is (n, d), "
                "the shape of X. For a layer before this one it is that layer's ∂C/∂A.",
            ),
            checks=(
                differences(
                    "C by X",
                    lambda X: self.loss_at(X, self.W, self.b),
                    self.X,
                    gX.reshape(1, -1),
                ),
            ),
        )
