"""Selective search beside OpenCV's (opencv-contrib's ximgproc): recall, mean best overlap, time.

    python benchmarks/selective_search.py DATA [--split val2017] [--images 20] [--mode fast]

Both look at the same pictures in turn, in one process; a picture's two times are taken one right after
the other, so that a busy machine slows both. The ratio is the median over pictures. Truths are the
annotated objects without crowds.
"""

import argparse
import os
import platform
import time

import cv2
import numpy as np

from gazehound.data import open_dataset
from gazehound.features.selective_search import SelectiveSearch, recall

LIMITS = (100, 1000, 2000, None)


def opencv(image, mode):
    """Return OpenCV's boxes (N, 4) ``xyxy`` in its order."""
    search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(np.ascontiguousarray(image[..., ::-1]))
    start = {
        "single": search.switchToSingleStrategy,
        "fast": search.switchToSelectiveSearchFast,
        "quality": search.switchToSelectiveSearchQuality,
    }
    start[mode]()
    boxes = search.process().astype(np.float32)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def timed(run, *arguments):
    began = time.perf_counter()
    return run(*arguments), time.perf_counter() - began


def describe(name, found, truths):
    cells = [f"{np.mean([len(boxes) for boxes in found]):,.0f}"]
    for limit in LIMITS:
        share, overlap = recall([boxes[:limit] for boxes in found], truths)
        cells.append(f"{share:.3f} / {overlap:.3f}")
    print(f"| {name} | {' | '.join(cells)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="a data set")
    parser.add_argument("--split", help="its split")
    parser.add_argument("--images", type=int, default=20, help="how many, from the first")
    parser.add_argument("--mode", default="fast", choices=("single", "fast", "quality"))
    options = parser.parse_args()
    data = open_dataset(options.data, split=options.split)
    samples = [data[row] for row in range(min(options.images, len(data)))]
    truths = [sample.boxes[~sample.crowd] for sample in samples]
    search = SelectiveSearch(options.mode, smallest=0)
    search.propose(samples[0].image)  # compile
    ours, theirs, ratios, seconds = [], [], [], []
    for sample in samples:
        boxes, own = timed(search.propose, sample.image, 10**6)
        others, their = timed(opencv, sample.image, options.mode)
        ours.append(boxes)
        theirs.append(others)
        ratios.append(their / own)
        seconds.append(own)
    print(
        f"{len(samples)} images of {data.name} {data.split}, {sum(map(len, truths))} objects, mode "
        f"{options.mode}; opencv {cv2.__version__}, {os.cpu_count()} cores, "
        f"{platform.processor() or platform.machine()}\n"
    )
    heads = ["all" if limit is None else f"{limit:,}" for limit in LIMITS]
    print(f"| recall at IoU 0.5 / mean best overlap | boxes | {' | '.join(heads)} |")
    print("|---|---:|" + "---:|" * len(heads))
    describe("OpenCV", theirs, truths)
    describe("gazehound", ours, truths)
    print(
        f"\nmedian {np.median(seconds):.2f} s an image, {np.median(ratios):.1f} times OpenCV's speed"
    )


if __name__ == "__main__":
    main()
