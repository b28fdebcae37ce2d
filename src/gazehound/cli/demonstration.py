"""The work of ``gazehound demo``."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from gazehound.cli.training import BEST_SHOWN, Trained, train_on
from gazehound.data.shapes import shapes
from gazehound.model import load
from gazehound.reports.drawing import draw_detections
from gazehound.training import run_folder
from gazehound.training.recipe import make_recipe

SIZE = 128  # pixels of the drawn images and of the input
TRAIN, VAL, UNSEEN = 240, 48, 6  # images
scenes = partial(
    shapes,
    size=(SIZE, SIZE),
    classes=("circle", "square", "triangle", "star"),
    objects=(1, 4),
    scale=(0.2, 0.5),
    hidden=0.3,
)
# Of the detectors in the package, those that a half-length portrait suits.
PORTRAIT = ("viola-jones-face",)


def run_demo(out: Path, epochs: int) -> None:
    """Train, evaluate, detect on images that took part in neither, and write ``report.html``.

    A finished demo in ``out`` is run again from the start.
    """
    console = Console()
    if (out / run_folder.RECIPE).exists():
        shutil.rmtree(out)
    recipe = make_recipe(
        {
            "model": "retinanet_r18",
            "data": "shapes",
            "arguments": {"backbone": "test_resnet", "channels": 48, "depth": 2},
            "epochs": epochs,
            "size": SIZE,
            "batch": 8,
            "lr": 4e-3,
            "ema": 0.98,
            "evaluate_every": 5,
            "workers": 1,
            "augment": {"colour": 0.2, "scale": [0.9, 1.1], "vertical_flip": 0.5},
        },
        where="demo",
    )
    train, val = scenes(TRAIN, seed=0), scenes(VAL, seed=1)
    trained = train_on(recipe, (train, val), out, console=console)
    _say_scores(console, trained)
    for file in _detect_unseen(trained, out / "unseen"):
        console.print(f"detected {file}", highlight=False, soft_wrap=True)
    _detect_astronaut(console, out / "astronaut.png")
    console.print(f"report   {out / run_folder.REPORT}", highlight=False, soft_wrap=True)


def _say_scores(console: Console, trained: Trained) -> None:
    assert trained.evaluation is not None
    result = trained.evaluation.coco()
    table = Table("class", "truths", "AP", "AP50", title="COCO accuracy on images not trained on")
    for row in result.per_class:
        table.add_row(row["name"], str(row["truths"]), *(_three(row[k]) for k in ("AP", "AP50")))
    table.add_section()
    summary = result.summary
    table.add_row("all", "", *(_three(summary[k]) for k in ("AP", "AP50")))
    console.print(table)


def _three(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _detect_unseen(trained: Trained, folder: Path) -> list[Path]:
    """Draw what the detector finds on fresh images."""
    folder.mkdir(parents=True, exist_ok=True)
    fresh = scenes(UNSEEN, seed=2)
    files = []
    for number, sample in enumerate(fresh):
        assert sample.image is not None
        found = trained.detector.predict([sample.image], score=BEST_SHOWN)[0]
        files.append(folder / f"{number}.png")
        Image.fromarray(draw_detections(sample.image, found)).save(files[-1])
    return files


def _detect_astronaut(console: Console, file: Path) -> None:
    """Let the detectors that ship with the package look at scikit-image's photograph, if it is there."""
    try:
        from skimage.data import astronaut
    except ImportError:
        console.print("scikit-image is not installed: no photograph to look at")
        return
    picture = np.ascontiguousarray(astronaut())
    drawn = picture
    for name in PORTRAIT:
        found = load(name).predict(picture)
        drawn = draw_detections(drawn, found)
        said = ", ".join(
            f"{label} {score:.2f}" for label, score in zip(found.names, found.scores, strict=True)
        )
        console.print(f"{name} sees in a photograph: {said or 'nothing'}", highlight=False)
    Image.fromarray(drawn).save(file)
    console.print(f"detected {file}", highlight=False, soft_wrap=True)
