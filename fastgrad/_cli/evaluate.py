"""`fastgrad evaluate`: how good a model is on a labelled table."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .._core import files
from ..metrics import evaluate as scores_of
from ..metrics import score_name
from . import inputs
from .errors import FAILED, UserError
from .output import apart, as_json, check_picture, free, read_places, say, write_picture


def evaluate(args) -> int:
    picture = _picture(args)
    model = inputs.load(args.model)
    table, y = inputs.load_labelled(args, model)
    X = model.inputs(table)
    scores = scores_of(model.net, model.theta, X, y, threads=args.threads)
    found = {"rows": table.rows, "loss": scores.loss, score_name(model.net): scores.score}
    out = model.outputs(X, threads=args.threads)
    out = model.net.spec.loss.values(out)
    if not np.isfinite(out).all():
        row = int(np.argmin(np.isfinite(out).all(axis=1)))
        say(f"{table.where(row)}: the prediction is not finite: look for huge numbers in this row")
    if model.classes is not None:
        right = y.astype(np.int64).reshape(-1)
        found.update(_of_classes(model.classes, _codes(out), right))
    elif model.task == "regression":
        found.update(_of_values(model, out, y))
    if picture is not None:
        write_picture(picture, _figure(model, found, out, y), args.force)
        found["plot"] = str(picture)
    if args.json:
        print(as_json(found))
    else:
        _print(model, found)
    return 0 if np.isfinite(scores.loss) else FAILED


def _picture(args) -> Path | None:
    if args.plot is None:
        return None
    if not args.plot and args.model == "-":
        raise UserError("--plot beside a model on standard input; expected --plot FILE")
    path = Path(args.plot or Path(args.model).with_suffix(".evaluation.png"))
    check_picture(path)
    files.check_place(path, "--plot")
    apart({**read_places(args), "--plot": path})
    free(path, args.force)
    return path


def _codes(out) -> np.ndarray:
    return (out[:, 0] > 0).astype(np.int64) if out.shape[1] == 1 else out.argmax(axis=1)


def _of_classes(classes, predicted, right) -> dict:
    """`confusion[i][j]`: rows of class i that were predicted to be of class j."""
    k = len(classes)
    confusion = np.bincount(right * k + predicted, minlength=k * k).reshape(k, k)
    hits, rows, said = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    per_class = [
        {
            "class": name, "rows": int(rows[i]),
            "precision": _ratio(hits[i], said[i]), "recall": _ratio(hits[i], rows[i]),
            "f1": _ratio(2 * hits[i], rows[i] + said[i]),
        }
        for i, name in enumerate(classes)
    ]  # fmt: skip
    return {"classes": list(classes), "confusion": confusion.tolist(), "per_class": per_class}


def _ratio(part, whole) -> float | None:
    """None where nothing can be said: no row of the class, or none predicted to be."""
    return float(part / whole) if whole else None


def _of_values(model, out, y) -> dict:
    """Errors in the units of the targets, by target where there are several."""
    scale = np.broadcast_to(model.target_scale, out.shape[1])
    error = out.astype(np.float64) - y.reshape(len(y), -1)
    with np.errstate(under="ignore", over="ignore"):
        root = np.sqrt(np.square(error).mean(axis=0)) * scale
        absolute = np.abs(error).mean(axis=0) * scale
    if len(root) == 1:
        return {"rmse": float(root[0]), "mae": float(absolute[0])}
    targets = model.target if isinstance(model.target, list) else range(len(root))
    return {
        "rmse": dict(zip(map(str, targets), root.tolist())),
        "mae": dict(zip(map(str, targets), absolute.tolist())),
    }


def _print(model, found: dict) -> None:
    kind = score_name(model.net)
    score = f"accuracy {found[kind]:.2%}" if kind == "accuracy" else f"R2 {found[kind]:.4f}"
    print(f"{found['rows']} rows: loss {found['loss']:.6g}, {score}")
    for name in ("rmse", "mae"):
        if name in found:
            values = found[name] if isinstance(found[name], dict) else {"": found[name]}
            shown = ", ".join(f"{key} {value:.6g}".strip() for key, value in values.items())
            print(f"{name.upper()}: {shown}")
    if "per_class" in found:
        _print_classes(found)
    if "plot" in found:
        print(f"plot: {found['plot']}")


def _print_classes(found: dict) -> None:
    labels = [str(name) for name in found["classes"]]
    wide = max(5, *map(len, labels))
    print(f"\n{'class':<{wide}}    rows  precision  recall      f1")
    for label, row in zip(labels, found["per_class"]):
        cells = ("-" if row[n] is None else f"{row[n]:.4f}" for n in ("precision", "recall", "f1"))
        precision, recall, f1 = cells
        print(f"{label:<{wide}} {row['rows']:>7} {precision:>10} {recall:>7} {f1:>7}")
    if len(labels) > 20:
        print("\nconfusion matrix: --json or --plot (too wide to print)")
        return
    cell = max(wide, *(len(str(n)) for row in found["confusion"] for n in row))
    print("\nconfusion matrix: a line a true class, a column a predicted one")
    print(" ".join([" " * wide, *(f"{label:>{cell}}" for label in labels)]))
    for label, row in zip(labels, found["confusion"]):
        print(" ".join([f"{label:<{wide}}", *(f"{n:>{cell}}" for n in row)]))


def _figure(model, found, out, y):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 5), layout="constrained")
    axis = figure.subplots()
    if "confusion" in found:
        counts, labels = np.array(found["confusion"]), [str(c) for c in found["classes"]]
        shown = axis.imshow(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), "Blues",
                            vmin=0, vmax=1)  # fmt: skip
        figure.colorbar(shown, label="share of the true class")
        axis.set(xlabel="predicted", ylabel="true")
        if len(labels) <= 30:
            axis.set_xticks(range(len(labels)), labels, rotation=90)
            axis.set_yticks(range(len(labels)), labels)
        return figure
    if model.task != "regression":
        raise UserError("--plot is for a regression, or one classification")
    right = y.reshape(len(y), -1) * model.target_scale + model.target_mean
    guess = out.astype(np.float64) * model.target_scale + model.target_mean
    names = model.target if isinstance(model.target, list) else [model.target or "target"]
    for name, true, predicted in zip(names, right.T, guess.T):
        axis.plot(true, predicted, ".", markersize=3, label=name)
    low, high = min(right.min(), guess.min()), max(right.max(), guess.max())
    axis.plot([low, high], [low, high], color="gray", linewidth=1)
    axis.set(xlabel="true", ylabel="predicted")
    axis.legend()
    return figure
