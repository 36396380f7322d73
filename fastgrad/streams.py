"""Data that do not fit in memory: a folder of Parquet or CSV files as a source of rows.

`stream` reads the files once, to learn what its columns are, and gives a `Stream`, which `fit` and
`evaluate` take in the place of arrays. It holds windows of rows, whatever the files hold.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from ._core import check
from ._core.names import list_public
from ._tables import hints, roles
from ._tables.arguments import names_of, reading_of, sources_of
from ._tables.blocks import Folder
from ._tables.held_out import Share
from ._tables.learn import Learnt, learn
from ._training.stream import Columns, Stream
from .models import Model
from .typing import PathLike

__all__ = ["Stream", "stream"]
list_public(globals())

WINDOW = 2**18  # rows, unless another is given


def stream(
    data: PathLike | Sequence[PathLike] | Any,
    *,
    target: str | Sequence[str] | None = None,
    features: str | Sequence[str] | None = None,
    drop: str | Sequence[str] | None = None,
    weight: str | None = None,
    like: Model | Stream | None = None,
    window: int = WINDOW,
    ahead: int = 1,
    standardize: bool = True,
    held_out: float = 0.0,
    seed: int = 0,
    task: Literal["auto", "classification", "regression"] = "auto",
    impute: bool = False,
    unknown: Literal["error", "zero"] = "error",
    force: bool = False,
    csv: dict[str, Any] | None = None,
    threads: int | None = None,
    progress: Callable[[float], object] | None = None,
) -> Stream:
    """Rows of Parquet or CSV files that `fit` and `evaluate` read window by window.

    One pass over the files learns what their columns are: numbers as they are, text and booleans
    one-hot, means and deviations, classes, how many rows. The files are then read once an epoch. A
    reader's thread fills the next windows while one is trained on, so memory is bounded by
    ``(ahead + 1) * window`` rows of the network's dtype and some MiB of what is being decoded.

    Parameters
    ----------
    data : str, path, sequence of them, or pyarrow.dataset.Dataset
        Files (CSV also compressed), a folder of them, a pattern such as ``"folder/*.parquet"``; of
        a Dataset its files, which must be on this machine. All have the same columns.
    target : str or sequence of str, optional
        The column, or columns of a regression, to predict; the last one unless given.
    features, drop : str or sequence of str, optional
        The columns that are inputs (all others), and those that are not.
    weight : str, optional
        The column of sample weights, 0 or more, which count across the files as they are.
    like : Model or Stream, optional
        Takes the columns as this one does, and learns nothing: for other files than those that
        were trained on, which are written as a stream's unless `csv` is given. None of the
        arguments that say what to learn is taken beside it.
    window : int
        Rows that are shuffled together; 2**18 unless given. Where it holds all rows, they are read
        once and kept: `fit` has then the bits that it has of the arrays.
    ahead : int
        Windows that are read while one is used; 0: none, and no thread. No bit depends on it.
    standardize : bool
        Whether inputs, and targets of a regression whose outputs are values, become (value - mean)
        / deviation of the rows to train on.
    held_out : float
        Share of the rows to hold out, drawn one by one; no more than about a window of them.
    seed : int
        Of the rows that are held out.
    task : str
        "classification", "regression", or "auto": a target of text, or of few whole numbers, is
        for a classification.
    impute : bool
        Whether a missing number becomes the mean, and an input more says so; else it is an error.
    unknown : str
        What text is that training did not see: an "error", or "zero" in all its inputs.
    force : bool
        Whether columns of very many values are taken for classes or text all the same.
    csv : dict, optional
        How CSV files are written: `sep`, `decimal`, `nulls` (spellings of a missing cell),
        `encoding`, `skip` (lines above the table) and `header`; as they look unless given. With
        ``csv={"header": False}`` the first line is a row, columns are called "0", "1", ..., and
        "-1" is the last one.
    threads : int, optional
        1: pyarrow decodes in the reader's thread alone.
    progress : callable, optional
        Called in the learning pass with a share from 0 to 1 now and then.

    Returns
    -------
    stream : Stream

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, no file is found, a file is damaged, lacks a column or has one
        of another type; the message names the file. Also in `fit`, where a file has changed.
    ImportError
        If pyarrow is missing: ``pip install "fastgrad[train]"``.

    Notes
    -----
    The order of an epoch: the row groups of Parquet, or the files of CSV, are shuffled; their rows,
    in that order, are cut into windows of a whole number of batches, whose rows are shuffled. All
    of it follows from `fit`'s seed, the epoch and the list of files, on any number of threads.
    Without `shuffle` rows come in the order of the files, and `fit` has the bits of the arrays.
    Means and deviations are merged block by block (Chan, Golub and LeVeque 1983).

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for part in range(3):
    ...         text = "".join(f"{x},{2 * x + 1}\\n" for x in range(part, 30, 3))
    ...         _ = pathlib.Path(folder, f"part-{part}.csv").write_text("x,y\\n" + text)
    ...     data = fg.stream(folder + "/*.csv", target="y", task="regression", window=16)
    ...     net = fg.MLP([data.n_inputs, data.n_outputs])
    ...     result = fg.fit(net, data, optimizer=fg.SGD(0.1), epochs=20, batch_size=8, seed=0)
    ...     loss = fg.evaluate(net, result.theta, data).loss
    >>> data.rows, bool(loss < 1e-6)
    (30, True)
    >>> data.model(net, result.theta).predict([[100.0]]).round(2)
    array([[201.]])
    """
    window, ahead = check.integer(window, "window"), check.integer(ahead, "ahead", least=0)
    standardize, force = check.boolean(standardize, "standardize"), check.boolean(force, "force")
    impute, seed = check.boolean(impute, "impute"), check.integer(seed, "seed", least=0)
    threads = None if threads is None else check.integer(threads, "threads")
    held_out = check.non_negative(held_out, "held_out")
    for name, value, known in (
        ("task", task, ("auto", "classification", "regression")),
        ("unknown", unknown, ("error", "zero")),
    ):
        if value not in known:
            raise ValueError(f"{name} is {value!r}; expected one of {', '.join(known)}")
    if held_out >= 1:
        raise ValueError(f"held_out is {held_out}; expected a share below 1")
    if csv is None and isinstance(like, Stream):
        csv = like._folder.reading
    sources, reading = sources_of(data), reading_of(csv)
    more = [] if weight is None else [weight]
    if like is not None:
        own = {
            "target": target is None, "features": features is None, "drop": drop is None,
            "standardize": standardize, "held_out": not held_out, "task": task == "auto",
            "impute": not impute, "unknown": unknown == "error", "force": not force,
        }  # fmt: skip
        given = [name for name, is_default in own.items() if not is_default]
        if given:
            raise TypeError(f"{', '.join(given)} beside like; expected like alone")
        with hints.in_python():
            return _of_python(_like(sources, reading, like, weight, window, ahead, threads))
    dropped = [*names_of(drop, "drop"), *more]
    targets, inputs = names_of(target, "target"), names_of(features, "features")
    for name, others in (("target", targets), ("features", inputs)):
        if weight in others:
            raise ValueError(
                f"weight is {weight!r}, which {name} names too; expected another column"
            )
    choose = roles.for_training(targets, inputs, dropped)
    with hints.in_python():
        return _of_python(of_folder(
            Folder(sources, reading, choose, more), weight=weight, window=window, ahead=ahead,
            standardize=standardize, held_out=held_out, seed=seed, task=task, impute=impute,
            unknown=unknown, force=force, threads=threads, progress=progress,
        ))  # fmt: skip


def _of_python(made: Stream) -> Stream:
    """A stream whose messages name arguments, later too."""
    for part in (made, made.held_out):
        if part is not None:
            part._in_python = True
    return made


def of_folder(
    folder, *, weight=None, window=WINDOW, ahead=1, standardize, held_out, seed, task, impute,
    unknown, force, threads, progress=None,
) -> Stream:  # fmt: skip
    """As `stream`, of checked arguments."""
    share = Share(seed, 0.0, held_out) if held_out else None
    learnt = learn(
        folder, task=task, impute=impute, unknown=unknown, force=force, held_out=share,
        threads=threads != 1, progress=None if progress is None else _told(folder, progress),
    )  # fmt: skip
    found = {field.name: getattr(learnt, field.name) for field in dataclasses.fields(Learnt)}
    if not standardize:
        found.update(mean=np.zeros(len(learnt.mean)), scale=np.ones(len(learnt.mean)))
        found.update(target_mean=0.0, target_scale=1.0)
    columns = Columns(**found, features=folder.roles.inputs, targets=folder.roles.targets)
    whole = Stream(folder, columns, weight, window, ahead, threads)
    if not held_out:
        return whole
    expected = held_out * sum(learnt.rows)
    most = held_out * min(1.0, window / max(expected, 1.0))
    made = whole._part(most, 2.0, seed)
    made.held_out = whole._part(0.0, most, seed)
    if not made.held_out.rows:
        raise ValueError(
            f"held_out is {held_out}, of {sum(learnt.rows)} rows none; expected a larger share"
        )
    return made


def _like(sources, reading, like, weight, window, ahead, threads) -> Stream:
    """A stream that takes its columns as a model or another stream does."""
    more = [] if weight is None else [weight]
    if isinstance(like, Model):
        choose = roles.for_model(like, with_targets=True)
        return of_model(
            Folder(sources, reading, choose, more), like, weight, window, ahead, threads
        )
    if not isinstance(like, Stream):
        raise TypeError(f"like is a {type(like).__name__}; expected a Model or a Stream")
    found = like._learnt
    if weight is None and like.weight is not None:
        weight, more = like.weight, [like.weight]
    choose = roles.for_training(found.targets, found.features, None, True)
    folder = Folder(sources, reading, choose, more)
    _read_as(folder, found)
    columns = dataclasses.replace(found, rows=_known_rows(folder))
    return Stream(folder, columns, weight, window, ahead, threads)


def of_model(folder, model, weight=None, window=WINDOW, ahead=1, threads=None) -> Stream:
    """A stream that takes the columns of a folder as a model does; without targets where the
    folder's roles have none."""
    targets = folder.roles.targets
    columns = Columns(
        model.encoding, model.mean, model.scale, model.task if targets else "", model.classes,
        model.target_mean, model.target_scale, _known_rows(folder), None, list(model.columns),
        list(targets),
    )  # fmt: skip
    _read_as(folder, columns)
    return Stream(folder, columns, weight, window, ahead, threads)


def for_prediction(data: Stream, model) -> Stream:
    """The rows of a stream, whose columns are found as a model finds those of a table."""
    given = data._folder
    sources = [reader.source for reader in given.readers]
    made = of_model(
        Folder(sources, given.reading, roles.for_model(model)), model, None, data.window,
        data.ahead, data.threads,
    )  # fmt: skip
    made._folder.stamps = given.stamps
    made._share, made._all_rows = data._share, data._all_rows
    return made


def _read_as(folder, columns) -> None:
    """Columns of CSV as what they were in training, whatever they look like here."""
    if folder.parquet:
        return
    for there, mine in zip(folder.roles.inputs, columns.features):
        encoding = columns.encoding.get(mine)
        if there in folder.kinds:
            text = encoding is not None and encoding.values is not None
            (folder.as_text if text else folder.as_number)(there)
    for name in folder.roles.targets if columns.task == "regression" else ():
        folder.as_number(name)


def _known_rows(folder) -> list[int] | None:
    """The rows of each unit, where the files say it."""
    return [folder.rows(unit) for unit in folder.units()] if folder.parquet else None


def _told(folder, progress):
    """What the learning pass calls: the share of the files' bytes that are behind."""
    sizes = [reader.source.size for reader in folder.readers]
    ends = np.cumsum([0, *sizes])

    def tell(unit, rows: int) -> None:
        known = folder.rows(unit)
        share = min(1.0, rows / known) if known else 0.0
        groups = getattr(folder.readers[unit.part], "group_rows", [1])
        done = ends[unit.part] + sizes[unit.part] * (unit.group + share) / len(groups)
        progress(float(done / max(ends[-1], 1)))

    return tell
