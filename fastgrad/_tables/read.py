"""Files → one table: names first, then what is wanted of them, then the columns alone."""

from __future__ import annotations

import contextlib
import lzma
import zipfile

import numpy as np

from .. import datasets
from . import arrow, delimited
from .layout import Reading, check_names, layout
from .roles import Roles
from .sources import Source, find
from .table import Column, Table

_BROKEN = (OSError, EOFError, lzma.LZMAError)  # compressed files that are not, or end early


def read(data: list[str], reading: Reading, choose, progress=None) -> tuple[Table, list[str]]:
    """(table, notes) of the files, folders or "-" in `data`.

    `choose` gives the `Roles` before any row is read; see `roles`. `progress`, if given, is called
    with (done, size) in bytes.
    """
    if len(data) == 1 and data[0] in datasets.names():
        return _embedded(datasets.load(data[0]), choose), []
    sources = find(data)
    if sources[0].ending in (".npy", ".npz"):
        return _arrays(sources[0], choose), []
    readers, roles = opened(sources, reading, choose)
    first = leading(readers)
    with arrow.at_most(reading.threads):
        parts = _columns(readers, roles, _total(sources, progress))
    name = first.source.name if len(sources) == 1 else f"{data[0]}, ... ({len(sources)} files)"
    table = Table(
        name, {name: arrow.column(parts.column(name)) for name in parts.column_names},
        parts.num_rows, first.named, roles.targets,
        [(reader.source.name, reader.rows) for reader in readers], decimal=first.decimal,
    )  # fmt: skip
    return table, notes_of(readers, parts.column_names)


def opened(sources, reading: Reading, choose):
    """(a reader a file, the roles of their columns); a ValueError where one has not all of them."""
    readers = [_Csv(s, reading) if s.ending != ".parquet" else _Parquet(s) for s in sources]
    first = leading(readers)
    names = [*first.names, *(key for key, _ in first.source.partition)]
    roles = choose(first.source.name, names, list(first.index), first.named)
    for reader in readers:
        for name in [*roles.inputs, *roles.targets]:
            if name not in reader.names and name not in dict(reader.source.partition):
                raise ValueError(f"{reader.source.name}: no column {name!r}, which "
                                 f"{first.source.name} has")  # fmt: skip
    return readers, roles


def leading(readers):
    """The file that says how the others are written: the first with rows."""
    return next((r for r in readers if not r.empty), readers[0])


def notes_of(readers, used) -> list[str]:
    """What was assumed about the files, each once."""
    found = []
    for reader in readers:
        found += reader.notes
        found += [note for name, note in reader.index.items() if note and name not in used]
        found += [note for name, note in reader.unnamed.items() if name in used]
    return list(dict.fromkeys(found))


def _total(sources, progress):
    if progress is None:
        return None
    size, done = sum(source.size for source in sources), 0

    def more(count: int) -> None:
        nonlocal done
        done += count
        progress(done, size)

    return more


def _columns(readers, roles: Roles, progress):
    """One pyarrow Table; a column that is text in one of the files is text in all."""
    pa = arrow.pyarrow("a table")
    wanted, as_text = [*roles.inputs, *roles.targets], set(roles.text)
    parts = [reader.read(wanted, as_text, progress) for reader in readers]
    for name in wanted if len(parts) > 1 else ():
        kinds = {part.schema.field(name).type for part in parts} - {pa.null()}
        if len({family(kind) for kind in kinds}) > 1:
            if isinstance(readers[0], _Parquet):
                raise ValueError(
                    f"column {name} is {' and '.join(sorted(map(str, kinds)))} in different files; "
                    f"expected one type"
                )
            as_text.add(name)
    if as_text - set(roles.text):
        parts = [reader.read(wanted, as_text, progress) for reader in readers]
    for reader, part in zip(readers, parts):
        reader.rows = part.num_rows
    return pa.concat_tables(parts, promote_options="permissive")


def family(kind) -> str:
    """What kinds of types go together in the files of a table."""
    import pyarrow as pa

    t = pa.types
    if t.is_integer(kind) or t.is_floating(kind) or t.is_decimal(kind):
        return "number"
    if t.is_dictionary(kind):
        return "text" if t.is_string(kind.value_type) else str(kind.value_type)
    return "text" if t.is_string(kind) or t.is_large_string(kind) else str(kind)


class _Csv:
    def __init__(self, source: Source, reading: Reading):
        self.source, self.reading, self.rows = source, reading, 0
        try:
            self.look = layout(source, reading)
        except _BROKEN as error:
            raise ValueError(f"{source.name}: cannot be read: {error}") from None
        self.names, self.index, self.notes = self.look.names, self.look.index, self.look.notes
        self.empty = self.look.empty
        self.named, self.decimal, self.unnamed = (
            reading.header,
            self.look.decimal,
            self.look.unnamed,
        )

    def read(self, wanted, as_text, progress):
        own = dict(self.source.partition)
        try:
            table = delimited.read(
                self.source, self.reading, self.look,
                [name for name in wanted if name not in own], as_text - set(own), progress,
            )  # fmt: skip
        except _BROKEN as error:
            raise ValueError(f"{self.source.name}: cannot be read: {error}") from None
        return with_partition(table, own, wanted)


class _Parquet:
    named, decimal, empty = True, ".", False

    def __init__(self, source: Source):
        self.source, self.rows, self.notes, self.unnamed = source, 0, [], {}
        with self._opened() as file:
            schema, groups = file.schema_arrow, file.metadata
            self.group_rows = [groups.row_group(i).num_rows for i in range(groups.num_row_groups)]
        self.schema = schema
        self.names = schema.names
        check_names(source.name, self.names)
        pandas = schema.pandas_metadata or {}
        stored = pandas.get("index_columns", [])
        self.index = {name: "" for name in stored if isinstance(name, str)}
        self.categories = {  # those of numbers come back as numbers
            column.get("field_name")
            for column in pandas.get("columns", [])
            if column.get("pandas_type") == "categorical"
        }

    def read(self, wanted, as_text, progress):
        own = dict(self.source.partition)
        with self._opened() as file:
            table = file.read(columns=[name for name in wanted if name not in own])
        return with_partition(with_categories(table, self.categories), own, wanted)

    @contextlib.contextmanager
    def _opened(self):
        pa = arrow.pyarrow(self.source.name)
        import pyarrow.parquet as parquet

        try:
            with self.source.open() as raw, parquet.ParquetFile(raw) as file:
                yield file
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{self.source.name}: not a Parquet file: {error}") from None


def with_categories(table, categories):
    """Numbers that were pandas' categories are names again."""
    for place, name in enumerate(table.column_names):
        if name in categories and not arrow.is_dictionary(table.column(place)):
            table = table.set_column(place, name, table.column(place).dictionary_encode())
    return table


def with_partition(table, own: dict, wanted):
    import pyarrow as pa

    for name, value in own.items():
        if name in wanted:
            table = table.append_column(name, pa.array([value] * table.num_rows, pa.string()))
    return table.select(wanted)


def _embedded(data, choose) -> Table:
    roles = choose(data.name, [*data.feature_names, data.target_name], [], True)
    every = {**dict(zip(data.feature_names, data.X.T)), data.target_name: data.y}
    columns = {name: Column(every[name]) for name in [*roles.inputs, *roles.targets]}
    return Table(data.name, columns, len(data.X), True, roles.targets)


def matrix(source: str, X, choose, first: int = 1) -> Table:
    """Columns without names, of an array (n, c) of numbers."""
    names = [str(i) for i in range(X.shape[1])]
    roles = choose(source, names, [], False)
    wanted = [*roles.inputs, *roles.targets]
    columns = {name: Column(np.array(X[:, int(name)])) for name in wanted}
    return Table(source, columns, len(X), False, roles.targets, first=first)


def _arrays(source: Source, choose) -> Table:
    try:
        if source.ending == ".npy":
            return _one(
                source.name, np.load(source.path, mmap_mode="r", allow_pickle=False), choose
            )
        with source.open() as file, np.load(file, allow_pickle=False) as stored:
            if "X" not in stored:
                if len(stored.files) != 1:
                    raise ValueError(
                        f"arrays {', '.join(stored.files)}; expected X and y, or one array alone"
                    )
                return _one(source.name, stored[stored.files[0]], choose)
            return _of_npz(source.name, stored, choose)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        if str(error).startswith(f"{source.name}:"):
            raise
        # NumPy takes what it does not know for pickled objects, and advises to allow them.
        reason = "not a file of numbers" if "pickle" in str(error) else error
        raise ValueError(f"{source.name}: cannot be read: {reason}") from None


def _one(source: str, data, choose) -> Table:
    if data.ndim != 2 or data.dtype.kind not in "biuf":
        raise ValueError(
            f"{source}: an array of shape {data.shape} and dtype {data.dtype}; "
            f"expected two dimensions of numbers, a row a sample"
        )
    return matrix(source, data, choose)


def _of_npz(source: str, stored, choose) -> Table:
    """X and the targets beside it, each (n,) or (n, k) under its own name."""
    X = stored["X"]
    if X.ndim != 2 or X.dtype.kind not in "biuf":
        raise ValueError(
            f"{source}: X of shape {X.shape} and dtype {X.dtype}; expected (n, d) numbers"
        )
    inputs = [str(i) for i in range(X.shape[1])]
    others = [name for name in stored.files if name != "X"]
    roles = choose(source, [*inputs, *sorted(others, key=lambda name: name == "y")], [], False)
    columns = {name: Column(X[:, int(name)]) for name in roles.inputs if name in inputs}
    for name in roles.targets:
        y = stored[name] if name in others else X[:, int(name)]
        if y.shape not in ((len(X),), (len(X), 1)) or y.dtype.kind not in "biufU":
            raise ValueError(
                f"{source}: {name} of shape {y.shape} and dtype {y.dtype}; expected ({len(X)},), "
                f"a value a row of X"
            )
        columns[name] = _target(y.reshape(-1))
    return Table(source, columns, len(X), False, roles.targets)


def _target(y) -> Column:
    if y.dtype.kind != "U":
        return Column(y)
    words, codes = np.unique(y, return_inverse=True)
    return Column(codes.reshape(-1), words=words.tolist())
