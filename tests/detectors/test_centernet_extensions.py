"""CenterNet's 3D boxes and poses: columns that follow a picture, targets, decoding, learning."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from tests.learning import learn

from gazehound.data import open_dataset
from gazehound.data.augment import NO_AUGMENT, Augment
from gazehound.data.batching import Collate, Draw, TrainingSamples, pad_targets
from gazehound.data.companions import COCO_MIRROR, columns_of, mirrored, prepare_with, zoomed
from gazehound.data.preprocess import Preprocess
from gazehound.detectors.centernet import centernet
from gazehound.detectors.centernet3d import centernet_3d
from gazehound.detectors.centernet_pose import centernet_pose
from gazehound.errors import ConfigError, DataError
from gazehound.nn.heatmaps import point_targets
from gazehound.nn.keypoints import joint_targets, snapped
from gazehound.records import Classes, Sample

TINY = {"backbone": "resnet10t", "up": "plain", "widths": (48, 32, 32), "hidden": 32}
PERSON = Classes(("person",))


def person_sample(size=96, seed=0):
    """Two stick figures whose joints are bright dots on dark ground."""
    generator = np.random.default_rng(seed)
    image = np.zeros((size, size, 3), np.uint8)
    boxes, joints = [], []
    for left in (4, size // 2 + 4):
        box = (left, 10, left + size // 2 - 12, size - 12)
        points = generator.uniform(box[:2], box[2:], (17, 2))
        image[box[1] : box[3], box[0] : box[2]] = 60
        for number, (x, y) in enumerate(points):
            image[int(y), int(x)] = (255, 10 * number, 255 - 10 * number)
        visible = np.where(np.arange(17) < 14, 2.0, 0.0)[:, None]
        boxes.append(box)
        joints.append(np.concatenate((points, visible), axis=1).reshape(-1))
    extras = {"keypoints": np.array(joints)}
    return Sample.of(image, boxes, [0, 0], extras=extras)


def test_columns_of_a_data_set():
    sample = person_sample()
    joints = columns_of(sample, ("keypoints",))["keypoints"]
    assert joints.shape == (2, 17, 2)
    assert np.isnan(joints[:, 14:]).all()
    assert np.isfinite(joints[:, :14]).all()
    ragged = np.empty(2, object)
    ragged[:] = [b"", str(sample.extras["keypoints"][1].tolist()).encode()]
    partly = dataclasses.replace(sample, extras={"keypoints": ragged})
    again = columns_of(partly, ("keypoints",))["keypoints"]
    assert np.isnan(again[0]).all()
    assert np.array_equal(again[1, :14], joints[1, :14])
    with pytest.raises(DataError, match="learns from 'alpha', which the data set does not have"):
        columns_of(sample, ("alpha",))
    with pytest.raises(ConfigError, match="unknown column"):
        columns_of(sample, ("mask",))
    with pytest.raises(DataError, match="must be triples"):
        columns_of(
            dataclasses.replace(sample, extras={"keypoints": np.ones((2, 4))}), ["keypoints"]
        )


def test_columns_follow_the_picture():
    joints = torch.tensor([[[10.0, 20.0]] * 17])
    joints[0, 1] = torch.tensor([30.0, 5.0])  # a left eye
    flipped = mirrored({"keypoints": joints}, 100)["keypoints"]
    assert flipped[0, 2].tolist() == [70, 5]  # is a right eye now
    assert torch.equal(mirrored({"keypoints": flipped}, 100)["keypoints"], joints)
    assert sorted(COCO_MIRROR) == list(range(17))
    angles = {"alpha": torch.tensor([0.3, -2.0]), "location": torch.tensor([[1.0, 2, 30]] * 2)}
    turned = mirrored(angles, 100)
    assert turned["alpha"].tolist() == pytest.approx([math.pi - 0.3, math.pi + 2 - 2 * math.pi])
    assert turned["location"][0].tolist() == [-1, 2, 30]
    near = zoomed({**angles, "keypoints": joints}, (2.0, 2.0), (4, 6), 2.0)
    assert near["location"][0].tolist() == [1, 2, 15]
    assert near["keypoints"][0, 0].tolist() == [16, 34]


def test_prepared_joints_stay_on_their_dots():
    """Mirrored, zoomed and cropped: the pixel under a joint keeps its joint's colour."""
    sample = person_sample(96)
    preprocess = Preprocess(resize="longer", size=192, mean=(0, 0, 0), std=(1, 1, 1))
    augment = dataclasses.replace(NO_AUGMENT, flip=0.5, scale=(1.0, 1.3))
    seen = 0
    for seed in range(6):
        torch.manual_seed(seed)
        prepared = prepare_with(sample, ("keypoints",), augment, preprocess)
        height, width = prepared.pixels.shape[1:]
        for joint in prepared.extras["keypoints"].flatten(0, 1).tolist():
            if not math.isnan(joint[0]) and 0 <= joint[0] < width and 0 <= joint[1] < height:
                assert prepared.pixels[0, int(joint[1]), int(joint[0])] > 0.3  # box ground is 0.24
                seen += 1
    assert seen > 50
    with pytest.raises(ConfigError, match="cannot follow the augmentation mosaic"):
        prepare_with(sample, ("keypoints",), Augment(mosaic=1.0), preprocess)


def test_targets_of_joints_are_those_of_plain_loops():
    joints = torch.full((1, 8, 3, 2), torch.nan)
    joints[0, 0] = torch.tensor([[10.0, 12.0], [33.0, 5.0], [torch.nan, torch.nan]])
    joints[0, 1] = torch.tensor([[50.0, 50.0], [200.0, 5.0], [63.9, 63.9]])  # the second: outside
    targets = pad_targets(
        [torch.tensor([[4.0, 4, 44, 60], [40, 40, 64, 64]])], [torch.tensor([0, 0])]
    )
    wanted = point_targets(targets, 1, (16, 16), 4)
    heat, cell, inside, counted, away = joint_targets(joints, wanted, (16, 16), 4)
    assert counted[0, :2].tolist() == [[True, True, False], [True, False, True]]
    assert not counted[0, 2:].any()
    for m, j in ((0, 0), (0, 1), (1, 0), (1, 2)):
        x, y = (joints[0, m, j] / 4).tolist()
        assert int(cell[0, 3 * m + j]) == int(y) * 16 + int(x)
        assert inside[0, 3 * m + j].tolist() == pytest.approx([x % 1, y % 1], abs=1e-5)
        centre = int(wanted.cell[0, m])
        assert away[0, m, j].tolist() == pytest.approx(
            [x - centre % 16, y - centre // 16], abs=1e-5
        )
        assert heat[0, j, int(y), int(x)] == 1
    assert int((heat == 1).sum()) == 4


def test_joints_snap_to_near_peaks_in_the_box_only():
    heat = torch.zeros(1, 3, 16, 16)
    heat[0, 0, 5, 5] = 0.9  # near joint 0
    heat[0, 1, 15, 15] = 0.9  # far from joint 1
    heat[0, 2, 5, 5] = 0.05  # too faint
    regressed = torch.tensor([[[[24.0, 22.0], [20.0, 20.0], [21.0, 21.0]]]])
    boxes = torch.tensor([[[4.0, 4.0, 40.0, 40.0]]])
    found = snapped(regressed, boxes, heat, torch.full((1, 2, 16, 16), 0.5), 4, 5)
    assert found[0, 0, 0].tolist() == pytest.approx([22, 22, 0.9])
    assert found[0, 0, 1].tolist() == [20, 20, 0]
    assert found[0, 0, 2].tolist() == [21, 21, 0]


@pytest.mark.slow
def test_pose_learns_two_figures():
    torch.manual_seed(0)
    network = centernet_pose(
        PERSON, preprocess=Preprocess(resize="longer", size=96), **TINY
    ).train()
    assert network.reads == ("keypoints",)
    sample = person_sample()
    prepared = prepare_with(sample, network.reads, NO_AUGMENT, network.preprocess)
    batch = Collate(network.preprocess)([prepared, prepared])
    history = learn(network, batch.images, batch.targets, 90, rate=3e-3)
    assert all(history[-1][name] < 0.5 * history[0][name] for name in history[0])
    found = network.predict([sample.image], score=0.3)[0]
    assert len(found) == 2
    wanted = columns_of(sample, network.reads)["keypoints"][:, :14]
    got = found.extras["keypoints"][np.argsort(found.boxes[:, 0])][:, :14]
    assert got.shape == (2, 14, 3)
    assert np.median(np.linalg.norm(got[..., :2] - wanted, axis=2)) < 4
    assert len(found.above(0.99).extras["keypoints"]) == len(found.above(0.99))


@pytest.mark.slow
def test_3d_learns_kitti_frames(real_data):
    dataset = open_dataset(real_data / "kitti-mini")
    torch.manual_seed(0)
    network = centernet_3d(
        dataset.classes, preprocess=Preprocess(resize="longer", size=320), **TINY
    ).train()
    samples = TrainingSamples(dataset, NO_AUGMENT, network.preprocess, reads=network.reads)
    batch = Collate(network.preprocess)([samples[Draw(0, i)] for i in range(len(dataset))])
    assert set(batch.targets.extras) == {"alpha", "dimensions", "location"}
    assert batch.targets.extras["location"].isfinite().all(dim=2)[batch.targets.valid].all()
    lesson = Collate(network.preprocess)([samples[Draw(0, 0)]])  # one pedestrian
    history = learn(network, lesson.images, lesson.targets, 60, rate=3e-3)
    for name in ("heat", "depth", "dimensions", "orientation"):
        assert history[-1][name] < 0.5 * history[0][name], name
    found = network.predict([dataset[0].image], score=0.2)[0]
    truth = dataset[0]
    best = found.extras["depth"][0], found.extras["alpha"][0]
    assert best[0] == pytest.approx(truth.extras["location"][0][2], rel=0.35)
    assert math.cos(best[1] - truth.extras["alpha"][0]) > 0.7
    assert found.extras["dimensions"].shape == (len(found), 3)


@pytest.mark.parametrize("build", [centernet_3d, centernet_pose], ids=["3d", "pose"])
def test_without_its_columns_only_boxes_are_learned(build):
    """And a truth at the picture's edge, none at all, and one without area give finite gradients."""
    torch.manual_seed(0)
    network = build(PERSON, **TINY)
    targets = pad_targets(
        [torch.tensor([[0.0, 0, 64, 64], [5, 5, 5, 20]]), torch.zeros(0, 4)],
        [torch.tensor([0, 0]), torch.zeros(0, dtype=torch.int64)],
    )
    losses = network.losses(network(torch.randn(2, 3, 64, 64)), targets)
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert (
        sum(float(losses[n].detach()) for n in losses if n in ("depth", "dimensions", "joints"))
        == 0
    )
    sum(losses.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())


def test_flip_test_is_the_mean_with_the_mirror_image():
    torch.manual_seed(0)
    network = centernet(PERSON, flip_test=True, backbone="resnet10t", widths=(16, 16, 16)).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        both, plain = network(images), network.maps(images)
        mirror = network.maps(images.flip(3))
    heat = (torch.sigmoid(plain.heat[0]) + torch.sigmoid(mirror.heat[0].flip(3))) / 2
    assert torch.allclose(torch.sigmoid(both.heat[0]), heat, atol=1e-5)
    assert torch.allclose(both.size[0], (plain.size[0] + mirror.size[0].flip(3)) / 2, atol=1e-6)
    assert torch.equal(both.offset[0], plain.offset[0])


@pytest.mark.parametrize(
    ("up", "backbone"), [("deformable", "resnet10t"), ("aggregate", "dla46_c")]
)
def test_every_weight_of_the_other_bodies_gets_a_gradient(up, backbone):
    torch.manual_seed(0)
    widths = (32, 24, 16) if up == "deformable" else None
    network = centernet(PERSON, up=up, backbone=backbone, widths=widths, hidden=16)
    outputs = network(torch.randn(2, 3, 64, 96))
    assert outputs.heat[0].shape == (2, 1, 16, 24)
    targets = pad_targets([torch.tensor([[5.0, 5, 50, 60]])] * 2, [torch.tensor([0])] * 2)
    sum(network.losses(outputs, targets).values()).backward()
    assert [n for n, p in network.named_parameters() if p.grad is None] == []


def test_hourglass_learns_from_every_stack_and_predicts_from_the_last():
    torch.manual_seed(0)
    network = centernet(PERSON, up="hourglass", widths=(16, 16, 24), counts=(1, 1, 2), hidden=16)
    images = torch.randn(2, 3, 72, 56)  # an hourglass of odd halves
    outputs = network(images)
    assert [tuple(h.shape) for h in outputs.heat] == [(2, 1, 18, 14)] * 2
    targets = pad_targets([torch.tensor([[5.0, 5, 50, 60]])] * 2, [torch.tensor([0])] * 2)
    losses = network.losses(outputs, targets)
    alone = [
        network.losses(type(outputs)(*((getattr(outputs, n)[k],) for n in vars(outputs))), targets)
        for k in (0, 1)
    ]
    for name in losses:
        assert float(losses[name]) == pytest.approx(
            sum(float(a[name]) for a in alone) / 2, rel=1e-5
        )
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in network.parameters())
