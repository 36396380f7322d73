"""`fastgrad train`: a table to a trained model, a history and a picture."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import threading
import warnings
from pathlib import Path

import numpy as np

from .. import checkpoint as store
from .. import datasets, optimizers
from .._core import files
from ..metrics import evaluate, score_name
from ..models import Model
from ..network import MLP
from ..training import fit
from . import model as models
from .errors import INTERRUPTED, UserError, apart
from .table import load

MOST_CLASSES = 50  # of whole numbers, for a target to be taken as labels


def train(args) -> int:
    if args.optimizer == "lbfgs":
        _check_lbfgs(args)
    table = load(args.data, args.target, need_target=True)
    task = _task(args, table)
    outputs = _outputs(args)
    classes = None
    if task == "classification":
        classes = models.classes_of(table.target)
        if len(classes) < 2:
            raise UserError(
                f"{table.source}: column {table.target_name} is {classes[0]} in every row; "
                f"expected two classes or more"
            )
    elif table.target.dtype.kind == "U":
        raise UserError(
            f"{table.source}: column {table.target_name} is text; expected numbers for a regression"
            f"{_comma(table.target)}"
        )
    model = _new_model(args, table, classes)
    parts = _split(args, table)
    _standardize(args, model, *parts[:1])
    train_part, held_out = _scaled(model, parts)
    if not args.json:
        _announce(args, table, task, model, parts)
    quiet = args.quiet or args.json
    if args.checkpoint and args.force and not args.resume:
        Path(args.checkpoint).unlink(missing_ok=True)
    with _patience_please(quiet) as started, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the last line says it
        result = fit(
            model.net, *train_part, optimizer=_optimizer(args), epochs=args.epochs,
            batch_size=args.batch_size, seed=args.seed, validation=held_out,
            patience=args.patience, progress=not quiet, checkpoint=args.checkpoint,
            resume=args.resume, threads=args.threads, callbacks=started,
        )  # fmt: skip
    finite = result.stopped != "not finite" and bool(np.isfinite(result.theta).all())
    # Held-out rows choose the epoch only where --patience says so: else they stay a fair test.
    model.theta = result.best_theta if args.patience or not finite else result.theta
    saved = {}
    if finite or (result.best_epoch and np.isfinite(model.theta).all()):
        summary = _summary(args, table, task, model, parts, train_part, held_out, result)
        model.summary = summary
        saved = _save(args, outputs, model, result)
        if finite or not args.json:  # with --json the error is the one line
            _report(args, summary, saved, model)
    if result.interrupted:
        return INTERRUPTED
    if not finite:
        kept = f"{saved['model']} is of epoch {result.best_epoch}" if saved else "nothing is saved"
        raise UserError(
            f"the loss is not finite after epoch {result.epochs}; expected a finite one: "
            f"try a smaller --lr ({kept})", code=1,
        )  # fmt: skip
    return 0


def _check_lbfgs(args) -> None:
    if args.checkpoint:
        raise UserError("--checkpoint needs another optimizer: SciPy's L-BFGS cannot resume")
    for name in ("lr", "weight_decay", "clip_norm"):
        if getattr(args, name) is not None:
            option = f"--{name.replace('_', '-')}"
            raise UserError(f"{option} is not for lbfgs; expected another --optimizer beside it")


@contextlib.contextmanager
def _patience_please(quiet: bool):
    """A word to who waits for the compiler; gives what to call when training has started."""
    words = "preparing: the first run on a machine compiles its kernels, some 10 s"
    timer = threading.Timer(1.5, print, [words], {"file": sys.stderr, "flush": True})
    timer.daemon = True
    if not quiet:
        timer.start()
    try:
        yield lambda result: timer.cancel()
    finally:
        timer.cancel()


def _task(args, table) -> str:
    if args.task != "auto":
        return args.task
    target = table.target
    if target.dtype.kind == "U":
        if _comma(target):
            raise UserError(
                f"{table.source}: column {table.target_name} is text{_comma(target)}, or say "
                f"--task classification"
            )
        return "classification"
    whole = (target == np.rint(target)).all()
    few = len(np.unique(target)) <= min(MOST_CLASSES, max(2, len(target) // 4))
    return "classification" if whole and few else "regression"


def _comma(target) -> str:
    """A hint where all of a text target are numbers with a decimal comma."""
    if all(re.fullmatch(r"\s*[-+]?\d+,\d+\s*", cell) for cell in target):
        return f" (as {str(target[0])!r}: write numbers with a decimal point)"
    return ""


def _layers(text: str) -> list[int]:
    if text.strip().lower() in ("", "none"):
        return []
    try:
        widths = [int(width) for width in text.replace("-", ",").split(",")]
    except ValueError:
        widths = [0]
    if min(widths) < 1:
        raise UserError(f"--layers is {text!r}; expected widths such as 128 or 64,32 (or none)")
    return widths


def _new_model(args, table, classes) -> Model:
    default = "mse" if classes is None else "cross_entropy"
    loss = args.loss or default
    if (loss in ("mse", "huber")) != (classes is None):
        task = "regression" if classes is None else "classification"
        raise UserError(f"--loss is {loss}, which is not for a {task}; expected {default}")
    if loss == "logistic" and len(classes) != 2:
        raise UserError(f"--loss logistic is for 2 classes; the target has {len(classes)}")
    outputs = 1 if classes is None or loss == "logistic" else len(classes)
    net = MLP(
        [table.X.shape[1], *_layers(args.layers), outputs], loss=loss, dtype=args.dtype, l2=args.l2
    )
    untrained = np.zeros(net.n_parameters, net.dtype)
    return Model(net, untrained, features=table.names, target=table.target_name, classes=classes)


def _split(args, table):
    """[training, held-out] tables; no held-out rows where the fraction is 0."""
    rows = np.arange(len(table.X))
    if args.validation == 0:
        return [table]
    if len(rows) < 2:
        raise UserError(f"{table.source}: 1 row; expected at least 2 to hold some out")
    kept, held, *_ = datasets.split(rows, rows, test_fraction=args.validation, seed=args.seed)
    return [
        type(table)(table.source, table.X[r], table.names, table.target[r], table.target_name)
        for r in (kept, held)
    ]


def _standardize(args, model, training) -> None:
    if not args.standardize:
        return
    scaling = datasets.standardize(training.X)[-1]
    model.mean, model.scale = scaling
    if model.classes is None:
        scaling = datasets.standardize(training.target)[-1]
        model.target_mean, model.target_scale = scaling


def _scaled(model, parts):
    pairs = [(model.inputs(part.X), models.targets(model, part)) for part in parts]
    return pairs[0], pairs[1] if len(pairs) > 1 else None


def _optimizer(args):
    if args.optimizer == "lbfgs":
        return "lbfgs"
    settings = {"weight_decay": args.weight_decay, "clip_norm": args.clip_norm, "lr": args.lr}
    given = {name: value for name, value in settings.items() if value is not None}
    return optimizers.BY_NAME[args.optimizer](**given)


def _outputs(args) -> dict:
    """Where results go; what exists is refused before training."""
    name = Path(args.data).stem
    output = _free(f"{name}-model.npz") if args.output is None else Path(args.output)
    files.check_place(output, "--output")
    history = Path(args.history) if args.history else output.with_suffix(".history.csv")
    named = {"model": output, "history": history}
    if args.plot is not None:
        named["plot"] = Path(args.plot) if args.plot else output.with_suffix(".png")
        _check_picture(named["plot"])
    for name, path in named.items():
        files.check_place(path, f"--{name}")
    others = {}
    if Path(args.data).exists():  # else it is an embedded set
        others["the data"] = args.data
    if args.checkpoint is not None:
        others["--checkpoint"] = files.check_place(args.checkpoint, "--checkpoint")
    apart({**others, **{f"the {name}": path for name, path in named.items()}})
    for path in named.values():
        if path.exists() and not args.force:
            raise UserError(f"{path} exists; choose another name or add --force")
    checkpoint = others.get("--checkpoint")
    if checkpoint is not None and checkpoint.exists() and not (args.force or args.resume):
        raise UserError(f"{checkpoint} exists; add --resume to go on, or --force to replace")
    return named


def _check_picture(path: Path) -> None:
    try:
        import matplotlib  # noqa: F401
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError:
        raise UserError('--plot needs matplotlib: pip install "fastgrad[plot]"') from None
    known = sorted(FigureCanvasBase.get_supported_filetypes())
    if _picture_kind(path) not in known:
        raise UserError(
            f"--plot {path}: unknown ending {path.suffix!r}; expected one of {', '.join(known)}"
        )


def _picture_kind(path: Path) -> str:
    return path.suffix[1:].lower() or "png"


def _free(name: str) -> Path:
    """The name, or the first numbered one whose files are not there."""
    path, number = Path(name), 1
    while path.exists() or path.with_suffix(".history.csv").exists():
        number += 1
        path = Path(name).with_stem(f"{Path(name).stem}-{number}")
    return path


def _announce(args, table, task, model, parts) -> None:
    sizes = "-".join(map(str, model.net.layer_sizes))
    held = f", {len(parts[1].X)} held out" if len(parts) > 1 else ""
    print(
        f"{table.source}: {task} of {table.target_name}, {len(parts[0].X)} rows to train on{held}; "
        f"network {sizes}, {args.optimizer}, seed {args.seed}",
        file=sys.stderr,
    )


def _summary(args, table, task, model, parts, train_part, held_out, result) -> dict:
    net, theta = model.net, model.theta
    summary = {
        "data": table.source, "task": task, "target": table.target_name,
        "network": store.specification(net), "optimizer": args.optimizer,
        "batch_size": args.batch_size, "seed": args.seed, "epochs": result.epochs,
        "best_epoch": result.best_epoch, "stopped": result.stopped,
        "seconds": round(result.seconds, 4), "rows": len(parts[0].X),
    }  # fmt: skip
    for name, part in (("train", train_part), ("val", held_out)):
        if part is None:
            continue
        scores = evaluate(net, theta, *part, threads=args.threads)
        summary[f"{name}_loss"] = scores.loss
        summary[f"{name}_{score_name(net)}"] = scores.score
        if model.classes is None:
            error = net.predict(theta, part[0])[:, 0] - part[1]
            root = float(np.sqrt(np.mean(np.square(error, dtype=np.float64))))
            summary[f"{name}_rmse"] = root * float(model.target_scale)
    return summary


def _save(args, outputs, model, result) -> dict:
    saved = {}
    for name, path in outputs.items():
        if not args.force and path.exists():  # somebody else's, since the start
            path = path.with_stem(f"{path.stem}-{os.getpid()}")
        if name == "model":
            model.save(path, overwrite=args.force)
        elif name == "history":
            with files.replaced(path, "w", exclusive=not args.force) as file:
                file.write(result.history.to_csv())
        else:
            with files.replaced(path, exclusive=not args.force) as file:
                result.history.plot().savefig(file, format=_picture_kind(path))
        saved[name] = str(path)
    return saved


def _report(args, summary, saved, model) -> None:
    if args.json:
        print(json.dumps({**summary, "saved": saved}))
        return
    kind = score_name(model.net)
    for part, words in (("train", "training"), ("val", "validation")):
        if f"{part}_loss" in summary:
            score = summary[f"{part}_{kind}"]
            shown = f"accuracy {score:.2%}" if kind == "accuracy" else f"R² {score:.4f}"
            if f"{part}_rmse" in summary:
                shown += f", RMSE {summary[f'{part}_rmse']:.6g}"
            print(f"{words}: loss {summary[f'{part}_loss']:.4f}, {shown}")
    print(f"{summary['epochs']} epochs in {summary['seconds']:.2f} s ({summary['stopped']})")
    for name, path in saved.items():
        print(f"{name}: {path}")
