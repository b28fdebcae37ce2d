"""Tiles cover the image; what several of them saw becomes one box."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gazehound.boxes.tiles import merge_tiles, tile_grid
from gazehound.errors import ConfigError


@settings(deadline=None, max_examples=50)
@given(
    st.integers(1, 300), st.integers(1, 300), st.integers(1, 120), st.sampled_from([0.0, 0.2, 0.5, 0.9])
)  # fmt: skip
def test_tiles_cover_the_image_and_overlap_as_asked(height, width, tile, overlap):
    if max(height, width) > 40 * tile * (1 - overlap) + tile:
        return  # thousands of tiles say no more
    grid = tile_grid((height, width), tile, overlap)
    seen = np.zeros((height, width), int)
    for x1, y1, x2, y2 in grid:
        assert 0 <= x1 < x2 <= width
        assert 0 <= y1 < y2 <= height
        assert (y2 - y1, x2 - x1) == (min(tile, height), min(tile, width))
        seen[y1:y2, x1:x2] += 1
    assert seen.min() >= 1
    for low, high in ((0, 2), (1, 3)):
        starts, ends = np.unique(grid[:, low]), np.unique(grid[:, high])
        shared = ends[:-1] - starts[1:]
        assert (shared >= np.floor(tile * overlap) - 1).all()


def test_an_image_that_is_no_larger_is_one_tile():
    assert tile_grid((1, 1), 640, 0.2).tolist() == [[0, 0, 1, 1]]
    assert tile_grid((640, 30), 640, 0.2).tolist() == [[0, 0, 30, 640]]
    assert len(tile_grid((641, 640), 640, 0.2)) == 2


def test_wrong_values():
    for tile, overlap in ((0, 0.2), (64, 1.0), (64, -0.1)):
        with pytest.raises(ConfigError, match="of tiles must"):
            tile_grid((100, 100), tile, overlap)
    none = (np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    with pytest.raises(ConfigError, match=r"0\.\.1"):
        merge_tiles(*none, np.zeros(0, np.int64), np.zeros((1, 4), np.int64), 1.5)
    boxes, rows = merge_tiles(*none, np.zeros(0, np.int64), np.zeros((1, 4), np.int64))
    assert boxes.shape == (0, 4)
    assert rows.shape == (0,)


TILES = np.array([[0, 0, 60, 60], [40, 0, 100, 60], [0, 0, 100, 60]])  # two, and the whole image


def merge(*rows):
    """Merge rows of (box, score, label, tile)."""
    boxes, scores, labels, seen_in = zip(*rows, strict=True)
    found = merge_tiles(
        np.float32(boxes), np.float32(scores), np.array(labels), np.array(seen_in), TILES
    )
    return found[0].tolist(), found[1].tolist()


def test_the_whole_one_wins_over_a_better_piece():
    # cut at x = 60 in the left tile, whole in the right one
    assert merge(([45, 10, 60, 30], 0.9, 0, 0), ([45, 10, 70, 30], 0.6, 0, 1)) == (
        [[45, 10, 70, 30]], [1]
    )  # fmt: skip
    # a sliver of 2 pixels overlaps little, but lies within
    assert merge(([58, 10, 60, 30], 0.9, 0, 0), ([58, 10, 90, 30], 0.6, 0, 1))[1] == [1]


def test_pieces_are_joined_where_they_agree():
    left, right = [30, 10, 60, 30], [40, 10, 80, 30]
    assert merge((left, 0.7, 0, 0), (right, 0.9, 0, 1)) == ([[30, 10, 80, 30]], [1])
    assert merge((left, 0.7, 0, 0), (right, 0.9, 1, 1))[1] == [1, 0]  # of two classes
    low = [40, 31, 80, 50]
    assert merge((left, 0.7, 0, 0), (low, 0.9, 0, 1))[1] == [1, 0]  # one above the other
    # where the whole image shows it, its box is taken
    assert merge((left, 0.7, 0, 0), (right, 0.9, 0, 1), ([30, 9, 81, 30], 0.3, 0, 2)) == (
        [[30, 9, 81, 30]], [2]
    )  # fmt: skip


def test_one_tile_is_not_judged_again():
    one, other = [5, 5, 25, 25], [8, 5, 28, 25]
    assert merge((one, 0.7, 0, 0), (other, 0.9, 0, 0))[1] == [1, 0]
    assert merge((one, 0.7, 0, 0), (other, 0.9, 0, 2))[1] == [1]
    assert merge((one, 0.7, 0, 0), (other, 0.9, 1, 2))[1] == [1, 0]
