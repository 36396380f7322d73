"""Which columns are inputs and which are targets: asked for in training, the model's afterwards.

Both ways give a function of (source, names, those of them that number the rows, whether they are
names or positions), which `read` calls before it reads a row.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass


@dataclass
class Roles:
    """Names in order; the columns of `text` keep their spelling."""

    inputs: list[str]
    targets: list[str]
    text: tuple[str, ...] = ()


def for_training(targets=None, features=None, drop=None, keep_index: bool = False):
    """Without `targets` the last column is it, without `features` all others are inputs, but those
    that number the rows unless `keep_index`.

    Each is a list of what an option was given: names, or names separated by commas.
    """

    def choose(source: str, names, index, named: bool) -> Roles:
        dropped = _picked(source, names, named, drop, "--drop")
        offered = [name for name in names if name not in dropped]
        plain = [name for name in offered if name not in index]
        chosen = _picked(source, names, named, targets, "--target") or plain[-1:]
        if not chosen:
            raise ValueError(f"{source}: no columns; expected inputs and a target")
        inputs = _picked(source, names, named, features, "--features")
        for name in chosen:
            if name in inputs or name in dropped:
                option = "--features" if name in inputs else "--drop"
                raise ValueError(f"{option} names {name!r}, which is the target")
        both = [name for name in inputs if name in dropped]
        if both:
            raise ValueError(f"--features and --drop both name {both[0]!r}")
        inputs = inputs or [n for n in (offered if keep_index else plain) if n not in chosen]
        if not inputs:
            raise ValueError(
                f"{source}: no columns beside the target {chosen[0]!r}; expected at least one "
                f"input (--sep says what separates columns, --skip-rows what is above them)"
            )
        return Roles(inputs, chosen, tuple(chosen))

    return choose


def for_model(model, with_targets: bool = False):
    """The inputs of a model by name; by position where the table or the model has no names.

    Where the model has no name of its target, it is what comes after the inputs.
    """
    named_targets = [model.target] if isinstance(model.target, str) else model.target
    targets = [name for name in named_targets if name]
    outputs = model.net.n_outputs if model.classes is None else 1

    def is_target(names, name: str) -> bool:
        """A target without a name is a position: another column may be called by its number."""
        if name.isdigit() and model.features is None:
            return name in targets and int(name) < len(names) and names[int(name)] == name
        return name in targets

    def choose(source: str, names, index, named: bool) -> Roles:
        features, count = model.features, len(model.columns)
        if features and (named or set(features) <= set(names)):
            missing = [name for name in features if name not in names]
            if missing:
                numbered = all(name.isdigit() for name in features)
                hint = "; --no-header if its first line is a row" if numbered and named else ""
                raise ValueError(
                    f"{source}: no column {missing[0]!r}; the model expects {_some(features)}{hint}"
                )
            inputs = features
        else:
            inputs = [n for n in names if n not in index and (named or n.isdigit())]
            if len(inputs) != count:
                inputs = [name for name in inputs if not is_target(names, name)]
            if len(inputs) == count + outputs and not targets:
                inputs = inputs[:count]
            if len(inputs) != count:
                hint = "; --no-header if its first line is a row" if named and not features else ""
                raise ValueError(
                    f"{source}: {len(inputs)} input columns; the model expects {count}{hint}"
                )
        found = _targets(source, names, inputs) if with_targets else []
        text = [mine for mine, column in zip(inputs, model.columns) if model.is_text(column)]
        return Roles(list(inputs), found, tuple([*text, *found]))

    def _targets(source: str, names, inputs) -> list[str]:
        wanted = targets or [name for name in names if name not in inputs][-outputs:]
        missing = [name for name in wanted if name not in names]
        if missing or not wanted:
            raise ValueError(
                f"{source}: no column {missing[0] if missing else model.target!r}; expected the "
                f"target among {_some(names)}"
            )
        return wanted

    return choose


def _picked(source: str, names, named: bool, options, option: str) -> list[str]:
    found = []
    for given in options or ():
        parts = [given] if given in names else next(csv.reader([given], skipinitialspace=True), [])
        for part in map(str.strip, parts):
            name = part
            if not named and part.lstrip("-").isdigit() and -len(names) <= int(part) < 0:
                name = names[int(part)]
            if name not in names:
                known = _some(names) if named else f"numbers 0 to {len(names) - 1} (no header)"
                raise ValueError(f"{source}: no column {part!r}; expected one of {known}")
            if name in found:
                raise ValueError(f"{option} names {part!r} twice")
            found.append(name)
    return found


def _some(names) -> str:
    shown = ", ".join(map(str, names[:20]))
    return shown + (f", ... ({len(names)} columns)" if len(names) > 20 else "")
