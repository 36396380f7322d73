"""Showing that work goes on: a bar on a terminal, some lines elsewhere, or nothing."""

from __future__ import annotations

import sys
import time

LINES = 10  # of a run whose output is not a terminal
SECONDS = 2.0  # between the lines of a file that is read


class Progress:
    """`show`: None for a bar on a terminal alone, True for lines elsewhere too, False for none."""

    def __init__(self, show: bool | None, epochs: int, done: int = 0, stream=None):
        self._stream = sys.stderr if stream is None else stream
        self._epochs, self._bar, self._lines = epochs, None, False
        if show is False:
            return
        terminal = getattr(self._stream, "isatty", lambda: False)()
        if terminal:
            try:
                from tqdm import tqdm
            except ImportError:
                self._lines = True
            else:  # short work shows nothing
                self._bar = tqdm(
                    total=epochs, initial=done, unit="epoch", file=self._stream, delay=0.5,
                    leave=bool(show),
                )  # fmt: skip
        else:
            self._lines = bool(show)

    def epoch(self, number: int, history) -> None:
        if self._bar is None and not self._lines:
            return
        shown = {
            name.replace("_", " "): f"{value:.4f}"
            for name, value in history.last().items()
            if name not in ("learning_rate", "seconds")
        }
        if self._bar is not None:
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update()
        elif number in (1, self._epochs) or number % max(1, self._epochs // LINES) == 0:
            text = ", ".join(f"{name} {value}" for name, value in shown.items())
            print(f"epoch {number}/{self._epochs}: {text}", file=self._stream, flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


class Bytes:
    """Of a file that is read: called with the bytes done and in all; short work shows nothing."""

    def __init__(self, name: str):
        self._name, self._bar, self._last = name, None, time.monotonic()
        if getattr(sys.stderr, "isatty", lambda: False)():
            try:
                from tqdm import tqdm
            except ImportError:
                return
            self._bar = tqdm(
                unit="B", unit_scale=True, desc=f"reading {name}", file=sys.stderr, delay=0.5,
                leave=False,
            )  # fmt: skip

    def __call__(self, done: int, size: int) -> None:
        if self._bar is not None:
            self._bar.total = size
            self._bar.update(done - self._bar.n)
        elif time.monotonic() - self._last >= SECONDS:
            self._last = time.monotonic()
            share = f"{min(done, size) / max(size, 1):.0%}"
            print(f"reading {self._name}: {share}", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
