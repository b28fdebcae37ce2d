"""YOLOX and YOLOv5 at the edges: one class, odd truths, inputs that are not square, other anchors."""

import numpy as np
import pytest
import torch

from gazehound.catalog import find
from gazehound.checkpoints.rebuild import build, load, save
from gazehound.data.batching import pad_targets
from gazehound.detectors.yolov5 import best_possible_recall
from gazehound.detectors.yolox import yolox_preprocess
from gazehound.errors import ConfigError
from gazehound.records import Classes

NAMES = ("yolox_nano", "yolov5n")
ONE = Classes(("thing",))


def network_of(name, classes=ONE):
    torch.manual_seed(0)
    return find(name).resolve()(classes, width=0.125)


def targets_of(*images):
    boxes = [torch.tensor(image, dtype=torch.float32).reshape(-1, 4) for image in images]
    return pad_targets(boxes, [torch.zeros(len(b), dtype=torch.int64) for b in boxes])


@pytest.fixture(scope="module", params=NAMES)
def seen(request):
    """A network of one class in training mode, and what it says about two images of 96 x 64."""
    network = network_of(request.param)
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return network, network(images)


@torch.no_grad()
def test_truths_that_belong_to_no_cell_teach_nothing(seen):
    network, outputs = seen
    nothing = network.losses(outputs, targets_of([], []))
    outside = [[200.0, 10, 240, 40], [-60, -60, -30, -30], [30, 300, 60, 340]]
    flat = [[10.0, 10, 10, 10]] if "YOLOv5" in type(network).__name__ else []
    got = network.losses(outputs, targets_of(outside, flat))
    assert {k: float(v) for k, v in got.items()} == {k: float(v) for k, v in nothing.items()}
    assert float(nothing["box"]) == float(nothing["class"]) == 0
    assert float(nothing["objectness"]) > 0
    assert not network.match(outputs, targets_of(outside, flat)).positive.any()


@torch.no_grad()
def test_one_class_and_tiny_boxes_in_an_oblong_input(seen):
    network, outputs = seen
    targets = targets_of([[10.0, 10, 11, 11], [50, 20, 50.5, 21]], [[-20, -10, 90, 60]])
    losses = network.losses(outputs, targets)
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert network.match(outputs, targets).positive[1].any()  # half outside, its centre inside
    found = network.decode(outputs, torch.tensor([[64.0, 96.0], [40.0, 96.0]]))
    assert (found.boxes[1][..., 3] <= 40).all()
    assert not found.labels.any()


@pytest.mark.parametrize("name", NAMES)
def test_a_training_step_never_waits_for_the_device(name):
    """On the meta device nothing has a value: whatever asks for one, or for a count, raises."""
    with torch.device("meta"):
        network = network_of(name)
        images = torch.empty(2, 3, 64, 96)
    losses = network.losses(network(images), targets_of([[5, 5, 40, 50]], []).to("meta"))
    assert all(loss.device.type == "meta" and loss.shape == () for loss in losses.values())


@pytest.mark.parametrize("name", NAMES)
def test_there_are_no_pretrained_backbones(name):
    with pytest.raises(ConfigError, match="has no ImageNet weights to start from"):
        find(name).resolve()(ONE, pretrained=True)


def test_builders_know_their_preprocessing():
    for name, size, order in (("yolox_nano", 416, "bgr"), ("yolov5n", 640, "rgb")):
        detector, header = build(name, ONE, {"width": 0.125})
        assert (detector.preprocess.size, detector.preprocess.order) == (size, order)
        assert header.preprocess == detector.preprocess.to_dict()
        changed, _ = build(name, ONE, {"width": 0.125}, {"size": 320})
        assert (changed.preprocess.size, changed.preprocess.fill) == (320, 114)


def test_padding_is_grey_and_blue_comes_first():
    network = network_of("yolox_nano")
    image = np.zeros((32, 64, 3), np.uint8)
    image[..., 0] = 200  # red
    batch = network.preprocess.at_size(64).batch([image])
    assert batch.images.shape == (1, 3, 64, 64)
    assert torch.allclose(batch.images[0, :, 0, 0], torch.tensor([0.0, 0.0, 200.0]), atol=1e-3)
    assert torch.allclose(batch.images[0, :, 40], torch.full((3, 64), 114.0), atol=1e-3)


@pytest.mark.parametrize("shape", [(90, 121), (121, 90), (40, 40)])
def test_imported_weights_see_what_opencv_makes(shape):
    """YOLOX's released preprocessing: sizes cut to integers, bilinear, top left on grey, BGR."""
    cv2 = pytest.importorskip("cv2")
    rows, columns = np.indices(shape)
    image = np.stack((2 * rows, 255 - columns, rows + columns), axis=2).astype(np.uint8)
    ratio = min(64 / shape[0], 64 / shape[1])
    size = (int(shape[1] * ratio), int(shape[0] * ratio))
    wanted = np.full((64, 64, 3), 114, np.uint8)
    blue_first = np.ascontiguousarray(image[..., ::-1])
    wanted[: size[1], : size[0]] = cv2.resize(blue_first, size, interpolation=cv2.INTER_LINEAR)
    preprocess = yolox_preprocess(64).changed({"filter": "opencv"})
    got = preprocess.batch([image]).images[0].permute(1, 2, 0).numpy()
    assert np.abs(got - wanted).max() <= 1.01  # one grey level: OpenCV rounds its weights
    assert np.abs(got - wanted).mean() < 0.3


def test_anchors_are_checked_against_the_data(tmp_path):
    detector, header = build("yolov5n", ONE, {"width": 0.125})
    fitting = np.array([[12, 12], [30, 60], [200, 150]] * 4, np.float32)
    assert best_possible_recall(fitting, detector.cells.shapes.flatten(0, 1).numpy()) == 1
    before = detector.cells.shapes.clone()
    assert detector.look_at(fitting) == "the anchors reach 100.0% of the boxes' shapes"
    assert detector.look_at(fitting[:0]).startswith("the anchors reach 100.0%")
    assert torch.equal(before, detector.cells.shapes)
    tiny = np.random.default_rng(0).uniform(1.0, 2.4, (40, 2)).astype(np.float32)
    assert detector.look_at(tiny).endswith("learned ones reach 100.0% and take their place")
    assert detector.cells.shapes.max() < 3
    save(tmp_path / "model.safetensors", detector, header)
    again, _ = load(tmp_path / "model.safetensors")
    assert torch.equal(again.cells.shapes, detector.cells.shapes)
    assert torch.equal(again.cells((64, 64)).boxes, detector.cells((64, 64)).boxes)
