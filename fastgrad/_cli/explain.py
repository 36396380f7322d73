"""`fastgrad explain`: a formula, a neuron, a layer or a network, derived step by step."""

from __future__ import annotations

import inspect

import numpy as np

from .errors import UserError
from .output import as_json

KINDS = ("neuron", "layer", "network")
_ROWS_OF = {"neuron": 19, "layer": 23, "network": 24}  # whose numbers they take


def explain(args) -> int:
    from .. import explain as fge

    if args.what is None:
        if args.json:
            rows = [
                {"row": r.number, "section": r.section, "title": r.title, "latex": r.latex}
                for r in fge.rows.ROWS.values()
            ]
            print(as_json({"rows": rows}))
        else:
            print(fge.table())
        return 0
    explanation = _explanation(fge, args.what, args.numbers)
    if args.json:
        print(as_json(explanation.as_dict()))
    else:
        print(explanation._repr_markdown_() if args.markdown else explanation)
    return 0


def _explanation(fge, what: str, given):
    if what in KINDS:
        row = _ROWS_OF[what]
    elif what.isdecimal() and int(what) in fge.rows.ROWS:
        row = int(what)
    else:
        known = list(fge.rows.ROWS)
        raise UserError(
            f"WHAT is {what!r}; expected {', '.join(KINDS)} or a formula from {known[0]} to "
            f"{known[-1]} (fastgrad explain lists them){fge.rows.of_section(what)}"
        )
    parameters = inspect.signature(fge.rows.ROWS[row].build).parameters
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    values = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals:
            raise UserError(f"{pair!r} is no number; expected name=value, as in w=1,2")
        if name not in defaults:
            raise UserError(f"{what} has no {name!r}; it takes {', '.join(defaults)}")
        if name in values:
            raise UserError(f"{name} is given twice; expected every name once")
        values[name] = _value(name, value, defaults[name])
    if what == "neuron":
        return fge.neuron(**{**defaults, **values})
    if what == "layer":
        return fge.layer(**{**defaults, **values})
    if what == "network":
        return _network(fge, {**defaults, **values})
    return fge.formula(row, **values)


def _network(fge, values):
    from .. import MLP

    settings = {name: values.pop(name) for name in ("layer_sizes", "loss", "activation")}
    net = MLP(settings.pop("layer_sizes"), **settings)
    return fge.network(net, **values)


def _value(name: str, text: str, default):
    """As many axes as the example's number has: commas between entries, semicolons between rows."""
    if isinstance(default, str):
        return text
    rank = np.ndim(default) if default is not None else 1 + (";" in text)
    try:
        rows = [[float(cell) for cell in row.split(",")] for row in text.split(";") if row]
        array = np.array(rows)
    except ValueError:
        raise UserError(
            f"{name} is {text!r}; expected numbers, with commas between entries and semicolons "
            "between rows, as in 1,2;3,4"
        ) from None
    if rank < 2 and (len(rows) != 1 or (rank == 0 and array.size != 1)):
        raise UserError(f"{name} is {text!r}; expected {('one number', 'one row')[rank]}")
    array = array.reshape(array.shape[2 - rank :]) if rank < 2 else array
    if name == "layer_sizes":
        return [int(size) for size in array]
    return array if rank else float(array)
