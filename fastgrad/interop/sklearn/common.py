"""What the networks and the neuron share: data at the door, L-BFGS, errors."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import _check_sample_weight

from ..._core import check

DTYPES = (np.float64, np.float32)
NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and "
    "need to be preprocessed. The loss is not finite: scale X and y, or lower the learning rate."
)


def finite(outputs):
    """The outputs (n,) or (n, k); a ValueError that names a row with NaN or infinity."""
    known = np.isfinite(outputs)
    if not known.all():
        at = np.unravel_index(np.argmin(known), known.shape)
        raise ValueError(
            f"the output of row {at[0]} of X is {outputs[at]}; expected finite outputs: scale X as "
            f"it was scaled in fit, or look for large values in that row"
        )
    return outputs


def weights(sample_weight, X):
    """(n,) of X's dtype, or None."""
    if sample_weight is None:
        return None
    checked = _check_sample_weight(sample_weight, X, dtype=X.dtype)
    return check.weights(checked, "sample_weight", X.dtype, X.shape[0])


def lbfgs(function, start, owner, max_iter: int, max_fun: int, ftol: float, note):
    """SciPy's L-BFGS-B; where it ends early `note` is given the words and ConvergenceWarning."""
    result = minimize(
        function, start, jac=True, method="L-BFGS-B",
        options={"maxiter": max_iter, "maxfun": max_fun, "gtol": owner.tol, "ftol": ftol},
    )  # fmt: skip
    if not np.isfinite(result.fun):
        raise ValueError(NOT_FINITE)
    if not result.success:
        note(
            f"{type(owner).__name__}: L-BFGS ended before it converged ({result.message}); "
            f"increase max_iter or scale the data",
            ConvergenceWarning,
        )
    return result
