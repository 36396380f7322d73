"""One source for two renderings: formulas are written in LaTeX, and `plain` is the same in Unicode.

The subset is what the formulas here use: fractions, accents, sub- and superscripts, matrices, Greek
letters and operators. Text has no italics, so spaces are kept as they are written.
"""

from __future__ import annotations

import re
import unicodedata

_SYMBOLS = {
    "partial": "∂", "nabla": "∇", "sum": "Σ", "prod": "Π", "odot": "⊙", "otimes": "⊗",
    "oslash": "⊘", "circ": "○", "cdot": "·", "times": "×", "le": "≤", "ge": "≥", "ne": "≠",
    "in": "∈", "to": "→", "leftarrow": "←", "Rightarrow": "⇒", "approx": "≈", "infty": "∞",
    "alpha": "α", "delta": "δ", "Delta": "Δ", "eta": "η", "lambda": "λ", "sigma": "σ",
    "tau": "τ", "theta": "θ", "ell": "l", "ldots": "…", "dots": "…", "cdots": "⋯", "vdots": "⋮",
    "max": "max", "min": "min", "ln": "ln", "log": "log", "exp": "exp", "sin": "sin", "cos": "cos",
    "tanh": "tanh", "quad": "   ", "qquad": "      ", "left": "", "right": "", "|": "‖",
    ",": " ", ";": " ", "!": "", "{": "{", "}": "}", "_": "_", "pm": "±",
}  # fmt: skip
_PREFIXES = ("partial", "nabla", "left", "right")  # what follows stands close to them
_ACCENTS = {"vec": "\u20d7", "hat": "\u0302", "dot": "\u0307", "bar": "\u0304"}
_UPRIGHT = ("text", "operatorname", "mathbf", "mathrm", "boldsymbol")
_ABOVE = dict(zip("0123456789+-−=()nTi", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁼⁽⁾ⁿᵀⁱ"))
_BELOW = dict(zip("0123456789+-−=()aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉₊₋₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ"))


def plain(latex: str) -> str:
    """The formula in Unicode, for a terminal.

    Examples
    --------
    >>> plain(r"\\frac{\\partial C}{\\partial w} = \\frac{2}{N} \\sum_i e_i \\mathbf{x}_i^T")
    '∂C/∂w = 2/N Σᵢ eᵢ xᵢᵀ'
    """
    text, rest = _sequence(latex, 0)
    if rest != len(latex):
        raise ValueError(f"latex has an unopened brace at {rest}: {latex!r}")
    text = re.sub("(?<! )  (?! )", " ", text)  # around words, which bring their own spaces
    return unicodedata.normalize("NFC", text)


def partial(of: str, by: str) -> str:
    """∂of/∂by of two vectors, in LaTeX.

    Examples
    --------
    >>> plain(partial("a", "w"))
    '∂a/∂w'
    """
    return rf"\frac{{\partial \mathbf{{{of}}}}}{{\partial \mathbf{{{by}}}}}"


def width(text: str) -> int:
    """How many columns the text takes: combining marks take none."""
    return sum(not unicodedata.combining(letter) for letter in text)


def _sequence(source: str, at: int):
    parts = []
    while at < len(source) and source[at] != "}":
        part, at = _item(source, at)
        parts.append(part)
    return "".join(parts), at


def _item(source: str, at: int):
    """The text of one group, command, script or letter, and where the next begins."""
    letter = source[at]
    if letter == "{":
        inner, end = _sequence(source, at + 1)
        if end >= len(source):
            raise ValueError(f"latex has an unclosed brace: {source!r}")
        return inner, end + 1
    if letter == "\\":
        return _command(source, at + 1)
    if letter in "^_":
        inner, at = _argument(source, at + 1)
        return _script(inner, letter), at
    return ("−" if letter == "-" else "′" if letter == "'" else letter), at + 1


def _argument(source: str, at: int):
    while source[at] == " ":
        at += 1
    return _item(source, at)


def _script(inner: str, kind: str) -> str:
    known = _ABOVE if kind == "^" else _BELOW
    if all(letter in known for letter in inner):
        return "".join(known[letter] for letter in inner)
    return f"{kind}{inner}" if len(inner) == 1 else f"{kind}({inner})"


def _command(source: str, at: int):
    end = at
    while end < len(source) and source[end].isalpha():
        end += 1
    end = max(end, at + 1)
    name = source[at:end]
    if name == "begin":
        return _matrix(source, end)
    if name == "frac":
        above, end = _argument(source, end)
        below, end = _argument(source, end)
        return f"{_factor(above)}/{_factor(below)}", end
    if name in _ACCENTS:
        inner, end = _argument(source, end)
        return inner + _ACCENTS[name], end
    if name in _UPRIGHT:
        return _argument(source, end)
    if name not in _SYMBOLS:
        raise ValueError(f"latex has an unknown command \\{name}: {source!r}")
    if name in _PREFIXES:
        while end < len(source) and source[end] == " ":
            end += 1
    return _SYMBOLS[name], end


def _factor(text: str) -> str:
    return f"({text})" if any(mark in text for mark in " +−/·") and text[-1:] != ")" else text


def _matrix(source: str, at: int):
    """`\\begin{bmatrix} a & b \\\\ c & d \\end{bmatrix}` → [a, b; c, d]."""
    _, at = _item(source, at)
    end = source.index("\\end{", at)
    rows = [
        ", ".join(plain(cell.strip()) for cell in row.split("&"))
        for row in source[at:end].split("\\\\")
    ]
    return f"[{'; '.join(rows)}]", source.index("}", end) + 1
