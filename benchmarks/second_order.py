"""Second-order training: ``python -m benchmarks.second_order [--plot FILE.svg] [--threads N]``.

1. Levenberg-Marquardt on sin(10 x) / (10 x), 20,000 rows of [-1, 1], 1-20-1, tanh, float64, until
   the loss is 3.3e-7: the curve fit that torch-levenberg-marquardt's README publishes 16.6 s for,
   on hardware that it does not state. Seconds, epochs and loss, seed by seed.
2. The embedded diamonds (a fifth held out), 9-32-1, tanh, float32: the held-out R² over the seconds
   of training, for Levenberg-Marquardt, Newton-CG, L-BFGS (SciPy) and Adam, from the same initial
   parameters.

Each contender trains an epoch first, untimed, so that its kernels are compiled.
"""

from __future__ import annotations

import argparse

import numpy as np

import fastgrad as fg

TARGET = 3.3e-7
CURVES = {  # colour, optimizer, options of fit
    "Levenberg-Marquardt": ("C3", fg.LevenbergMarquardt(), {"epochs": 40}),
    "Newton-CG": ("C2", fg.NewtonCG(), {"epochs": 100}),
    "L-BFGS": ("C1", "lbfgs", {"epochs": 600}),
    "Adam, batches of 200": ("C0", fg.Adam(1e-3), {"epochs": 100, "batch_size": 200}),
}
LEVELS = 0.95, 0.98, 0.985, 0.988


def sinc(seed: int, threads) -> fg.FitResult:
    X = np.linspace(-1, 1, 20_000)[:, None]
    y = np.sinc(10 * X[:, 0] / np.pi)
    net = fg.MLP([1, 20, 1], loss="mse", activation="tanh")
    options = dict(optimizer=fg.LevenbergMarquardt(), seed=seed, threads=threads, progress=False)
    fg.fit(net, X, y, epochs=1, **options)
    return fg.fit(
        net, X, y, epochs=500, callbacks=lambda r: r.history.last()["loss"] <= TARGET, **options
    )


def diamonds(threads, seconds: float) -> dict[str, fg.FitResult]:
    """Each contender's run of some `seconds` at most."""
    X, X_test, y, y_test = fg.datasets.split(fg.datasets.load_diamonds(dtype="float32"), seed=0)
    X, X_test, _ = fg.datasets.standardize(X, X_test)
    y, y_test, _ = fg.datasets.standardize(np.log(y), np.log(y_test))
    net, results = fg.MLP([9, 32, 1], "mse", activation="tanh", dtype="float32"), {}
    for name, (_, optimizer, options) in CURVES.items():
        fixed = dict(optimizer=optimizer, seed=0, validation=(X_test, y_test), threads=threads,
                     progress=False)  # fmt: skip
        fg.fit(net, X, y, **{**options, "epochs": 1}, **fixed)
        results[name] = fg.fit(
            net, X, y, callbacks=lambda r: r.history.last()["seconds"] > seconds, **options, **fixed
        )
    return results


def report(results) -> None:
    print(f"{'diamonds, 9-32-1':24}{'epochs':>7}{'seconds':>9}{'best R²':>9}", end="")
    print("".join(f"{f's to {level}':>12}" for level in LEVELS))
    for name, result in results.items():
        history = result.history
        print(f"{name:24}{result.epochs:7}{history.seconds[-1]:9.2f}", end="")
        print(f"{history.val_r2.max():9.4f}", end="")
        for level in LEVELS:
            first = np.flatnonzero(history.val_r2 >= level)
            print(f"{history.seconds[first[0]]:12.3f}" if len(first) else f"{'-':>12}", end="")
        print()


def plot(results, path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axis = figure.subplots()
    for name, result in results.items():
        axis.plot(
            result.history.seconds, 1 - result.history.val_r2, color=CURVES[name][0], label=name
        )
    axis.set(xscale="log", yscale="log", xlabel="seconds of training",
             ylabel="1 - R² on held-out rows", title="Diamonds, 9-32-1")  # fmt: skip
    axis.legend()
    axis.grid(alpha=0.3)
    figure.savefig(path)


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--plot", metavar="FILE", help="draw R² over seconds")
    parser.add_argument("--threads", type=int, help="at most so many (all)")
    parser.add_argument("--seeds", type=int, default=3, help="of the curve fit (3)")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each run on diamonds (8)")
    args = parser.parse_args(argv)
    for seed in range(args.seeds):
        result = sinc(seed, args.threads)
        print(f"sin(10 x) / (10 x), seed {seed}: {result.seconds:.2f} s, {result.epochs} epochs, "
              f"loss {result.history.loss[-1]:.2e}", flush=True)  # fmt: skip
    results = diamonds(args.threads, args.seconds)
    report(results)
    if args.plot:
        plot(results, args.plot)


if __name__ == "__main__":
    main()
