"""Arguments of the command line, and what its errors look like."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys

from .. import __version__, _startup
from .._core.threads import check_threads
from .._tables.encode import FEW
from .._tables.layout import NULLS
from .._tables.sources import ENDINGS
from .._tables.svmlight import ENDINGS as SVMLIGHT
from ..activations import ACTIVATIONS
from ..losses import DEFAULTS, LOSSES
from ..optimizers import BY_NAME
from . import commands
from .cache import cache
from .errors import FAILED, INTERRUPTED, USAGE, UserError
from .evaluate import evaluate
from .explain import KINDS, explain
from .output import as_json
from .patience import patience
from .predict import predict
from .train import train


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise UserError(f"{message} (see {self.prog} --help)")


def _number(kind, low, high, expected: str):
    """An argparse type: a number of a range, both ends included."""

    def convert(text: str):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r}; expected {expected}")
        return value

    return convert


_most = float("inf")
_count = _number(int, 1, 2**62, "a whole number, 1 or more")
_seed = _number(int, 0, 2**62, "a whole number, 0 or more")
_rate = _number(float, 0, 1e300, "a number, 0 or more")
_above_zero = _number(float, 5e-324, 1e300, "a number above 0")
_FILES = ", ".join([*ENDINGS, SVMLIGHT[0]])
_DATA = f"a file ({_FILES}), several, a folder, a pattern, - or an embedded set"
_PATIENT = "train", "warmup"  # these say it themselves
_share = _number(float, 0, 1 - 1e-9, "a number from 0 to below 1")


def _parameter(parameter):
    """An argparse type: a number that is right for a loss."""

    def convert(text: str) -> float:
        number = _number(float, -_most, _most, "a number")(text)
        try:
            return parameter.check(number, parameter.name)
        except (TypeError, ValueError) as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def parser() -> argparse.ArgumentParser:
    top = _Parser(prog="fastgrad", description="Train and use small networks on tables.")
    top.add_argument("--version", action="version", version=f"fastgrad {__version__}")
    commands_ = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name, run, text):
        sub = commands_.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        sub.add_argument("--json", action="store_true", help="one line of JSON on standard output")
        return sub

    _train_arguments(command("train", train, "Train a network on a table."))
    sub = command("predict", predict, "Predict the rows of a table, as CSV.")
    sub.add_argument("model", help="a model that train saved")
    sub.add_argument("data", nargs="+", help=_DATA)
    sub.add_argument("-o", "--output", help="CSV or Parquet file (- is standard output)")
    sub.add_argument("--proba", action="store_true", help="probabilities of the classes too")
    sub.add_argument("--allow-nan", action="store_true",
                     help="missing cells and predictions that are NaN are no errors")  # fmt: skip
    _model_arguments(sub)
    sub = command("evaluate", evaluate, "Score a model on a labelled table.")
    sub.add_argument("model", help="a model that train saved")
    sub.add_argument("data", nargs="+", help=f"with the model's target: {_DATA}")
    sub.add_argument("--plot", nargs="?", const="", metavar="FILE",
                     help="picture of the confusion matrix, or of the predictions")  # fmt: skip
    _drop_missing_argument(sub)
    _model_arguments(sub)
    sub = command("check", commands.check, "Check a model's gradient on a table by differences.")
    sub.add_argument("model", help="a model that train saved")
    sub.add_argument("data", nargs="+", help=f"with the model's target: {_DATA}")
    sub.add_argument("--rows", type=_count, default=64, help="at most so many (64)")
    sub.add_argument("--seed", type=_seed, default=0, help="of the random directions (0)")
    _reading_arguments(sub)
    sub = command("explain", explain, "Derive a formula or a gradient step by step, with numbers.")
    sub.add_argument("what", nargs="?", metavar="WHAT",
                     help=f"{', '.join(KINDS)} or a formula's number (a list)")  # fmt: skip
    sub.add_argument("numbers", nargs="*", metavar="NAME=VALUE",
                     help='as in w=1,2 b=-1 "X=2,1;1,3" y=1,7 (an example\'s)')  # fmt: skip
    sub.add_argument("--markdown", action="store_true", help="Markdown with LaTeX")
    command("info", commands.info, "What this machine is to fastgrad.")
    command("tune", commands.tune, "Measure block sizes on this machine beside the model's.")
    sub = command("warmup", commands.warmup, "Compile the kernels once and keep them on disk.")
    sub.add_argument(
        "--dtypes", nargs="+", choices=["float32", "float64"], default=["float32", "float64"],
        help="(both)",
    )  # fmt: skip
    sub = command("cache", cache, "Where compiled kernels are; clear them, or move them.")
    sub.add_argument("--clear", nargs="?", const="all", choices=["all", "others"],
                     help="delete them: all, or those of other versions")  # fmt: skip
    sub.add_argument("--move", metavar="FOLDER", help="move them to another folder")
    return top


def _model_arguments(sub) -> None:
    sub.add_argument("--unknown", choices=["error", "zero"],
                     help="text that training did not see (what train was told)")  # fmt: skip
    sub.add_argument("--force", action="store_true", help="overwrite an existing file")
    _window_argument(sub)
    sub.add_argument("--threads", type=_count, help="at most so many (all)")
    _reading_arguments(sub)


def _window_argument(sub) -> None:
    sub.add_argument("--window", type=_count, metavar="ROWS",
                     help="read CSV or Parquet in windows of so many rows, which bounds memory; "
                     "training shuffles within them (files above 1 GiB: 262144)")  # fmt: skip


def _drop_missing_argument(sub) -> None:
    sub.add_argument("--drop-missing", action="store_true",
                     help="leave out rows whose target is missing, or an input that --impute does "
                     "not fill (an error)")  # fmt: skip


def _reading_arguments(sub) -> None:
    group = sub.add_argument_group("how CSV files are written")
    group.add_argument("--sep", help="what separates columns (a comma, semicolon, tab or bar, as "
                       "the file looks)")  # fmt: skip
    group.add_argument("--decimal", choices=[".", ","], metavar="MARK",
                       help="in numbers, . or , (as the file looks)")  # fmt: skip
    group.add_argument("--skip-rows", type=_number(int, 0, 2**31, "a whole number, 0 or more"),
                       default=0, metavar="N", help="lines above the table (0)")  # fmt: skip
    group.add_argument("--no-header", dest="header", action="store_false",
                       help="the first line is a row: columns are 0, 1, 2, ...")  # fmt: skip
    group.add_argument("--nulls", metavar="A,B",
                       help="how missing cells are written, beside empty ones, as in --nulls=- "
                       f"({','.join(filter(None, NULLS))})")  # fmt: skip
    group.add_argument("--encoding", default="utf-8", help="of the text (utf-8)")
    sub.add_argument("--zero-based", action="store_true",
                     help="svmlight files number their columns from 0 (1)")  # fmt: skip


def _train_arguments(sub) -> None:
    sub.add_argument("data", nargs="+", help=_DATA)
    sub.add_argument("--target", action="append", metavar="A,B",
                     help="target columns by name, or by number without a header; several are "
                     "for a regression (the last column)")  # fmt: skip
    sub.add_argument("--features", action="append", metavar="A,B",
                     help="input columns (all but the target)")  # fmt: skip
    sub.add_argument("--drop", action="append", metavar="A,B", help="columns to leave out (none)")
    sub.add_argument("--keep-index", action="store_true",
                     help="take columns that number the rows for inputs")  # fmt: skip
    sub.add_argument(
        "--impute",
        choices=["mean"],
        help="a missing number is the mean, and an input more says so (an error)",
    )
    _drop_missing_argument(sub)
    _window_argument(sub)
    sub.add_argument("--unknown", choices=["error", "zero"],
                     help="text that training did not see, in predictions (error)")  # fmt: skip
    sub.add_argument("--task", choices=["auto", "classification", "regression"], default="auto",
                     help=f"auto (the default) takes a target of text, or of whole numbers of "
                     f"which few differ (at most {FEW}, and a quarter of the rows), for a "
                     f"classification, any other for a regression")  # fmt: skip
    sub.add_argument("--layers", default="128", help="hidden widths, as 128 or 64,32 or none (128)")
    sub.add_argument("--activation", choices=list(ACTIVATIONS), default="relu",
                     help="of the hidden layers (relu)")  # fmt: skip
    sub.add_argument("--loss", choices=list(LOSSES),
                     help=", ".join(f"{loss.name} for a {task}" for task, loss in DEFAULTS.items())
                     + "; poisson is for counts, and predicts rates")  # fmt: skip
    for loss in LOSSES.values():
        if loss.parameter:
            name, default = loss.parameter.name.replace("_", "-"), loss.parameter.default
            sub.add_argument(f"--{name}", type=_parameter(loss.parameter),
                             help=f"of the loss {loss.name} ({default})")  # fmt: skip
    sub.add_argument("--optimizer", choices=[*BY_NAME, "lbfgs"], default="adam", help="(adam)")
    sub.add_argument("--lr", type=_rate, help=f"learning rate ({_defaults('lr')})")
    sub.add_argument("--weight-decay", type=_rate,
                     help=f"of the optimizer ({_defaults('weight_decay')})")  # fmt: skip
    sub.add_argument("--clip-norm", type=_above_zero,
                     help="longer gradients are scaled down to this norm (none)")  # fmt: skip
    sub.add_argument("--l2", type=_rate, default=0.0,
                     help="l2/2 times the sum of squared weights joins the loss (0)")  # fmt: skip
    sub.add_argument("--epochs", type=_count, default=50, help="passes over the data (50)")
    sub.add_argument("--batch-size", type=_count,
                     help="rows of a step (32); not where the optimizer takes all")  # fmt: skip
    sub.add_argument("--seed", type=_seed, default=0,
                     help="of parameters, order of rows and what is held out (0)")  # fmt: skip
    sub.add_argument("--networks", type=_count, default=1,
                     help="of an ensemble, each with the next seed: the mean of what they predict "
                     "is predicted (1)")  # fmt: skip
    sub.add_argument("--validation", type=_share, default=0.2, help="share of rows held out (0.2)")
    sub.add_argument("--patience", type=_count,
                     help="stop after so many epochs without a lower held-out loss")  # fmt: skip
    sub.add_argument("--no-standardize", dest="standardize", action="store_false",
                     help="take the columns as they are")  # fmt: skip
    sub.add_argument("--dtype", choices=["float32", "float64"], default="float32",
                     help="of the network (float32)")  # fmt: skip
    sub.add_argument("--threads", type=_count, help="at most so many (all)")
    sub.add_argument("-o", "--output", help="model file (NAME-model.npz, numbered if it exists)")
    sub.add_argument("--history", help="history as CSV (beside the model)")
    sub.add_argument(
        "--plot", nargs="?", const="", help="picture of the history (beside the model)"
    )
    sub.add_argument("--checkpoint", help="written every epoch")
    sub.add_argument("--resume", action="store_true", help="go on from the checkpoint if there")
    sub.add_argument(
        "--force",
        action="store_true",
        help="overwrite existing files; take many values for classes or text",
    )
    sub.add_argument("--quiet", action="store_true", help="no progress")
    _reading_arguments(sub)


def _defaults(name: str) -> str:
    """An optimiser's number by name, as in "0.001 for adam, adamw; 0.01 for sgd"."""
    names: dict[object, list[str]] = {}
    for kind, optimizer in BY_NAME.items():
        settings = optimizer().settings()
        if name in settings:
            names.setdefault(settings[name], []).append(kind)
    return "; ".join(f"{value} for {', '.join(kinds)}" for value, kinds in names.items())


def main(argv=None) -> int:
    """Run the command line; the exit code: 0 done, 1 failed, 2 wrong use or data, 130 Ctrl-C."""
    argv = sys.argv[1:] if argv is None else list(argv)
    with _any_encoding():
        return _run(argv)


@contextlib.contextmanager
def _any_encoding():
    """What a terminal's encoding cannot write is escaped: no reason to end a run."""
    streams = [s for s in (sys.stdout, sys.stderr) if hasattr(s, "reconfigure")]
    before = [stream.errors for stream in streams]
    for stream in streams:
        stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        for stream, errors in zip(streams, before):
            stream.reconfigure(errors=errors)


def _run(argv) -> int:
    try:
        _startup.ready()
        args = parser().parse_args(argv)
        if getattr(args, "threads", None) is not None:
            check_threads(args.threads)
        if getattr(args, "resume", False) and not args.checkpoint:
            raise UserError("--resume needs --checkpoint FILE")
        if "-" in getattr(args, "data", ()) and getattr(args, "model", "") == "-":
            raise UserError("the model and the data are both -; expected one on standard input")
        with patience(args.command in _PATIENT or args.json):
            code = args.run(args)
        sys.stdout.flush()
        return code
    except UserError as error:
        return _fail(argv, str(error), error.code)
    except BrokenPipeError:  # the reader of a pipe went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return _fail(argv, "interrupted", INTERRUPTED)
    except MemoryError as error:
        return _fail(argv, f"not enough memory: {error}", FAILED)
    except FileExistsError as error:
        return _fail(argv, str(error), USAGE)
    except (OSError, ImportError) as error:
        return _fail(argv, str(error), FAILED)
    except (ValueError, TypeError) as error:
        if os.environ.get("FASTGRAD_TRACEBACK"):
            raise
        return _fail(argv, str(error), USAGE)


def _fail(argv, message: str, code: int) -> int:
    message = " ".join(message.split())
    print(f"fastgrad: {message}", file=sys.stderr)
    if any(len(word) > 2 and "--json".startswith(word) for word in argv):  # as argparse takes it
        print(as_json({"error": message, "code": code}))
    return code
