"""COCO evaluation against its peers: seconds, peak memory, and whether all digits agree.

    python benchmarks/evaluation.py                 # every tool that is installed
    python benchmarks/evaluation.py --repeats 7 --only hotcoco

Two synthetic data sets: A, 5,000 images, 36,000 truths, 80 classes and 100 detections per image; B, 600
images of one class with 50 each. Every run is a process of its own, the tools take turns, and medians
are shown. A run first evaluates a tiny data set, so imports and just-in-time compilation (cached on
disk) are not in the times; the compilation itself is shown apart.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

TOOLS = ("gazehound", "hotcoco", "vernier", "faster-coco-eval", "pycocotools")
ONCE = {"pycocotools"}  # half a minute on A
DATA = {"A": (5000, 36000, 80, 100), "B": (600, 2450, 1, 50)}
WIDTH, HEIGHT = 640, 480


def make_data(folder: Path, images: int, truths: int, classes: int, per_image: int) -> None:
    """Write truth.json and found.json: noisy copies of truths, wrong classes, and noise."""
    rng = np.random.default_rng(0)
    ids = np.sort(rng.choice(600_000, images, replace=False)) + 1
    categories = np.sort(rng.choice(np.arange(1, max(91, 2 * classes)), classes, replace=False))
    share = 1 / np.arange(1, classes + 1) ** 0.8
    share /= share.sum()
    image, label = rng.integers(0, images, truths), rng.choice(classes, truths, p=share)
    boxes = np.round(_boxes(rng, truths), 2)
    area = np.round(boxes[:, 2] * boxes[:, 3] * rng.uniform(0.5, 1, truths), 2)
    crowd = rng.random(truths) < 0.01
    truth = {
        "images": [
            {"id": int(i), "width": WIDTH, "height": HEIGHT, "file_name": f"{i:012d}.jpg"}
            for i in ids
        ],
        "categories": [{"id": int(c), "name": f"class{c}"} for c in categories],
        "annotations": [
            {
                "id": n + 1, "image_id": int(ids[image[n]]), "bbox": boxes[n].tolist(),
                "category_id": int(categories[label[n]]), "area": float(area[n]),
                "iscrowd": int(crowd[n]),
            }
            for n in range(truths)
        ],
    }  # fmt: skip
    by_image = np.split(
        np.argsort(image, kind="stable"), np.cumsum(np.bincount(image, minlength=images))[:-1]
    )
    found = []
    for place, own in enumerate(by_image):
        near = np.repeat(own, rng.integers(0, 4, len(own)))[:per_image]
        sides = boxes[near][:, [2, 3, 2, 3]]
        noise = per_image - len(near)
        drawn = np.concatenate(
            [boxes[near] + rng.normal(0, 0.08, (len(near), 4)) * sides, _boxes(rng, noise)]
        )
        kind = np.concatenate([label[near], rng.choice(classes, noise, p=share)])
        wrong = rng.random(per_image) < 0.1
        kind[wrong] = rng.integers(0, classes, wrong.sum())
        score = np.concatenate([rng.beta(5, 2, len(near)), rng.beta(1, 6, noise)]).astype(
            np.float32
        )
        drawn = np.round(np.maximum(drawn, [-50, -50, 1, 1]), 3)
        for n in np.argsort(-score, kind="stable"):
            found.append(
                {
                    "image_id": int(ids[place]), "category_id": int(categories[kind[n]]),
                    "bbox": drawn[n].tolist(), "score": float(score[n]),
                }
            )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "truth.json").write_text(json.dumps(truth))
    (folder / "found.json").write_text(json.dumps(found))


def _boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    size = np.exp(rng.normal(4, 0.9, (count, 2))).clip(4, 400)
    return np.concatenate([rng.random((count, 2)) * [WIDTH * 0.8, HEIGHT * 0.8], size], axis=1)


def run_gazehound(folder: Path) -> dict:
    from gazehound.metrics import evaluate_coco, read_coco

    begin = time.perf_counter()
    tables = read_coco(folder / "truth.json", folder / "found.json")
    loaded = time.perf_counter()
    result = evaluate_coco(tables)
    numbers = [-1.0 if value is None else value for value in result.summary.values()]
    done = time.perf_counter()
    return _times(begin, loaded, done, numbers, result.precision, result.recall, result.scores)


def run_hotcoco(folder: Path) -> dict:
    import hotcoco

    return _like_pycocotools(
        hotcoco.COCO,
        hotcoco.COCOeval,
        folder,
        "load_res" if hasattr(hotcoco.COCO, "load_res") else "loadRes",
    )


def run_pycocotools(folder: Path) -> dict:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    return _like_pycocotools(COCO, COCOeval, folder, "loadRes")


def run_faster(folder: Path) -> dict:
    from faster_coco_eval import COCO, COCOeval_faster

    return _like_pycocotools(COCO, COCOeval_faster, folder, "loadRes")


def run_vernier(folder: Path) -> dict:
    from vernier.instance import Evaluator

    begin = time.perf_counter()
    truth, found = ((folder / name).read_bytes() for name in ("truth.json", "found.json"))
    loaded = time.perf_counter()
    result = Evaluator(parity_mode="strict").evaluate(truth, found)
    numbers = [float(value) for value in result.stats]
    return _times(begin, loaded, time.perf_counter(), numbers)


def _like_pycocotools(annotations, evaluator, folder: Path, load: str) -> dict:
    begin = time.perf_counter()
    truth = annotations(str(folder / "truth.json"))
    found = getattr(truth, load)(str(folder / "found.json"))
    loaded = time.perf_counter()
    one = evaluator(truth, found, "bbox")
    one.evaluate()
    one.accumulate()
    one.summarize()
    done = time.perf_counter()
    arrays = [np.asarray(one.eval[name]) for name in ("precision", "recall", "scores")]
    return _times(begin, loaded, done, np.asarray(one.stats, float).tolist(), *arrays)


def _times(begin, loaded, done, numbers, *arrays) -> dict:
    return {
        "load": loaded - begin, "evaluate": done - loaded, "total": done - begin,
        "numbers": numbers, "arrays": arrays,
    }  # fmt: skip


RUNNERS = {
    "gazehound": run_gazehound,
    "hotcoco": run_hotcoco,
    "vernier": run_vernier,
    "faster-coco-eval": run_faster,
    "pycocotools": run_pycocotools,
}


def child(tool: str, folder: Path, tiny: Path, out: Path) -> None:
    """Warm up, run once, write times, memory and arrays."""
    with contextlib.redirect_stdout(io.StringIO()):
        first = RUNNERS[tool](tiny)["total"]
        base = _memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        result = RUNNERS[tool](folder)
    arrays = result.pop("arrays")
    np.savez(out.with_suffix(".npz"), *arrays)
    out.write_text(json.dumps({**result, "first": first, "base": base, "peak": _memory("VmHWM")}))


def _memory(field: str) -> float:
    """Return a field of this process's memory in MB: VmRSS now, VmHWM at its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:"))


def measure(tool: str, folder: Path, tiny: Path, work: Path, cache: Path | None = None) -> dict:
    """Run one tool in a process of its own."""
    out = work / f"{tool}.json"
    environment = dict(os.environ) | ({"NUMBA_CACHE_DIR": str(cache)} if cache else {})
    command = [sys.executable, __file__, "--child", tool, str(folder), str(tiny), str(out)]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return json.loads(out.read_text())


def installed(tool: str) -> str | None:
    try:
        return importlib.metadata.version(tool)
    except importlib.metadata.PackageNotFoundError:
        return None


def differences(tool: str, numbers: list[float], work: Path, expected: list[float]) -> str:
    """Return the largest difference from pycocotools in the 12 numbers and in the arrays."""
    of_numbers = float(np.max(np.abs(np.subtract(numbers, expected))))
    own, official = np.load(work / f"{tool}.npz"), np.load(work / "pycocotools.npz")
    gaps = []
    if not own.files:
        return f"{of_numbers:.0e} / not given".replace("0e+00", "0")
    for name in official.files:
        if own[name].shape != official[name].shape:
            return f"{of_numbers:.0e} / other shape"
        gaps.append(float(np.max(np.abs(own[name] - official[name]))))
    return f"{of_numbers:.0e} / {max(gaps):.0e}".replace("0e+00", "0")


def machine() -> str:
    names = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    model = names[0].split(":")[1].strip() if names else platform.machine()
    return f"{len(os.sched_getaffinity(0))} cores, {model}, Python {platform.python_version()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=TOOLS, help="peers of gazehound to run")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        tool, *paths = options.child
        child(tool, *map(Path, paths))
        return
    tools = [t for t in TOOLS if installed(t) and (t in options.only or t == "gazehound")]
    print(f"{machine()}; " + ", ".join(f"{tool} {installed(tool)}" for tool in tools))
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        make_data(work / "tiny", 20, 60, 3, 5)
        cold = measure("gazehound", work / "tiny", work / "tiny", work, work / "cache")["first"]
        warm = measure("gazehound", work / "tiny", work / "tiny", work, work / "cache")["first"]
        print(f"first use: {cold:.1f} s with compilation, {warm:.2f} s from the disk cache")
        for name, sizes in DATA.items():
            make_data(work / name, *sizes)
            report(name, tools, work, options.repeats)


def report(name: str, tools: list[str], work: Path, repeats: int) -> None:
    runs: dict[str, list[dict]] = {tool: [] for tool in tools}
    for turn in range(repeats):
        for tool in tools:
            if turn == 0 or tool not in ONCE:
                runs[tool].append(measure(tool, work / name, work / "tiny", work))
    print(f"\n{name}: {' x '.join(map(str, DATA[name]))} (images, truths, classes, per image)\n")
    print("| | load | evaluate | files to numbers | ratio | peak MB (over base) | differs |")
    print("|---|---|---|---|---|---|---|")
    own = statistics.median(run["total"] for run in runs["gazehound"])
    for tool in tools:
        load, evaluate, total, peak, base = (
            statistics.median(run[key] for run in runs[tool])
            for key in ("load", "evaluate", "total", "peak", "base")
        )
        gap = "reference" if tool == "pycocotools" else "?"
        if "pycocotools" in tools and tool != "pycocotools":
            expected = runs["pycocotools"][0]["numbers"]
            gap = differences(tool, runs[tool][0]["numbers"], work, expected)
        print(
            f"| {tool} | {load:.3f} | {evaluate:.3f} | {total:.3f} | {total / own:.1f}x "
            f"| {peak:.0f} ({peak - base:.0f}) | {gap} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
