"""HOG + SVM for upright persons: train the template that ships, and compare it with OpenCV's.

    python benchmarks/hog_person.py train DATA [OUT]     # train, report, save the template
    python benchmarks/hog_person.py compare DATA         # the shipped one and OpenCV's, on val

DATA is a COCO data set with persons and the splits ``train`` and ``val``. Two figures are told: on all
persons, and on upright ones (0.2 to 0.6 times as wide as high, at least 48 pixels high), the others
ignored; to such persons a template of 128 x 64 pixels is meant.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import gazehound
from gazehound.catalog import WEIGHTS
from gazehound.checkpoints.native import Header, save_arrays
from gazehound.checkpoints.opencv_hog import load_opencv_hog
from gazehound.data import open_dataset
from gazehound.detectors.hog_svm import hog_person
from gazehound.metrics import Evaluation

TRAINING = {
    "rounds": 2, "images": 600, "per_image": 6,
    "factor": 1.5, "border": 3, "alone": 0.3, "trim": 0.25, "balanced": False,
}  # fmt: skip


def upright(sample):
    width, height = (sample.boxes[:, k + 2] - sample.boxes[:, k] for k in (0, 1))
    return (width >= 0.2 * height) & (width <= 0.6 * height) & (height >= 48) & ~sample.crowd


def scores_of(detector, dataset):
    """Evaluate on all persons, and on upright ones with the others ignored like crowds."""
    everyone, standing = Evaluation(dataset.classes), Evaluation(dataset.classes)
    start = time.perf_counter()
    for row in range(len(dataset)):
        sample = dataset[row]
        found = detector.predict([sample.image], score=0.0)[0]
        found = replace(found, classes=dataset.classes)
        told = replace(sample, image=None)
        everyone.add(told, found)
        standing.add(replace(told, crowd=sample.crowd | ~upright(sample)), found)
    seconds = (time.perf_counter() - start) / len(dataset)
    parts = {"all": everyone.coco().summary, "upright": standing.coco().summary}
    return {f"{p} {k}": float(s[k]) for p, s in parts.items() for k in ("AP", "AP50")}, seconds


def told(name, scores, seconds):
    figures = ", ".join(f"{key} {value:.3f}" for key, value in scores.items())
    print(f"{name}: {figures}; {seconds:.2f} s an image")


def opencv_detector():
    import cv2

    descriptor = cv2.HOGDescriptor()
    descriptor.setSVMDetector(cv2.HOGDescriptor_getDefaultPeopleDetector())
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "people.yml"
        descriptor.save(str(file))
        detector, _ = load_opencv_hog(file)
    ours = gazehound.load("hog-person").detector
    # scanned as the shipped one is, and boxes as tight: it finds more so
    detector.start, detector.step, detector.raster = ours.start, ours.step, ours.raster
    detector.fusion, detector.overlap, detector.shapes = ours.fusion, ours.overlap, ours.shapes
    return detector


def train(data, out):
    dataset = open_dataset(data, split="train")
    start = time.perf_counter()
    detector = hog_person(dataset.classes, training=TRAINING)
    detector.fit(dataset, seed=0)
    print(f"trained in {(time.perf_counter() - start) / 60:.1f} minutes")
    save(detector, open_dataset(data, split="val"), out)


def save(detector, val, out):
    scores, seconds = scores_of(detector, val)
    told("trained here", scores, seconds)
    notes = {
        "trained_on": "upright persons of 1,400 COCO photographs, longest side 320 pixels",
        "command": "python benchmarks/hog_person.py train DATA OUT",
        "val": scores,
    }
    arrays = detector.arrays()
    header = Header("hog-person", {}, detector.classes, notes=notes)
    save_arrays(out, arrays, header)
    print(f"wrote {out}: {out.stat().st_size} bytes")


def compare(data):
    val = open_dataset(data, split="val")
    for name, detector in (
        ("hog-person", gazehound.load("hog-person").detector),
        ("OpenCV's people detector", opencv_detector()),
    ):
        told(name, *scores_of(detector, val))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("train", "compare"))
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path, nargs="?", default=WEIGHTS / "hog_person.safetensors")
    given = parser.parse_args()
    if given.what == "train":
        train(given.data, given.out)
    else:
        compare(given.data)


if __name__ == "__main__":
    main()
