"""NMS and pairwise IoU beside torchvision: interleaved runs in one process, medians, equal results.

    python benchmarks/boxes.py [--quick]

Every answer is compared before it is timed: NMS gives identical indices, IoU identical bits.
"""

import argparse
import os
import platform
import time

import numpy as np
import torch
import torchvision

from gazehound.boxes.iou import pairwise
from gazehound.boxes.nms import batched_nms, nms


def spread(count, rng):
    """Boxes all over a 1333 x 800 picture, most of them apart: nearly all are kept."""
    centre = rng.uniform(0, 1, (count, 2)) * [1333, 800]
    size = np.exp(rng.uniform(np.log(8), np.log(80), (count, 2)))
    return centre, size


def crowded(count, rng):
    """About 40 boxes around each object, as a detector gives them: few are kept."""
    objects = max(1, count // 40)
    which = rng.integers(0, objects, count)
    sizes = np.exp(rng.uniform(np.log(16), np.log(400), (objects, 2)))
    middle = rng.uniform(0, 1, (objects, 2)) * [1333, 800]
    centre = middle[which] + rng.normal(0, 0.12, (count, 2)) * sizes[which]
    return centre, sizes[which] * np.exp(rng.normal(0, 0.15, (count, 2)))


def boxes_of(make, count, seed=0):
    rng = np.random.default_rng(seed)
    centre, size = make(count, rng)
    rows = np.concatenate([centre - size / 2, centre + size / 2], 1).astype(np.float32)
    scores, labels = rng.random(count).astype(np.float32), rng.integers(0, 80, count)
    return torch.from_numpy(rows), torch.from_numpy(scores), torch.from_numpy(labels)


def race(ours, theirs, arguments, repeats):
    """Return the median milliseconds of both, run in turn."""
    times = ([], [])
    for _ in range(repeats):
        for which, run in enumerate((ours, theirs)):
            start = time.perf_counter()
            run(*arguments)
            times[which].append(1000 * (time.perf_counter() - start))
    return float(np.median(times[0])), float(np.median(times[1]))


def by_class(rows, scores, labels, threshold):
    """Return torchvision's NMS class after class, the exact form of its ``batched_nms``."""
    keep = torch.zeros(len(rows), dtype=torch.bool)
    for label in labels.unique():
        own = torch.nonzero(labels == label).squeeze(1)
        keep[own[torchvision.ops.nms(rows[own], scores[own], threshold)]] = True
    kept = torch.nonzero(keep).squeeze(1)
    return kept[scores[kept].sort(descending=True, stable=True)[1]]


def measure(quick):
    for name, make in (("spread", spread), ("crowded", crowded)):
        for count in (1000, 5000) if quick else (1000, 5000, 20000):
            rows, scores, labels = boxes_of(make, count)
            repeats = {1000: 41, 5000: 11, 20000: 5}[count]
            for threshold in (0.3, 0.5, 0.7):
                given = (rows, scores, threshold)
                kept = nms(*given)
                assert torch.equal(kept, torchvision.ops.nms(*given))
                pair = race(nms, torchvision.ops.nms, given, repeats)
                yield f"NMS, {name}, {count:,} boxes, IoU {threshold}", f"{len(kept):,} kept", *pair
            given = (rows, scores, labels, 0.5)
            kept = batched_nms(*given)
            assert torch.equal(kept, by_class(*given))
            pair = race(batched_nms, torchvision.ops.batched_nms, given, repeats)
            yield f"NMS by class (80), {name}, {count:,}, IoU 0.5", f"{len(kept):,} kept", *pair
    for count in (10_000,) if quick else (10_000, 100_000):
        given = boxes_of(spread, 1000)[0], boxes_of(spread, count, 1)[0]
        assert torch.equal(pairwise(*given), torchvision.ops.box_iou(*given))
        pair = race(pairwise, torchvision.ops.box_iou, given, 5)
        yield f"pairwise IoU, 1,000 x {count:,}", "same bits", *pair


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave out the largest sizes")
    quick = parser.parse_args().quick
    print(
        f"torch {torch.__version__}, torchvision {torchvision.__version__}, "
        f"{torch.get_num_threads()} threads, {os.cpu_count()} cores, "
        f"{platform.processor() or platform.machine()}\n"
    )
    print("| case | | torchvision, ms | gazehound, ms | times faster |")
    print("|---|---|---:|---:|---:|")
    for case, note, ours, theirs in measure(quick):
        row = f"| {case} | {note} | {theirs:.2f} | {ours:.2f} | {theirs / ours:.1f} |"
        print(row, flush=True)


if __name__ == "__main__":
    main()
