"""Tiles find what the whole image shows, each object once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from squares import Squares, as_set, canvas

from gazehound.detectors.detector import Detector
from gazehound.detectors.tiled import Tiled
from gazehound.errors import ConfigError

WHOLE = Squares()


def expected(image):
    return as_set(WHOLE.predict([image])[0])


def test_it_is_a_detector():
    assert isinstance(Tiled(Squares()), Detector)
    assert Tiled(Squares()).classes is Squares.classes


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 10_000), st.integers(35, 90), st.sampled_from([0.2, 0.35, 0.5]), st.booleans()
)  # fmt: skip
def test_the_same_as_on_the_whole_image(seed, tile, overlap, whole):
    """Squares of any size, larger than the overlap and the tile too, on a grid that keeps them apart."""
    rng = np.random.default_rng(seed)
    squares = []
    for row in range(3):
        for column in range(4):
            x, y = 50 * column + rng.integers(0, 8), 50 * row + rng.integers(0, 8)
            w, h = rng.integers(3, 40, 2)
            squares.append((x, y, x + w, y + h, rng.integers(0, 3)))
    image = canvas((150, 201), *squares)
    found = Tiled(Squares(), tile, overlap, whole=whole).predict([image])[0]
    assert as_set(found) == expected(image)
    assert found.image_size == (150, 201)


@pytest.mark.parametrize("piece", [0.2, 0.99])
def test_an_object_on_a_seam_is_found_once(piece):
    """Whether its pieces score lower or higher than the whole object."""
    image = canvas((100, 100), (30, 30, 70, 70, 0), (2, 2, 8, 8, 1))
    stub = Squares(lambda box: 0.9 if box[2] - box[0] == box[3] - box[1] else piece)
    for whole in (True, False):
        found = Tiled(stub, 60, 0.2, whole=whole).predict([image])[0]
        assert as_set(found) == expected(image)


def test_larger_than_a_tile():
    image = canvas((200, 320), (10, 20, 310, 180, 2))
    assert as_set(Tiled(Squares(), 64, 0.25, whole=False).predict([image])[0]) == expected(image)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (40, 40), (64, 64)])
def test_an_image_that_fits_into_a_tile_is_looked_at_once(size):
    stub = Squares()
    image = canvas(size, (0, 0, 1, 1, 0))
    found = Tiled(stub, 64, 0.2).predict([image])
    assert stub.shown == [size]
    assert as_set(found[0]) == [(0, 0, 1, 1, 0)]


def test_several_images_and_none():
    images = [canvas((90, 90), (40, 40, 60, 60, 0)), canvas((30, 30))]
    found = Tiled(Squares(), 50, 0.3).predict(images)
    assert [len(record) for record in found] == [1, 0]
    assert found[1].image_size == (30, 30)
    assert Tiled(Squares()).predict([]) == []


def test_tiles_go_through_together():
    class Batches(Squares):
        def predict(self, images, *, score=None):
            self.together = [*getattr(self, "together", []), len(images)]
            assert score == 0.4
            return super().predict(images)

    stub = Batches()
    Tiled(stub, 50, 0.0, batch=3, whole=False).predict([canvas((100, 100))], score=0.4)
    assert stub.together == [3, 1]


def test_keypoints_move_with_their_boxes():
    class Posed(Squares):
        def predict(self, images, *, score=None):
            from dataclasses import replace

            found = super().predict(images)
            return [
                replace(
                    r, extras={"keypoints": np.pad(r.boxes[:, None, :2], ((0, 0), (0, 0), (0, 1)))}
                )
                for r in found
            ]

    image = canvas((100, 100), (70, 80, 90, 95, 0))
    (found,) = Tiled(Posed(), 50, 0.2).predict([image])
    assert found.extras["keypoints"].tolist() == [[[70, 80, 0]]]


def test_wrong_values():
    for options in ({"tile": 0}, {"overlap": 1}, {"batch": 0}):
        with pytest.raises(ConfigError):
            Tiled(Squares(), **options)
