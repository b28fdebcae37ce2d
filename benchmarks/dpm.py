"""How long deformable part models take: a person model's shape on a photograph of 500 x 375 pixels.

    python benchmarks/dpm.py [--model person_final.mat] [--repeats 9]

Without a model file, random weights in the shape of voc-release5's person (three pairs of mirrored
components, eight parts each) are used: the dense search costs the same whatever the weights. The
only peer is a published figure. The README of voc-release5 reports one bicycle model (the same
structure) on the 4,952 images of VOC2007 test in 38 minutes with 8 workers on a 6-core i7-3930K:
0.46 s per image with all six cores busy.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time

import numba
import numpy as np
from skimage import data

from gazehound.checkpoints.voc_dpm import import_voc_dpm
from gazehound.detectors.dpm import DPM
from gazehound.features.dpm_features import feature_pyramid
from gazehound.features.part_model import PartModel
from gazehound.features.part_structure import with_mirrors
from gazehound.features.parts import Component, find_placements
from gazehound.records import Classes

PUBLISHED = 38 * 60 / 4952  # seconds per image on six cores
ROOTS = ((8, 7), (11, 6), (11, 4))
NOTHING = 1e6  # a threshold that no score reaches: only the dense search is timed


def random_person() -> PartModel:
    rng = np.random.default_rng(0)
    components = [
        Component(
            rng.normal(scale=0.02, size=(*root, 32)).astype(np.float32),
            rng.normal(scale=0.02, size=(8, 6, 6, 32)).astype(np.float32),
            np.stack([rng.integers(0, 2 * side - 5, 8) for side in root[::-1]], axis=1),
            np.tile([0.01, 0.0, 0.01, 0.0], (8, 1)),
            -4.0,
            np.zeros(2),
        )
        for root in ROOTS
    ]
    return PartModel(with_mirrors(components, 8, 4), 0.0)


def seconds(work, repeats: int) -> tuple[float, float, float]:
    """Return median and best wall time, and the best CPU time of all threads."""
    wall, cpu = [], []
    for _ in range(repeats):
        began, busy = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - began)
        cpu.append(time.process_time() - busy)
    return statistics.median(wall), min(wall), min(cpu)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="a .mat file of voc-release5")
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    detector = DPM(Classes(("person",)))
    if options.model:
        detector = import_voc_dpm(options.model)
    else:
        detector.models = {0: random_person()}
    image = np.ascontiguousarray(data.astronaut()[:375, :500])
    model = detector.models[0]
    mixture = model.mixture
    pyramid = feature_pyramid(image, mixture.cell, detector.interval, mixture.padding)
    works = {
        "pyramid": lambda: feature_pyramid(image, 8, detector.interval, mixture.padding),
        "roots, parts, transforms": lambda: find_placements(mixture, pyramid, NOTHING),
        "whole image": lambda: detector.place(image, model, NOTHING),
    }
    if options.model:
        works["whole image, boxes, NMS"] = lambda: detector.predict([image])
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
          f"Python {sys.version.split()[0]}, NumPy {np.__version__}, Numba {numba.__version__}")  # fmt: skip
    print(f"{len(pyramid.coarse)} root levels, {len(mixture.components)} components, "
          f"{mixture.part_count} parts, load {os.getloadavg()[0]:.1f}")  # fmt: skip
    print(
        "| step | threads | median s | best s | CPU s | published / median |\n|---|---|---|---|---|---|"
    )
    most = numba.config.NUMBA_NUM_THREADS
    for name, work in works.items():
        for threads in sorted({1, min(2, most)}):
            numba.set_num_threads(threads)
            work()
            median, best, cpu = seconds(work, options.repeats)
            ratio = f"{PUBLISHED / median:.2f}" if name.startswith("whole") else ""
            print(f"| {name} | {threads} | {median:.3f} | {best:.3f} | {cpu:.3f} | {ratio} |")
    numba.set_num_threads(most)


if __name__ == "__main__":
    main()
