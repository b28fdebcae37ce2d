"""Which rows of the catalogue export to which format: every one is written, run and compared.

    python benchmarks/export_rows.py retinanet_r18 yolox_nano     # some rows
    python benchmarks/export_rows.py                              # all that have a small form

Each row is built in its small form (``Entry.tiny``) with random weights, for inputs of any size where its
preprocessing makes such, or with ``--fixed`` for squares of 128 pixels, which record sooner. A line says
for each format and with and without NMS inside how far boxes and scores are from the checkpoint's, or why
there is no such file. The table in docs/export.md comes from here.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from gazehound.catalog import ENTRIES, Entry
from gazehound.checkpoints.rebuild import build
from gazehound.errors import GazehoundError
from gazehound.export.evidence import Evidence
from gazehound.export.graph import Plan
from gazehound.export.passport import SUFFIXES
from gazehound.export.write import Order, export
from gazehound.model import Model
from gazehound.records import Classes, Sample

CLASSES = Classes(("ant", "bee", "cat"))
SIDE = 128  # pixels
SUFFIX_OF = {form: suffix for suffix, form in SUFFIXES.items()}


def small(entry: Entry, *, fixed: bool) -> Model:
    """Build a row's small form with scores spread over 0..1, as trained ones are."""
    torch.manual_seed(0)
    detector, header = build(entry.name, CLASSES, entry.tiny)
    changes = {"resize": "longer", "size": SIDE, "square": fixed}
    detector.preprocess = detector.preprocess.changed(changes)
    for module in detector.modules():
        bias = getattr(module, "bias", None)
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # takes its statistics from the next batch
        elif isinstance(module, torch.nn.Conv2d) and bias is not None and bias.mean().item() < -1:
            torch.nn.init.normal_(module.weight, std=0.5)
            torch.nn.init.zeros_(bias)
    images = [sample.image for sample in pictures() if sample.image is not None]
    with torch.no_grad():
        detector.train()(detector.preprocess.batch(images).images)
    return Model(detector.eval(), header)


def pictures() -> Evidence:
    """Return blocks of colour, of two shapes."""
    generator = np.random.default_rng(5)
    sizes = [(96, 128), (128, 70)]
    images = [
        generator.integers(0, 256, (h // 8 + 1, w // 8 + 1, 3), dtype=np.uint8)
        .repeat(8, 0).repeat(8, 1)[:h, :w]
        for h, w in sizes
    ]  # fmt: skip
    return Evidence([Sample.of(image) for image in images], "blocks", False)


def attempt(model: Model, form: str, plan: Plan, folder: Path) -> str:
    """Return what came of one export, in a few words."""
    order = Order(form, folder / f"m{SUFFIX_OF[form]}", plan)
    try:
        _, proof = export(model.detector, model.header, order, pictures())
    except GazehoundError as error:
        return f"no: {error}"
    return (
        f"yes: {proof.detections} detections, {proof.box:.1e} px, scores {proof.score:.0e}, "
        f"{proof.ties} ties"
    )


def main() -> None:
    """Run the rows that are named, and print a line for each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rows", nargs="*")
    parser.add_argument("--fixed", action="store_true")
    parser.add_argument("--formats", default="onnx,openvino,torch-export")
    parser.add_argument("--plans", default="plain,nms")
    options = parser.parse_args()
    for entry in ENTRIES:
        asked = entry.name in options.rows if options.rows else entry.tiny is not None
        if entry.kind != "network" or entry.tiny is None or not asked:
            continue
        model = small(entry, fixed=options.fixed)
        for form in options.formats.split(","):
            for plan in options.plans.split(","):
                started = time.process_time()
                with TemporaryDirectory() as folder:
                    told = attempt(model, form, Plan(nms=plan == "nms"), Path(folder))
                spent = time.process_time() - started
                print(f"{entry.name:26} {form:13} {plan:6} {told} ({spent:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
