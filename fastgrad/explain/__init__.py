"""The paper with numbers in hand: derivations step by step, checked at each step.

`neuron`, `layer` and `network` derive a gradient on your own numbers, `formula` any formula of the
guide's table up to 35 on the paper's; each returns an `Explanation`, whose `str` fits a terminal of
80 columns, which a notebook shows as Markdown with LaTeX, and whose `as_dict` is for programs. At
each step stand the formula and its number, the shapes, the value in both layouts with the call
that gives it, and a check: five-point differences for a derivative, the NumPy twin for a value.
Every value comes from the library's own functions.

From a shell: ``python -m fastgrad explain 19``, ``python -m fastgrad explain neuron``.
"""

from .._core.names import list_public
from .layers import layer
from .networks import activation_of, network, slope_of
from .neurons import neuron
from .rows import formula, table
from .steps import Check, Explanation, Product, Step, Value

__all__ = [
    "Check",
    "Explanation",
    "Product",
    "Step",
    "Value",
    "activation_of",
    "formula",
    "layer",
    "network",
    "neuron",
    "slope_of",
    "table",
]
list_public(globals())
