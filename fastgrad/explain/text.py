"""An explanation in 80 columns of a terminal."""

from __future__ import annotations

import textwrap

import numpy as np

from .notation import plain, width

COLUMNS = 80
LAYOUTS = (
    "Numerator layout, the paper's: a gradient is a row, a Jacobian has a row a function. "
    "Denominator layout: transposed. n samples (the paper's N), d inputs, k outputs."
)
_INDENT = "    "
MOST_ROWS, MOST_COLUMNS = 8, 8  # of a matrix that is shown; the dictionary has all of it
MOST_PRODUCTS, MOST_TERMS = 6, 4


def number(value) -> str:
    """Four digits, as in 0.3333 or 1.2e-05; booleans as 1 and 0."""
    if isinstance(value, (bool, np.bool_)):
        return str(int(value))
    shown = f"{float(value):.4g}"
    return "0" if shown == "-0" else shown.replace("-", "−")


def cells(array: np.ndarray) -> list[list[str]]:
    """The entries of a vector (one row) or a matrix, the middle left out where there are many."""
    table = np.atleast_2d(array)
    rows = [
        [number(entry) for entry in _ends(row, MOST_COLUMNS)] for row in _ends(table, MOST_ROWS)
    ]
    if table.shape[1] > MOST_COLUMNS:
        for row in rows:
            row.insert(MOST_COLUMNS // 2, "…")
    if table.shape[0] > MOST_ROWS:
        rows.insert(MOST_ROWS // 2, ["⋮"] * len(rows[0]))
    return rows


def _ends(items, most: int):
    return items if len(items) <= most else [*items[: most // 2], *items[-(most // 2) :]]


def shape(value, transposed: bool = False) -> str:
    """`(n, d) = (2, 3)`, or of the transpose."""
    letters, sizes = value.letters, value.array.shape
    if transposed:
        letters, sizes = letters[::-1], sizes[::-1]
    if not letters:
        return "scalar"
    if all(letter.isdigit() for letter in letters):
        return _tuple(sizes)
    return f"{_tuple(letters)} = {_tuple(sizes)}"


def _tuple(items) -> str:
    items = [str(item) for item in items]
    return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"


def two_layouts(explanation) -> bool:
    """Whether a value is shown in both layouts, so that they are explained."""
    return any(both_layouts(value) for step in explanation.steps for value in step.values)


def both_layouts(value) -> bool:
    """Whether the transpose differs, and so is shown too."""
    array, letters = value.array, value.letters
    if not value.derivative or array.size == 1:
        return False
    return letters != letters[::-1] or not np.array_equal(array, array.T)


def render(explanation) -> str:
    lines = [*_wrapped(explanation.title, ""), "═" * COLUMNS]
    if two_layouts(explanation):
        lines += _wrapped(LAYOUTS, "")
    for place, step in enumerate(explanation.steps, 1):
        lines += ["", *_step(place, step)]
    return "\n".join(line.rstrip() for line in lines)


def _step(place: int, step) -> list[str]:
    head, right = f"{place:2}. {step.title}", f"formula {step.row}"
    gap = COLUMNS - width(head) - len(right)
    if gap > 1:
        lines = [f"{head}{' ' * gap}{right}", ""]
    else:
        lines = [*_wrapped(head, "", _INDENT), right.rjust(COLUMNS), ""]
    for formula in step.formula:
        lines += _wrapped(formula, _INDENT * 2)
    before = 2  # blank lines stand around matrices, not between vectors and scalars
    for value in step.values:
        shown = _value(value)
        if max(before, len(shown)) > 1:
            lines.append("")
        lines += shown
        before = len(shown)
    if step.products:
        lines += ["", *_products(step.products)]
    for note in step.notes:
        lines += ["", *_wrapped(note, _INDENT)]
    if step.checks:
        lines.append("")
    for check in step.checks:
        lines += _wrapped(check_line(check), _INDENT, "  ")
    return lines


def _wrapped(text: str, indent: str, more: str = "") -> list[str]:
    return textwrap.wrap(
        text, COLUMNS, initial_indent=indent, subsequent_indent=indent + more,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _value(value) -> list[str]:
    head = f"{_INDENT}{value.symbol}   "
    source = f"   {value.source}" if value.source else ""
    if not both_layouts(value):
        kind = ", the same in both layouts" if value.derivative and value.array.size > 1 else ""
        if value.array.ndim < 2 or value.array.size == 1:
            entries = "  ".join(cells(value.array)[0])
            shown = entries if value.array.size == 1 else f"[ {entries} ]"
            line = f"{head}{shape(value)}{kind}   {shown}"
            return _with_source(line, source)
        return [*_with_source(f"{head}{shape(value)}{kind}", source), *_matrix(value.array)]
    left, right = _matrix(value.array, ""), _matrix(value.array.T, "")
    left = [f"numerator {shape(value)}", *left]
    right = [f"denominator {shape(value, True)}", *right]
    indent = _INDENT * 2
    edge = max(map(width, left)) + 3
    lines = _with_source(head.rstrip(), source)
    if len(indent) + edge + max(map(width, right)) <= COLUMNS:
        for i in range(max(len(left), len(right))):
            a, b = (side[i] if i < len(side) else "" for side in (left, right))
            lines.append(f"{indent}{a}{' ' * (edge - width(a))}{b}")
        return lines
    return lines + [f"{indent}{line}" for line in (*left, *right)]


def _with_source(line: str, source: str) -> list[str]:
    if width(line) + width(source) <= COLUMNS:
        return [line + source]
    return [*_wrapped(line, "", _INDENT * 2), *_wrapped(source.strip(), _INDENT * 2)]


def _matrix(array: np.ndarray, indent: str = _INDENT * 2) -> list[str]:
    rows = cells(array)
    while rows and sum(max(len(row[j]) for row in rows) + 2 for j in range(len(rows[0]))) > 64:
        middle = len(rows[0]) // 2  # numbers too wide for all columns that could be shown
        for row in rows:
            row[middle - 1 : middle + 2] = ["…"]
    wide = [max(len(row[j]) for row in rows) for j in range(len(rows[0]))] if rows else []
    return [f"{indent}[ {'  '.join(c.rjust(w) for c, w in zip(row, wide))} ]" for row in rows]


def _products(products) -> list[str]:
    lines = []
    for product in products[:MOST_PRODUCTS]:
        named = [f"{plain(a)}·{plain(b)}" for a, _, b, _ in product.terms]
        valued = [f"{factor(x)}·{factor(y)}" for _, x, _, y in product.terms]
        zeros = f" (+ {product.zeros} zero{'s' * (product.zeros > 1)})" if product.zeros else ""
        sums = [_sum(named) + zeros, _sum(valued), number(product.value)]
        line = f"{product.symbol} = {' = '.join(sums if product.terms else sums[-1:])}"
        if _INDENT and width(line) + len(_INDENT) <= COLUMNS:
            lines.append(_INDENT + line)
            continue
        lines += _wrapped(f"{product.symbol} = {sums[0]}", _INDENT, _INDENT)
        lines += _wrapped(f"= {sums[1]} = {sums[2]}", _INDENT * 2, _INDENT)
    if len(products) > MOST_PRODUCTS:
        lines.append(f"{_INDENT}… and {len(products) - MOST_PRODUCTS} more entries like these")
    return lines


def factor(value: float) -> str:
    """A number as a factor: negative ones in parentheses."""
    shown = number(value)
    return f"({shown})" if shown.startswith("−") else shown


def _sum(terms: list[str]) -> str:
    shown = list(_ends(terms, MOST_TERMS))
    if len(terms) > MOST_TERMS:
        shown.insert(MOST_TERMS // 2, "…")
    return " + ".join(shown)


def check_line(check) -> str:
    """One sentence."""
    entries = f"{check.entries} entr{'y' if check.entries == 1 else 'ies'}"
    mark = "✓" if check.ok else "?" if check.inconclusive else "✗"
    error = f"relative error {check.error:.1e}" if check.error else "no difference"
    if check.kind == "twin":
        agree = "equal to NumPy's" if check.ok else "NOT NumPy's"
        return f"{mark} {check.what}: {agree}, {error}, {entries}"
    if check.kind == "identity":
        return f"{mark} {check.what}: {'equal' if check.ok else 'NOT equal'}, {error}, {entries}"
    if check.ok:
        return f"{mark} {check.what}: numerical derivative agrees, {error}, {entries}"
    return f"{mark} {check.what}: {check.message}"
