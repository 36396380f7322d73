"""The outputs of an ensemble: those that predict the mean of what its networks predict.

So whatever is asked of a network's outputs (classes, probabilities, values, a loss) is asked of an
ensemble's in the same way. Probabilities are averaged by their logarithms, so that small ones keep
their digits; sums are in float64, network by network, so a row's bits do not depend on its batch.
"""

from __future__ import annotations

import numpy as np


def mean_outputs(outputs: np.ndarray, link: str) -> np.ndarray:
    """(m, n, k) of the networks to (n, k) of the ensemble, of the same dtype."""
    z = outputs.astype(np.float64, copy=False)
    with np.errstate(all="ignore"):  # NaN and infinity show in the outputs
        if link == "identity":
            mean = _sum(z) / len(z)
        elif link == "exp":
            mean = _log_mean(z)
        elif link == "softmax":
            z = z - z.max(axis=-1, keepdims=True)
            mean = _log_mean(z - np.log(np.exp(z).sum(axis=-1, keepdims=True)))
        else:
            mean = _log_mean(-np.logaddexp(0.0, -z)) - _log_mean(-np.logaddexp(0.0, z))
        return mean.astype(outputs.dtype, copy=False)


def _log_mean(logarithms: np.ndarray) -> np.ndarray:
    """The logarithm of the mean, over the first axis, of what these are the logarithms of."""
    top = logarithms.max(axis=0)
    top = np.where(np.isfinite(top), top, 0.0)
    return top + np.log(_sum(np.exp(logarithms - top)) / len(logarithms))


def _sum(values: np.ndarray) -> np.ndarray:
    total = values[0].copy()
    for part in values[1:]:
        total += part
    return total
