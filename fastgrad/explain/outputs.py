"""A loss by its outputs alone: a network of one layer with W = I and b = 0, whose output is its
input, so that the library's kernels give the loss and its derivative at any outputs."""

from __future__ import annotations

import numpy as np

from ..network import MLP


def identity_network(loss: str, k: int, **parameters) -> tuple[MLP, np.ndarray]:
    """(network, theta) whose outputs (n, k) are its inputs."""
    net = MLP([k, k], loss=loss, **parameters)
    return net, net.flatten([(np.eye(k), np.zeros(k))])


def output_loss(loss: str, outputs, y, **parameters) -> float:
    net, theta = identity_network(loss, outputs.shape[1], **parameters)
    return net.loss(theta, outputs, y)


def output_gradient(loss: str, outputs, y, **parameters) -> np.ndarray:
    """d loss / d outputs, (n, k)."""
    net, theta = identity_network(loss, outputs.shape[1], **parameters)
    return net.grad_input(theta, outputs, y)


# By loss: row, the loss and its derivative by the output z (a for the ones that take values).
FORMULAS = {
    "mse": (
        18,
        (r"C = \frac{1}{n k} \sum_{ij} (z_{ij} - y_{ij})^2",),
        (r"\frac{\partial C}{\partial z_{ij}} = \frac{2}{n k} (z_{ij} - y_{ij})",),
    ),
    "cross_entropy": (
        25,
        (
            r"C = \frac{1}{n} \sum_i (\ln \sum_j \exp(z_{ij}) - z_{i,y_i})",
            r"\operatorname{softmax}(z_i)_j = \exp(z_{ij}) / \sum_m \exp(z_{im})",
        ),
        (
            r"\frac{\partial C}{\partial z_{ij}} = \frac{1}{n} (\operatorname{softmax}(z_i)_j - "
            r"\operatorname{onehot}(y_i)_j)",
        ),
    ),
    "logistic": (
        26,
        (
            r"C = \frac{1}{n} \sum_{ij} (\ln(1 + \exp(-|z_{ij}|)) + \max(z_{ij}, 0)"
            r" - y_{ij} z_{ij})",
            r"\sigma(z) = 1 / (1 + \exp(-z))",
        ),
        (r"\frac{\partial C}{\partial z_{ij}} = \frac{1}{n} (\sigma(z_{ij}) - y_{ij})",),
    ),
    "huber": (
        27,
        (
            r"C = \frac{1}{n k} \sum_{ij} h(e_{ij}), e_{ij} = z_{ij} - y_{ij}",
            r"h(e) = \frac{1}{2} e^2 \text{ for } |e| \le \delta, \text{ else } "
            r"\delta (|e| - \frac{\delta}{2})",
        ),
        (
            r"\frac{\partial C}{\partial z_{ij}} = \frac{1}{n k} e_{ij} \text{ for } "
            r"|e_{ij}| \le \delta, \text{ else } \frac{1}{n k} \delta \operatorname{sign}(e_{ij})",
        ),
    ),
    "absolute_error": (
        29,
        (r"C = \frac{1}{n k} \sum_{ij} |z_{ij} - y_{ij}|",),
        (
            r"\frac{\partial C}{\partial z_{ij}} = \frac{1}{n k} "
            r"\operatorname{sign}(z_{ij} - y_{ij})",
        ),
    ),
    "quantile": (
        29,
        (
            r"C = \frac{1}{n k} \sum_{ij} q(e_{ij}), e_{ij} = z_{ij} - y_{ij}",
            r"q(e) = (1 - \tau) e \text{ for } e > 0, \text{ else } -\tau e",
        ),
        (
            r"\frac{\partial C}{\partial z_{ij}} = \frac{1 - \tau}{n k} \text{ for } e_{ij} > 0, "
            r"-\frac{\tau}{n k} \text{ for } e_{ij} < 0",
        ),
    ),
    "poisson": (
        29,
        (r"C = \frac{1}{n} \sum_{ij} (\exp(z_{ij}) - y_{ij} z_{ij})",),
        (r"\frac{\partial C}{\partial z_{ij}} = \frac{1}{n} (\exp(z_{ij}) - y_{ij})",),
    ),
}
NOTES = {
    "cross_entropy": "y are classes, whole numbers from 0; z are logits. The library takes each "
    "row's largest logit out of the exponentials first, so that none overflows.",
    "logistic": "y are 0 or 1 (or between); z are logits. No exponential of a positive number is "
    "taken, so none overflows.",
    "huber": "Quadratic near the target, linear outside δ: a far target has a slope of δ at most.",
    "absolute_error": "The derivative at e = 0 is taken as 0.",
    "quantile": "The derivative at e = 0 is taken as 0; τ = 0.5 is half the absolute error.",
    "poisson": "y are counts, 0 or more; z is the logarithm of the rate.",
}
