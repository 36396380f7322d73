"""README's table from what `python -m benchmarks.peers --json FILE` wrote, as Markdown.

    python -m benchmarks.table avx512.json avx512-2.json avx2.json avx2-2.json

Two columns for each file: fastgrad's time with its fraction of the roofline, and the best peer with
the ratio of its time to fastgrad's. Several files of one processor path and number of threads, each
of other works, are one column. Below: the machines, and every work in which a peer is ahead.
"""

from __future__ import annotations

import argparse
import json
import math
import sys

from .report import duration
from .workloads import WORKS


def columns(paths) -> dict[str, dict]:
    """{"AVX-512, 1 thread": {"head": a file's settings, "rows": {work: its row}}}."""
    found: dict[str, dict] = {}
    for path in paths:
        with open(path) as file:
            result = json.load(file)
        simd, threads = result["config"]["simd"], result["threads"]
        simd = {"avx512": "AVX-512", "avx2": "AVX2", "neon": "NEON"}.get(simd, simd)
        name = f"{simd}, {threads} thread{'s' if threads > 1 else ''}"
        column = found.setdefault(name, {"head": result, "rows": {}})
        column["rows"] |= {row["name"]: row for row in result["rows"]}
    return found


def cells(row) -> list[str]:
    """(time and fraction of the roofline, best peer and ratio) of a work."""
    ours = row["seconds"].get("fastgrad") if row else None
    if ours is None:
        return ["", ""]
    text = f"{duration(ours)}, {100 * row['limit'] / ours:.0f} %".replace("us", "µs")
    best = row["best"]
    return [text, f"{best}, {row['ratios'][best]:.2f}" if best else ""]


def markdown(found) -> str:
    names = [work.name for work in WORKS]
    names = [name for name in names if any(name in column["rows"] for column in found.values())]
    heads = [head for name in found for head in (name, "best peer")]
    lines = ["| loss and gradient | " + " | ".join(heads) + " |", "|---" * (1 + len(heads)) + "|"]
    for name in names:
        parts = [cell for column in found.values() for cell in cells(column["rows"].get(name))]
        lines.append(f"| {name} | " + " | ".join(parts) + " |")
    lines.append("")
    for name, column in found.items():
        head = column["head"]
        peak = [head["roofline"]["peak"][dtype] / 1e9 for dtype in ("float32", "float64")]
        lines.append(
            f"{name}: {head['config']['cpu']}, FMA peak {peak[0]:.0f} GFLOP/s float32, "
            f"{peak[1]:.0f} float64; " + ", ".join(head["versions"].values())
        )
        lost = sorted(
            (row["ratios"][row["best"]], row["best"], row["name"])
            for row in column["rows"].values()
            if row["best"] and math.isfinite(row["ratios"][row["best"]])
        )
        for ratio, peer, work in lost:
            if ratio < 1:
                lines.append(f"- behind {peer}, {ratio:.2f}: {work}")
    return "\n".join(lines)


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.table", description=__doc__.split("\n")[0]
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="of peers --json")
    print(markdown(columns(parser.parse_args(arguments).files)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
