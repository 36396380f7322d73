"""Files read block by block: a file is opened when its turn comes and never held whole.

A `Folder` is the files of a stream, checked against each other: names and types before a row is
read. Its units are what can be read by itself, a row group of Parquet or a file of CSV.
"""

from __future__ import annotations

import lzma
import re
from typing import NamedTuple

from . import arrow, delimited
from .layout import Reading, not_text
from .read import family, leading, opened, with_categories, with_partition

BLOCK_ROWS = 2**14  # of Parquet; a block of CSV is what is in some MiB of text
COLUMN_BUFFER = 2**18  # bytes of a Parquet column that are read at a time


class Unit(NamedTuple):
    """What is read in one go: row group `group` of a Parquet file, or the whole of a CSV file.

    `first`: the row of the file that it begins with.
    """

    part: int
    group: int
    first: int


class RetypeError(ValueError):
    """A column of CSV was taken for another kind than text, and has a cell that is none."""

    def __init__(self, message: str, column: str):
        super().__init__(message)
        self.column = column


class Folder:
    """The files, in order; `choose` gives the roles of their columns, see `roles`.

    `kinds` is the type that each wanted column is read as, of CSV alone: pyarrow's, by name.
    """

    def __init__(self, sources, reading: Reading, choose, more=()):
        """`more`: columns that are wanted beside inputs and targets."""
        self.reading = reading
        for source in sources:
            if source.ending not in (".csv", ".tsv", ".parquet"):
                raise ValueError(f"{source.name}: expected CSV or Parquet to be read in blocks")
        self.readers, self.roles = opened(sources, reading, choose)
        self.wanted = list(dict.fromkeys([*self.roles.inputs, *self.roles.targets, *more]))
        for reader in self.readers:
            for name in more:
                if name not in reader.names and name not in dict(reader.source.partition):
                    raise ValueError(f"{reader.source.name}: no column {name!r}")
        first = leading(self.readers)
        self.named, self.decimal = first.named, first.decimal
        self.parquet = hasattr(first, "schema")
        self.stamps = [_stamp(reader.source) for reader in self.readers]
        self.kinds = self._parquet_kinds() if self.parquet else self._csv_kinds()

    def names(self) -> list[str]:
        return [reader.source.name for reader in self.readers]

    def as_text(self, name: str) -> None:
        """Read a column of CSV as text from here on."""
        self.kinds[name] = arrow.pyarrow("a table").string()

    def as_number(self, name: str) -> None:
        """Read a column of CSV as float64 from here on."""
        self.kinds[name] = arrow.pyarrow("a table").float64()

    def units(self) -> list[Unit]:
        """In the order of the files."""
        found = []
        for part, reader in enumerate(self.readers):
            first = 0
            for group, rows in enumerate(reader.group_rows if self.parquet else [0]):
                found.append(Unit(part, group, first))
                first += rows
        return found

    def rows(self, unit: Unit) -> int | None:
        """How many rows a unit has, if its file says so."""
        return self.readers[unit.part].group_rows[unit.group] if self.parquet else None

    def read(self, unit: Unit, wanted=None, threads: bool = True):
        """pyarrow Tables of some rows each, of the `wanted` columns; an error names the file.

        Raises `RetypeError` where a cell of CSV is not of its column's kind.
        """
        reader = self.readers[unit.part]
        self.check_unchanged(unit.part)
        pa, name = arrow.pyarrow(reader.source.name), reader.source.name
        wanted = self.wanted if wanted is None else wanted
        own = dict(reader.source.partition)
        stored, place = [column for column in wanted if column not in own], unit.first
        read = self._parquet_batches if self.parquet else self._csv_batches
        try:
            for batch in read(reader, unit, stored, threads):
                table = with_partition(pa.Table.from_batches([batch]), own, wanted)
                if self.parquet:
                    table = with_categories(table, reader.categories)
                yield table
                place += table.num_rows
        except (OSError, EOFError, lzma.LZMAError, pa.ArrowException, UnicodeError) as error:
            raise ValueError(self._reason(reader, error, place)) from None
        self.check_unchanged(unit.part)
        expected = self.rows(unit)
        if expected is not None and place - unit.first != expected:
            raise ValueError(f"{name}: {place - unit.first} rows in a row group of {expected}")

    def check_unchanged(self, part: int) -> None:
        """A ValueError where a file is not the one that was there at first."""
        source = self.readers[part].source
        try:
            now = _stamp(source)
        except OSError as error:
            raise ValueError(f"{source.name}: cannot be read: {error.strerror}") from None
        if now != self.stamps[part]:
            raise ValueError(
                f"{source.name}: changed since it was first read; expected it as it was"
            )

    def _parquet_batches(self, reader, unit, stored, threads):
        from pyarrow import parquet

        with (
            reader.source.open_native() as raw,
            parquet.ParquetFile(raw, pre_buffer=False, buffer_size=COLUMN_BUFFER) as file,
        ):
            yield from file.iter_batches(
                BLOCK_ROWS, row_groups=[unit.group], columns=stored, use_threads=threads
            )

    def _csv_batches(self, reader, unit, stored, threads):
        from pyarrow import csv as pacsv

        if reader.look.empty:
            return
        types = {name: self.kinds[name] for name in stored if name in self.kinds}
        with reader.source.open_native() as file:
            with pacsv.open_csv(file, *delimited.options(
                self.reading, reader.look, stored, types, threads, reader.look.block
            )) as batches:  # fmt: skip
                yield from batches

    def _reason(self, reader, error, place: int) -> str:
        """What is wrong with a file, in one line."""
        name, reading, said = reader.source.name, self.reading, str(error)
        if self.parquet:
            return f"{name}: a damaged Parquet file: {said}"
        if "UTF8" in said or "UTF-8" in said or isinstance(error, UnicodeError):
            return not_text(name, reading.encoding)
        after = f" after row {place}" if place else ""
        column = re.search(r"CSV column #(\d+): .*conversion error.*invalid value '(.*)'", said)
        if column:
            there = reader.names[int(column[1])]
            if self.kinds.get(there) is not None and str(self.kinds[there]) != "string":
                raise RetypeError(
                    f"{name}: column {there}{after}: {column[2]!r}; expected {self.kinds[there]}, "
                    f"as before",
                    there,
                ) from None
        if "straddling" in said:
            return (
                f"{name}: a row{after} is longer than {reader.look.block} bytes: a quoted cell is "
                f"not closed?"
            )
        cells = re.search(r"Expected (\d+) columns, got (\d+)", said)
        if cells:
            return (
                f"{name}: a row{after} has {cells[2]} cells; expected {cells[1]}, as the first "
                f"line has"
            )
        return f"{name}: cannot be read{after}: {said}"

    def _parquet_kinds(self) -> dict:
        """The types of the wanted columns; an error where two files disagree."""
        kinds = {}
        for reader in self.readers:
            own = dict(reader.source.partition)
            for name in self.wanted:
                if name in own:
                    continue
                kind = reader.schema.field(name).type
                if str(kind) == "null":
                    continue
                before, place = kinds.setdefault(name, (kind, reader.source.name))
                if family(before) != family(kind):
                    raise ValueError(
                        f"{reader.source.name}: column {name} is {kind}; expected {before}, as in "
                        f"{place}"
                    )
        return {name: kind for name, (kind, _) in kinds.items()}

    def _csv_kinds(self) -> dict:
        """As the beginning of the first file with rows looks: numbers are float64, else text or
        booleans."""
        from pyarrow import csv as pacsv

        pa, reader = arrow.pyarrow("a table"), leading(self.readers)
        own = dict(reader.source.partition)
        stored = [name for name in self.wanted if name not in own]
        text = {name: pa.string() for name in self.roles.text if name not in own}
        if reader.look.empty:
            return {name: text.get(name, pa.float64()) for name in stored}
        try:
            with reader.source.open_native() as file, pacsv.open_csv(file, *delimited.options(
                self.reading, reader.look, stored, text, True, reader.look.block
            )) as batches:  # fmt: skip
                schema = batches.schema
        except (OSError, EOFError, lzma.LZMAError, pa.ArrowException, UnicodeError) as error:
            raise ValueError(self._reason(reader, error, 0)) from None
        kinds = {}
        for name in stored:
            kind = schema.field(name).type
            number = family(kind) == "number" or str(kind) == "null"
            kinds[name] = pa.float64() if number else kind
        return kinds


def _stamp(source) -> tuple:
    if source.path is None:
        return (len(source.content),)
    found = source.path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino
