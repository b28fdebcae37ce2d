"""Small random COCO data sets, the official evaluator, and tables made without the file readers."""

import contextlib
import copy
import io

import numpy as np
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from gazehound.metrics import Found, Tables, Truths
from gazehound.records import Classes

SIDES = [
    0.0,
    1.0,
    8.0,
    16.0,
    31.999999999999996,
    32.0,
    32.5,
    40.0,
    64.0,
    96.0,
    96.00000000000001,
    120.0,
]
CORNERS = [0.0, 0.5, 2.0, 4.0, 10.0, 20.0, 33.3]
SCORES = [0.0, 0.1, 0.3, 0.5, 0.5, 0.7, 0.9, 1.0]

boxes = st.tuples(
    st.sampled_from(CORNERS),
    st.sampled_from(CORNERS),
    st.sampled_from(SIDES),
    st.sampled_from(SIDES),
).map(list)


@st.composite
def data_sets(draw):
    """An annotation file and a results file, small enough for thousands of cases."""
    image_ids = draw(st.lists(st.integers(0, 900), min_size=1, max_size=4, unique=True))
    category_ids = draw(st.lists(st.integers(0, 90), min_size=1, max_size=3, unique=True))
    images, categories = st.sampled_from(image_ids), st.sampled_from(category_ids)
    first_id = draw(st.sampled_from([0, 1, 1, 1]))
    annotations = []
    for place in range(draw(st.integers(0, 8))):
        box = draw(boxes)
        area = draw(st.sampled_from([box[2] * box[3], box[2] * box[3] * 0.6, 1024.0, 9216.0]))
        annotations.append(
            {
                "id": first_id + place,
                "image_id": draw(images),
                "category_id": draw(categories),
                "bbox": box,
                "area": area,
                "iscrowd": int(draw(st.integers(0, 5)) == 0),
            }
        )
    results = []
    for _ in range(draw(st.integers(1, 12))):
        near = annotations and draw(st.booleans())
        box = list(draw(st.sampled_from(annotations))["bbox"]) if near else draw(boxes)
        if near:
            box[draw(st.integers(0, 3))] += draw(st.sampled_from([0.0, 0.25, 1.0, 3.0]))
        results.append(
            {
                "image_id": draw(images),
                "category_id": draw(categories),
                "bbox": box,
                "score": draw(st.one_of(st.sampled_from(SCORES), st.floats(0, 1))),
            }
        )
    return _truth(image_ids, category_ids, annotations), results


def large_case(seed, images=3, truths=60, results=500):
    """A case with more detections than any limit."""
    rng = np.random.default_rng(seed)
    image_ids = (rng.permutation(500)[:images] + 1).tolist()
    category_ids = (rng.permutation(90)[:2] + 1).tolist()

    def box():
        return np.round(np.r_[rng.random(2) * 60, rng.choice([20, 32, 50, 96, 130], 2)], 2).tolist()

    annotations = []
    for place in range(truths):
        one = box()
        annotations.append(
            {
                "id": place + 1,
                "image_id": int(rng.choice(image_ids)),
                "category_id": int(rng.choice(category_ids)),
                "bbox": one,
                "area": one[2] * one[3] * float(rng.choice([1, 0.7])),
                "iscrowd": int(rng.random() < 0.1),
            }
        )
    found = []
    for _ in range(results):
        one = box() if rng.random() < 0.5 else list(annotations[rng.integers(truths)]["bbox"])
        found.append(
            {
                "image_id": int(rng.choice(image_ids)),
                "category_id": int(rng.choice(category_ids)),
                "bbox": [float(v) for v in one],
                "score": float(rng.choice([0.25, 0.5, rng.random()])),
            }
        )
    return _truth(image_ids, category_ids, annotations), found


def _truth(image_ids, category_ids, annotations):
    return {
        "images": [
            {"id": i, "file_name": f"{i}.jpg", "width": 200, "height": 200} for i in image_ids
        ],
        "categories": [{"id": c, "name": f"class {c}"} for c in category_ids],
        "annotations": annotations,
    }


def official(truth, results, **params):
    """Run pycocotools; results may be empty, which its own loader cannot take."""
    with contextlib.redirect_stdout(io.StringIO()):
        annotations = COCO()
        annotations.dataset = copy.deepcopy(truth)
        annotations.createIndex()
        found = annotations.loadRes(copy.deepcopy(results)) if results else COCO()
        evaluator = COCOeval(annotations, found, "bbox")
        for name, value in params.items():
            setattr(evaluator.params, name, value)
        evaluator.evaluate()
        evaluator.accumulate()
        if not params:
            evaluator.summarize()
    return evaluator


def tables_of(truth, results, difficult=()):
    """The columns of a case, by plain Python."""
    categories = sorted(truth["categories"], key=lambda c: c["id"])
    images = sorted(image["id"] for image in truth["images"])
    labels = {category["id"]: label for label, category in enumerate(categories)}
    rows = truth["annotations"]
    flags = np.zeros(len(rows), bool)
    flags[list(difficult)] = True
    return Tables(
        Classes(tuple(c["name"] for c in categories), tuple(c["id"] for c in categories)),
        np.array(images),
        Truths(
            np.array([images.index(r["image_id"]) for r in rows], np.int32),
            np.array([labels[r["category_id"]] for r in rows], np.int32),
            np.array([r["bbox"] for r in rows], float).reshape(-1, 4),
            np.array([r["area"] for r in rows], float),
            np.array([r["iscrowd"] == 1 for r in rows], bool),
            flags,
            np.array([r["id"] == 0 for r in rows], bool),
        ),
        Found(
            np.array([images.index(r["image_id"]) for r in results], np.int32),
            np.array([labels[r["category_id"]] for r in results], np.int32),
            np.array([r["bbox"] for r in results], float).reshape(-1, 4),
            np.array([r["score"] for r in results], float),
        ),
    )
