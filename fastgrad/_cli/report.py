"""What `fastgrad train` leaves: files, a summary, and lines for who watches."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

from .. import checkpoint as store
from .._core import files
from .._tables.sources import stem
from ..metrics import score_name, tallied
from ..models import Model
from .errors import UserError
from .output import apart, as_json, check_picture, free, read_places, write_picture


def outputs(args) -> dict:
    """Where results go; what exists is refused before training."""
    if args.output is None:
        name = "stdin" if args.data[0] == "-" else stem(args.data[0])
        output = _unused(f"{name}-model.npz")
    else:
        output = Path(args.output)
    files.check_place(output, "--output")
    regular = not files.written_into(output)
    named = {"model": output}
    if args.history or regular:
        named["history"] = Path(args.history or output.with_suffix(".history.csv"))
    if args.plot is not None:
        if not args.plot and not regular:
            raise UserError(f"--plot beside --output {output}; expected --plot FILE")
        named["plot"] = Path(args.plot or output.with_suffix(".png"))
        check_picture(named["plot"])
    for name, path in named.items():
        files.check_place(path, f"--{name}")
    others = read_places(args)
    if args.checkpoint is not None:
        others["--checkpoint"] = files.check_place(args.checkpoint, "--checkpoint")
    apart({**others, **{f"the {name}": path for name, path in named.items()}})
    for path in named.values():
        free(path, args.force)
    if args.json and _standard_output(named):
        raise UserError("--json and - both write to standard output; expected one")
    checkpoint = others.get("--checkpoint")
    if checkpoint is not None and checkpoint.exists() and not (args.force or args.resume):
        raise UserError(f"{checkpoint} exists; add --resume to go on, or --force to replace")
    return named


def _standard_output(places) -> bool:
    return any(str(path) in files.STANDARD_OUTPUT for path in places.values())


def _unused(name: str) -> Path:
    """The name, or the first numbered one whose files are not there."""
    path, number = Path(name), 1
    while path.exists() or path.with_suffix(".history.csv").exists():
        number += 1
        path = Path(name).with_stem(f"{Path(name).stem}-{number}")
    return path


def announce(args, model: Model, parts) -> None:
    if args.json:
        return
    sizes = "-".join(map(str, model.net.layer_sizes))
    kinds = f" ({len(model.classes)} classes)" if model.classes else ""
    networks = "network" if args.networks == 1 else f"{args.networks} networks"
    held = f", {len(parts.rows[1])} held out" if len(parts.rows) > 1 else ""
    print(
        f"{parts.table.source}: {parts.task} of {', '.join(parts.table.targets)}{kinds}, "
        f"{len(parts.rows[0])} rows to train on{held}; "
        f"{networks} {sizes}, {args.optimizer}, seed {args.seed}",
        file=sys.stderr,
    )


def summary(args, model: Model, parts, result) -> dict:
    net, theta = model.net, model.theta
    found = {
        "data": parts.table.source, "task": parts.task, "target": model.target,
        "network": store.specification(net), "networks": args.networks, "optimizer": args.optimizer,
        "batch_size": args.batch_size, "seed": args.seed, "epochs": result.epochs,
        "best_epoch": result.best_epoch, "stopped": result.stopped,
        "seconds": round(result.seconds, 4), "rows": len(parts.rows[0]),
    }  # fmt: skip
    for name, part in (("train", parts.training), ("val", parts.held_out)):
        if part is None:
            continue
        tally = tallied(net, theta, *part, threads=args.threads)
        scores = tally.scores()
        found[f"{name}_loss"] = scores.loss
        found[f"{name}_{score_name(net)}"] = scores.score
        if model.classes is None:
            with np.errstate(under="ignore", over="ignore"):
                root = np.sqrt(tally.mean_squares()) * model.target_scale
            found[f"{name}_rmse"] = float(root[0]) if len(root) == 1 else root.tolist()
    return found


def save(args, places: dict, model: Model, result) -> dict:
    saved = {}
    for name, path in places.items():
        if not args.force and not files.written_into(path) and path.exists():
            path = path.with_stem(f"{path.stem}-{os.getpid()}")  # somebody else's, since the start
        if name == "model":
            model.save(path, overwrite=args.force)
        elif name == "history":
            with files.replaced(path, "w", exclusive=not args.force) as file:
                file.write(result.history.to_csv())
        else:
            write_picture(path, result.history.plot(), args.force)
        saved[name] = str(path)
    return saved


def show(args, model: Model, found: dict, saved: dict) -> None:
    if args.json:
        print(as_json({**found, "saved": saved}))
        return
    stream = sys.stderr if _standard_output(saved) else sys.stdout
    kind = score_name(model.net)
    for part, words in (("train", "training"), ("val", "validation")):
        if f"{part}_loss" in found:
            score = found[f"{part}_{kind}"]
            shown = f"accuracy {score:.2%}" if kind == "accuracy" else f"R2 {score:.4f}"
            if f"{part}_rmse" in found:
                errors = np.atleast_1d(found[f"{part}_rmse"])
                shown += f", RMSE {', '.join(f'{error:.6g}' for error in errors)}"
            print(f"{words}: loss {found[f'{part}_loss']:.4f}, {shown}", file=stream)
    print(f"{found['epochs']} epochs in {found['seconds']:.2f} s ({found['stopped']})", file=stream)
    for name, path in saved.items():
        print(f"{name}: {path}", file=stream)
