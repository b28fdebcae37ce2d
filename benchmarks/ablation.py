"""From RetinaNet to GFL, one change a row, under one budget: python benchmarks/ablation.py --data bccd

    RetinaNet    nine anchors per cell, IoU 0.5 / 0.4, smooth L1
    + ATSS       each object sets its own IoU threshold
    + GIoU       boxes learn by their overlap
    + GFL        one anchor per cell, IoU as class score, distances as distributions
    + PANet      a second, rising path through the pyramid

All rows share the backbone (ResNet-18 from scratch), the width (128), GroupNorm towers, the recipe and
the seed. Each row is a run folder; a row that is finished is not repeated, one that was interrupted is
resumed, so the same command goes on where it stopped. The page is written anew after every row.

The budget is that of the tables in docs/results.md; ``--recipe`` takes another one from a file, whose
model and arguments are replaced by each row's.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from gazehound.cli.training import train_on
from gazehound.data import Dataset
from gazehound.errors import ConfigError
from gazehound.training import run_folder
from gazehound.training.fit import open_splits
from gazehound.training.recipe import Recipe, make_recipe, read_recipe

BUDGET: Mapping[str, Any] = {
    "epochs": 24, "size": 416, "sizes": (256, 288, 320, 352, 384, 416), "batch": 4, "lr": 5e-4,
    "ema": 0.995, "evaluate_every": 24, "augment": {"vertical_flip": 0.5, "scale": (0.8, 1.3)},
}  # fmt: skip
MEASURES = ("AP", "AP50", "AP75")
RESULT, PAGE = "result.json", "ablation.md"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        change: what it adds to the line above.
        model: of the catalogue.
        arguments: of its builder.
    """

    change: str
    model: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """Return the name of its run folder."""
        return self.change.removeprefix("+ ").lower()


ROWS = (
    Row("RetinaNet", "retinanet_r18", {"box_loss": "smooth-l1", "box_weight": 1.0}),
    Row(
        "+ ATSS", "retinanet_r18", {"box_loss": "smooth-l1", "box_weight": 1.0, "assigner": "atss"}
    ),
    Row("+ GIoU", "retinanet_r18", {"box_loss": "giou", "box_weight": 2.0, "assigner": "atss"}),
    Row("+ GFL", "gfl_r18"),
    Row("+ PANet", "gfl_r18", {"neck": "panet"}),
)
SHARED: Mapping[str, Any] = {"limits": {"score": 0.01}}  # COCO's AP wants the low scores too


def run(
    base: Recipe,
    data: tuple[Dataset, Dataset | None],
    out: Path,
    rows: Sequence[Row] = ROWS,
    shared: Mapping[str, Any] = SHARED,
    console: Console | None = None,
) -> str:
    """Train and evaluate each row, and write the page.

    Args:
        base: the budget; its model and arguments are replaced.
        data: what to learn from and what to evaluate on.
        out: folder of the run folders and the page.
        rows: the lines.
        shared: builder arguments of all lines.
        console: where progress is printed.

    Returns:
        The page, Markdown.

    Raises:
        ConfigError: there is nothing to evaluate on.
    """
    if data[1] is None:
        raise ConfigError("an ablation needs a validation split; name one with --val-split")
    results: list[dict[str, Any]] = []
    page = ""
    for row in rows:
        recipe = replace(base, model=row.model, arguments={**shared, **row.arguments})
        results.append(run_row(recipe, data, out / row.folder, console))
        page = write_page(out / PAGE, base, rows[: len(results)], results)
    return page


def run_row(
    recipe: Recipe,
    data: tuple[Dataset, Dataset | None],
    folder: Path,
    console: Console | None = None,
) -> dict[str, Any]:
    """Return the result of one row, from its folder where it is finished."""
    file = folder / RESULT
    if file.exists():
        known: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return known
    resume = (folder / run_folder.RESUME).exists()
    trained = train_on(recipe, data, folder, resume=resume, console=console)
    assert trained.evaluation is not None
    summary = trained.evaluation.coco().summary
    weights = sum(p.numel() for p in trained.detector.parameters())  # type: ignore[attr-defined]
    result = {
        **{name: float(summary[name]) for name in MEASURES},
        "parameters": weights / 1e6,
        "minutes": trained.seconds / 60,
        "resumed": resume,
    }
    file.write_text(json.dumps(result, indent=2), encoding="utf-8")
    return result


def write_page(
    file: Path, base: Recipe, rows: Sequence[Row], results: Sequence[Mapping[str, Any]]
) -> str:
    """Write the table and return it."""
    lines = [
        f"# From RetinaNet to GFL on {base.data}",
        "",
        f"One change a row. {base.epochs} epochs, {base.size or 'own'} px, batch {base.batch}, "
        f"seed {base.seed}; the averaged weights of the last epoch.",
        "",
        "| detector | weights (M) | AP | change | AP50 | AP75 | minutes |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    before: float | None = None
    for row, result in zip(rows, results, strict=True):
        change = "" if before is None else f"{result['AP'] - before:+.3f}"
        before = result["AP"]
        minutes = f"{result['minutes']:.0f}" + (" (resumed: the rest)" if result["resumed"] else "")
        lines.append(
            f"| {row.change} | {result['parameters']:.1f} | {result['AP']:.3f} | {change} | "
            f"{result['AP50']:.3f} | {result['AP75']:.3f} | {minutes} |"
        )
    page = "\n".join(lines) + "\n"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page, encoding="utf-8")
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", required=True, help="data set, as gazehound train takes it")
    parser.add_argument("--train-split", default="train")
    parser.add_argument("--val-split")
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--recipe", type=Path, help="another budget than the built-in one")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    names = ("data", "train_split", "val_split", "epochs", "workers", "seed")
    given = {n: getattr(chosen, n) for n in names if getattr(chosen, n) is not None}
    given["model"] = ROWS[0].model
    recipe = (
        read_recipe(chosen.recipe, **given) if chosen.recipe else make_recipe({**BUDGET, **given})
    )
    print(run(recipe, open_splits(recipe), chosen.out, console=Console(stderr=True)))


if __name__ == "__main__":
    main()
