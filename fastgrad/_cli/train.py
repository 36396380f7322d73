"""`fastgrad train`: a table to a trained model, a history and a picture.

check → read → encode → fit → save and report.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import datasets, optimizers
from .._tables import encode, labels, roles
from .._tables.svmlight import SparseTable
from .._tables.table import Table
from .._training.arguments import BATCH_SIZE
from ..datasets.prepare import moments
from ..losses import DEFAULTS, Loss, get_loss, parameters
from ..many import fit_many
from ..models import Model
from ..network import MLP
from ..second_order import SecondOrder
from ..training import fit
from . import inputs, report, stream
from .ensemble import Ensemble
from .errors import FAILED, INTERRUPTED, UserError
from .output import finite_values, say
from .patience import patience


@dataclass
class Parts:
    """The rows of a table as the network takes them: (X, y) to train on, and held out or None; of
    files that are read in windows a `Stream` alone in the place of each pair."""

    table: Table
    task: str
    rows: list
    training: tuple
    held_out: tuple | None = None
    streamed: bool = False


def train(args) -> int:
    _check_optimizer(args)
    if args.networks > 1 and args.checkpoint:
        raise UserError("--checkpoint is for one network; expected no --networks beside it")
    layers, outputs = _layers(args.layers), report.outputs(args)
    if stream.is_streamed(args):
        model, parts = _prepare_stream(args, layers)
    else:
        table = inputs.load_table(
            args, roles.for_training(args.target, args.features, args.drop, args.keep_index)
        )
        if args.drop_missing:
            table = inputs.complete(table, table.inputs() if args.impute else ())
        if isinstance(table, SparseTable):
            _check_sparse(args, table)
        task = labels.task(table, args.task, args.force)
        model, parts = _prepare(args, table, task, layers)
    _say_doubts(args, model, parts.table)
    optimizer = _optimizer(args)
    if isinstance(optimizer, SecondOrder):
        optimizer.check_network(model.net)
    report.announce(args, model, parts)
    result = _fit(args, model, parts, optimizer)
    finite = result.stopped != "not finite" and bool(np.isfinite(result.theta).all())
    # Held-out rows choose the epoch only where --patience says so: else they stay a fair test.
    model.theta = result.best_theta if args.patience or not finite else result.theta
    saved, words = {}, ""
    if finite or (result.best_epoch and np.isfinite(model.theta).all()):
        summary = report.summary(args, model, parts, result)
        words = _not_finite(summary, model, parts) if finite else ""
        model.summary = finite_values(summary)
        saved = report.save(args, outputs, model, result)
        if (finite and not words) or not args.json:  # with --json the error is the one line
            report.show(args, model, summary, saved)
    if result.interrupted:
        return INTERRUPTED
    if not finite:
        kept = f"{saved['model']} is of epoch {result.best_epoch}" if saved else "nothing is saved"
        scale = "" if args.standardize else "leave --no-standardize away, or "
        words = (
            f"the loss is not finite after epoch {result.epochs}; expected a finite one: {scale}"
            f"try a smaller --lr ({kept})"
        )
    if words:
        raise UserError(words, code=FAILED)
    return 0


def _check_sparse(args, table: SparseTable) -> None:
    """Columns of sparse rows have no names, and are taken as they are: centred they were dense."""
    for name in ("target", "features", "drop", "impute"):
        if getattr(args, name):
            raise UserError(f"--{name} is not for svmlight files, whose columns have no names")
    if args.standardize:
        say(f"{table.source}: sparse inputs are not standardized")


def _say_doubts(args, model: Model, table: Table) -> None:
    """What was taken for classes or text, and may not be meant so."""
    classes, column = model.classes, table.targets[0]
    codes = all(type(name) is int for name in classes or ())
    if args.task == "auto" and classes and codes and table.source not in datasets.names():
        first, count = classes[0], len(classes)
        if count > 2 and (first not in (0, 1) or classes[-1] != first + count - 1):
            say(
                f"{table.source}: column {column} has {count} different whole numbers, taken for "
                f"classes: --task regression takes them for amounts"
            )
    for name, encoding in model.encoding.items():  # by --force
        count = len(encoding.values or ())
        if encode.too_many(count, table.rows):
            say(f"{table.source}: column {name} has {count} different values, an input each")


def _check_optimizer(args) -> None:
    """An error where an option is not for this optimizer; the batch size, where it has one."""
    lbfgs = args.optimizer == "lbfgs"
    kind = optimizers.BY_NAME.get(args.optimizer)
    if lbfgs and args.checkpoint:
        raise UserError("--checkpoint needs another optimizer: SciPy's L-BFGS cannot resume")
    numbers = set(kind().settings() if kind else ())
    if kind and issubclass(kind, optimizers.Optimizer):
        numbers.add("batch_size")
    for name in ("lr", "weight_decay", "clip_norm", "batch_size"):
        if getattr(args, name) is not None and name not in numbers:
            option = f"--{name.replace('_', '-')}"
            raise UserError(
                f"{option} is not for {args.optimizer}; expected another --optimizer beside it"
            )
    if "batch_size" in numbers and args.batch_size is None:
        args.batch_size = BATCH_SIZE


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


def _prepare(args, table: Table, task: str, layers) -> tuple[Model, Parts]:
    """What is learnt from the training rows, and the rows by it."""
    rows = _split(args, table)
    classes = labels.classes(table) if task == "classification" else None
    names = table.inputs()
    encoding = encode.learn(
        table, rows[0], impute=args.impute is not None, unknown=args.unknown or "error",
        force=args.force,
    )  # fmt: skip
    sparse = isinstance(table, SparseTable)
    X = table.X if sparse else encode.inputs(table, names, encoding)
    model = _new_model(args, table, classes, encoding, X.shape[1], layers)
    if args.standardize:
        if not sparse:
            model.mean, model.scale = moments(X[rows[0]])
        if model.net.spec.loss.link == "identity":
            model.target_mean, model.target_scale = moments(labels.real(table)[rows[0]])
    Z = _scaled(args, model, table, X)
    y = labels.of_model(model, table)
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        row = int(np.argmin(np.isfinite(y.reshape(len(y), -1)).all(axis=1)))
        raise UserError(_too_large(args, table.where(row, table.targets[0]), "the target"))
    pairs = [(Z[chosen], y[chosen]) for chosen in rows]
    return model, Parts(table, task, rows, *pairs)


def _prepare_stream(args, layers) -> tuple[Model, Parts]:
    """As `_prepare`, of files that are read in windows."""
    data = stream.for_training(args)
    table = stream.as_table(data)
    model = _new_model(args, table, data.classes, data.encoding, data.n_inputs, layers)
    found = data.model(model.net)
    model.mean, model.scale = found.mean, found.scale
    model.target_mean, model.target_scale = found.target_mean, found.target_scale
    pairs = [(part,) for part in (data, data.held_out) if part is not None]
    rows = [range(part.rows) for (part,) in pairs]
    return model, Parts(table, data.task, rows, *pairs, streamed=True)


def _split(args, table: Table) -> list[np.ndarray]:
    """Rows to train on, and held-out rows unless their share is 0."""
    rows = np.arange(table.rows)
    if args.validation == 0:
        return [rows]
    if len(rows) < 2:
        raise UserError(f"{table.source}: 1 row; expected at least 2 to hold some out")
    return list(datasets.split(rows, rows, test_fraction=args.validation, seed=args.seed)[:2])


def _new_model(args, table: Table, classes, encoding, d: int, layers) -> Model:
    loss = _loss(args, classes)
    outputs = len(table.targets) if classes is None else len(classes) if loss.labelled else 1
    net = MLP(
        [d, *layers, outputs], loss.name, activation=args.activation, dtype=args.dtype, l2=args.l2,
        **_parameters(args, loss),
    )  # fmt: skip
    names = table.inputs()
    if not table.named and not encoding and not args.features and not args.drop:
        names = None  # all columns but the target, by position
    return Model(
        net, np.zeros(net.n_parameters, net.dtype), features=names, classes=classes,
        target=table.targets[0] if len(table.targets) == 1 else table.targets, encoding=encoding,
    )  # fmt: skip


def _loss(args, classes) -> Loss:
    """The row of `--loss`, or of the task's default."""
    task = "regression" if classes is None else "classification"
    default = DEFAULTS[task]
    loss = get_loss(args.loss) if args.loss else default
    if loss.task != task:
        hint = f", or --task {loss.task}" if args.task == "auto" else ""
        raise UserError(
            f"--loss is {loss.name}, which is not for a {task}; expected {default.name}{hint}"
        )
    if loss.takes_logits and not loss.labelled and len(classes) != 2:
        raise UserError(f"--loss {loss.name} is for 2 classes; the target has {len(classes)}")
    return loss


def _parameters(args, loss: Loss) -> dict[str, float]:
    """Numbers of the loss that options give; an error where they are another's."""
    given = {name: getattr(args, name) for name in parameters()}
    given = {name: number for name, number in given.items() if number is not None}
    for name in given:
        if loss.parameter is None or loss.parameter.name != name:
            option = f"--{name.replace('_', '-')}"
            raise UserError(f"{option} is not for the loss {loss.name}; expected another --loss")
    return given


def _scaled(args, model: Model, table: Table, X) -> np.ndarray:
    with np.errstate(under="ignore", over="ignore"):
        if isinstance(table, SparseTable):  # a number too large shows in the loss
            return X.astype(model.net.dtype)
        Z = datasets.prepare.scaled(X, model.mean, model.scale).astype(model.net.dtype)
    if not np.isfinite(Z).all():
        row, place = np.argwhere(~np.isfinite(Z))[0]
        name = encode.input_names(table.inputs(), model.encoding)[place]
        raise UserError(_too_large(args, table.where(row, name), str(X[row, place])))
    return Z


def _too_large(args, where: str, value: str) -> str:
    wider = "--dtype float64 holds it; " if args.dtype == "float32" else ""
    scale = "" if args.standardize else "leave --no-standardize away, "
    return (
        f"{where}: {value} is too large for {args.dtype} beside the other rows: {wider}{scale}"
        f"correct it or leave the row out"
    )


def _not_finite(summary: dict, model: Model, parts: Parts) -> str:
    """What to say where a loss of the finished model is not finite: the row farthest out."""
    names = ("train", "training"), ("val", "held-out")
    for (name, words), part, rows in zip(names, (parts.training, parts.held_out), parts.rows):
        if np.isfinite(summary[f"{name}_loss"]):
            continue
        if parts.streamed or isinstance(parts.table, SparseTable):
            return f"the {words} loss is not finite: look for huge numbers (the model is saved)"
        row, place = np.unravel_index(np.abs(part[0]).argmax(), part[0].shape)
        column = encode.input_names(parts.table.inputs(), model.encoding)[place]
        return (
            f"the {words} loss is not finite: {parts.table.where(rows[row], column)}, is the "
            f"farthest from the other rows (an input of {part[0][row, place]:.3g}); correct it or "
            f"leave the row out (the model is saved)"
        )
    return ""


def _fit(args, model: Model, parts: Parts, optimizer):
    quiet = args.quiet or args.json
    validation = parts.held_out
    if parts.streamed and validation is not None:
        validation = validation[0]
    if args.checkpoint and args.force and not args.resume:
        Path(args.checkpoint).unlink(missing_ok=True)
    with patience(quiet) as started, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the last line says it
        if args.networks > 1:
            return Ensemble(fit_many(
                model.net, *parts.training, optimizers=optimizer, epochs=args.epochs,
                batch_size=args.batch_size, seeds=range(args.seed, args.seed + args.networks),
                validation=parts.held_out, patience=args.patience, progress=not quiet,
                threads=args.threads,
            ))  # fmt: skip
        return fit(
            model.net, *parts.training, optimizer=optimizer, epochs=args.epochs,
            batch_size=args.batch_size, seed=args.seed, validation=validation,
            patience=args.patience, progress=not quiet, checkpoint=args.checkpoint,
            resume=args.resume, threads=args.threads, callbacks=started,
        )  # fmt: skip


def _optimizer(args):
    if args.optimizer == "lbfgs":
        return "lbfgs"
    settings = {"weight_decay": args.weight_decay, "clip_norm": args.clip_norm, "lr": args.lr}
    given = {name: value for name, value in settings.items() if value is not None}
    return optimizers.BY_NAME[args.optimizer](**given)
