"""The HOG descriptor: scikit-image's definition, a plain reference, invariants, and hard images."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gazehound.errors import ConfigError, ImageError
from gazehound.features.hog import Hog, hog, window_descriptors
from gazehound.features.mean_shift import modes
from gazehound.features.pyramid import byte_planes, pyramid_levels
from gazehound.features.window_fusion import fuse_by_mean_shift
from gazehound.features.window_scan import Raster, Template, scan
from gazehound.kernels.block_scores import correlate_blocks


def noise(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize("shape", [(61, 45), (64, 80, 3)])
@pytest.mark.parametrize(("cell", "bins"), [(8, 9), (5, 8), (6, 12)])
@pytest.mark.parametrize("gamma", [False, True])
def test_plain_votes_equal_scikit_image(shape, cell, bins, gamma):
    from skimage.feature import hog as peer

    image = noise(shape)
    wanted = peer(
        image, orientations=bins, pixels_per_cell=(cell, cell), cells_per_block=(2, 2),
        transform_sqrt=gamma, feature_vector=False, channel_axis=-1 if len(shape) == 3 else None,
    )  # fmt: skip
    ours = hog(image, Hog(cell, 2, cell, bins, gamma=gamma, vote="plain"))
    np.testing.assert_allclose(ours, wanted, atol=1e-5)


def test_plain_votes_equal_scikit_image_on_a_photograph():
    from skimage.data import astronaut
    from skimage.feature import hog as peer

    wanted = peer(astronaut(), pixels_per_cell=(8, 8), cells_per_block=(2, 2),
                  feature_vector=False, channel_axis=-1)  # fmt: skip
    ours = hog(astronaut(), Hog(gamma=False, vote="plain"))
    np.testing.assert_allclose(ours, wanted, atol=1e-5)


def plain_reference(image, parameters):
    """The definition, pixel by pixel: every pixel votes in every block, cell and bin it reaches."""
    side, cell, bins = parameters.side, parameters.cell, parameters.bins
    turn = 2 * np.pi if parameters.signed else np.pi
    planes = np.sqrt(image.astype(float)) if parameters.gamma else image.astype(float)
    padded = np.pad(planes, ((1, 1), (1, 1), (0, 0)), mode="reflect")
    gx = padded[1:-1, 2:] - padded[1:-1, :-2]
    gy = padded[2:, 1:-1] - padded[:-2, 1:-1]
    best = (gx**2 + gy**2).argmax(axis=2)[..., None]
    gx, gy = (np.take_along_axis(g, best, 2)[..., 0] for g in (gx, gy))
    length, angle = np.hypot(gx, gy), np.arctan2(gy, gx) % turn
    rows, columns = parameters.blocks(image.shape[:2])
    out = np.zeros((rows, columns, parameters.block, parameters.block, bins))
    sigma = side / 4
    for by, bx, y, x in np.ndindex(rows, columns, side, side):
        i, j = by * parameters.stride + y, bx * parameters.stride + x
        weight = np.exp(-((y - side / 2) ** 2 + (x - side / 2) ** 2) / (2 * sigma**2))
        for cy, cx in np.ndindex(parameters.block, parameters.block):
            near_y = max(0, 1 - abs((y + 0.5) / cell - 0.5 - cy))
            near_x = max(0, 1 - abs((x + 0.5) / cell - 0.5 - cx))
            for b in range(bins):
                apart = abs(angle[i, j] / turn * bins - (b + 0.5))
                near = max(0, 1 - min(apart, bins - apart))
                out[by, bx, cy, cx, b] += length[i, j] * weight * near_y * near_x * near
    flat = out.reshape(rows, columns, -1)
    flat = flat / (np.linalg.norm(flat, axis=2, keepdims=True) + 0.1 * flat.shape[2])
    flat = np.minimum(flat, parameters.clip)
    flat = flat / (np.linalg.norm(flat, axis=2, keepdims=True) + 1e-3)
    return flat.reshape(out.shape)


@pytest.mark.parametrize(
    "parameters",
    [Hog(4, 2, 4), Hog(4, 2, 2, 6, signed=True, gamma=False), Hog(3, 3, 3, 5, clip=0.3)],
)
def test_trilinear_votes_equal_a_plain_reference(parameters):
    image = noise((17, 14, 3), seed=4)
    # the arctangent is a polynomial, within 2e-4 radian
    np.testing.assert_allclose(
        hog(image, parameters), plain_reference(image, parameters), atol=2e-3
    )


def test_mirror_image_has_mirrored_cells_and_orientations():
    # Orientation t becomes 180 - t, so bin k becomes 8 - k, but for t = 0, which stays in bin 0. So
    # that no gradient is horizontal, rows two apart differ by an odd number; only at the top and the
    # bottom, where the border is mirrored, they are. (A Gaussian window, centred on a pixel, would
    # not follow.)
    parameters = Hog(gamma=False, vote="plain")
    rows = np.arange(56)[:, None] // 2 % 2
    image = (noise((56, 40), seed=2) // 2 * 2 + rows).astype(np.uint8)
    one, other = hog(image, parameters), hog(np.ascontiguousarray(image[:, ::-1]), parameters)
    mirrored = other[:, ::-1, :, ::-1, ::-1]
    np.testing.assert_allclose(one[1:-1], mirrored[1:-1], atol=1e-5)


def test_flat_patches_have_no_gradient_and_no_infinite_number():
    for value in (0, 7, 255):
        for vote in ("trilinear", "plain"):
            assert not hog(np.full((32, 32, 3), value, np.uint8), Hog(vote=vote)).any()


def test_contrast_and_brightness_hardly_matter():
    image = (noise((32, 32), seed=1) // 4 + 60).astype(np.uint8)
    plain = Hog(gamma=False)
    np.testing.assert_array_equal(hog(image, plain), hog(image + np.uint8(30), plain))
    np.testing.assert_allclose(hog(image * np.uint8(2), plain), hog(image, plain), atol=0.02)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40, 3), (40, 1), (15, 15, 3), (16, 200)])
def test_small_images_have_the_blocks_that_fit(shape):
    result = hog(noise(shape))
    assert result.shape[:2] == Hog().blocks(shape[:2])
    assert np.isfinite(result).all()


def test_sixteen_bit_images_are_brought_to_bytes():
    image = noise((32, 32, 3))
    np.testing.assert_array_equal(hog(image.astype(np.uint16) * 257), hog(image))


def test_one_channel_is_a_grey_image_and_equal_channels_are_too():
    image = noise((40, 32))
    np.testing.assert_array_equal(hog(image[:, :, None]), hog(image))
    np.testing.assert_array_equal(hog(np.repeat(image[:, :, None], 3, axis=2)), hog(image))


@pytest.mark.parametrize(
    "image",
    [np.zeros((8, 8), np.float32), np.zeros((8, 8, 2), np.uint8), np.zeros((0, 8, 3), np.uint8)],
)
def test_what_is_no_image_is_refused(image):
    with pytest.raises(ImageError):
        hog(image)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"cell": 0}, "cell must be at least 1; got 0"),
        ({"bins": -1}, "bins must be at least 1"),
        ({"vote": "planar"}, "vote of hog 'planar'"),
        ({"sigma": 0.0}, "sigma"),
        ({"clip": 1.5}, "clip"),
    ],
)
def test_wrong_parameters_are_named(wrong, reason):
    with pytest.raises(ConfigError, match=reason):
        Hog(**wrong)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 70), st.integers(1, 70), st.integers(0, 20), st.integers(0, 12),
    st.sampled_from([1, 3]),
)  # fmt: skip
def test_padding_is_mirroring(height, width, pad, origin, channels):
    image = noise((height, width, channels), seed=height * 71 + width)
    grid = Hog().grid(byte_planes(image), pad=(pad, pad), origin=(origin, origin))
    widths = ((pad, pad), (pad, pad), (0, 0))
    # numpy cannot mirror a single pixel, which stays as it is
    padded = image
    for axis in (0, 1):
        mode = "edge" if image.shape[axis] == 1 else "reflect"
        only = tuple(w if k == axis else (0, 0) for k, w in enumerate(widths))
        padded = np.pad(padded, only, mode=mode)
    padded = padded[origin:, origin:]
    assert grid.shape[:2] == Hog().blocks(padded.shape[:2])
    if grid.size:
        inner = Hog().grid(byte_planes(padded))
        same = inner if pad == origin == 0 else inner[1:-1, 1:-1]
        np.testing.assert_allclose(
            grid if pad == origin == 0 else grid[1:-1, 1:-1], same, atol=1e-6
        )


def test_correlation_is_the_product_of_every_window():
    rng = np.random.default_rng(0)
    grid = rng.normal(size=(9, 12, 7)).astype(np.float32)
    weights = rng.normal(size=(3, 4, 7)).astype(np.float32)
    for step in (1, 2, 3):
        scores = correlate_blocks(grid, weights, 0.5, (step, step))
        wanted = [
            [(grid[y : y + 3, x : x + 4] * weights).sum() + 0.5 for x in range(0, 9, step)]
            for y in range(0, 7, step)
        ]
        np.testing.assert_allclose(scores, wanted, rtol=1e-4, atol=1e-4)
    assert correlate_blocks(grid[:2], weights, 0.0, (1, 1)).size == 0


def test_window_descriptors_run_column_by_column():
    grid = np.arange(4 * 5 * 2, dtype=np.float32).reshape(4, 5, 2)
    windows = window_descriptors(grid, (2, 3))
    assert windows.shape == (3, 3, 12)
    wanted = np.concatenate([grid[1 + y, 2 + x] for x in range(3) for y in range(2)])
    np.testing.assert_array_equal(windows[1, 2], wanted)


@pytest.mark.parametrize("stride", [4, 8, 12, 16])
def test_scanned_windows_are_those_of_crops(stride):
    rng = np.random.default_rng(8)
    image = noise((61, 75, 3))
    weights = rng.normal(size=(2, 3, 36)).astype(np.float32)
    template = Template((24, 32), weights, 0.25)
    levels = pyramid_levels((61, 75), (24, 32), step=1.3)
    hits = scan(byte_planes(image), Hog(), [template], levels[:1], Raster(stride), -1e9)[0]
    places = [(x, y) for y in range(0, 61 - 23, stride) for x in range(0, 75 - 31, stride)]
    assert [tuple(c) for c in hits.corner] == places
    grids = {}
    for (x, y), margin in zip(places, hits.margin, strict=True):
        key = (y % 8, x % 8)
        if key not in grids:
            grids[key] = Hog().grid(byte_planes(image), origin=key)
        part = grids[key][y // 8 : y // 8 + 2, x // 8 : x // 8 + 3]
        assert margin == pytest.approx((part * weights).sum() + 0.25, abs=1e-4)


def test_pyramid_levels_follow_the_rule():
    levels = pyramid_levels((480, 640), (128, 64), 1.05)
    assert levels[0].size == (480, 640)
    assert [round(640 / level.scale) for level in levels] == [level.size[1] for level in levels]
    assert levels[-1].size[0] >= 128 > round(480 / (levels[-1].scale * 1.05))
    assert pyramid_levels((480, 640), (128, 64), start=0.5)[0].size == (960, 1280)
    assert pyramid_levels((100, 640), (128, 64)) == []
    assert len(pyramid_levels((480, 640), (128, 64), 1.0)) == 1
    with pytest.raises(ConfigError, match="step of at least 1"):
        pyramid_levels((480, 640), (128, 64), 0.9)


def test_mean_shift_finds_the_centres_of_clusters():
    rng = np.random.default_rng(1)
    centres = np.array([[50.0, 80.0, 0.0], [200.0, 90.0, 0.5]])
    points = np.concatenate([c + rng.normal(0, [2, 3, 0.05], (30, 3)) for c in centres])
    found, density = modes(points, np.ones(60))
    assert len(found) == 2
    np.testing.assert_allclose(found[np.argsort(found[:, 0])], centres, atol=2.0)
    assert (density > 0).all()
    assert len(modes(np.zeros((0, 3)), np.zeros(0))[0]) == 0


def test_mean_shift_leaves_out_windows_that_are_not_positive():
    windows = np.array([[10, 10, 64, 128], [12, 10, 64, 128], [300, 40, 64, 128]])
    margin = np.array([1.0, 0.5, -0.2], np.float32)
    boxes, density = fuse_by_mean_shift(windows, np.ones(3), margin, (128, 64), 0.0)
    assert len(boxes) == 1
    assert np.isfinite(boxes).all()
    assert density[0] > 0
    none = fuse_by_mean_shift(windows[2:], np.ones(1), margin[2:], (128, 64), 0.0)
    assert none[0].shape == (0, 4)
