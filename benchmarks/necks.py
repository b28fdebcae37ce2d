"""RetinaNet-R18 with each neck: python benchmarks/necks.py [--data bccd --epochs 30]

Prints one row per neck: parameters, multiply-adds of one input, and the median latency of ``predict``,
taken turn by turn. With ``--data`` each is trained from scratch on ``--train-split`` under the same
recipe, and AP and AP50 on ``--test-split`` are added; the last epoch counts, the split chooses nothing.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

import gazehound
from gazehound.data import open_dataset
from gazehound.model import Model
from gazehound.nn.necks.neck import NECKS


def multiply_adds(model: Model, size: int) -> int:
    """Count the multiply-adds of backbone, neck and head on one input."""
    model.detector.eval()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model.detector(torch.zeros(1, 3, size, size))
    return counter.get_total_flops() // 2


def latencies(models: dict[str, Model], size: int, repeats: int) -> dict[str, float]:
    """Return the median seconds of each model's ``predict`` on one picture, turn by turn."""
    picture = torch.randint(0, 256, (size, size, 3), dtype=torch.uint8).numpy()
    times: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(repeats + 1):
        for name, model in models.items():
            began = time.perf_counter()
            model.predict(picture)
            if turn:
                times[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in times.items()}


def scores(model: Model, options: argparse.Namespace, folder: Path) -> tuple[float, float]:
    """Train a model and return its AP and AP50 on the test split."""
    model.fit(
        options.data, out=folder, train_split=options.train_split, val_split=options.test_split,
        epochs=options.epochs, size=options.size, batch=options.batch, lr=options.lr, seed=0,
    )  # fmt: skip
    summary = model.evaluate(open_dataset(options.data, split=options.test_split)).coco().summary
    return summary["AP"], summary["AP50"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=416)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--data")
    parser.add_argument("--train-split", default="trainval")
    parser.add_argument("--test-split", default="test")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--lr", type=float, default=5e-4)
    options = parser.parse_args()
    classes = open_dataset(options.data).classes.names if options.data else ("a", "b", "c")
    models = {}
    for neck in NECKS:
        torch.manual_seed(0)
        models[neck] = gazehound.create(
            "retinanet_r18",
            classes,
            neck=neck,
            preprocess={"resize": "longer", "size": options.size},
        )
    medians = latencies(models, options.size, options.repeats)
    print("| neck | parameters | GMACs | latency, ms |" + (" AP | AP50 |" if options.data else ""))
    print("|---|---:|---:|---:|" + ("---:|---:|" if options.data else ""))
    for neck, model in models.items():
        count = sum(p.numel() for p in model.detector.parameters())
        row = f"| {neck} | {count:,} | {multiply_adds(model, options.size) / 1e9:.2f} "
        row += f"| {medians[neck] * 1e3:.0f} |"
        if options.data:
            with tempfile.TemporaryDirectory() as folder:
                row += " {:.3f} | {:.3f} |".format(*scores(model, options, Path(folder)))
        print(row, flush=True)


if __name__ == "__main__":
    main()
