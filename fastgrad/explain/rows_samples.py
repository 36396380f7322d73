"""Formulas 31 to 33: the gradients of single samples.

Each takes a small network and its numbers, those of formula 24 where none are given.
"""

from __future__ import annotations

import numpy as np

from .. import per_sample
from .checks import differences, identity, numbers, small
from .rows_products import INPUTS, SIZES, TARGETS, THETA, given_to, steps_of
from .steps import Product, Step, Value


def _of_rows(steps):
    """The loss of each row by itself, as a function of θ."""
    net, X, y = steps.net, steps.X, steps.y
    return lambda t: np.array([net.loss(t, X[i : i + 1], y[i : i + 1]) for i in range(len(X))])


def _sample_steps(layer_sizes, theta, X, y, loss, activation):
    steps = steps_of(layer_sizes, theta, X, y, loss, activation)
    small("the samples' gradients", len(steps.X), steps.theta.size, "fewer rows, as in X[:8]")
    arguments = steps.net, steps.theta, steps.X, steps.y
    return steps, arguments, per_sample.grads(*arguments)


def _rows_step(steps, G):
    """The gradients of the samples, a row each."""
    return Step(
        "One sample's gradient",
        31,
        (
            r"\mathbf{g}_i = [\operatorname{vec}(\mathbf{a}_i \delta_i^T), \delta_i, \ldots]"
            r" \text{ layer by layer}",
        ),
        (
            *given_to(steps),
            Value("G", G, ("n", "p"), "fg.per_sample.grads(net, theta, X, y)", True),
        ),
        notes=(
            "Of the row's own loss, so their mean is the gradient. In a layer with inputs aᵢ and "
            "cotangent δᵢ the weights' part is an outer product, formula 23 with one row.",
        ),
        checks=(
            differences("C of each row by θ", _of_rows(steps), steps.theta, G),
            identity("the mean of the rows and ∂C/∂θ", G.mean(axis=0), steps.grad),
        ),
    )


def _inner(steps, G, i: int, j: int):
    """A layer a term: (1 + aᵢ·aⱼ)(δᵢ·δⱼ)."""
    terms = []
    for place, ((_, first), (_, second)) in enumerate(
        zip(steps.net.unflatten(G[i]), steps.net.unflatten(G[j])), 1
    ):
        A = steps.A[place - 1]  # a layer's bias has the gradient δ
        terms.append((place, 1 + float(A[i] @ A[j]), float(first @ second)))
    return terms


def row_31(layer_sizes=SIZES, theta=THETA, X=INPUTS, y=TARGETS, loss="mse", activation="relu"):
    """Norms of the samples' gradients."""
    steps, arguments, G = _sample_steps(layer_sizes, theta, X, y, loss, activation)
    norms = per_sample.grad_norms(*arguments)
    products = tuple(
        Product(
            rf"\|\mathbf{{g}}_{{{i}}}\|^2",
            tuple(
                (rf"(1 + \|\mathbf{{a}}\|^2)_{place}", a, rf"(\|\delta\|^2)_{place}", delta)
                for place, a, delta in _inner(steps, G, i, i)
            ),
            float(norms[i] ** 2),
        )
        for i in range(len(G))
    )
    return (
        _rows_step(steps, G),
        Step(
            "Its norm, without forming it",
            31,
            (
                r"\|\mathbf{g}_i\|^2 = \sum_l (1 + \|\mathbf{a}_{i,l}\|^2) \|\delta_{i,l}\|^2",
                r"\|\mathbf{a} \delta^T\|^2 = \|\mathbf{a}\|^2 \|\delta\|^2",
            ),
            (
                Value(r"\|\mathbf{g}\|", norms, ("n",),
                      "fg.per_sample.grad_norms(net, theta, X, y)"),
            ),
            products,
            notes=("The 1 is the bias, whose part is δ itself. The index counts the layers.",),
            checks=(
                identity("‖g‖ and the norms of G's rows", norms, np.linalg.norm(G, axis=1)),
            ),
        ),
    )  # fmt: skip


def row_32(
    layer_sizes=SIZES, theta=THETA, X=INPUTS, y=TARGETS, max_norm=1.0, loss="mse", activation="relu"
):
    """The clipped mean."""
    steps, arguments, G = _sample_steps(layer_sizes, theta, X, y, loss, activation)
    max_norm = float(numbers(max_norm, "max_norm", 0))
    loss_value, clipped = per_sample.clipped_loss_and_grad(*arguments, max_norm)
    norms = per_sample.grad_norms(*arguments)
    factors = np.minimum(1.0, max_norm / np.where(norms > 0, norms, 1.0))
    rows = _of_rows(steps)
    return (
        _rows_step(steps, G),
        Step(
            "Each gradient clipped, then the mean",
            32,
            (
                r"\frac{1}{n} \sum_i \min(1, \frac{c}{\|\mathbf{g}_i\|}) \mathbf{g}_i",
                r"= X^T \Delta \text{ with the rows of } \Delta \text{ scaled}",
            ),
            (
                Value("c", np.array(max_norm), ()),
                Value(r"\|\mathbf{g}\|", norms, ("n",),
                      "fg.per_sample.grad_norms(net, theta, X, y)"),
                Value("C", np.array(loss_value), (),
                      "fg.per_sample.clipped_loss_and_grad(net, theta, X, y, c)[0]"),
                Value(r"\mathbf{g}_{\text{clipped}}", clipped[None], ("1", "p"),
                      "fg.per_sample.clipped_loss_and_grad(net, theta, X, y, c)[1]", True),
            ),
            notes=(
                "A sample scales with its row of Δ, so one product XᵀΔ does for all and no single "
                "gradient is formed. C is not clipped.",
            ),
            checks=(
                identity("the mean of the clipped rows of G", factors @ G / len(G), clipped),
                differences(
                    "C with its rows scaled by θ",
                    lambda t: np.mean(factors * rows(t)),
                    steps.theta,
                    clipped[None],
                ),
            ),
        ),
    )  # fmt: skip


def row_33(layer_sizes=SIZES, theta=THETA, X=INPUTS, y=TARGETS, loss="mse", activation="relu"):
    """Inner products of the samples' gradients."""
    steps, arguments, G = _sample_steps(layer_sizes, theta, X, y, loss, activation)
    K, rows = per_sample.gram(*arguments), _of_rows(steps)
    n = len(K)
    products = tuple(
        Product(
            f"K_{{{i}{j}}}" if n <= 10 else f"K_{{{i},{j}}}",
            tuple(
                (rf"(1 + \mathbf{{a}}_{{{i}}}{{\cdot}}\mathbf{{a}}_{{{j}}})_{place}", a,
                 rf"(\delta_{{{i}}}{{\cdot}}\delta_{{{j}}})_{place}", delta)
                for place, a, delta in _inner(steps, G, i, j)
            ),
            float(K[i, j]),
        )
        for i in range(n)
        for j in range(i, n)
    )  # fmt: skip
    return (
        _rows_step(steps, G),
        Step(
            "Inner products of all pairs",
            33,
            (
                r"K_{ij} = \mathbf{g}_i{\cdot}\mathbf{g}_j = \sum_l (1 + \mathbf{a}_{i,l}{\cdot}"
                r"\mathbf{a}_{j,l}) (\delta_{i,l}{\cdot}\delta_{j,l})",
                r"K = \sum_l (1 + A_l A_l^T) \odot (\Delta_l \Delta_l^T) = G G^T",
            ),
            (Value("K", K, ("n", "n"), "fg.per_sample.gram(net, theta, X, y)", True),),
            products,
            notes=(
                "How much the loss of row i falls when a step is made along the gradient of row j. "
                "The index counts the layers; the 1 is the bias.",
            ),
            checks=(
                identity("K and G Gᵀ", K, G @ G.T),
                differences(
                    "C of each row, θ + Gᵀt, by t",
                    lambda t: rows(steps.theta + G.T @ t),
                    np.zeros(n),
                    K,
                ),
            ),
        ),
    )
