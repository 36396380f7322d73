"""`fastgrad check`, `info`, `tune` and `warmup`."""

from __future__ import annotations

import sys
import time
from itertools import pairwise

import numpy as np

from .. import checkpoint as store
from .. import runtime
from ..gradcheck import check_gradient
from . import inputs
from .errors import FAILED
from .output import as_json


def check(args) -> int:
    """The gradient of the model's loss on some rows, in float64, against differences."""
    model = inputs.load(args.model)
    model.net = store.network_of({**store.specification(model.net), "dtype": "float64"})
    table, y = inputs.load_labelled(args, model)
    X, y = model.inputs(table)[: args.rows], y[: args.rows]
    names = {}
    for i, (d, k) in enumerate(pairwise(model.net.layer_sizes), 1):
        names[f"W{i}"], names[f"b{i}"] = (d, k), (k,)
    results = [
        check_gradient(model.net.loss_and_grad, theta, (X, y), names=names, seed=args.seed)
        for theta in np.atleast_2d(model.theta).astype(np.float64)
    ]  # of an ensemble the worst
    result = min(results, key=lambda found: (found.ok, -found.max_relative_error))
    if args.json:
        verdict = {
            "ok": bool(result.ok), "message": result.message, "rows": len(X),
            "max_relative_error": float(result.max_relative_error),
        }  # fmt: skip
        print(as_json(verdict))
    else:
        print(f"{'right' if result.ok else 'NOT right'} on {len(X)} rows: {result.message}")
    return 0 if result.ok else FAILED


def info(args) -> int:
    if args.json:
        print(as_json({key: str(value) for key, value in runtime.config().items()}))
    else:
        runtime.show_config()
    return 0


def tune(args) -> int:
    """Measure other block sizes beside the model's; what it loses, and the variable that fixes
    the best."""
    from .._core import candidates, tuning

    tried = candidates.candidates(tuning.found())
    found, best = candidates.search(tried)
    variable = f"{tuning.VARIABLE}={tuning.as_text(tried[best])}"
    if args.json:
        caches = tuning.found()._asdict()
        print(as_json({"caches": caches, "times": found, "best": best, "variable": variable}))
        return 0
    print(f"caches   {tuning.described(tuning.found())}")
    for name, ratio in sorted(found.items(), key=lambda pair: pair[1]):
        print(f"{ratio:6.3f}   {name}")
    loses = "nothing measurable" if best == "model" else f"{1 / found[best] - 1:.1%}"
    print(f"the model loses {loses}; times are those of one thread, over the model's")
    print(f"export {variable}")
    return 0


def warmup(args) -> int:
    """Compile what training and prediction need, so that the first run finds it on disk."""
    from .. import _usual

    start, done = time.perf_counter(), []

    def told(name: str, seconds: float) -> None:
        done.append({"name": name, "seconds": round(seconds, 3)})
        if not args.json:
            print(f"{name}: {seconds:.1f} s", file=sys.stderr)

    _usual.warm(args.dtypes, told)
    seconds = time.perf_counter() - start
    cache = runtime.config()["cache"]
    if args.json:
        print(as_json({"seconds": round(seconds, 3), "cache": str(cache), "kernels": done}))
    else:
        print(f"ready in {seconds:.1f} s; compiled kernels are in {cache}")
    return 0
