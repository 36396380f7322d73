"""What was measured, as text and as JSON."""

from __future__ import annotations

import math
import textwrap

from .roofline import Roofline

OURS = "fastgrad"
WIDTH, NAME_WIDTH = 120, 46

# Seconds, roughly: to import a contender, and to make its step of one work ready.
IMPORTS = {"fastgrad": 1.0, "torch": 2.5, "torch.compile": 2.5, "jax": 1.5, "pytensor": 3.0}
READY = {"torch.compile": 5.0, "jax": 0.7, "pytensor": 3.0}
ROOFLINE = 6.0


def estimate(works, contenders, rounds: int, seconds: float, pause: float) -> float:
    """Seconds of a whole run on a machine of two cores that does nothing else, roughly."""
    total = ROOFLINE + sum(IMPORTS.get(peer, 0.5) for peer in contenders)
    for work in works:
        call = work.flops / 3e10 + work.bytes / 1e10
        numbers = work.n * work.sizes[0] + work.parameters
        turns = rounds * (pause + max(1.25 * seconds, 3 * call) + 0.02)
        made = numbers * 1.5e-8  # random data, in every process
        total += made + work.flops / 3e9 + sum(
            turns + made + call + READY.get(peer, 0.1) for peer in contenders
        )  # fmt: skip
    return total


def expected(works, contenders, **settings) -> str:
    total = estimate(works, contenders, **settings)
    how = (
        f"some {10 * round(total / 10):.0f} seconds" if total < 90 else f"{total / 60:.0f} minutes"
    )
    return (
        f"{len(works)} works, {len(contenders)} contenders, {settings['rounds']} rounds: {how}, "
        "up to four times that beside other processes"
    )


def duration(seconds: float) -> str:
    """Three figures and a unit."""
    if not math.isfinite(seconds):
        return "-"
    for unit, size in (("s ", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{_three(seconds / size)} {unit}"
    return f"{_three(seconds / 1e-9)} ns"


def _three(value: float) -> str:
    if value >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def head(threads, config, versions, missing, roofline: Roofline) -> str:
    peak, bandwidth = roofline.peak, roofline.bandwidth
    lines = [
        f"{config['cpu']}, {config['simd']}, {threads} thread{'s' if threads > 1 else ''}; "
        f"Python {config['python']}, NumPy {config['numpy']}, Numba {config['numba']}",
        "FMA peak {:.0f} GFLOP/s float32, {:.0f} float64; read {:.0f} GB/s from L2, {:.0f} from "
        "L3, {:.0f} from memory".format(
            peak["float32"] / 1e9, peak["float64"] / 1e9,
            *(bandwidth[level] / 1e9 for level in ("L2", "L3", "memory")),
        ),
        "peers: " + ", ".join(v for peer, v in versions.items() if peer != OURS),
    ]  # fmt: skip
    lines += [f"left out: {peer} ({why})" for peer, why in missing.items()]
    wrapped = (textwrap.fill(line, WIDTH, subsequent_indent="  ") for line in lines)
    return "\n".join(wrapped) + "\n"


def table_head() -> str:
    return (
        f"{'':{NAME_WIDTH}}{'fastgrad':>9}{'GFLOP/s':>9}{'GB/s':>7}{'of limit':>14}"
        f"{'ratio':>8}  to best"
    )


def table_row(row) -> str:
    work, name = row.work, _in_column(row.work.name)
    seconds = row.seconds.get(OURS, float("nan"))
    text = (
        f"{name:{NAME_WIDTH}}{duration(seconds):>9}{work.flops / seconds / 1e9:9.1f}"
        f"{work.bytes / seconds / 1e9:7.1f}{100 * row.roofline_fraction:6.0f}% {row.bound:>6}"
        f"{row.ratio:7.2f}x  {row.best or '-'}"
    )
    if row.ratio < 1:
        text += " << LOSES"
    notes = [f"! {peer}: {why}" for peer, why in row.faults.items()]
    if row.disturbed > 0.2:
        notes.append(f"(disturbed: others kept {row.disturbed:.1f} processors busy)")
    indent = " " * 4
    lines = (
        textwrap.fill(note, WIDTH, initial_indent=indent, subsequent_indent=indent)
        for note in notes
    )
    return "\n".join([text, *lines])


def _in_column(name: str) -> str:
    """A name that is too long has a line of its own."""
    return name if len(name) < NAME_WIDTH else f"{name}\n{'':{NAME_WIDTH}}"


def times(rows, contenders) -> str:
    """Seconds of a call by each contender."""
    widths = [max(9, len(peer) + 1) for peer in contenders]
    fits = NAME_WIDTH + sum(widths) <= WIDTH

    def line(name, cells):
        text = "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths))
        return f"{_in_column(name):{NAME_WIDTH}}{text}" if fits else f"{name}\n    {text}"

    lines = ["", line("time of a call", contenders)]
    for row in rows:
        seconds = (row.seconds.get(peer, math.nan) for peer in contenders)
        lines.append(line(row.work.name, map(duration, seconds)))
    return "\n".join(lines)


def foot(rows, is_sweep: bool) -> str:
    ratios = sorted(row.ratio for row in rows if math.isfinite(row.ratio))
    lost = sorted((row for row in rows if row.ratio < 1), key=lambda row: row.ratio)
    lines = ["", "time of loss and gradient; 'of limit': fraction of the roofline, and what bounds "
             "it;", "ratio: best peer's time / fastgrad's"]  # fmt: skip
    if ratios:
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        lines.append(
            f"{len(ratios)} works: ratio to the best peer {ratios[0]:.2f} at least, "
            f"{ratios[len(ratios) // 2]:.2f} median, {mean:.2f} geometric mean"
        )
    lines.append(f"fastgrad loses {len(lost)} of {len(rows)}" + (":" if lost else ""))
    lines += [f"  {row.ratio:.2f}x to {row.best}: {row.work.name}" for row in lost]
    wrong = [(row, peer, why) for row in rows for peer, why in row.faults.items()]
    if is_sweep:
        lines += [f"  ! {peer}: {why}: {row.work.name}" for row, peer, why in wrong]
    return "\n".join(textwrap.fill(line, WIDTH, subsequent_indent="    ") for line in lines)


def cliff_text(curves) -> str:
    """Time per flop by width, and each step between neighbours that is larger than 1.5."""
    lines = []
    for dtype, curve in curves.items():
        lines.append(f"{dtype}: 10-w-w-10, 128 rows: width, time, ps a flop, step from w - 1")
        before = None
        for width, seconds, flops in curve:
            cost = seconds / flops * 1e12
            step = seconds / before if before else 1.0
            mark = "  << STEP" if step > 1.5 else ""
            lines.append(f"{width:5d}{duration(seconds):>10}{cost:9.2f}{step:7.2f}{mark}")
            before = seconds
    return "\n".join(lines)


def as_json(threads, config, versions, missing, roofline: Roofline, rows) -> dict:
    return {
        "threads": threads,
        "config": {key: str(value) for key, value in config.items()},
        "versions": versions,
        "missing": missing,
        "roofline": {
            "peak": roofline.peak,
            "bandwidth": roofline.bandwidth,
            "caches": roofline.caches,
        },
        "rows": [
            {
                "name": row.work.name,
                "kind": row.work.kind,
                "n": row.work.n,
                "sizes": row.work.sizes,
                "dtype": row.work.dtype,
                "loss": row.work.loss,
                "flops": row.work.flops,
                "bytes": row.work.bytes,
                "limit": row.limit,
                "bound": row.bound,
                "seconds": row.seconds,
                "ratios": row.ratios,
                "best": row.best,
                "disturbed": row.disturbed,
                "errors": row.errors,
                "faults": row.faults,
            }
            for row in rows
        ],
    }
