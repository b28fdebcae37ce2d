"""HOG against OpenCV's HOGDescriptor: resizing, descriptors, detections, grouping, saved files."""

import numpy as np
import pytest

from gazehound.checkpoints.opencv_hog import load_opencv_hog
from gazehound.errors import CheckpointError
from gazehound.features.hog import Hog, weights_to_opencv, window_descriptors
from gazehound.features.pyramid import byte_planes
from gazehound.kernels.resize import resize_planes

cv2 = pytest.importorskip("cv2")
if not hasattr(cv2, "HOGDescriptor"):
    pytest.skip("this OpenCV has no HOGDescriptor", allow_module_level=True)


def photographs(real_data):
    folders = ("coco-tiny/val2017", "coco-person-320/val")
    files = [f for folder in folders for f in sorted((real_data / folder).glob("*.jpg"))[:10]]
    assert len(files) == 20
    return [cv2.imread(str(file))[..., ::-1] for file in files]


def bgr(image):
    return np.ascontiguousarray(image[..., ::-1]) if image.ndim == 3 else image


@pytest.mark.parametrize(
    "shape", [(48, 61, 3), (101, 77, 1), (2, 3, 3), (1, 1, 3), (5, 1, 1), (1, 7, 3)]
)
@pytest.mark.parametrize("scale", [0.37, 1, 1.05, 1.5, 2, 3.9])
def test_resize_is_linear_exact(shape, scale):
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, shape).astype(np.uint8)
    height, width = (max(round(side / scale), 1) for side in shape[:2])
    wanted = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR_EXACT)
    ours = resize_planes(byte_planes(image), height, width).transpose(1, 2, 0)
    np.testing.assert_array_equal(ours, wanted.reshape(height, width, shape[2]))


WINDOWS = [  # window, cell, block stride, bins, signed, gamma, sigma
    ((128, 64), 8, 8, 9, False, True, None),
    ((64, 64), 8, 8, 9, False, False, None),
    ((48, 80), 8, 8, 9, True, True, None),
    ((96, 48), 6, 6, 9, False, True, None),
    ((40, 40), 8, 4, 12, False, True, 3.0),
    ((30, 45), 5, 5, 8, True, False, None),
]


@pytest.mark.parametrize("colour", [True, False])
@pytest.mark.parametrize(("window", "cell", "stride", "bins", "signed", "gamma", "sigma"), WINDOWS)
def test_descriptors_equal(window, cell, stride, bins, signed, gamma, sigma, colour):
    rng = np.random.default_rng(5)
    # a multiple of 4 wide: in what is left over, OpenCV's scalar loop decides ties of colour channels
    # for the first of them, its vector loop for the last
    shape = (window[0] + 2 * stride, -(-(window[1] + stride) // 4) * 4)
    noise = rng.integers(0, 256, (*shape, 3)).astype(np.uint8)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.0)
    flat = np.full((*shape, 3), 90, np.uint8)
    parameters = Hog(cell, 2, stride, bins, signed, gamma, sigma)
    descriptor = cv2.HOGDescriptor(
        window[::-1], (2 * cell, 2 * cell), (stride, stride), (cell, cell), bins, 1,
        -1 if sigma is None else sigma, 0, 0.2, gamma, 64, signed,
    )  # fmt: skip
    for image in (noise, smooth, flat):
        picture = image if colour else np.ascontiguousarray(image[..., 0])
        wanted = descriptor.compute(bgr(picture), (stride, stride))
        grid = parameters.grid(byte_planes(picture))
        ours = window_descriptors(grid, parameters.blocks(window))
        assert ours.size == wanted.size
        np.testing.assert_allclose(ours.reshape(-1), wanted.reshape(-1), atol=1e-4, rtol=0)


def test_descriptors_equal_on_photographs(real_data):
    descriptor = cv2.HOGDescriptor()
    for image in photographs(real_data)[::4]:
        wanted = descriptor.compute(bgr(image)).reshape(-1)
        ours = window_descriptors(Hog().grid(byte_planes(image)), (15, 7)).reshape(-1)
        np.testing.assert_allclose(ours, wanted, atol=1e-4, rtol=0)


@pytest.fixture(scope="module")
def people():
    descriptor = cv2.HOGDescriptor()
    descriptor.setSVMDetector(cv2.HOGDescriptor_getDefaultPeopleDetector())
    return descriptor


@pytest.fixture(scope="module")
def saved(people, tmp_path_factory):
    file = tmp_path_factory.mktemp("hog") / "people.yml"
    people.save(str(file))
    return file


def found_by(descriptor, image, **options):
    boxes, weights = descriptor.detectMultiScale(bgr(image), **options)
    boxes = np.asarray(boxes, np.int64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return {tuple(b): float(w) for b, w in zip(boxes.tolist(), np.ravel(weights), strict=True)}


def found_by_ours(detector, image, threshold=0.0):
    boxes, margins = detector.responses(image, threshold)[0]
    return {tuple(b): float(m) for b, m in zip(boxes.tolist(), margins, strict=True)}


SCANS = [  # stride, pad, step, threshold
    (8, 0, 1.05, 0.0),
    (8, 16, 1.1, -0.3),
    (4, 8, 1.2, 0.0),
    (16, 32, 1.05, 0.0),
]


@pytest.mark.parametrize(("stride", "pad", "step", "threshold"), SCANS)
def test_windows_equal(people, saved, real_data, stride, pad, step, threshold):
    detector, _ = load_opencv_hog(saved, overlap=0, stride=stride, pad=pad, step=step)
    count = 0
    for image in photographs(real_data):
        wanted = found_by(
            people, image, hitThreshold=threshold, winStride=(stride, stride),
            padding=(pad, pad), scale=step, groupThreshold=0,
        )  # fmt: skip
        ours = found_by_ours(detector, image, threshold)
        assert ours.keys() == wanted.keys()
        assert all(abs(ours[box] - wanted[box]) < 1e-4 for box in wanted)
        count += len(wanted)
    assert count > 10


def test_grouped_boxes_equal(people, saved, real_data):
    detector, _ = load_opencv_hog(saved, stride=4, pad=8, step=1.1)
    count = 0
    for image in photographs(real_data):
        wanted = found_by(people, image, winStride=(4, 4), padding=(8, 8), scale=1.1)
        ours = found_by_ours(detector, image)
        assert ours.keys() == wanted.keys()
        assert all(abs(ours[box] - wanted[box]) < 1e-4 for box in wanted)
        count += len(wanted)
    assert count > 5


def test_mean_shift_equals(people, saved, real_data):
    detector, _ = load_opencv_hog(
        saved, stride=8, pad=16, step=1.1, fusion="mean-shift", overlap=0.1
    )
    count = 0
    for image in photographs(real_data):
        wanted = found_by(
            people, image, winStride=(8, 8), padding=(16, 16), scale=1.1, groupThreshold=0.1,
            useMeanshiftGrouping=True,
        )  # fmt: skip
        assert found_by_ours(detector, image).keys() == wanted.keys()
        count += len(wanted)
    assert count >= 5


@pytest.mark.parametrize("suffix", [".xml", ".json", ".yml"])
def test_every_format_of_a_saved_descriptor_is_read(people, tmp_path, suffix):
    file = tmp_path / f"people{suffix}"
    people.save(str(file))
    detector, header = load_opencv_hog(file)
    vector = cv2.HOGDescriptor_getDefaultPeopleDetector().ravel()
    template = detector.templates[0]
    np.testing.assert_allclose(weights_to_opencv(template.weights), vector[:-1], rtol=1e-6)
    assert template.bias == pytest.approx(vector[-1])
    assert header.arguments["window"] == [128, 64]


def test_vector_alone_is_read(tmp_path):
    vector = cv2.HOGDescriptor_getDefaultPeopleDetector()
    np.save(tmp_path / "people.npy", vector)
    detector, _ = load_opencv_hog(tmp_path / "people.npy")
    assert detector.templates[0].weights.shape == (15, 7, 36)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("%YAML:1.0\n---\np:\n   winSize: [ 64, 128 ]\n", "it lacks"),
        ("{unclosed", "FileStorage"),
        ("%YAML:1.0\n---\n- 1\n", "FileStorage"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path, text, reason):
    file = tmp_path / "x.yml"
    file.write_text(text)
    with pytest.raises(CheckpointError, match=reason) as caught:
        load_opencv_hog(file)
    assert "\n" not in str(caught.value)


def test_wrong_length_of_the_vector_is_named(tmp_path):
    np.save(tmp_path / "short.npy", np.zeros(100, np.float32))
    with pytest.raises(CheckpointError, match=r"needs 3780 weights.*got 100"):
        load_opencv_hog(tmp_path / "short.npy")
