"""The figures of `python -m benchmarks.peers --plot`: matplotlib, SVG or PNG by the name."""

from __future__ import annotations

INK, MUTED, OURS, LOSS = "#1f2328", "#8a8f98", "#1b6ac9", "#d1342f"
PEERS = {
    "numpy": "#4c9f70",
    "torch": "#e07b39",
    "torch.compile": "#b5532a",
    "jax": "#8e5ea2",
    "pytensor": "#c2a400",
    "sklearn": "#6b7280",
}

# A legend between title and axes, where no point lies.
ABOVE = {
    "loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "frameon": False, "fontsize": 8,
    "columnspacing": 1.0, "handletextpad": 0.2,
}  # fmt: skip


def _pyplot():
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update(
        {
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": MUTED,
            "axes.labelcolor": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "svg.fonttype": "none",
            "svg.hashsalt": "fastgrad",
        }
    )
    return plt


def _save(figure, path) -> None:
    figure.savefig(path, dpi=150, metadata={"Date": None} if str(path).endswith("svg") else None)


def plot_rows(rows, threads, config, path) -> None:
    """Ratio to each peer, and the fraction of the roofline, over the flops of a call."""
    plt = _pyplot()
    from matplotlib.ticker import LogLocator, NullFormatter

    rows = [row for row in rows if "fastgrad" in row.seconds]
    x = [row.work.flops for row in rows]
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(7.5, 7), sharex=True, layout="constrained")
    for peer, color in PEERS.items():
        points = [(row.work.flops, row.ratios[peer]) for row in rows if peer in row.ratios]
        if points:
            top.scatter(*zip(*points), s=16, color=color, label=peer, alpha=0.75, linewidths=0)
    best = [row.ratio for row in rows]
    top.scatter(x, best, s=46, facecolors="none", linewidths=1.1, label="best peer",
                edgecolors=[LOSS if ratio < 1 else INK for ratio in best])  # fmt: skip
    top.axhline(1, color=INK, linewidth=0.8)
    top.set_yscale("log")
    top.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    top.yaxis.set_major_formatter(lambda value, _: f"{value:g}x")
    top.yaxis.set_minor_formatter(NullFormatter())
    top.set_ylabel("peer's time / fastgrad's time")
    figure.suptitle(
        f"Loss and gradient, {threads} thread{'s' if threads > 1 else ''}, {config['cpu']} "
        f"({config['simd']})", fontsize=10,
    )  # fmt: skip
    top.legend(ncols=7, **ABOVE)
    for bound, marker in (("fma", "o"), ("L2", "v"), ("L3", "s"), ("memory", "D")):
        points = [(r.work.flops, 100 * r.roofline_fraction) for r in rows if r.bound == bound]
        if points:
            bottom.scatter(*zip(*points), s=22, color=OURS, marker=marker, linewidths=0, alpha=0.8,
                           label=f"bound by {bound}")  # fmt: skip
    bottom.set_ylim(0, 105)
    bottom.set_ylabel("fastgrad, % of the roofline")
    bottom.set_xscale("log")
    bottom.set_xlabel("floating-point operations of one call")
    bottom.legend(ncols=4, **ABOVE)
    for axes in (top, bottom):
        axes.grid(True, which="major", color="#e6e8eb", linewidth=0.6)
        axes.set_axisbelow(True)
    _save(figure, path)
    plt.close(figure)


def plot_cliff(curves, path) -> None:
    """Picoseconds a floating-point operation over the width."""
    plt = _pyplot()
    figure, axes = plt.subplots(figsize=(7.5, 3.6), layout="constrained")
    for (dtype, curve), color in zip(curves.items(), (OURS, PEERS["torch"])):
        widths = [width for width, _, _ in curve]
        axes.plot(widths, [t / flops * 1e12 for _, t, flops in curve], color=color, label=dtype)
    axes.set_yscale("log")
    axes.set_xlabel("w in 10-w-w-10, 128 rows")
    axes.set_ylabel("ps per floating-point operation")
    axes.grid(True, color="#e6e8eb", linewidth=0.6)
    axes.legend(frameon=False)
    _save(figure, path)
    plt.close(figure)
