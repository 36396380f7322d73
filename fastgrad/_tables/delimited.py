"""CSV and its kin, read by pyarrow as their `layout` says.

Of the types only "text" is asked for, for the columns that must keep their spelling; the others are
pyarrow's inference over the whole file.
"""

from __future__ import annotations

from .arrow import pyarrow
from .layout import Layout, Reading, not_text

MOST_BLOCK = 2**30  # bytes of a row


def read(source, reading: Reading, look: Layout, wanted, as_text, progress=None):
    """The wanted columns as a pyarrow Table, those of `as_text` as text."""
    pa = pyarrow(source.name)
    from pyarrow import csv as pacsv

    types = {name: pa.string() for name in as_text}
    if look.empty:
        return pa.table({name: pa.nulls(0, types.get(name)) for name in wanted})

    def attempt(threads: bool, handler=None, block: int = look.block):
        with source.open(progress) as file:
            return pacsv.read_csv(
                file, *options(reading, look, wanted, types, threads, block, handler)
            )

    try:
        try:
            table = attempt(threads=True)
        except pa.ArrowInvalid as error:
            if "straddling" not in str(error):
                raise
            table = attempt(threads=False, block=MOST_BLOCK)  # a row longer than those at first
    except pa.ArrowInvalid as error:
        if "UTF8" in str(error):
            raise ValueError(not_text(source.name, reading.encoding)) from None
        raise ValueError(
            _ragged(source.name, reading, look, attempt) or _plain(source, error)
        ) from None
    except UnicodeError:
        raise ValueError(not_text(source.name, reading.encoding)) from None
    if any(pa.types.is_binary(kind) for kind in table.schema.types):
        raise ValueError(not_text(source.name, reading.encoding))
    return table


def options(reading: Reading, look: Layout, wanted, types, threads: bool, block: int, handler=None):
    """pyarrow's three objects; `types` of the columns whose type is not as it looks."""
    from pyarrow import csv as pacsv

    return (
        pacsv.ReadOptions(
            column_names=look.names, skip_rows=look.skip, use_threads=threads,
            skip_rows_after_names=int(reading.header), encoding=reading.encoding, block_size=block,
        ),
        pacsv.ParseOptions(
            delimiter=look.sep, newlines_in_values=True, invalid_row_handler=handler
        ),
        pacsv.ConvertOptions(
            include_columns=list(wanted), decimal_point=look.decimal, column_types=types,
            null_values=["", *reading.nulls], strings_can_be_null=True,
        ),
    )  # fmt: skip


def _ragged(name: str, reading: Reading, look: Layout, attempt) -> str:
    """What is wrong with the first row of too many or too few cells; read again, row by row."""
    import pyarrow as pa

    found = []

    def first(row):
        found.append(row)
        return "error"

    try:
        attempt(threads=False, handler=first)
    except pa.ArrowInvalid:
        pass
    if not found:
        return ""
    row = found[0]
    number = None if row.number is None else row.number - look.skip - int(reading.header)
    place = "" if number is None else f"row {number}: "
    above = " (--skip-rows leaves out lines above the table)" if number == 1 else ""
    return (
        f"{name}: {place}{row.actual_columns} cells; expected {row.expected_columns}, as the "
        f"first line has{above}"
    )


def _plain(source, error) -> str:
    reason = "a quoted cell is not closed" if "straddling" in str(error) else error
    return f"{source.name}: cannot be read: {reason}"
