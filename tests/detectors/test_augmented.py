"""Looks at mirror images and other sizes find the same objects in the same places."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from squares import Squares, as_set, canvas

from gazehound.data.preprocess import Preprocess
from gazehound.detectors.augmented import Augmented
from gazehound.detectors.detector import Detector
from gazehound.detectors.network import Network
from gazehound.errors import ConfigError
from gazehound.nn.postprocess import Found
from gazehound.records import Classes

IMAGE = canvas((90, 131), (10, 20, 40, 60, 0), (12, 22, 30, 50, 1), (100, 5, 131, 33, 0))


@pytest.mark.parametrize("merge", ["wbf", "nms"])
def test_a_detector_that_does_not_mind_mirrors_is_unchanged(merge):
    stub = Squares(lambda box: 0.9 - box[1] / 200)
    (alone,) = stub.predict([IMAGE])
    (found,) = Augmented(stub, (1.0,), merge=merge).predict([IMAGE])
    np.testing.assert_allclose(found.boxes, alone.boxes, atol=1e-4)
    np.testing.assert_allclose(found.scores, alone.scores, atol=1e-6)
    assert found.labels.tolist() == alone.labels.tolist()
    assert found.image_size == (90, 131)


def test_scales_come_back_to_the_image():
    stub = Squares()
    (found,) = Augmented(stub, (0.5, 1.0, 2.0)).predict([IMAGE])
    assert set(stub.shown) == {(45, 66), (90, 131), (180, 262)}
    got, expected = as_set(found), as_set(Squares().predict([IMAGE])[0])
    assert [row[4] for row in got] == [row[4] for row in expected]
    np.testing.assert_allclose(got, expected, atol=1.6)  # edges are blurred at half size


def test_what_one_look_finds_counts_less_or_as_it_is():
    class Unsure(Squares):
        """Sees nothing at the first look."""

        def predict(self, images, *, score=None):
            found = super().predict(images)
            first = len(self.shown) == len(images)
            return [record.above(2.0) if first else record for record in found]

    fused = Augmented(Unsure(), (1.0,)).predict([IMAGE])[0]
    assert fused.scores.tolist() == pytest.approx([0.45] * 3)
    assert len(Augmented(Unsure(), (1.0,)).predict([IMAGE], score=0.5)[0]) == 0
    assert Augmented(Unsure(), (1.0,), merge="nms").predict([IMAGE])[0].scores.tolist() == (
        pytest.approx([0.9] * 3)
    )


def test_it_is_a_detector_of_any_images():
    augmented = Augmented(Squares())
    assert isinstance(augmented, Detector)
    assert augmented.looks == 6
    assert augmented.predict([]) == []
    found = augmented.predict([canvas((1, 1), (0, 0, 1, 1, 2)), canvas((7, 5))])
    assert [len(record) for record in found] == [1, 0]


class Fixed(Network):
    """Finds one object in the second quarter of whatever it sees, and notes the size of that."""

    def __init__(self):
        super().__init__(Classes(("a", "b")), Preprocess("longer", 64, multiple=32, square=True))
        self.weight = torch.nn.Parameter(torch.tensor(0.75))
        self.seen = []

    def forward(self, images):
        self.seen.append(tuple(images.shape[2:]))
        return images

    def decode(self, outputs, sizes):
        height, width = sizes.unbind(1)
        boxes = torch.stack([width / 4, height / 4, width / 2, height / 2], 1)[:, None]
        column = torch.ones(len(boxes), 1)
        return Found(boxes, column * self.weight, column.long(), column.bool())


def test_a_network_sees_other_sizes_with_the_same_weights():
    network = Fixed()
    own = network.preprocess
    image = np.zeros((50, 60, 3), np.uint8)
    (found,) = Augmented(network, (0.5, 1.0, 1.3), flip=False).predict([image])
    assert network.seen == [(32, 32), (64, 64), (96, 96)]  # whole cells
    assert network.preprocess is own
    assert network.training
    np.testing.assert_allclose(found.boxes, [[15, 12.5, 30, 25]], atol=0.5)
    assert found.scores == pytest.approx([0.75])
    (mirrored,) = Augmented(network, (1.0,), merge="nms", iou_threshold=1).predict([image])
    assert sorted(np.round(mirrored.boxes[:, 0]).tolist()) == [15, 30]


def test_a_network_that_cannot_be_scaled_says_so():
    class Rigid(Fixed):
        def forward(self, images):
            if images.shape[2] != 64:
                raise RuntimeError("needs 64 pixels\nand more words")
            return images

    image = np.zeros((50, 60, 3), np.uint8)
    assert len(Augmented(Rigid(), (1.0,)).predict([image])[0]) == 2
    with pytest.raises(
        ConfigError, match=r"cannot look at 0\.5 times its input size: needs 64 pixels$"
    ):
        Augmented(Rigid(), (0.5,)).predict([image])


def test_wrong_values():
    for options in ({"scales": ()}, {"scales": (0.0,)}, {"merge": "mean"}, {"iou_threshold": 2}):
        with pytest.raises(ConfigError):
            Augmented(Squares(), **options)

    class Posed(Squares):
        def predict(self, images, *, score=None):
            return [
                replace(record, extras={"keypoints": np.zeros((len(record), 1, 3))})
                for record in super().predict(images)
            ]

    with pytest.raises(ConfigError, match="this detector also finds keypoints"):
        Augmented(Posed()).predict([IMAGE])
