"""YOLOv5's network, importer, matching, losses and decoding against a second, plain writing of them.

The reference speaks the names of published state dicts: it makes random weights under these names as
it goes. Counts of weights are the published ones.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from torchvision.ops import batched_nms

from gazehound.catalog import find
from gazehound.checkpoints.importing import import_file
from gazehound.checkpoints.yolov5 import import_yolov5, read_yolov5
from gazehound.data.batching import pad_targets
from gazehound.errors import CheckpointError
from gazehound.records import Classes

PUBLISHED = {
    "yolov5n": 1_872_157,
    "yolov5s": 7_235_389,
    "yolov5m": 21_190_557,
    "yolov5l": 46_563_709,
    "yolov5x": 86_749_405,
}
ANCHORS = [[[10, 13], [16, 30], [33, 23]], [[30, 61], [62, 45], [59, 119]],
           [[116, 90], [156, 198], [373, 326]]]  # fmt: skip
THREE = Classes(("a", "b", "c"))


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_parameter_counts(name):
    with torch.device("meta"):
        network = find(name).resolve()(Classes(tuple(f"c{i}" for i in range(80))))
    assert sum(p.numel() for p in network.parameters()) == PUBLISHED[name]


class Reference:
    """YOLOv5n (release 6), layer by layer as its listing has them."""

    def __init__(self, classes=3):
        self.outputs, self.state = 3 * (5 + classes), {}
        self.generator = torch.Generator().manual_seed(0)
        self.state["model.24.anchors"] = torch.tensor(ANCHORS) / torch.tensor([8, 16, 32]).view(
            3, 1, 1
        )

    def tensor(self, name, shape, low, high):
        if name not in self.state:
            self.state[name] = torch.empty(shape).uniform_(low, high, generator=self.generator)
        return self.state[name]

    def conv(self, name, x, outputs, kernel=1, stride=1):
        bound = math.sqrt(6 / (x.shape[1] * kernel**2))
        weight = self.tensor(
            f"{name}.conv.weight", (outputs, x.shape[1], kernel, kernel), -bound, bound
        )
        x = F.conv2d(x, weight, stride=stride, padding=2 if kernel == 6 else kernel // 2)
        limits = {"weight": (0.8, 1.2), "bias": (-0.2, 0.2)}
        limits |= {"running_mean": (-0.2, 0.2), "running_var": (0.8, 1.2)}
        gamma, beta, mean, var = (
            self.tensor(f"{name}.bn.{part}", outputs, *ends)[:, None, None]
            for part, ends in limits.items()
        )
        return F.silu((x - mean) / torch.sqrt(var + 1e-3) * gamma + beta)

    def c3(self, name, x, outputs, count, shortcut=True):
        a, b = (self.conv(f"{name}.{cv}", x, outputs // 2) for cv in ("cv1", "cv2"))
        for i in range(count):
            y = self.conv(f"{name}.m.{i}.cv1", a, outputs // 2)
            y = self.conv(f"{name}.m.{i}.cv2", y, outputs // 2, 3)
            a = a + y if shortcut else y
        return self.conv(f"{name}.cv3", torch.cat((a, b), 1), outputs)

    def __call__(self, images):
        x = self.conv("model.0", images, 16, 6, 2)
        maps = {}
        for number, (outputs, count) in enumerate(((32, 1), (64, 2), (128, 3), (256, 1))):
            x = self.conv(f"model.{2 * number + 1}", x, outputs, 3, 2)
            maps[number] = x = self.c3(f"model.{2 * number + 2}", x, outputs, count)
        x = self.conv("model.9.cv1", x, 128)
        pools = [F.max_pool2d(x, size, 1, size // 2) for size in (5, 9, 13)]
        x = self.conv("model.9.cv2", torch.cat((x, *pools), 1), 256)
        ten = self.conv("model.10", x, 128)
        x = torch.cat((F.interpolate(ten, scale_factor=2), maps[2]), 1)
        fourteen = self.conv("model.14", self.c3("model.13", x, 128, 1, False), 64)
        x = torch.cat((F.interpolate(fourteen, scale_factor=2), maps[1]), 1)
        n3 = self.c3("model.17", x, 64, 1, False)
        x = torch.cat((self.conv("model.18", n3, 64, 3, 2), fourteen), 1)
        n4 = self.c3("model.20", x, 128, 1, False)
        x = torch.cat((self.conv("model.21", n4, 128, 3, 2), ten), 1)
        n5 = self.c3("model.23", x, 256, 1, False)
        rows = []
        for i, level in enumerate((n3, n4, n5)):
            weight = self.tensor(
                f"model.24.m.{i}.weight", (self.outputs, level.shape[1], 1, 1), -0.2, 0.2
            )
            bias = self.tensor(f"model.24.m.{i}.bias", self.outputs, -1.0, 0.0)
            y = F.conv2d(level, weight, bias)
            rows.append(y.view(len(y), 3, -1, *y.shape[-2:]).permute(0, 3, 4, 1, 2))  # B H W A N
        return rows


@pytest.fixture(scope="module")
def both():
    """The reference's answer for two images of 128 x 96 pixels, and the imported detector."""
    reference = Reference()
    images = torch.rand(2, 3, 96, 128, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        answer = reference(images)
    detector, header = import_yolov5(reference.state, None, THREE)
    assert header.detector == "yolov5n"
    return images, answer, detector.eval(), reference.state


def boxes_of(rows):
    """Decode one prediction at a time: level by level lists of (cx, cy, w, h), B H W A."""
    decoded = []
    for level, numbers in enumerate(rows):
        share, stride = 2 * torch.sigmoid(numbers[..., :4]), 8 * 2**level
        out = torch.empty_like(share)
        for i in range(numbers.shape[1]):
            for j in range(numbers.shape[2]):
                for a, (w, h) in enumerate(ANCHORS[level]):
                    cell = share[:, i, j, a]
                    out[:, i, j, a, 0] = (cell[:, 0] - 0.5 + j) * stride
                    out[:, i, j, a, 1] = (cell[:, 1] - 0.5 + i) * stride
                    out[:, i, j, a, 2] = cell[:, 2] ** 2 * w
                    out[:, i, j, a, 3] = cell[:, 3] ** 2 * h
        decoded.append(out)
    return decoded


@torch.no_grad()
def test_outputs_are_equal(both):
    images, answer, detector, _ = both
    wanted = torch.cat([level.flatten(1, 3) for level in answer], 1)
    got = detector(images).numbers
    assert got.std() > 0.1
    assert (got - wanted).abs().max() <= 1e-4


@torch.no_grad()
def test_detections_are_equal(both):
    images, answer, detector, _ = both
    found = detector.decode(detector(images), torch.tensor([[96.0, 128.0]] * 2))
    rows = torch.cat([level.flatten(1, 3) for level in answer], 1)
    boxes = torch.cat([level.flatten(1, 3) for level in boxes_of(answer)], 1)
    for image in range(2):
        score = (rows[image, :, 4:5].sigmoid() * rows[image, :, 5:].sigmoid()).flatten()
        centre, half = boxes[image, :, :2], boxes[image, :, 2:] / 2
        corners = torch.cat((centre - half, centre + half), 1).repeat_interleave(3, 0)
        corners = torch.minimum(corners.clamp(min=0), torch.tensor([128.0, 96.0, 128.0, 96.0]))
        label = torch.arange(3).repeat(len(boxes[image]))
        keep = []
        for start, end in ((0, 576), (576, 720), (720, 756)):  # 1,000 pairs of each level at most
            of_level = torch.arange(start * 3, end * 3)
            keep.append(of_level[score[of_level].argsort(descending=True)[:1000]])
        keep = torch.cat(keep)
        keep = keep[score[keep] > 0.001]
        keep = keep[batched_nms(corners[keep], score[keep], label[keep], 0.65)][:300]
        valid = found.valid[image]
        assert int(valid.sum()) == len(keep) > 5
        assert torch.allclose(found.scores[image][valid], score[keep], atol=1e-5)
        assert torch.allclose(found.boxes[image][valid], corners[keep], atol=1e-2)
        assert torch.equal(found.labels[image][valid], label[keep])


def claims_of(box, grid, level):
    """Return (row, column, anchor) of every prediction that learns a box, by the published rule."""
    rows, columns = grid
    stride, (x1, y1, x2, y2) = 8 * 2**level, box
    x, y, w, h = (x1 + x2) / 2 / stride, (y1 + y2) / 2 / stride, x2 - x1, y2 - y1
    cells = [(int(y), int(x))]
    if x % 1 < 0.5 and x > 1:
        cells.append((int(y), int(x) - 1))
    if x % 1 > 0.5 and columns - x > 1:
        cells.append((int(y), int(x) + 1))
    if y % 1 < 0.5 and y > 1:
        cells.append((int(y) - 1, int(x)))
    if y % 1 > 0.5 and rows - y > 1:
        cells.append((int(y) + 1, int(x)))
    fits = [
        a
        for a, (aw, ah) in enumerate(ANCHORS[level])
        if w > 0 and h > 0 and max(w / aw, aw / w, h / ah, ah / h) < 4
    ]
    return [(i, j, a) for i, j in cells for a in fits]


def complete_iou(p, t):
    """CIoU of (cx, cy, w, h) with (x1, y1, x2, y2), plain floats."""
    x1, y1, x2, y2 = p[0] - p[2] / 2, p[1] - p[3] / 2, p[0] + p[2] / 2, p[1] + p[3] / 2
    w, h = t[2] - t[0], t[3] - t[1]
    shared = max(0, min(x2, t[2]) - max(x1, t[0])) * max(0, min(y2, t[3]) - max(y1, t[1]))
    overlap = shared / (p[2] * p[3] + w * h - shared)
    across = (max(x2, t[2]) - min(x1, t[0])) ** 2 + (max(y2, t[3]) - min(y1, t[1])) ** 2
    apart = (p[0] - (t[0] + t[2]) / 2) ** 2 + (p[1] - (t[1] + t[3]) / 2) ** 2
    v = 4 / math.pi**2 * (math.atan(w / h) - math.atan(p[2] / p[3])) ** 2
    return overlap - apart / across - v * v / (1 - overlap + v)


def entropy(logit, target):
    p = 1 / (1 + math.exp(-logit))
    return -(target * math.log(p) + (1 - target) * math.log(1 - p))


TRUTHS = [
    [[10.0, 12, 50, 50], [40, 8, 90, 60], [3, 3, 9, 8], [41, 9, 91, 61]],
    [[70, 40, 84, 62], [0, 0, 128, 94], [100, 50, 100, 70], [125, 90, 160, 140]],
]
LABELS = [[2, 0, 1, 1], [1, 0, 2, 2]]


@torch.no_grad()
def test_losses_equal_plain_loops(both):
    """Neighbouring truths, one that fills the image, one without area, one whose centre is outside."""
    images, answer, detector, _ = both
    boxes = boxes_of(answer)
    totals = {"box": 0.0, "class": 0.0, "objectness": 0.0}
    for level, numbers in enumerate(answer):
        grid = tuple(numbers.shape[1:3])
        goal = torch.zeros(numbers.shape[:4])
        box_terms, class_terms = [], []
        for image in range(2):
            for truth, label in zip(TRUTHS[image], LABELS[image], strict=True):
                if (truth[0] + truth[2]) / 2 >= 128:
                    continue  # its centre is nobody's cell
                for i, j, a in claims_of(truth, grid, level):
                    overlap = complete_iou(boxes[level][image, i, j, a].tolist(), truth)
                    box_terms.append(1 - overlap)
                    logits = numbers[image, i, j, a, 5:].tolist()
                    class_terms += [entropy(x, float(k == label)) for k, x in enumerate(logits)]
                    goal[image, i, j, a] = max(float(goal[image, i, j, a]), overlap)
        if box_terms:
            totals["box"] += sum(box_terms) / len(box_terms)
            totals["class"] += sum(class_terms) / len(class_terms)
        terms = [
            entropy(x, t)
            for x, t in zip(
                numbers[..., 4].flatten().tolist(), goal.flatten().tolist(), strict=True
            )
        ]
        totals["objectness"] += sum(terms) / len(terms) * (4.0, 1.0, 0.4)[level]
    gains = {"box": 0.05, "class": 0.5 * 3 / 80, "objectness": 128 * 96 / 640**2}
    targets = pad_targets([torch.tensor(t) for t in TRUTHS], [torch.tensor(x) for x in LABELS])
    losses = detector.losses(detector(images), targets)
    for name, gain in gains.items():
        assert float(losses[name]) == pytest.approx(2 * gain * totals[name], rel=1e-3), name


@torch.no_grad()
def test_a_prediction_has_one_truth_in_the_assignment(both):
    images, _, detector, _ = both
    targets = pad_targets([torch.tensor(t) for t in TRUTHS], [torch.tensor(x) for x in LABELS])
    match = detector.match(detector(images), targets)
    starts = (0, 576, 720)
    for image in range(2):
        wanted = set()
        for truth in TRUTHS[image]:
            for level in range(3) if (truth[0] + truth[2]) / 2 < 128 else ():
                grid = (12 // 2**level, 16 // 2**level)
                for i, j, a in claims_of(truth, grid, level):
                    wanted.add(starts[level] + (i * grid[1] + j) * 3 + a)
        assert set(torch.nonzero(match.positive[image])[:, 0].tolist()) == wanted


def test_plain_tensors_load_from_either_file(both, tmp_path):
    from safetensors.torch import save_file

    state = both[3]
    torch.save(
        {"state_dict": {f"model.{k}": v.half() for k, v in state.items()}}, tmp_path / "n.pt"
    )
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "n.safetensors")
    for file in ("n.pt", "n.safetensors"):
        detector, header = import_file(tmp_path / file, "yolov5", None, ("a", "b", "c"))
        assert header.detector == "yolov5n"
        assert torch.allclose(detector.cells.shapes, torch.tensor(ANCHORS).float(), atol=0.1)
        assert (detector.preprocess.fill, detector.preprocess.order) == (114, "rgb")


class Foreign:
    def __reduce__(self):
        return (Exception, ("foreign code ran",))


def test_what_does_not_fit_is_one_line(both, tmp_path):
    torch.save({"model": Foreign()}, tmp_path / "theirs.pt")
    with pytest.raises(
        CheckpointError, match=r"a pickle of the class .*Exception, which gazehound does"
    ):
        read_yolov5(tmp_path / "theirs.pt")
    state = both[3]
    with pytest.raises(CheckpointError, match=r"is this the right --model\?"):
        import_yolov5(state, "yolov5s", THREE)
    focus = {k: v for k, v in state.items() if not k.startswith("model.0.")}
    with pytest.raises(CheckpointError, match="before release 6"):
        import_yolov5(focus, None, THREE)
    with pytest.raises(CheckpointError, match="is this a YOLOv5 file"):
        import_yolov5({"a": torch.zeros(1)}, None, THREE)
