"""Preprocessing in the graph against the preprocessing that everybody else uses."""

import numpy as np
import pytest
import torch

from gazehound.data.preprocess import Preprocess
from gazehound.export.pixels import Pixels, Restored, fixed_shape

SETTINGS = {
    "shorter": {"size": 160, "largest": 300},
    "square": {"resize": "longer", "size": 128, "square": True, "fill": 114, "order": "bgr"},
    "stretch": {"resize": "stretch", "size": 100, "filter": "opencv"},
    "longer": {"resize": "longer", "size": 144, "filter": "opencv", "multiple": 1},
    "torchvision": {"size": 150, "largest": 300, "filter": "torchvision"},
}
SHAPES = ((120, 160), (97, 333), (300, 224), (1, 9))


def picture(shape, seed=0):
    generator = np.random.default_rng(seed)
    small = generator.integers(0, 256, (shape[0] // 8 + 1, shape[1] // 8 + 1, 3))
    smooth = small.repeat(8, 0).repeat(8, 1)[: shape[0], : shape[1]]
    return np.clip(smooth + generator.integers(-20, 20, smooth.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_a_graph_prepares_pictures_as_the_detector_does(settings, shape):
    preprocess = Preprocess(**settings)
    pictures = [picture(shape, seed) for seed in range(2)]
    wanted = preprocess.batch(pictures)
    images, sizes, scale, limit = Pixels(preprocess)(torch.from_numpy(np.stack(pictures)))
    assert images.shape == wanted.images.shape
    assert torch.equal(sizes, wanted.sizes)
    grey = (images - wanted.images).abs() * 255 * max(preprocess.std)
    assert float(grey.max()) < 0.05  # a twentieth of a grey level
    assert limit.tolist() == [shape[1], shape[0]] * 2
    boxes = torch.tensor([[[3.0, 2.0, 40.0, 50.0]]])
    back = Restored(("boxes",))(boxes, scale, limit)[0][0]
    assert np.allclose(back.numpy(), wanted.geometry[0].to_original(boxes[0].numpy()), atol=1e-3)


def test_only_inputs_that_never_change_have_a_fixed_shape():
    shapes = {name: fixed_shape(Preprocess(**settings)) for name, settings in SETTINGS.items()}
    assert shapes == {
        "shorter": None, "square": (128, 128), "stretch": (128, 128), "longer": None,
        "torchvision": None,
    }  # fmt: skip
    assert fixed_shape(Preprocess(resize="longer", size=100, square=True)) is None
