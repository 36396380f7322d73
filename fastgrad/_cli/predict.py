"""`fastgrad predict`: a table without its target to predictions, row by row."""

from __future__ import annotations

import numpy as np

from .._core import files
from . import inputs, stream
from .errors import UserError
from .output import apart, as_json, free, read_places, say, write_csv


def predict(args) -> int:
    path = "-" if args.output is None else files.check_place(args.output, "--output")
    stdout = str(path) in files.STANDARD_OUTPUT
    if not stdout:  # what must stay is refused before anything is computed
        apart({**read_places(args), "--output": path})
        free(path, args.force)
    elif args.json and args.output is not None:
        raise UserError("--json and --output - both write to standard output; expected one")
    model = inputs.load(args.model)
    if args.proba and model.task == "regression":
        raise UserError(f"--proba is for a classification; {args.model} is a regression")
    if stream.is_streamed(args):
        if stdout and args.json:
            raise UserError("--json without --output FILE holds all predictions; expected one")
        rows = stream.write_predictions(
            args, model, path, lambda table: _predictions(model, table, args)
        )
        if args.json:
            print(as_json({"predictions": str(path), "rows": rows}))
        return 0
    table = inputs.load_unlabelled(args, model)
    names, columns = _predictions(model, table, args)
    if stdout and args.json:
        print(as_json({"rows": table.rows, **dict(zip(names, columns))}))
        return 0
    write_csv(path, names, columns, args.force)
    if args.json:
        print(as_json({"predictions": str(path), "rows": table.rows}))
    return 0


def _predictions(model, table, args):
    """(names, columns of Python values): one column, or one for each of several targets."""
    options = {"threads": args.threads, "allow_nan": args.allow_nan}
    try:
        found = model.predict(table, **options)
    except ValueError as error:
        raise UserError(f"{error} (--allow-nan)" if "allow NaN" in str(error) else error) from None
    _warn_of_nan(table, found)
    names, columns = _named("prediction", model, found)
    if args.proba:
        p = model.predict_proba(table, **options)
        if model.classes is None:
            more, shares = _named("p", model, p)
        else:
            more, shares = [f"p_{name}" for name in model.classes], [c.tolist() for c in p.T]
        names, columns = names + more, columns + shares
    return names, columns


def _named(word: str, model, values):
    if values.ndim == 1 or values.shape[1] == 1:
        return [word], [values.reshape(-1).tolist()]
    targets = model.target if isinstance(model.target, list) else range(values.shape[1])
    return [f"{word}_{name}" for name in targets], [column.tolist() for column in values.T]


def _warn_of_nan(table, found) -> None:
    if found.dtype == object:
        lost = np.array([value is None for value in found.reshape(len(found), -1)[:, 0]])
    elif found.dtype.kind == "f":
        lost = ~np.isfinite(found.reshape(len(found), -1)).all(axis=1)
    else:
        return
    if lost.any():
        say(f"{table.where(int(np.argmax(lost)))}: no finite prediction ({lost.sum()} rows)")
