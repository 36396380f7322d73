"""L-BFGS through SciPy: all rows at once, an epoch an iteration."""

from __future__ import annotations

import numpy as np

EVALUATIONS = 20  # of the loss, for each epoch asked for
_ENDS = {0: "converged", 1: "evaluations"}  # SciPy's status; its limit on iterations is _Stop


class _Stop(Exception):
    """Leaves SciPy's loop."""


def fit_lbfgs(run, shown):
    try:
        from scipy.optimize import minimize
    except ImportError:
        raise ImportError(
            "optimizer 'lbfgs' needs SciPy: pip install \"fastgrad[scipy]\""
        ) from None
    net, result = run.net, run.result
    problem = run.problem()

    def loss_and_grad(theta):
        run.look_for_stop()
        return problem.loss_and_grad(theta.astype(net.dtype))

    def after(intermediate_result):
        result.theta[...] = intermediate_result.x
        run.end_epoch({"loss": intermediate_result.fun, "learning_rate": float("nan")}, shown)
        if result.stopped or result.epochs >= run.epochs:
            raise _Stop

    run.start()
    options = {"maxiter": run.epochs, "maxfun": EVALUATIONS * (run.epochs + 1)}
    try:
        if run.epochs:
            found = minimize(
                loss_and_grad, result.theta.astype(np.float64), jac=True, method="L-BFGS-B",
                callback=after, options=options,
            )  # fmt: skip
            if not np.isfinite(found.fun):
                result.stopped = "not finite"
            else:
                result.stopped = _ENDS.get(found.status, "line search")
    except _Stop:
        pass
    except KeyboardInterrupt:
        result.stopped = "interrupted"
    finally:
        shown.close()
    result.stopped = result.stopped or "epochs"
    return result
