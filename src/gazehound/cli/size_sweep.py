"""The work of ``gazehound evaluate MODEL --sizes``: one detector at several input sizes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import orjson
from rich.console import Console
from rich.progress import track
from rich.table import Table

from gazehound import model as models
from gazehound.data import Dataset, open_dataset
from gazehound.detectors.network import Network
from gazehound.errors import ConfigError
from gazehound.metrics import Evaluation
from gazehound.reports.charts import Line, line_chart
from gazehound.training.evaluating import need_same_classes


@dataclass(frozen=True)
class AtSize:
    """What a detector does at one input size.

    Attributes:
        size: pixels.
        AP: COCO's; None without truths.
        AP50: at IoU 0.5.
        milliseconds: per image, from the decoded picture to boxes; the median, one image at a time.
    """

    size: int
    AP: float | None
    AP50: float | None
    milliseconds: float

    @property
    def per_second(self) -> float:
        """Return images per second."""
        return 1000 / self.milliseconds


def run_sweep(
    model: str | None,
    data: str | None,
    split: str | None,
    sizes: Sequence[int],
    json: Path | None,
    chart: Path,
) -> list[AtSize]:
    """Evaluate at every size, print a table, and draw AP against speed.

    Raises:
        ConfigError: there is no model, no data, or the detector has no input size.
    """
    if model is None or data is None:
        raise ConfigError("--sizes evaluates a MODEL on --data PATH")
    detector = models.load(model).detector
    if not isinstance(detector, Network):
        raise ConfigError(f"'{model}' scans pictures at their own size; --sizes is for networks")
    dataset = open_dataset(data, split)
    need_same_classes(detector.classes, dataset.classes)
    rows = [at_size(detector, dataset, size) for size in sizes]
    console = Console()
    table = Table("size", "AP", "AP50", "ms per image", "images/s", box=None)
    for row in rows:
        table.add_row(
            str(row.size), _percent(row.AP), _percent(row.AP50),
            f"{row.milliseconds:.1f}", f"{row.per_second:.1f}",
        )  # fmt: skip
    console.print(table)
    write_chart(chart, rows)
    console.print(f"chart: {chart}", soft_wrap=True)
    if json is not None:
        json.parent.mkdir(parents=True, exist_ok=True)
        json.write_bytes(orjson.dumps([asdict(row) for row in rows], option=orjson.OPT_INDENT_2))
    return rows


def at_size(detector: Network, dataset: Dataset, size: int) -> AtSize:
    """Evaluate a detector at one input size; its own size comes back afterwards."""
    own = detector.preprocess
    evaluation = Evaluation(dataset.classes)
    seconds = []
    detector.preprocess = own.at_size(size)
    try:
        for row in track(range(len(dataset)), f"{size} px", transient=True):
            sample = dataset[row]
            assert sample.image is not None
            began = time.perf_counter()
            found = detector.predict([sample.image])[0]
            seconds.append(time.perf_counter() - began)
            evaluation.add(replace(sample, image=None), found)
    finally:
        detector.preprocess = own
    summary = evaluation.coco().summary
    median = sorted(seconds)[len(seconds) // 2]
    return AtSize(size, summary["AP"], summary["AP50"], 1000 * median)


def write_chart(file: Path, rows: Sequence[AtSize]) -> None:
    """Draw AP over images per second, a point for each size, as SVG."""
    known = sorted(
        (row.per_second, 100 * row.AP, f"{row.size} px") for row in rows if row.AP is not None
    )
    lines = [Line([row[0] for row in known], [row[1] for row in known])] if known else []
    chart = line_chart(lines, "images per second", "AP, percent", marks=known)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(str(chart), encoding="utf-8")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
