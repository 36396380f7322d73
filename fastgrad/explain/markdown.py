"""An explanation as Markdown with LaTeX, for notebooks and pages."""

from __future__ import annotations

import numpy as np

from . import text


def render(explanation) -> str:
    parts = [f"### {_escaped(explanation.title)}"]
    if text.two_layouts(explanation):
        parts.append(f"*{_escaped(text.LAYOUTS)}*")
    for place, step in enumerate(explanation.steps, 1):
        parts += _step(place, step)
    return "\n\n".join(parts)


def _step(place: int, step) -> list[str]:
    parts = [f"**{place}. {_escaped(step.title)}** (formula {step.row})"]
    parts += [f"$$ {formula} $$" for formula in step.latex]
    parts += [_value(value) for value in step.values]
    parts += [_product(product) for product in step.products[: text.MOST_PRODUCTS]]
    if len(step.products) > text.MOST_PRODUCTS:
        parts.append(f"… and {len(step.products) - text.MOST_PRODUCTS} more entries like these")
    parts += [_escaped(note) for note in step.notes]
    parts += ["- " + _escaped(text.check_line(check)) for check in step.checks]
    return parts


def _value(value) -> str:
    source = f"\n\n`{value.source}`" if value.source else ""
    if not text.both_layouts(value):
        both = r",\ \text{the same in both layouts}"
        both = both if value.derivative and value.array.size > 1 else ""
        return f"$$ {value.latex} = {_array(value.array)} {_shape(value, False, both)} $$" + source
    return (
        rf"$$ {value.latex} = \underbrace{{{_array(value.array)}}}"
        rf"_{{\text{{numerator }} {text.shape(value)}}} \qquad "
        rf"\underbrace{{{_array(value.array.T)}}}"
        rf"_{{\text{{denominator }} {text.shape(value, True)}}} $$" + source
    )


def _shape(value, transposed: bool, more: str = "") -> str:
    if not value.letters:
        return ""
    return rf"\qquad {text.shape(value, transposed)}{more}".replace("·", r" \cdot ")


def _array(array: np.ndarray) -> str:
    if array.ndim == 0:
        return _latex(text.number(array[()]))
    rows = r" \\ ".join(" & ".join(map(_latex, row)) for row in text.cells(array))
    return rf"\begin{{bmatrix}} {rows} \end{{bmatrix}}"


def _latex(shown: str) -> str:
    """A number that `text.number` wrote."""
    shown = {"…": r"\cdots", "⋮": r"\vdots"}.get(shown, shown).replace("−", "-")
    if "e" in shown and shown[0] in "-0123456789":
        mantissa, _, power = shown.partition("e")
        return rf"{mantissa} \cdot 10^{{{int(power)}}}"
    return shown


def _factor(value: float) -> str:
    return f"({_latex(text.number(value))})" if value < 0 else _latex(text.number(value))


def _product(product) -> str:
    if not product.terms:
        return f"$$ {product.latex} = {_latex(text.number(product.value))} $$"
    word = "zero" if product.zeros == 1 else "zeros"
    zeros = rf"\ (+ {product.zeros} \text{{ {word}}})" if product.zeros else ""
    kept = _some(product.terms)
    named = " + ".join(rf"{t[0]} {{\cdot}} {t[2]}" if t else r"\cdots" for t in kept)
    valued = " + ".join(rf"{_factor(t[1])} \cdot {_factor(t[3])}" if t else r"\cdots" for t in kept)
    value = _latex(text.number(product.value))
    return rf"$$ {product.latex} = {named}{zeros} = {valued} = {value} $$"


def _some(terms):
    if len(terms) <= text.MOST_TERMS:
        return list(terms)
    half = text.MOST_TERMS // 2
    return [*terms[:half], None, *terms[-half:]]


def _escaped(line: str) -> str:
    """Text whose signs are no markup."""
    for sign in "\\`*_[]<>$|":
        line = line.replace(sign, "\\" + sign)
    return line
