"""What a CSV file looks like, from its beginning: separator, decimal mark, names, row numbers."""

from __future__ import annotations

import codecs
import csv
import io
import re
from dataclasses import dataclass

from .table import number

NULLS = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "?")
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "spaces"}
SAMPLE = 2**18  # bytes looked at before the file is read, more where a line is longer
MOST_SAMPLE = 2**26


def is_separator(sep: str) -> bool:
    """Whether this can separate columns."""
    return isinstance(sep, str) and len(sep) == 1 and sep.isascii() and sep not in '"\r\n'


@dataclass
class Reading:
    """How a file is to be read; None: as it looks.

    `nulls` are the spellings of a missing cell, `skip` how many lines come before the table;
    `threads`, if given, are the most; `zero_based`: svmlight columns begin with 0.
    """

    sep: str | None = None
    decimal: str | None = None
    header: bool = True
    nulls: tuple[str, ...] = NULLS
    encoding: str = "utf-8"
    skip: int = 0
    threads: int | None = None
    zero_based: bool = False


@dataclass
class Layout:
    """What a file looks like: its table begins after `skip` lines, some of them blank.

    `index` are columns that are no inputs unasked, with what to say where they are left out;
    `unnamed` are others without a name, with what to say where they are used.
    """

    sep: str
    decimal: str
    names: list[str]
    index: dict[str, str]
    unnamed: dict[str, str]
    skip: int
    block: int
    notes: list[str]
    empty: bool  # names alone, no row


def layout(source, reading: Reading) -> Layout:
    """From the beginning of a file; a ValueError that names it where it is no table."""
    lines, longest, whole = _sample(source, reading.encoding)
    full = (i for i, line in enumerate(lines) if i >= reading.skip and line.strip("\r\n"))
    skip = next(full, None)
    if skip is None:
        what = f"nothing after {reading.skip} lines" if reading.skip else "empty"
        raise ValueError(f"{source.name}: {what}; expected a line of names and rows")
    notes = []
    sep = reading.sep
    if sep is None:
        sep = _separator(lines[skip:], "\t" if source.ending == ".tsv" else ",")
        if sep != "," and source.ending != ".tsv":
            notes.append(f"{source.name}: columns are separated by {SEPARATORS[sep]}")
    rows = _rows(source.name, lines[skip:], sep)
    body = rows[1:] if reading.header else rows
    if not body and not whole:
        raise ValueError(f"{source.name}: no rows after its names in many lines; expected rows")
    decimal = reading.decimal
    if decimal is None:
        decimal = "," if sep != "," and _decimal_commas(body) else "."
        if decimal == ",":
            notes.append(f"{source.name}: numbers have decimal commas")
    if not reading.header:
        names, index, unnamed = [str(i) for i in range(len(rows[0]))], {}, {}
    else:
        names = _names(rows[0], body)
        index, unnamed = _nameless(source.name, names, body)
        if not body:
            index = dict.fromkeys(index, "")  # that it has no cells says nothing
        is_row = _looks_like_a_row(rows[0], body)
        check_names(source.name, names, is_row)
        if is_row:
            notes.append(
                f"{source.name}: the first line, {', '.join(rows[0][:3])}..., is taken for names; "
                f"--no-header if it is a row"
            )
    block = max(2**22, 4 * longest)
    return Layout(sep, decimal, names, index, unnamed, skip, block, notes, not body)


def _names(first: list[str], body) -> list[str]:
    """Those of the first line; "" for a column that it does not name in front of the others, as R
    and pandas take it, or after them where its cells are empty."""
    names = [cell.strip() for cell in first]
    if not body or any(len(row) != len(names) + 1 for row in body):
        return names
    return ["", *names] if any(row[-1].strip() for row in body) else [*names, ""]


def _sample(source, encoding: str) -> tuple[list[str], int, bool]:
    """The first lines, whole ones; the length of the longest; whether there are no others."""
    size = SAMPLE
    while True:
        with source.open() as file:
            data = file.read(size)
        whole = len(data) < size
        if whole or data.count(b"\n") >= 2 or size >= MOST_SAMPLE:
            break
        size *= 8
    try:
        decoder = codecs.getincrementaldecoder("utf-8-sig" if encoding == "utf-8" else encoding)()
        content = decoder.decode(data, final=whole)
    except LookupError:
        raise ValueError(
            f"--encoding is {encoding}; expected one such as utf-8 or latin-1"
        ) from None
    except UnicodeError:
        raise ValueError(not_text(source.name, encoding)) from None
    if not whole and "\n" in content:
        content = content[: content.rindex("\n") + 1]
    if "\0" in content:
        raise ValueError(not_text(source.name, encoding))
    lines = io.StringIO(content, newline="").readlines()  # at line feeds and carriage returns alone
    return lines, max(map(len, lines), default=0), whole


def not_text(name: str, encoding: str) -> str:
    other = "--encoding latin-1 or utf-16 may be" if encoding == "utf-8" else "expected another"
    return f"{name}: not {encoding.upper()} text; {other}"


def _rows(name: str, lines, sep: str, most: int = 1000) -> list[list[str]]:
    rows: list[list[str]] = []
    limit = csv.field_size_limit(MOST_SAMPLE)
    try:
        for row in csv.reader(lines, delimiter=sep):
            if row:
                rows.append(row)
            if len(rows) > most:
                break
    except csv.Error as error:
        raise ValueError(f"{name}: line {len(rows) + 1}: {error}") from None
    finally:
        csv.field_size_limit(limit)
    return rows


def _separator(lines, default: str) -> str:
    """The one that cuts all first rows alike; of several, the one that cuts most columns."""

    def score(sep: str):
        try:
            widths = {len(row) for row in _rows("", lines[:50], sep)}
        except ValueError:
            return 0, 0
        return (len(widths) == 1 and max(widths) > 1), len(_rows("", lines, sep, most=0)[0])

    found = max([default, *(sep for sep in SEPARATORS if sep not in (default, " "))], key=score)
    if score(found)[1] == 1 and _cut_by_spaces(lines):
        return " "
    return found


def _cut_by_spaces(lines) -> bool:
    """Whether single spaces cut all first rows alike, and one of the columns is numbers."""
    first, *body = _rows("", lines[:50], " ")
    widths = {len(row) for row in body}
    if len(widths) != 1 or max(widths) < 2 or len(first) not in (max(widths), max(widths) - 1):
        return False
    return any(all(number(cell) is not None for cell in column) for column in zip(*body))


def _decimal_commas(rows) -> bool:
    cells = [cell.strip() for row in rows for cell in row]
    commas = sum(bool(re.fullmatch(r"[+-]?[0-9]*,[0-9]+(e[+-]?[0-9]+)?", c, re.I)) for c in cells)
    points = sum(bool(re.fullmatch(r"[+-]?[0-9]*\.[0-9]+(e[+-]?[0-9]+)?", c, re.I)) for c in cells)
    return commas > points


def _nameless(source: str, names: list[str], rows) -> tuple[dict[str, str], dict[str, str]]:
    """Columns without a name: (that number or name the rows or are empty, others), with notes.

    Each is given the name that pandas gives it.
    """
    index, others = {}, {}
    for place, name in enumerate(names):
        if name not in ("", "Unnamed: 0"):
            continue
        if not name:
            name = names[place] = _unused(f"Unnamed: {place}", names)
        cells = [row[place].strip() for row in rows if place < len(row)]
        where = f"{source}: column {place + 1} has no name"
        if not any(cells):
            index[name] = f"{where} and no cells: left out"
        elif place == len(index) and _marks_rows(cells):
            does = "numbers" if cells[0].isdigit() else "names"
            index[name] = f"{where} and {does} the rows: left out (--keep-index takes it)"
        else:
            others[name] = f"{where}: it is {name!r} here (--drop {name!r} leaves it out)"
    return index, others


def _unused(name: str, names) -> str:
    return name if name not in names else _unused(f"{name}.1", names)


def _marks_rows(cells) -> bool:
    """Whether all cells differ and are whole numbers, as of a shuffled index, or all are names."""
    if len(set(cells)) < len(cells):
        return False
    if all(re.fullmatch(r"[0-9]{1,18}", cell) for cell in cells):
        return True
    return len(cells) > 1 and not any(number(cell) is not None for cell in cells)


def check_names(source: str, names: list[str], is_row: bool = False) -> None:
    if len(set(names)) == len(names):
        return
    twice = next(name for name in names if names.count(name) > 1)
    hint = "; is it a row? then say --no-header" if is_row else ""
    raise ValueError(
        f"{source}: the column {twice!r} is there twice; expected every name once{hint}"
    )


def _looks_like_a_row(cells, body) -> bool:
    """Numbers wherever the rows have them, and not the 0, 1, 2 that pandas gives for names; beside
    text one of them with a decimal point, since a year may be a name."""
    places = [i for i, column in enumerate(zip(*body))
              if i < len(cells) and all(number(cell) is not None for cell in column)]  # fmt: skip
    first = [cells[i].strip() for i in places]
    if not first or not all(
        re.fullmatch(r"[+-]?[0-9]*[.,]?[0-9]*(e[+-]?[0-9]+)?", cell, re.I) and cell
        for cell in first
    ):
        return False
    if len(first) < len(cells):
        return any(not cell.isdigit() for cell in first)
    return first != [str(i) for i in range(len(cells))]
