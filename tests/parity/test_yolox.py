"""YOLOX's network, importer, decoding and losses against a second writing of them, in plain functions.

The reference speaks the official file's names: it makes random weights under these names as it goes,
so its state dict is what an official ``.pth`` holds.
"""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.ops import batched_nms

from gazehound.catalog import find
from gazehound.checkpoints.importing import import_file
from gazehound.checkpoints.yolox import default_classes, import_yolox, read_yolox
from gazehound.data.batching import pad_targets
from gazehound.errors import CheckpointError, ConfigError
from gazehound.records import Classes

THREE = Classes(("a", "b", "c"))


PUBLISHED = {
    "yolox_nano": 912_159,
    "yolox_tiny": 5_055_855,
    "yolox_s": 8_968_255,
    "yolox_m": 25_326_495,
    "yolox_l": 54_208_895,
    "yolox_x": 99_071_455,
    "yolox_darknet53": 63_724_767,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_parameter_counts(name):
    with torch.device("meta"):
        network = find(name).resolve()(Classes(tuple(f"c{i}" for i in range(80))))
    assert sum(p.numel() for p in network.parameters()) == PUBLISHED[name]


class Reference:
    """The official network, written down once more; ``state`` fills with random weights."""

    def __init__(self, depth, width, depthwise, classes=3, act=F.silu, gain=1.0):
        self.depth, self.width, self.depthwise, self.classes = depth, width, depthwise, classes
        self.state, self.act, self.gain = {}, act, gain
        self.generator = torch.Generator().manual_seed(0)

    def tensor(self, name, shape, low, high):
        if name not in self.state:
            self.state[name] = torch.empty(shape).uniform_(low, high, generator=self.generator)
        return self.state[name]

    def base(self, name, x, outputs, kernel=1, stride=1, groups=1):
        inputs = x.shape[1] // groups
        bound = self.gain * math.sqrt(6 / (inputs * kernel**2))
        shape = (outputs, inputs, kernel, kernel)
        weight = self.tensor(f"{name}.conv.weight", shape, -bound, bound)
        x = F.conv2d(x, weight, stride=stride, padding=kernel // 2, groups=groups)
        gamma = self.tensor(f"{name}.bn.weight", outputs, 0.8, 1.2)
        beta = self.tensor(f"{name}.bn.bias", outputs, -0.2, 0.2)
        mean = self.tensor(f"{name}.bn.running_mean", outputs, -0.2, 0.2)
        var = self.tensor(f"{name}.bn.running_var", outputs, 0.8, 1.2)
        gamma, beta, mean, var = (t[:, None, None] for t in (gamma, beta, mean, var))
        return self.act((x - mean) / torch.sqrt(var + 1e-3) * gamma + beta)

    def conv(self, name, x, outputs, kernel, stride=1):
        if not self.depthwise:
            return self.base(name, x, outputs, kernel, stride)
        x = self.base(f"{name}.dconv", x, x.shape[1], kernel, stride, groups=x.shape[1])
        return self.base(f"{name}.pconv", x, outputs)

    def csp(self, name, x, outputs, count, shortcut):
        a = self.base(f"{name}.conv1", x, outputs // 2)
        b = self.base(f"{name}.conv2", x, outputs // 2)
        for i in range(count):
            y = self.base(f"{name}.m.{i}.conv1", a, outputs // 2)
            y = self.conv(f"{name}.m.{i}.conv2", y, outputs // 2, 3)
            a = a + y if shortcut else y
        return self.base(f"{name}.conv3", torch.cat((a, b), 1), outputs)

    def spp(self, name, x, outputs):
        x = self.base(f"{name}.conv1", x, x.shape[1] // 2)
        pools = [F.max_pool2d(x, k, 1, k // 2) for k in (5, 9, 13)]
        return self.base(f"{name}.conv2", torch.cat((x, *pools), 1), outputs)

    def csp_darknet(self, images):
        base, few = int(64 * self.width), max(round(3 * self.depth), 1)
        slices = (images[..., i::2, j::2] for i, j in ((0, 0), (1, 0), (0, 1), (1, 1)))
        x = self.base("backbone.backbone.stem.conv", torch.cat(list(slices), 1), base, 3)
        maps = []
        for stage, repeats in ((2, few), (3, 3 * few), (4, 3 * few), (5, few)):
            name, outputs = f"backbone.backbone.dark{stage}", base * 2 ** (stage - 1)
            x = self.conv(f"{name}.0", x, outputs, 3, 2)
            if stage == 5:
                x = self.spp(f"{name}.1", x, outputs)
            x = self.csp(f"{name}.{2 if stage == 5 else 1}", x, outputs, repeats, stage != 5)
            maps.append(x)
        return maps[1:]

    def csp_pan(self, images):
        c3, c4, c5 = self.csp_darknet(images)
        widths, count = [c.shape[1] for c in (c3, c4, c5)], round(3 * self.depth)
        narrow5 = self.base("backbone.lateral_conv0", c5, widths[1])
        p4 = torch.cat((F.interpolate(narrow5, scale_factor=2), c4), 1)
        p4 = self.csp("backbone.C3_p4", p4, widths[1], count, False)
        narrow4 = self.base("backbone.reduce_conv1", p4, widths[0])
        n3 = torch.cat((F.interpolate(narrow4, scale_factor=2), c3), 1)
        n3 = self.csp("backbone.C3_p3", n3, widths[0], count, False)
        n4 = torch.cat((self.conv("backbone.bu_conv2", n3, widths[0], 3, 2), narrow4), 1)
        n4 = self.csp("backbone.C3_n3", n4, widths[1], count, False)
        n5 = torch.cat((self.conv("backbone.bu_conv1", n4, widths[1], 3, 2), narrow5), 1)
        return n3, n4, self.csp("backbone.C3_n4", n5, widths[2], count, False)

    def residual(self, name, x, first, count):
        for i in range(first, first + count):
            y = self.base(f"{name}.{i}.layer1", x, x.shape[1] // 2)
            x = x + self.base(f"{name}.{i}.layer2", y, x.shape[1], 3)
        return x

    def darknet_fpn(self, images):
        x = self.base("backbone.backbone.stem.0", images, 32, 3)
        x = self.base("backbone.backbone.stem.1", x, 64, 3, 2)
        x, maps = self.residual("backbone.backbone.stem", x, 2, 1), []
        for stage, count in ((2, 2), (3, 8), (4, 8), (5, 4)):
            name = f"backbone.backbone.dark{stage}"
            x = self.base(f"{name}.0", x, 2 * x.shape[1], 3, 2)
            x = self.residual(name, x, 1, count)
            maps.append(x)
        for i, outputs, kernel in (
            (5, 512, 1),
            (6, 1024, 3),
            (7, 512, 0),
            (8, 1024, 3),
            (9, 512, 1),
        ):
            name = f"backbone.backbone.dark5.{i}"
            x = self.base(name, x, outputs, kernel) if kernel else self.spp(name, x, outputs)
        outputs = [x]
        for number, finer, width in ((1, maps[2], 256), (2, maps[1], 128)):
            up = self.base(f"backbone.out{number}_cbl", outputs[-1], width)
            y = torch.cat((F.interpolate(up, scale_factor=2), finer), 1)
            for i in range(5):
                y = self.base(f"backbone.out{number}.{i}", y, width * (1 + i % 2), 1 + 2 * (i % 2))
            outputs.append(y)
        return outputs[::-1]

    def linear(self, name, x, outputs, bias):
        weight = self.tensor(f"{name}.weight", (outputs, x.shape[1], 1, 1), -0.3, 0.3)
        return F.conv2d(x, weight, self.tensor(f"{name}.bias", outputs, bias, bias + 0.5))

    def head(self, pyramid):
        """Return (B, L, 4) centres and sizes in pixels, (B, L) objectness, (B, L, K) probabilities."""
        rows = []
        for i, x in enumerate(pyramid):
            stride, width = 8 * 2**i, int(256 * self.width)
            x = self.base(f"head.stems.{i}", x, width)
            c, r = x, x
            for j in range(2):
                c = self.conv(f"head.cls_convs.{i}.{j}", c, width, 3)
                r = self.conv(f"head.reg_convs.{i}.{j}", r, width, 3)
            box = self.linear(f"head.reg_preds.{i}", r, 4, -0.2)
            objectness = self.linear(f"head.obj_preds.{i}", r, 1, -1.0).sigmoid()
            classes = self.linear(f"head.cls_preds.{i}", c, self.classes, -1.0).sigmoid()
            height, width = x.shape[-2:]
            grid = torch.stack(
                torch.meshgrid(torch.arange(width), torch.arange(height), indexing="xy")
            )
            xy, wh = (box[:, :2] + grid) * stride, box[:, 2:].exp() * stride
            rows.append(torch.cat((xy, wh, objectness, classes), 1).flatten(2).transpose(1, 2))
        rows = torch.cat(rows, 1)
        return rows[..., :4], rows[..., 4], rows[..., 5:]

    def __call__(self, images):
        body = self.darknet_fpn if self.act is not F.silu else self.csp_pan
        return self.head(body(images))


def leaky(x):
    return F.leaky_relu(x, 0.1)


CASES = {
    "yolox_nano": Reference(0.33, 0.25, True),
    "yolox_s": Reference(0.33, 0.5, False),
    "yolox_darknet53": Reference(1.0, 1.0, False, act=leaky, gain=0.6),
}


@pytest.fixture(scope="module", params=CASES)
def both(request):
    """The reference's answer for two images of 96 x 64 pixels, and the imported detector."""
    reference = CASES[request.param]
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        answer = reference(images)
    detector, header = import_yolox(reference.state, None, THREE)
    assert header.detector == request.param
    return images, answer, detector.eval()


@torch.no_grad()
def test_outputs_are_equal(both):
    images, (boxes, objectness, classes), detector = both
    got = detector(images)
    centres, sizes = (
        (got.boxes[..., :2] + got.boxes[..., 2:]) / 2,
        got.boxes[..., 2:] - got.boxes[..., :2],
    )
    assert objectness.std() > 0.005
    assert classes.std() > 0.005
    assert torch.allclose(torch.cat((centres, sizes), -1), boxes, rtol=1e-4, atol=1e-4)
    assert (got.objectness.sigmoid() - objectness).abs().max() <= 1e-4
    assert (got.logits.sigmoid() - classes).abs().max() <= 1e-4


@torch.no_grad()
def test_detections_are_equal(both):
    images, (boxes, objectness, classes), detector = both
    found = detector.decode(detector(images), torch.tensor([[64.0, 96.0]] * 2))
    for image in range(2):
        best, label = classes[image].max(dim=1)
        score = best * objectness[image]
        half = boxes[image, :, 2:] / 2
        corners = torch.cat((boxes[image, :, :2] - half, boxes[image, :, :2] + half), 1)
        corners = torch.minimum(corners.clamp(min=0), torch.tensor([96.0, 64.0, 96.0, 64.0]))
        rows = torch.nonzero(score > 0.01)[:, 0]
        rows = rows[batched_nms(corners[rows], score[rows], label[rows], 0.65)][:300]
        valid = found.valid[image]
        assert int(valid.sum()) == len(rows) > 5
        assert torch.allclose(found.scores[image][valid], score[rows], atol=1e-5)
        assert torch.allclose(found.boxes[image][valid], corners[rows], atol=1e-2)
        assert torch.equal(found.labels[image][valid], label[rows])


def entropy(p, target):
    return -(target * math.log(p) + (1 - target) * math.log(1 - p))


@torch.no_grad()
def test_losses_equal_plain_loops(both):
    images, (boxes, objectness, classes), detector = both
    truths = [
        torch.tensor([[10.0, 12, 50, 50], [40, 8, 90, 60]]),
        torch.tensor([[70.0, 40, 84, 62]]),
    ]
    targets = pad_targets(truths, [torch.tensor([2, 0]), torch.tensor([1])])
    outputs = detector(images)
    match = detector.match(outputs, targets)
    wanted = dict.fromkeys(("box", "objectness", "class", "l1"), 0.0)
    squares = outputs.candidates.boxes.tolist()
    for image in range(2):
        for place in range(boxes.shape[1]):
            positive = bool(match.positive[image, place])
            wanted["objectness"] += entropy(float(objectness[image, place]), float(positive))
            if not positive:
                continue
            truth = int(match.truth[image, place])
            x, y, w, h = boxes[image, place].tolist()
            x1, y1, x2, y2 = truths[image][truth].tolist()
            shared = max(0, min(x + w / 2, x2) - max(x - w / 2, x1))
            shared *= max(0, min(y + h / 2, y2) - max(y - h / 2, y1))
            overlap = shared / (w * h + (x2 - x1) * (y2 - y1) - shared)
            wanted["box"] += 5 * (1 - overlap**2)
            for k in range(3):
                hit = overlap if k == int(targets.labels[image, truth]) else 0.0
                wanted["class"] += entropy(float(classes[image, place, k]), hit)
            left, top, right, _ = squares[place]
            side = right - left
            goal = ((x1 + x2) / 2 - left, (y1 + y2) / 2 - top)
            numbers = (
                *(g / side for g in goal),
                math.log((x2 - x1) / side),
                math.log((y2 - y1) / side),
            )
            said = ((x - left) / side, (y - top) / side, math.log(w / side), math.log(h / side))
            wanted["l1"] += sum(abs(a - b) for a, b in zip(numbers, said, strict=True))
    count = int(match.positive.sum())
    assert count >= 3
    losses = detector.losses(outputs, targets)
    for name, value in wanted.items():
        assert float(losses[name]) == pytest.approx(value / count, rel=1e-3), name
    detector.strong_augmentation = True
    calm, strong = losses, detector.losses(outputs, targets)
    detector.strong_augmentation = False
    assert float(strong.pop("l1")) == 0
    assert all(float(calm[name]) == float(value) for name, value in strong.items())


def test_files_of_the_official_code(tmp_path):
    """Training leaves scores as NumPy scalars beside the weights; they do not matter."""
    reference = CASES["yolox_nano"]
    with torch.no_grad():
        reference(torch.zeros(1, 3, 32, 32))
    content = {"model": reference.state, "start_epoch": 300, "best_ap": np.float64(0.25)}
    torch.save(content, tmp_path / "yolox_nano.pth")
    detector, header = import_file(tmp_path / "yolox_nano.pth", "yolox", None, ("a", "b", "c"))
    assert header.detector == "yolox_nano"
    assert header.notes["imported_from"] == "yolox"
    assert detector.preprocess.size == 416
    assert (detector.preprocess.order, detector.preprocess.fill) == ("bgr", 114)
    with pytest.raises(ConfigError, match="the file has 3 class outputs; got 2 class names"):
        import_yolox(reference.state, None, Classes(("a", "b")))
    with pytest.raises(CheckpointError, match=r"is this the right --model\?"):
        import_yolox(reference.state, "yolox_s", THREE)
    del content["model"]["head.cls_preds.0.bias"]
    with pytest.raises(CheckpointError, match=r"is this a YOLOX file\?"):
        import_yolox(content["model"], None, THREE)


class Foreign:
    def __reduce__(self):
        return (Exception, ("foreign code ran",))


def test_no_foreign_class_is_executed(tmp_path):
    torch.save({"model": Foreign()}, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError, match="not a torch file of plain tensors"):
        read_yolox(tmp_path / "odd.pth")


def test_coco_names_keep_their_ids():
    classes = default_classes(80)
    assert (len(classes), classes.names[0], classes.ids[0]) == (80, "person", 1)
    assert (classes.names[79], classes.ids[79]) == ("toothbrush", 90)
    assert default_classes(2).names == ("class 0", "class 1")
