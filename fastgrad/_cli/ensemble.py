"""The fits of an ensemble's networks, as `train` and its report take one fit."""

from __future__ import annotations

import numpy as np


class Ensemble:
    """Of the `FitResult`s of several networks."""

    def __init__(self, results):
        self.theta, self.best_theta = results.thetas, results.best_thetas
        self.history = Histories([result.history for result in results])
        reasons = list(dict.fromkeys(result.stopped for result in results))
        lost = [reason for reason in ("interrupted", "not finite") if reason in reasons]
        self.stopped = lost[0] if lost else ", ".join(reasons)
        self.interrupted = self.stopped == "interrupted"
        self.epochs = max(result.epochs for result in results)
        found = [result.best_epoch for result in results]
        self.best_epoch = found if all(found) else 0
        self.seconds = max(result.seconds for result in results)


class Histories:
    """What a `History` gives, for all networks."""

    def __init__(self, histories):
        self._all = histories

    def to_csv(self) -> str:
        """A line of names, then the lines of each network, numbered from 1."""
        lines = []
        for number, history in enumerate(self._all, 1):
            names, *rows = history.to_csv().splitlines()
            lines += [] if lines else [f"network,{names}"]
            lines += [f"{number},{row}" for row in rows]
        return "\n".join(lines) + "\n"

    def plot(self):
        """The pictures of all, one over the other."""
        figure = self._all[0].plot()
        for axis in figure.axes:
            names = [line.get_label() for line in axis.get_lines()]
            for line, name in zip(axis.get_lines(), names):
                column = {"training": "loss", "validation": "val_loss"}.get(name)
                column = column or next(c for c in self._all[0].columns if c.startswith("val_")
                                        and c != "val_loss")  # fmt: skip
                for history in self._all[1:]:
                    epochs = np.arange(1, len(history) + 1)
                    axis.plot(epochs, history[column], color=line.get_color(), linewidth=0.7)
        return figure
