"""Viola-Jones on faces: the ROC of strong classifiers, and the cascade that ships with the package.

    python benchmarks/viola_jones_faces.py roc DATA            # choose on a held-out part, then test
    python benchmarks/viola_jones_faces.py cascade DATA OUT    # train, report and save the cascade

DATA holds ``cbcl-faces`` (MIT-CBCL patches of 19 x 19 pixels) and, for the cascade's negatives,
``coco-person-320``: areas of photographs outside every person.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from gazehound.catalog import WEIGHTS
from gazehound.checkpoints.native import Header, save_arrays
from gazehound.data import open_dataset
from gazehound.detectors.viola_jones import viola_jones_face
from gazehound.features.background import ImageBackground, passing
from gazehound.features.boosting import Boosting
from gazehound.features.grey import grey
from gazehound.features.haar import haar_features
from gazehound.features.stumps import Patches, Stumps, StumpSearch

WINDOW = (19, 19)
CASCADE = {
    "stages": 16, "detection": 0.996, "false_positives": 0.4, "rounds": 80, "negatives": 4000,
    "boosting": "gentle", "jitter": 1, "candidates": 10_000,
}  # fmt: skip


def shifted(patches, seed=1):
    """Every patch moved by up to a pixel, its border repeated."""
    wide = np.pad(patches, ((0, 0), (1, 1), (1, 1)), "edge")
    at = np.random.default_rng(seed).integers(0, 3, (len(patches), 2))
    return np.stack([w[y : y + 19, x : x + 19] for w, (y, x) in zip(wide, at, strict=True)])


def roc(scores, positive):
    """Area under the curve, and the part of faces found at 1 % and 0.1 % false positives."""
    from sklearn.metrics import roc_auc_score

    others = np.sort(scores[~positive])[::-1]
    found = [(scores[positive] > others[int(part * len(others))]).mean() for part in (0.01, 0.001)]
    return roc_auc_score(positive, scores), *found


def strong(faces, others, tests, loss, mirror, jitter, rounds, candidates, name):
    """Boost one strong classifier; print its ROC on every test set each 50 rounds."""
    every = haar_features(WINDOW)
    rows = np.sort(np.random.default_rng(0).permutation(len(every))[:candidates])
    features = every.take(rows)
    if mirror:
        faces, others = (np.concatenate([part, part[:, :, ::-1]]) for part in (faces, others))
    if jitter:
        faces = np.concatenate([faces, shifted(faces)])
    patches = np.concatenate([faces, others])
    positive = np.arange(len(patches)) < len(faces)
    boosting = Boosting(StumpSearch(features, Patches(patches)), positive, loss)
    asked = {key: (Patches(np.concatenate(pair)), len(pair[0])) for key, pair in tests.items()}
    scores = {key: np.zeros(len(data)) for key, (data, _) in asked.items()}
    start = time.perf_counter()
    for number in range(1, rounds + 1):
        boosting.step()
        stumps = boosting.stumps
        last = Stumps(stumps.feature[-1:], stumps.threshold[-1:], stumps.leaves[-1:])
        for key, (data, count) in asked.items():
            scores[key] += data.values(features, last)[0]
            if number % 50 == 0 or number == rounds:
                area, one, tenth = roc(scores[key], np.arange(len(data)) < count)
                print(
                    f"{name} {number} rounds, {key}: area {area:.4f}, {one:.1%} of faces at 1 %, "
                    f"{tenth:.1%} at 0.1 % ({time.perf_counter() - start:.0f} s)",
                    flush=True,
                )


def run_roc(data: Path, rounds: int, candidates: int) -> None:
    train, test = (np.load(data / "cbcl-faces" / f"{part}.npz") for part in ("train", "test"))
    faces, others = train["faces"], train["non_faces"]
    cut, other_cut = len(faces) * 3 // 4, len(others) * 3 // 4
    held = {"held out": (faces[cut:], others[other_cut:])}
    for loss in ("discrete", "gentle"):
        for mirror, jitter in ((False, False), (True, False), (True, True)):
            strong(
                faces[:cut], others[:other_cut], held, loss, mirror, jitter, 100, 3000,
                f"{loss}, mirror {mirror}, jitter {jitter}:",
            )  # fmt: skip
    tests = {"test": (test["faces"], test["non_faces"])}
    strong(faces, others, tests, "gentle", True, False, rounds, candidates, "chosen:")


def people_free(folder: Path) -> ImageBackground:
    """Areas outside every person of the training photographs."""
    dataset = open_dataset(folder, split="train")
    person = dataset.classes.names.index("person")
    samples = [dataset.annotations(row) for row in range(len(dataset))]
    boxes = tuple(sample.boxes[sample.labels == person] for sample in samples)
    return ImageBackground(lambda row: grey(dataset[row].image), boxes, WINDOW)


def run_cascade(data: Path, out: Path) -> None:
    train, test = (np.load(data / "cbcl-faces" / f"{part}.npz") for part in ("train", "test"))
    start = time.perf_counter()
    detector = viola_jones_face(training=CASCADE)
    detector.fit_patches(
        train["faces"], train["non_faces"], people_free(data / "coco-person-320"),
        state=out.with_suffix(".state.npz"), report=lambda line: print(line, flush=True),
        progress=False,
    )  # fmt: skip
    cascade = detector.cascades[0]
    found = passing(cascade, test["faces"]).mean()
    wrong = passing(cascade, test["non_faces"]).mean()
    minutes = (time.perf_counter() - start) / 60
    scores = {"faces_found": float(found), "non_faces_let_through": float(wrong)}
    print(
        f"{len(cascade)} stages, {len(cascade.feature)} stumps, {minutes:.1f} minutes; CBCL test: "
        f"{found:.1%} of faces pass, {wrong:.2%} of hard non-faces"
    )
    notes = {
        "trained_on": "MIT-CBCL faces (train), areas of COCO photographs outside persons",
        "command": "python benchmarks/viola_jones_faces.py cascade DATA OUT",
        "cbcl_test": scores,
    }
    header = Header("viola-jones-face", {}, detector.classes, notes=notes)
    save_arrays(out, detector.arrays(), header)
    print(f"wrote {out}: {out.stat().st_size} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("roc", "cascade"))
    parser.add_argument("data", type=Path)
    parser.add_argument(
        "out", type=Path, nargs="?", default=WEIGHTS / "viola_jones_face.safetensors"
    )
    parser.add_argument("--rounds", type=int, default=400)
    parser.add_argument("--candidates", type=int, default=16_000)
    given = parser.parse_args()
    if given.what == "roc":
        run_roc(given.data, given.rounds, given.candidates)
    else:
        run_cascade(given.data, given.out)


if __name__ == "__main__":
    main()
