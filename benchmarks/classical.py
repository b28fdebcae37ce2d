"""Classical detectors beside their peers, in one process, in turns: medians and ratios.

    python benchmarks/classical.py cascade DATA      # one section; DATA: the folder of photographs
    python benchmarks/classical.py all DATA

Every section is a function that returns the rows of its table; results are compared before they are
timed. Compiling is not part of a time.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numba
import numpy as np

Row = tuple[str, ...]


def interleaved(*calls: Callable[[], Any], repeats: int = 9) -> list[float]:
    """Return the median seconds of each call; the calls take turns, so all see the same machine."""
    for call in calls:
        call()
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats):
        for taken, call in zip(times, calls, strict=True):
            start = time.perf_counter()
            call()
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in times]


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Give Numba and OpenCV this many threads."""
    import cv2

    before = numba.get_num_threads(), cv2.getNumThreads()
    numba.set_num_threads(count)
    cv2.setNumThreads(count)
    try:
        yield
    finally:
        numba.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


def photographs(data: Path, size: tuple[int, int], count: int) -> list[np.ndarray]:
    """Return the first photographs of this (height, width), RGB."""
    from gazehound.data.images import read_image

    images = (read_image(file) for file in sorted((data / "coco-tiny").rglob("*.jpg")))
    chosen = (image for image in images if image.shape[:2] == size)
    return [image for image, _ in zip(chosen, range(count), strict=False)]


def cascade(data: Path) -> Iterator[Row]:
    """DetectMultiScale of frontalface_default (step 1.1, 3 neighbours), from grey image to boxes."""
    import cv2

    from gazehound.checkpoints.opencv_cascade import load_cascade
    from gazehound.features.grey import grey
    from gazehound.features.grouping import group_rectangles
    from gazehound.features.scanning import scales_of, scan_images

    file = Path(cv2.data.haarcascades) / "haarcascade_frontalface_default.xml"
    ours, theirs = load_cascade(file), cv2.CascadeClassifier(str(file))

    def detect(image: np.ndarray) -> Any:
        size = (image.shape[0], image.shape[1])
        hits = scan_images(ours, image, scales_of(ours.window, size, 1.1))
        return group_rectangles(hits.boxes, hits.response, 3)[0]

    images = [grey(image) for image in photographs(data, (480, 640), 5)]
    for count in (1, 2):
        with threads(count):
            for number, image in enumerate(images):
                peer = theirs.detectMultiScale(image, 1.1, 3)
                same = sorted(map(tuple, detect(image))) == sorted(
                    map(tuple, np.reshape(peer, (-1, 4)))
                )
                a, b = interleaved(
                    lambda image=image: detect(image),
                    lambda image=image: theirs.detectMultiScale(image, 1.1, 3),
                )
                yield (
                    f"cascade 640x480, photograph {number + 1}", str(count), f"{a * 1e3:.1f}",
                    f"OpenCV {b * 1e3:.1f}", f"{b / a:.2f}", "same boxes" if same else "DIFFERENT",
                )  # fmt: skip


def boosting(data: Path) -> Iterator[Row]:
    """One stump round on 10,000 patches x 2,000 features, and at the full size."""
    from sklearn.tree import DecisionTreeRegressor

    from gazehound.features.haar import haar_features
    from gazehound.features.stumps import Patches, StumpSearch

    rng = np.random.default_rng(0)
    patches = Patches(rng.integers(0, 256, (10_000, 24, 24), dtype=np.uint8))
    every = haar_features((24, 24))
    features = every.take(np.sort(rng.permutation(len(every))[:2000]))
    positive, weights = rng.random(10_000) < 0.4, rng.random(10_000)
    search = StumpSearch(features, patches)
    values = patches.responses(features).T
    signs = np.where(positive, 1.0, -1.0)

    def peer() -> Any:
        return DecisionTreeRegressor(max_depth=1).fit(values, signs, sample_weight=weights)

    def loss(left: np.ndarray) -> float:
        fits = [(np.average(signs[s], weights=weights[s]), s) for s in (left, ~left)]
        return float(sum((weights[s] * (signs[s] - fit) ** 2).sum() for fit, s in fits))

    for count in (1, 2):
        with threads(count):
            tree = peer().tree_
            theirs = values[:, tree.feature[0]] < tree.threshold[0]
            same = loss(search.best(weights, positive, "gentle").left) <= loss(theirs) * (1 + 1e-6)
            a, c, b = interleaved(
                lambda: search.best(weights, positive, "discrete"),
                lambda: search.best(weights, positive, "gentle"),
                peer, repeats=5,
            )  # fmt: skip
            for name, mine in (("discrete", a), ("gentle", c)):
                yield (
                    f"stump round, {name}, 10,000 x 2,000", str(count), f"{mine * 1e3:.1f}",
                    f"scikit-learn {b * 1e3:.0f}", f"{b / mine:.0f}",
                    "same loss" if same else "WORSE",
                )  # fmt: skip


def training(data: Path) -> Iterator[Row]:
    """162,336 features x 10,000 patches: preparation, some rounds, what 200 rounds would take."""
    import resource

    from gazehound.features.haar import haar_features
    from gazehound.features.stumps import Patches, StumpSearch

    rng = np.random.default_rng(0)
    patches = Patches(rng.integers(0, 256, (10_000, 24, 24), dtype=np.uint8))
    positive, weights = rng.random(10_000) < 0.4, rng.random(10_000)
    search = StumpSearch(haar_features((24, 24)), patches)
    start = time.perf_counter()
    for _ in search.prepare():
        pass
    ready = time.perf_counter() - start
    rounds = 5
    start = time.perf_counter()
    for _ in range(rounds):
        search.best(weights, positive, "discrete")
    each = (time.perf_counter() - start) / rounds
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    yield (
        "162,336 features x 10,000 patches", str(numba.get_num_threads()),
        f"prepare {ready:.0f} s, round {each:.2f} s", "", "",
        f"200 rounds: {(ready + 200 * each) / 60:.1f} minutes (extrapolated), peak {peak:.1f} GiB",
    )  # fmt: skip


def hog(data: Path) -> Iterator[Row]:
    """OpenCV's people detector (stride 8, step 1.05, grouped), and the descriptor of a photograph."""
    import cv2
    from skimage.feature import hog as peer_hog

    from gazehound.checkpoints.opencv_hog import DEFAULTS, from_opencv
    from gazehound.features.hog import Hog, window_descriptors
    from gazehound.features.hog import hog as describe
    from gazehound.features.pyramid import byte_planes

    vector = cv2.HOGDescriptor_getDefaultPeopleDetector()
    theirs = cv2.HOGDescriptor()
    theirs.setSVMDetector(vector)
    ours, _ = from_opencv({**DEFAULTS, "SVMDetector": vector}, "OpenCV's people vector")
    images = photographs(data, (480, 640), 5)
    swapped = [np.ascontiguousarray(image[..., ::-1]) for image in images]

    def peer_windows(image: np.ndarray, group: float) -> set[tuple[int, ...]]:
        found = theirs.detectMultiScale(image, winStride=(8, 8), scale=1.05, groupThreshold=group)
        return {(x, y, x + w, y + h) for x, y, w, h in np.reshape(found[0], (-1, 4)).tolist()}

    for count in (1, 2):
        with threads(count):
            for number, (image, bgr) in enumerate(zip(images, swapped, strict=True)):
                found = {tuple(box) for box in ours.responses(image)[0][0].tolist()}
                same = found == peer_windows(bgr, 2.0)
                a, b = interleaved(
                    lambda image=image: ours.responses(image),
                    lambda bgr=bgr: peer_windows(bgr, 2.0),
                )
                yield (
                    f"HOG people 640x480, photograph {number + 1}", str(count), f"{a * 1e3:.1f}",
                    f"OpenCV {b * 1e3:.1f}", f"{b / a:.2f}", "same boxes" if same else "DIFFERENT",
                )  # fmt: skip
    image, bgr = images[0], swapped[0]
    plain = Hog(gamma=False, vote="plain")

    def peer_plain() -> Any:
        return peer_hog(
            image, pixels_per_cell=(8, 8), cells_per_block=(2, 2), channel_axis=-1,
            feature_vector=False,
        )  # fmt: skip

    def windows() -> Any:
        return window_descriptors(Hog().grid(byte_planes(image)), (15, 7))

    with threads(1):
        apart = float(abs(describe(image, plain) - peer_plain()).max())
        a, b = interleaved(lambda: describe(image, plain), peer_plain)
        yield (
            "HOG 640x480, plain votes", "1", f"{a * 1e3:.1f}", f"scikit-image {b * 1e3:.1f}",
            f"{b / a:.1f}", f"largest difference {apart:.0e}",
        )  # fmt: skip
        apart = float(abs(windows().reshape(-1) - theirs.compute(bgr).reshape(-1)).max())
        a, c, b = interleaved(windows, lambda: describe(image), lambda: theirs.compute(bgr))
        for name, mine in (("every window's descriptor", a), ("blocks only", c)):
            yield (
                f"HOG 640x480, trilinear votes, {name}", "1", f"{mine * 1e3:.1f}",
                f"OpenCV {b * 1e3:.1f}", f"{b / mine:.1f}", f"largest difference {apart:.0e}",
            )  # fmt: skip


SECTIONS: dict[str, Callable[[Path], Iterator[Row]]] = {
    "cascade": cascade,
    "boosting": boosting,
    "training": training,
    "hog": hog,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("section", choices=[*SECTIONS, "all"])
    parser.add_argument("data", type=Path)
    given = parser.parse_args()
    import cv2
    import sklearn

    print(
        f"Python {platform.python_version()}, numba {numba.__version__}, OpenCV {cv2.__version__}, "
        f"scikit-learn {sklearn.__version__}; {platform.processor() or platform.machine()}"
    )
    print("| what | threads | gazehound, ms | peer, ms | ratio | results |")
    print("|---|---|---|---|---|---|")
    for name, section in SECTIONS.items():
        if given.section in (name, "all"):
            for row in section(given.data):
                print("| " + " | ".join(row) + " |")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
