"""Graph-based superpixels against OpenCV's and against a plain reference."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.segmentation import felzenszwalb

from gazehound.features.selective_search import gaussian, segment
from gazehound.kernels import superpixels


def plain(planes, directions, k, smallest):
    """Felzenszwalb & Huttenlocher's Algorithm 1 as the paper writes it, with sets."""
    _, height, width = planes.shape
    steps = [(0, 1), (1, 0), (1, 1), (1, -1)][:directions]
    edges = []
    for y in range(height):
        for x in range(width):
            for number, (dy, dx) in enumerate(steps):
                if y + dy < height and 0 <= x + dx < width:
                    apart = planes[:, y, x] - planes[:, y + dy, x + dx]
                    total = np.float32(0)
                    for value in apart:
                        total += value * value
                    place = (y * width + x) * directions + number
                    edges.append((np.sqrt(total), place, y * width + x, (y + dy) * width + x + dx))
    component = {pixel: {pixel} for pixel in range(height * width)}
    inside = {id(c): np.float32(0) for c in component.values()}
    edges.sort()
    for weight, _, a, b in edges:
        one, other = component[a], component[b]
        if one is other:
            continue
        limits = [inside[id(c)] + np.float32(k) / np.float32(len(c)) for c in (one, other)]
        if weight <= min(limits):
            _union(component, one, other)
            inside[id(component[a])] = weight
    for _, _, a, b in edges:
        one, other = component[a], component[b]
        if one is not other and min(len(one), len(other)) < smallest:
            _union(component, one, other)
    names = {}
    labels = [names.setdefault(id(component[p]), len(names)) for p in range(height * width)]
    return np.array(labels).reshape(height, width)


def _union(component, one, other):
    if len(one) < len(other):
        one, other = other, one
    for pixel in other:
        component[pixel] = one
    one |= other


@pytest.mark.parametrize("directions", [2, 4])
@pytest.mark.parametrize(("k", "smallest"), [(0.5, 1), (2.0, 4), (20.0, 3), (0.0, 1)])
def test_equals_the_paper(directions, k, smallest):
    planes = np.random.default_rng(0).random((3, 13, 9), np.float32) * 4
    edges = superpixels.edges_of(planes, directions)
    labels, count = superpixels.segment(edges, (13, 9), directions, k, smallest)
    assert np.array_equal(labels, plain(planes, directions, k, smallest))
    assert count == labels.max() + 1


@pytest.mark.parametrize("k", [1.0, 10.0, 300.0])
def test_equals_opencv(k):
    """Floats without ties, no smoothing: the very same partition, numbered the same way."""
    generator = np.random.default_rng(1)
    image = cv2.GaussianBlur(generator.random((60, 80, 3), np.float32) * 255, (0, 0), 2)
    theirs = cv2.ximgproc.segmentation.createGraphSegmentation(1e-3, k, 12).processImage(image)
    edges = superpixels.edges_of(np.ascontiguousarray(image.transpose(2, 0, 1)), 2)
    ours, _ = superpixels.segment(edges, (60, 80), 2, k, 12)
    assert np.array_equal(ours, theirs)


def test_photographs_are_cut_as_opencv_cuts_them(real_data):
    """With smoothing the sums round differently, so equal edges may change places."""
    file = min((real_data / "coco-tiny/val2017").glob("*.jpg"))
    image = cv2.resize(cv2.imread(str(file)), (160, 120))
    theirs = cv2.ximgproc.segmentation.createGraphSegmentation(0.8, 100, 50).processImage(image)
    ours = segment(np.ascontiguousarray(image[..., ::-1]), 100, smallest=50, connected=4)
    pairs = ours.astype(np.int64) * (theirs.max() + 1) + theirs
    _, both = np.unique(pairs, return_counts=True)
    _, alone = np.unique(ours, return_counts=True)
    _, other = np.unique(theirs, return_counts=True)
    same, first, second = (float((c.astype(float) ** 2).sum()) for c in (both, alone, other))
    assert same / (first + second - same) > 0.9  # pairs of pixels together in both, over in either


def test_agrees_with_scikit_image_on_its_own_ground():
    """Flat patches: any correct implementation finds just them."""
    image = np.zeros((40, 60, 3), np.uint8)
    image[:20, :30], image[:20, 30:], image[20:, :30] = (200, 0, 0), (0, 200, 0), (0, 0, 200)
    theirs = felzenszwalb(image, scale=50, sigma=0, min_size=5)
    assert np.array_equal(segment(image, 50, sigma=0, smallest=5), theirs)


@pytest.mark.parametrize("sigma", [0.5, 0.8, 2.0])
def test_smoothing_is_opencvs(sigma):
    image = np.random.default_rng(2).random((21, 34), np.float32) * 255
    ours = superpixels.correlate_separable(image[None], gaussian(sigma), gaussian(sigma))[0]
    assert np.abs(ours - cv2.GaussianBlur(image, (0, 0), sigma)).max() < 1e-3


def test_a_kernel_larger_than_the_image_mirrors_on():
    ours = superpixels.correlate_separable(
        np.full((1, 2, 1), 7, np.float32), gaussian(3.0), gaussian(3.0)
    )
    assert np.allclose(ours, 7, atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 2.0**60, width=32), min_size=1, max_size=60))
def test_edges_come_sorted(values):
    """A row of pixels whose neighbours differ by given amounts."""
    steps = np.array(values, np.float32)
    planes = np.zeros((1, 1, 2 * len(steps)), np.float32)
    planes[0, 0, 1::2] = steps
    edges = superpixels.edges_of(planes, 2)
    weights = edges.view(np.float32)[1::2]
    places = edges & np.uint64(0xFFFFFFFF)
    assert np.all(np.diff(weights) >= 0)
    assert np.all(np.diff(places[np.flatnonzero(weights == 0)].astype(np.int64)) > 0)
    assert len(np.unique(places)) == 2 * len(steps) - 1


def test_every_component_has_the_smallest_size():
    image = np.random.default_rng(3).integers(0, 256, (50, 50, 3), dtype=np.uint8)
    labels = segment(image, 10, smallest=40)
    assert np.bincount(labels.ravel()).min() >= 40


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1)])
def test_tiny_images(shape):
    labels = segment(np.zeros((*shape, 3), np.uint8))
    assert labels.shape == shape
    assert np.all(labels == 0)
