"""Cascades of OpenCV's files against ``cv2.CascadeClassifier``, and ours run by it."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from gazehound.checkpoints.opencv_cascade import load_cascade, save_cascade
from gazehound.detectors.viola_jones import ViolaJones
from gazehound.errors import CheckpointError
from gazehound.features.cascade import Cascade
from gazehound.features.grey import grey
from gazehound.features.grouping import group_rectangles
from gazehound.features.haar import haar_features
from gazehound.features.scanning import scales_of, scan_images
from gazehound.features.stumps import Stumps

HAAR = Path(cv2.data.haarcascades)
KINDS = {
    "stumps": "frontalface_default",
    "eye": "eye",
    "tilted": "fullbody",
    "trees": "frontalface_alt2",
    "old layout": "license_plate_rus_16stages",
}


def lbp_file():
    import skimage

    return Path(skimage.__file__).parent / "data" / "lbpcascade_frontalface_opencv.xml"


def file_of(kind):
    return lbp_file() if kind == "lbp" else HAAR / f"haarcascade_{KINDS[kind]}.xml"


def opencv_s(file):
    """Load a cascade with OpenCV; scikit-image's LBP file misspells a tag that OpenCV needs."""
    text = file.read_text().replace("featuhreParams", "featureParams")
    storage = cv2.FileStorage(text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
    peer = cv2.CascadeClassifier()
    return peer if peer.read(storage.getFirstTopLevelNode()) else cv2.CascadeClassifier(str(file))


def photographs(folder, count):
    files = sorted((folder / "coco-tiny/val2017").glob("*.jpg"))[: count // 2]
    files += sorted((folder / "coco-person-320/val").glob("*.jpg"))[: count - len(files)]
    return [cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) for file in files]


def as_set(boxes):
    return sorted(tuple(int(v) for v in box) for box in boxes)


def clipped(boxes, shape):
    """OpenCV cuts its boxes off at the image: a window's size is rounded after its corner."""
    low = np.maximum(boxes[:, :2], 0)
    high = np.minimum(boxes[:, :2] + boxes[:, 2:], shape[::-1])
    return np.concatenate([low, high - low], axis=1)


def both(file, image, neighbors, step=1.1):
    """Return our boxes and OpenCV's."""
    cascade = load_cascade(file)
    hits = scan_images(cascade, image, scales_of(cascade.window, image.shape, step))
    boxes, _, _ = group_rectangles(hits.boxes, hits.response, neighbors)
    theirs = opencv_s(file).detectMultiScale(image, step, neighbors)
    return as_set(clipped(boxes, image.shape)), as_set(theirs)


def blobs(seed, height=120, width=150):
    """A picture with structure at all scales, so that cascades fire."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width), np.float32)
    for size in (4, 8, 16, 32, 64):
        noise = rng.random((height // size + 2, width // size + 2)).astype(np.float32)
        image += size * cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


@pytest.mark.parametrize("kind", ["stumps", "tilted", "trees", "lbp", "old layout"])
def test_boxes_are_opencv_s(kind):
    file = file_of(kind)
    for seed in range(4):
        ours, theirs = both(file, blobs(seed), 0)
        assert ours == theirs


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*KINDS, "lbp"])
def test_boxes_on_photographs_are_opencv_s(kind, real_data):
    found = 0
    for image in photographs(real_data, 20 if kind in ("stumps", "eye") else 6):
        for neighbors in (0, 3):
            ours, theirs = both(file_of(kind), image, neighbors)
            assert ours == theirs
            found += len(theirs)
    assert found > 0 or kind == "old layout"


@pytest.mark.parametrize("step", [1.05, 1.3, 2.0])
def test_other_scale_steps(step):
    ours, theirs = both(file_of("stumps"), blobs(7), 0, step)
    assert ours == theirs


def test_grey_is_opencv_s():
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    np.testing.assert_array_equal(grey(image), cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))


@pytest.mark.parametrize("threads", [1, 2])
def test_the_number_of_threads_changes_nothing(threads):
    import numba

    before = numba.get_num_threads()
    if threads > numba.config.NUMBA_NUM_THREADS:
        pytest.skip("one core")
    numba.set_num_threads(threads)
    try:
        ours, theirs = both(file_of("stumps"), blobs(3), 0)
    finally:
        numba.set_num_threads(before)
    assert ours == theirs


@pytest.mark.parametrize("kind", [*KINDS, "lbp"])
def test_a_written_cascade_reads_back_the_same_and_opencv_runs_it(kind, tmp_path):
    cascade = load_cascade(file_of(kind))
    file = tmp_path / "again.xml"
    save_cascade(file, cascade)
    again = load_cascade(file)
    for name, array in cascade.arrays().items():
        np.testing.assert_array_equal(array, again.arrays()[name], err_msg=name)
    assert not cv2.CascadeClassifier(str(file)).empty()


def test_opencv_runs_our_own_cascade_with_the_same_boxes(tmp_path):
    features = haar_features((12, 10), tilted=True)
    rng = np.random.default_rng(2)
    stages = [
        Stumps(
            rng.integers(0, len(features), size),
            rng.normal(0, 0.02, size).astype(np.float32),
            rng.normal(0, 1, (size, 2)),
        )
        for size in (3, 5, 8)
    ]
    cascade = Cascade.of_stages(features, stages, [-0.5, -0.3, 0.0])
    file = tmp_path / "ours.xml"
    save_cascade(file, cascade)
    detector = ViolaJones.of_cascade(cascade, grouping="none", limit=100_000)
    for seed in range(3):
        image = blobs(seed)
        theirs = as_set(cv2.CascadeClassifier(str(file)).detectMultiScale(image, 1.1, 0))
        boxes = detector.predict([image])[0].boxes.astype(int)
        boxes[:, 2:] -= boxes[:, :2]
        assert theirs
        assert as_set(boxes) == theirs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<a", "not valid XML"),
        ("<opencv_storage><x type_id='opencv-nn'/></opencv_storage>", "no cascade of OpenCV"),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><a/>", "no document type"),
        (
            "<s><c type_id='opencv-cascade-classifier'><stageType>BOOST</stageType>"
            "<featureType>HOG</featureType></c></s>",
            "HAAR or LBP",
        ),
        ("<s><c type_id='opencv-cascade-classifier'/></s>", "without <featureType>"),
        ("<s><c type_id='opencv-haar-classifier'><size>a b</size></c></s>", "damaged"),
    ],
)
def test_foreign_and_damaged_files_are_refused(text, message, tmp_path):
    file = tmp_path / "bad.xml"
    file.write_text(text)
    with pytest.raises(CheckpointError, match=message):
        load_cascade(file)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0 -1 0 ", "0 -1 9999 ", "not one of"),
        ("0 -1 0 ", "0 -7 0 ", "child out of range"),
        ("0 -1 0 ", "0 0.5 0 ", "damaged"),
        ("<height>24", "<height>9", "leaves the window"),
    ],
)
def test_cascades_with_impossible_parts_are_refused(old, new, message, tmp_path):
    text = file_of("stumps").read_text()
    assert old in text
    file = tmp_path / "bad.xml"
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(CheckpointError, match=message):
        load_cascade(file)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_cascade(tmp_path / "none.xml")
