"""`fastgrad predict`, `check`, `info` and `warmup`."""

from __future__ import annotations

import csv
import json
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np

from .. import checkpoint as store
from .. import runtime
from .._core import files
from ..gradcheck import check_gradient
from . import model as models
from .errors import FAILED, UserError, apart
from .table import load


def predict(args) -> int:
    path = None if args.output is None else _output(args)
    model = models.load(args.model)
    if args.proba and model.classes is None:
        raise UserError(f"--proba is for a classification; {args.model} is a {model.task}")
    table = load(args.data, model.target or None, need_target=False, inputs=model.features)
    X = models.columns(model, table)
    names, columns = _predictions(model, X, args.proba, args.threads)
    if path is None:
        if args.json:
            print(json.dumps({"rows": len(X), **dict(zip(names, columns))}))
        else:
            _write_csv(sys.stdout, names, columns)
        return 0
    with files.replaced(path, "w", exclusive=not args.force) as file:
        _write_csv(file, names, columns)
    if args.json:
        print(json.dumps({"predictions": str(path), "rows": len(X)}))
    return 0


def _output(args) -> Path:
    """Where predictions go; what must stay is refused before anything is computed."""
    path = files.check_place(args.output, "--output")
    others = {"the model": args.model}
    if Path(args.data).exists():  # else it is an embedded set
        others["the data"] = args.data
    apart({**others, "--output": path})
    if path.exists() and not args.force:
        raise UserError(f"{path} exists; choose another name or add --force")
    return path


def _predictions(model, X, proba: bool, threads):
    if model.classes is None:
        return ["prediction"], [model.predict(X, threads=threads)[:, 0].tolist()]
    names, columns = ["prediction"], [model.classify(X, threads=threads).tolist()]
    if proba:
        p = model.predict_proba(X, threads=threads)
        names += [f"p_{name}" for name in model.classes]
        columns += [column.tolist() for column in p.T]
    return names, columns


def _write_csv(file, names, columns) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(zip(*columns))


def check(args) -> int:
    """The gradient of the model's loss on some rows, in float64, against differences."""
    model = models.load(args.model)
    table = load(args.data, model.target or None, need_target=True, inputs=model.features)
    model.net = store.network_of({**store.specification(model.net), "dtype": "float64"})
    X = model.inputs(models.columns(model, table)[: args.rows])
    y = models.targets(model, table)[: args.rows]
    sizes = model.net.layer_sizes
    names = {}
    for i, (d, k) in enumerate(pairwise(sizes), 1):
        names[f"W{i}"], names[f"b{i}"] = (d, k), (k,)
    theta = model.theta.astype(np.float64)
    result = check_gradient(model.net.loss_and_grad, theta, (X, y), names=names, seed=args.seed)
    if args.json:
        verdict = {
            "ok": bool(result.ok), "message": result.message, "rows": len(X),
            "max_relative_error": float(result.max_relative_error),
        }  # fmt: skip
        print(json.dumps(verdict))
    else:
        print(f"{'right' if result.ok else 'NOT right'} on {len(X)} rows: {result.message}")
    return 0 if result.ok else FAILED


def info(args) -> int:
    if args.json:
        print(json.dumps({key: str(value) for key, value in runtime.config().items()}))
    else:
        runtime.show_config()
    return 0


def warmup(args) -> int:
    """Compile what training and prediction need, so that the first run finds it on disk."""
    from .. import MLP, fit, neuron_loss_and_grad, optimizers
    from .._core.stepper import Stepper

    start = time.perf_counter()
    done = []
    for dtype in [np.dtype(name) for name in args.dtypes]:
        for loss in ("cross_entropy", "mse"):
            began = time.perf_counter()
            net = MLP([4, 300, 2], loss=loss, dtype=dtype)
            X = np.ones((600, 4), dtype)
            y = np.zeros(600, np.int64) if loss == "cross_entropy" else np.zeros((600, 2), dtype)
            for kind in ("sgd", "momentum", "rmsprop", "adam"):
                fit(net, X, y, optimizer=optimizers.BY_NAME[kind](), epochs=1, batch_size=600,
                    validation=(X, y), seed=0)  # fmt: skip
            theta = net.init(seed=0)
            net.loss_and_grad(theta, X, y)  # enough rows for threads
            stepper = Stepper(net, theta, optimizers.BY_NAME["sgd"](), False, None)
            stepper.compile_parallel(X, y.reshape(-1), None, 600)
            if loss == "cross_entropy":
                net.predict_proba(theta, X[:1])
            done.append(_warmed(args, f"network, {loss}, {dtype}", began))
        began = time.perf_counter()
        neuron_loss_and_grad(np.ones(4, dtype), dtype.type(0), X, np.ones(600, dtype))
        done.append(_warmed(args, f"neuron, {dtype}", began))
    seconds = time.perf_counter() - start
    cache = runtime.config()["cache"]
    if args.json:
        print(json.dumps({"seconds": round(seconds, 3), "cache": str(cache), "kernels": done}))
    else:
        print(f"ready in {seconds:.1f} s; compiled kernels are in {cache}")
    return 0


def _warmed(args, name: str, began: float) -> dict:
    seconds = round(time.perf_counter() - began, 3)
    if not args.json:
        print(f"{name}: {seconds:.1f} s", file=sys.stderr)
    return {"name": name, "seconds": seconds}
