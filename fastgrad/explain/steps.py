"""What an explanation consists of: steps, their values and their checks. Data alone; the two
renderings are in `text.py` and `markdown.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray

from . import markdown, text
from .notation import plain

__all__ = ["Check", "Explanation", "Product", "Step", "Value"]


@dataclass(frozen=True, eq=False)
class Value:
    """A quantity of a step.

    Attributes
    ----------
    latex, symbol : str
        Its name in LaTeX and in Unicode.
    array : ndarray of float64, or of bool or int64 for masks and labels
        A derivative in numerator layout; its transpose is the denominator layout.
    letters : tuple of str
        The shape in the glossary's letters, as ("n", "d").
    source : str
        The call that gives it; "" for what was given.
    derivative : bool
        Whether it has two layouts.
    """

    latex: str
    array: NDArray[Any]
    letters: tuple[str, ...]
    source: str = ""
    derivative: bool = False

    def __repr__(self) -> str:
        return f"<Value: {self.symbol}, {self.array.shape} {self.array.dtype}>"

    @property
    def symbol(self) -> str:
        """Its name in Unicode."""
        return plain(self.latex)

    @property
    def numerator(self) -> NDArray[Any]:
        """In numerator layout."""
        return self.array

    @property
    def denominator(self) -> NDArray[Any]:
        """In denominator layout."""
        return self.array.T if self.derivative else self.array

    def as_dict(self) -> dict[str, Any]:
        """Everything, arrays as lists."""
        known = {
            "symbol": self.symbol, "latex": self.latex, "letters": list(self.letters),
            "shape": list(self.array.shape), "source": self.source,
        }  # fmt: skip
        if not self.derivative:
            return {**known, "value": self.array.tolist()}
        layouts = {"numerator": self.array.tolist(), "denominator": self.array.T.tolist()}
        return {**known, "layouts": layouts}


@dataclass(frozen=True, eq=False)
class Product:
    """One entry of a product, term by term: Σ of factor · factor.

    Attributes
    ----------
    latex, symbol : str
        The entry's name.
    terms : tuple of (latex, number, latex, number)
        Two factors each, by name and value.
    zeros : int
        Terms left out because one factor is 0 whatever the numbers are.
    value : float
    """

    latex: str
    terms: tuple[tuple[str, float, str, float], ...]
    value: float
    zeros: int = 0

    @property
    def symbol(self) -> str:
        return plain(self.latex)

    def as_dict(self) -> dict[str, Any]:
        """Everything; a term is a list of name, number, name, number."""
        terms = [[plain(a), x, plain(b), y] for a, x, b, y in self.terms]
        return {
            "symbol": self.symbol, "latex": self.latex, "terms": terms, "zeros": self.zeros,
            "value": self.value,
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class Check:
    """A value against one that was found without the formula.

    Attributes
    ----------
    kind : "differences", "twin" or "identity"
        Five-point differences of a function; the library's NumPy twin (`fastgrad.reference`);
        another way to the same numbers.
    what : str
        Of what: "C by w", "Z".
    ok, inconclusive : bool
        As `fastgrad.GradientCheck` has them; the other two are right within rounding.
    entries : int
    error : float
        The largest relative error.
    message : str
        What went wrong, in one sentence; "" where nothing did.
    """

    kind: Literal["differences", "twin", "identity"]
    what: str
    ok: bool
    entries: int
    error: float
    inconclusive: bool = False
    message: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Everything."""
        return dict(vars(self))


@dataclass(frozen=True, eq=False)
class Step:
    """One step of a derivation.

    Attributes
    ----------
    title : str
    row : int
        The number of the formula in the guide's table.
    latex : tuple of str
        The formula, a line each.
    values : tuple of Value
    products : tuple of Product
        Entries of the last value, term by term.
    notes : tuple of str
    checks : tuple of Check
    """

    title: str
    row: int
    latex: tuple[str, ...]
    values: tuple[Value, ...] = ()
    products: tuple[Product, ...] = ()
    notes: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()

    def __repr__(self) -> str:
        return (
            f"<Step: {self.title}, formula {self.row}, {len(self.values)} values, "
            f"{len(self.checks)} checks>"
        )

    @property
    def formula(self) -> tuple[str, ...]:
        return tuple(plain(line) for line in self.latex)

    def as_dict(self) -> dict[str, Any]:
        """Everything, by name."""
        return {
            "title": self.title, "row": self.row, "latex": list(self.latex),
            "formula": list(self.formula),
            "values": [value.as_dict() for value in self.values],
            "products": [product.as_dict() for product in self.products],
            "notes": list(self.notes),
            "checks": [check.as_dict() for check in self.checks],
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class Explanation:
    """A derivation step by step: `str` for a terminal of 80 columns, Markdown in a notebook.

    Attributes
    ----------
    title : str
    steps : tuple of Step
    ok : bool
        Whether no check found a value wrong. At a kink differences cannot judge (`inconclusive`);
        the check says so.

    Examples
    --------
    >>> import fastgrad as fg
    >>> explanation = fg.explain.formula(16)
    >>> explanation.ok, explanation.steps[-1].row
    (True, 16)
    """

    title: str
    steps: tuple[Step, ...]

    @property
    def ok(self) -> bool:
        return all(c.ok or c.inconclusive for step in self.steps for c in step.checks)

    def __str__(self) -> str:
        return text.render(self)

    def __repr__(self) -> str:
        return f"<Explanation: {self.title}, {len(self.steps)} steps, ok={self.ok}; print it>"

    def _repr_markdown_(self) -> str:
        return markdown.render(self)

    def as_dict(self) -> dict[str, Any]:
        """Everything, with lists in the place of arrays: what `--json` prints.

        Examples
        --------
        >>> import fastgrad as fg
        >>> sorted(fg.explain.formula(16).as_dict())
        ['ok', 'steps', 'title']
        """
        steps = [step.as_dict() for step in self.steps]
        return {"title": self.title, "ok": self.ok, "steps": steps}
