"""Where to look: superpixels and how they merge, proposals, and the bins that a region is pooled into."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazehound.boxes.iou import pairwise
from gazehound.explain.activations import strength
from gazehound.explain.canvas import Canvas, around
from gazehound.explain.colours import KEPT, TRUTH, colour_of, heat, stretched
from gazehound.explain.panels import Figure, Panel, Table
from gazehound.explain.run import Run, host
from gazehound.features.selective_search import Hierarchy, Searched
from gazehound.nn.pooling import Pooled, RoIAlign
from gazehound.nn.proposals import Proposals

CUTS = (60, 20, 8)  # regions left, at which the hierarchy is drawn
DRAWN = 100  # proposals
BUDGETS = (10, 50, 100, 300, 1000, 2000)  # proposals looked at, for the recall
SAMPLES = 400  # sampling points drawn at most


def panels(run: Run) -> list[Panel]:
    """Return the panels on regions, as far as there are any."""
    searched = run.shown(Searched)
    proposed = _proposed(run)
    return [
        *(_hierarchy(run, searched[0]) if searched else []),
        *([_proposals(run, *proposed)] if proposed else []),
        *_bins(run),
    ]


def _proposed(run: Run) -> tuple[NDArray[np.float64], bool] | None:
    """Return the proposals, best first, and whether a network learned to make them."""
    shown = run.shown(Proposals)
    held = getattr(run.inferred.outputs, "proposals", None) if run.inferred else None
    if shown or isinstance(held, Proposals):
        own = shown[0] if shown else held
        assert isinstance(own, Proposals)
        valid = host(own.valid)[0]
        return run.to_image(host(own.boxes)[0][valid]), bool(shown)
    searched = run.shown(Searched)
    return (run.to_image(searched[0].boxes), False) if searched else None


def merged_labels(hierarchy: Hierarchy, left: int) -> NDArray[np.int64]:
    """Return the region (H, W) of each pixel when the merging has come down to ``left`` regions."""
    count = len(hierarchy.boxes) - len(hierarchy.made)
    owner = np.arange(len(hierarchy.boxes))
    for step, (a, b) in enumerate(hierarchy.made[: max(count - left, 0)]):
        owner[owner == a] = owner[owner == b] = count + step
    _, dense = np.unique(owner[hierarchy.labels], return_inverse=True)
    return dense.reshape(hierarchy.labels.shape)


def _hierarchy(run: Run, step: Searched) -> list[Panel]:
    hierarchy = step.hierarchies[0]
    count = len(hierarchy.boxes) - len(hierarchy.made)
    first = merged_labels(hierarchy, count)
    figures = [
        Figure(_regions(run, step.image, first), f"{count} superpixels",
               "Each in its mean colour; their borders follow the edges of the picture.")
    ]  # fmt: skip
    for left in [cut for cut in CUTS if cut < count] or [max(count // 2, 1)]:
        if left < count:
            labels = merged_labels(hierarchy, left)
            figures.append(Figure(_regions(run, step.image, labels, boxes=True), f"{left} regions left",
                                  "A box around each: every one of them is a proposal."))  # fmt: skip
    regions = [len(h.boxes) for h in step.hierarchies]
    return [
        Panel(
            "superpixels",
            "Superpixels and how they merge",
            "The picture falls into superpixels whose inner differences are smaller than those to their "
            "neighbours (Felzenszwalb and Huttenlocher 2004). Then the two most similar neighbours merge, "
            "again and again, by colour, texture, size and fill (Uijlings et al. 2013, equations 2 to 6): "
            "objects of all sizes appear as some region on the way, and no window has to slide.",
            tuple(figures),
            {"superpixels": count, "regions": regions, "hierarchies": len(step.hierarchies)},
            f"{sum(regions):,} regions come of it in all"
            + (
                f": {len(step.hierarchies)} such hierarchies were grown, in several colour spaces, "
                "scales and measures of similarity; the first is drawn."
                if len(step.hierarchies) > 1
                else "."
            ),
        )
    ]


def _regions(
    run: Run, image: NDArray[np.uint8], labels: NDArray[np.int64], *, boxes: bool = False
) -> Any:
    flat = labels.ravel()
    size = np.bincount(flat)
    means = np.stack([np.bincount(flat, image[..., c].ravel()) / size for c in range(3)], axis=1)
    painted = means[labels].astype(np.uint8)
    edge = np.zeros(labels.shape, bool)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:] |= labels[1:] != labels[:-1]
    painted[edge] = (255, 255, 255)
    content = run.to_image(np.array([[0, 0, image.shape[1], image.shape[0]]]))[0]
    canvas = run.canvas().image(painted, content, smooth=True, quality=88)
    if boxes:
        for number in np.argsort(-size):
            rows, columns = np.nonzero(labels == number)
            box = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]])
            canvas.box(run.to_image(box)[0], colour_of(int(number)), width=1.8)
    return canvas.svg("regions")


def _proposals(run: Run, boxes: NDArray[np.float64], learned: bool) -> Panel:
    canvas = run.canvas().photo(0.45)
    for number, box in list(enumerate(boxes[:DRAWN]))[::-1]:
        canvas.box(
            box, _rank_colour(number), width=1.2, opacity=0.9, title=f"proposal {number + 1}"
        )
    truths, _ = run.objects
    figures = [Figure(canvas.svg("proposals"), f"The first {min(DRAWN, len(boxes))} of {len(boxes):,}",
                      "Yellow ones come first, violet ones last.")]  # fmt: skip
    values: dict[str, Any] = {"count": len(boxes), "boxes": boxes}
    table = None
    if len(truths) and len(boxes):
        overlap = pairwise(truths, boxes.astype(np.float32))
        near = run.canvas().photo(0.3)
        for truth, row in zip(truths, overlap, strict=True):
            best = int(row.argmax())
            near.box(truth, TRUTH, width=2, dash="5 4")
            near.box(boxes[best], KEPT, width=2, title=f"IoU {row[best]:.2f}, proposal {best + 1}")
        figures.append(Figure(near.svg("best proposal of each object"), "The best one for each object",
                              "Dashed: the object. Solid: the proposal that overlaps it most."))  # fmt: skip
        table = _recall(overlap)
        values["overlap"] = overlap
    text = (
        "The proposal network scores every anchor for being any object at all, moves the best ones and "
        "suppresses their doubles (Ren et al. 2015, section 3.1)."
        if learned
        else "Every region of every hierarchy gives a box; early mergers and late ones are mixed by a random "
        "factor, so that large and small ones come early (Uijlings et al. 2013, section 3.3)."
    )
    remembered = not learned and not run.shown(Searched)
    notes = [run.objects_are] if table and run.objects_are else []
    if remembered:
        notes.append(
            "They were remembered from an earlier look at this picture, so their making is not drawn."
        )
    return Panel(
        "proposals",
        "Proposals",
        f"{text} The second stage looks at nothing else, so what is not proposed cannot be found: recall "
        "matters here, not precision.",
        tuple(figures),
        values,
        " ".join(notes),
        table=table,
    )


def _rank_colour(rank: int) -> str:
    red, green, blue = heat(np.array(0.95 - 0.65 * rank / DRAWN))
    return f"#{red:02x}{green:02x}{blue:02x}"


def _recall(overlap: NDArray[Any]) -> Table:
    budgets = [b for b in BUDGETS if b < overlap.shape[1]] + [overlap.shape[1]]
    rows = []
    for budget in budgets:
        best = overlap[:, :budget].max(axis=1)
        found = [f"{np.mean(best >= iou):.0%}" for iou in (0.5, 0.7, 0.9)]
        rows.append((f"{budget:,}", *found, f"{best.mean():.2f}"))
    return Table(
        ("proposals", "objects at IoU 0.5", "at 0.7", "at 0.9", "mean best IoU"), tuple(rows)
    )


def _bins(run: Run) -> list[Panel]:
    """Draw how one region is cut into bins: the one that overlaps the best detection most."""
    pools = run.shown(Pooled)
    if not pools or not len(run.found) or not pools[0].boxes.shape[1]:
        return []
    step = pools[0]
    boxes = run.to_image(step.boxes[0])
    overlap = pairwise(run.found.boxes[:1], boxes.astype(np.float32))[0]
    row = int(overlap.argmax())
    stride = step.pool.strides[int(step.pool.levels(step.boxes)[0, row])]
    pooled = strength(step.features[row])
    size = step.pool.size
    pool = step.pool.pool
    aligned = isinstance(pool, RoIAlign)
    inside = host(step.boxes)[0, row].astype(np.float64)
    edges = _edges(inside, stride, size, aligned)
    view = around(boxes[row], 0.3, run.size)
    canvas = Canvas(run.size, view).photo(0.15)
    _cells(run, canvas, inside, stride)
    _grid(run, canvas, edges)
    samples = np.zeros((0, 2))
    if isinstance(pool, RoIAlign):
        samples = _samples(pool, inside, stride, size)
    for x, y in run.to_image(np.tile(samples[:SAMPLES], 2))[:, :2]:
        canvas.dot((x, y), "#ffffff", radius=0.45)
    canvas.box(boxes[row], KEPT, width=2.5)
    shown = Canvas((size, size)).image(heat(stretched(pooled)))
    return [
        Panel(
            "bins",
            "The bins of a region" if len(step.pool.strides) == 1 else "The level and the bins of a region",
            _ALIGN if aligned else _POOL,
            (
                Figure(canvas.svg("bins on the picture"), f"{size} x {size} bins on a map of stride {stride}",
                       "Faint: the cells of the map. Green: the region."
                       + (" Dots: where it is sampled." if len(samples) else "")),
                Figure(shown.svg("pooled features"), "What comes out",
                       f"The mean size of {step.features.shape[1]} channels in each bin; classes and box are "
                       "read from this alone."),
            ),
            {"region": row, "stride": stride, "size": size, "pooled": pooled, "samples": len(samples)},
            f"Drawn for the region behind the best detection ({run.name(int(run.found.labels[0]))} "
            f"{run.found.scores[0]:.2f}); {step.boxes.shape[1]:,} regions were pooled like this.",
        )
    ]  # fmt: skip


_ALIGN = (
    "RoIAlign cuts the region into equal bins without rounding anything, and reads the map between its "
    "cells by bilinear interpolation (He et al. 2017, Mask R-CNN, section 3). Whatever its size, a region "
    "becomes the same few numbers; a pyramid level is chosen by the region's size (Lin et al. 2017, "
    "equation 1)."
)
_POOL = (
    "RoIPool rounds the region and its bins to whole cells of the map and takes the largest value of each "
    "bin (Girshick 2015, Fast R-CNN, section 2.1). Whatever its size, a region becomes the same few "
    "numbers; the rounding moves it by up to half a cell, which RoIAlign later did away with."
)


def _edges(box: NDArray[np.float64], stride: int, size: int, aligned: bool) -> NDArray[np.float64]:
    """Return the x and y edges (2, S + 1) of the bins, pixels of the network input."""
    if not aligned:
        low, high = np.round(box[:2] / stride), np.round(box[2:] / stride) + 1
        box = np.concatenate([low, high]) * stride
    return np.stack([np.linspace(box[k], box[k + 2], size + 1) for k in range(2)])


def _grown(box: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    margin = np.tile((box[2:] - box[:2]) * share, 2) * (-1, -1, 1, 1)
    return np.asarray(box + margin)


def _samples(
    pool: RoIAlign, box: NDArray[np.float64], stride: int, size: int
) -> NDArray[np.float64]:
    """Return the sampling points (N, 2) of a region, pixels of the network input."""
    sides = (box[2:] - box[:2]) / size
    counts = [pool.sampling or max(math.ceil(side / stride), 1) for side in sides]
    axes = [box[k] + (np.arange(size * n) + 0.5) * sides[k] / n for k, n in enumerate(counts)]
    return np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)


def _cells(run: Run, canvas: Canvas, box: NDArray[np.float64], stride: int) -> None:
    """Draw the cells of the map around a region as faint lines."""
    low, high = np.floor(_grown(box, 0.3) / stride)[:2], np.ceil(_grown(box, 0.3) / stride)[2:]
    if (high - low).max() > 80:
        return
    for axis in range(2):
        for n in range(int(low[axis]), int(high[axis]) + 1):
            ends = np.array([*(low * stride), *(high * stride)])
            ends[[axis, axis + 2]] = n * stride
            x1, y1, x2, y2 = run.to_image(ends[None])[0]
            canvas.line((x1, y1), (x2, y2), "#ffffff", width=0.6, opacity=0.3)


def _grid(run: Run, canvas: Canvas, edges: NDArray[np.float64]) -> None:
    for axis in range(2):
        for edge in edges[axis]:
            ends = np.array([edges[0, 0], edges[1, 0], edges[0, -1], edges[1, -1]])
            ends[[axis, axis + 2]] = edge
            x1, y1, x2, y2 = run.to_image(ends[None])[0]
            canvas.line((x1, y1), (x2, y2), KEPT, width=1.4)
