"""Showing that work goes on: a bar on a terminal, some lines elsewhere, or nothing."""

from __future__ import annotations

import sys
import threading
import time

LINES = 10  # of a run whose output is not a terminal
SECONDS = 2.0  # between the lines of a file that is read


def _show(show: bool | None, stream, total: int, done: int):
    """(a bar of epochs or None, whether there are lines)."""
    if show is False:
        return None, False
    if not getattr(stream, "isatty", lambda: False)():
        return None, bool(show)
    try:
        from tqdm import tqdm
    except ImportError:
        return None, True
    # short work shows nothing
    bar = tqdm(total=total, initial=done, unit="epoch", file=stream, delay=0.5, leave=bool(show))
    return bar, False


def _words(history) -> dict[str, str]:
    """The last row but for what every run has."""
    return {
        name.replace("_", " "): f"{value:.4f}"
        for name, value in history.last().items()
        if name not in ("learning_rate", "seconds")
    }


class Progress:
    """`show`: None for a bar on a terminal alone, True for lines elsewhere too, False for none."""

    def __init__(self, show: bool | None, epochs: int, done: int = 0, stream=None):
        self._stream = sys.stderr if stream is None else stream
        self._epochs = epochs
        self._bar, self._lines = _show(show, self._stream, epochs, done)

    def epoch(self, number: int, history) -> None:
        if self._bar is None and not self._lines:
            return
        shown = _words(history)
        if self._bar is not None:
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update()
        elif number in (1, self._epochs) or number % max(1, self._epochs // LINES) == 0:
            text = ", ".join(f"{name} {value}" for name, value in shown.items())
            print(f"epoch {number}/{self._epochs}: {text}", file=self._stream, flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


class Together:
    """Of many fits at once, in several threads: one bar of all their epochs, or a line now and then
    when a fit has ended."""

    def __init__(self, show: bool | None, fits: int, epochs: int, stream=None):
        self._stream = sys.stderr if stream is None else stream
        self._fits, self._epochs, self._ended = fits, epochs, 0
        self._bar, self._lines = _show(show, self._stream, fits * epochs, 0)
        self._lock = threading.Lock()

    def part(self) -> _Part:
        """What one fit shows its epochs to, in the place of a `Progress`."""
        return _Part(self)

    def advance(self, epochs: int, history=None) -> None:
        if self._bar is not None:
            with self._lock:
                if history is not None:
                    self._bar.set_postfix(_words(history), refresh=False)
                self._bar.update(epochs)

    def end(self, epochs: int, history) -> None:
        """A fit has ended, `epochs` of which were not needed."""
        self.advance(epochs)
        with self._lock:
            self._ended += 1
            number, fits = self._ended, self._fits
            if self._lines and (number in (1, fits) or number % max(1, fits // LINES) == 0):
                words = _words(history) if history is not None else {}
                text = ", ".join(f"{name} {value}" for name, value in words.items())
                print(f"fit {number}/{fits}: {text}", file=self._stream, flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


class _Part:
    def __init__(self, whole: Together):
        self._whole, self._left, self._history = whole, whole._epochs, None

    def epoch(self, number: int, history) -> None:
        self._left, self._history = self._left - 1, history
        self._whole.advance(1, history)

    def close(self) -> None:
        self._whole.end(self._left, self._history)


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
