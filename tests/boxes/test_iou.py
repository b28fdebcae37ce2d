"""The IoU family against a per-pair reference, its invariants, torchvision, and its gradients."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import boxes, random_boxes
from torchvision import ops

from gazehound.boxes import iou as family
from gazehound.errors import ConfigError

KINDS = sorted(family.KINDS)


def reference(kind, a, b):
    """One pair, from the papers' definitions, in Python floats."""
    ax1, ay1, ax2, ay2 = map(float, a)
    bx1, by1, bx2, by2 = map(float, b)
    overlap = max(0.0, min(ax2, bx2) - max(ax1, bx1)) * max(0.0, min(ay2, by2) - max(ay1, by1))
    area_a, area_b = (ax2 - ax1) * (ay2 - ay1), (bx2 - bx1) * (by2 - by1)
    union = area_a + area_b - overlap
    value = overlap / union if union > 0 else 0.0
    width, height = max(ax2, bx2) - min(ax1, bx1), max(ay2, by2) - min(ay1, by1)
    if kind == "ioa":
        return overlap / area_a if area_a > 0 else 0.0
    if kind == "iou":
        return value
    if kind == "giou":
        enclosing = width * height
        return value - ((enclosing - union) / enclosing if enclosing > 0 else 0.0)
    distance = ((ax1 + ax2 - bx1 - bx2) / 2) ** 2 + ((ay1 + ay2 - by1 - by2) / 2) ** 2
    diagonal = width**2 + height**2
    value_d = value - (distance / diagonal if diagonal > 0 else 0.0)
    if kind == "diou":
        return value_d
    if kind == "eiou":
        sides = (ax2 - ax1 - bx2 + bx1, width), (ay2 - ay1 - by2 + by1, height)
        return value_d - sum((d / whole) ** 2 if whole > 0 else 0.0 for d, whole in sides)
    angles = [
        math.atan((x2 - x1) / max(y2 - y1, 1e-7))
        for x1, y1, x2, y2 in ((ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2))
    ]
    v = 4 / math.pi**2 * (angles[0] - angles[1]) ** 2
    return value_d - v * v / max(1 - value + v, 1e-7)


@given(boxes(most=5), boxes(most=5), st.sampled_from(KINDS))
def test_pairwise_equals_the_reference(a, b, kind):
    got = family.pairwise(a, b, kind)
    assert got.shape == (len(a), len(b))
    assert got.dtype == np.float32
    expected = [[reference(kind, x, y) for y in b] for x in a]
    np.testing.assert_allclose(got, np.reshape(expected, got.shape), atol=2e-6)
    tensors = family.pairwise(torch.from_numpy(a), torch.from_numpy(b), kind)
    np.testing.assert_allclose(tensors.numpy(), got, atol=1e-6)


@given(boxes(1, 6), boxes(1, 6), st.sampled_from(["iou", "giou", "diou", "ciou"]))
def test_symmetry_range_and_self(a, b, kind):
    forward, backward = family.pairwise(a, b, kind), family.pairwise(b, a, kind)
    np.testing.assert_allclose(forward, backward.T, atol=1e-6)
    lowest = {"iou": 0, "giou": -1, "diou": -1, "ciou": -2}[kind]
    assert (forward >= lowest - 1e-6).all()
    assert (forward <= 1 + 1e-6).all()
    solid = a[((a[:, 2:] - a[:, :2]) > 0).all(1)]
    np.testing.assert_allclose(family.KINDS[kind](solid, solid), 1, atol=1e-6)


@given(
    boxes(1, 6, np.float64), boxes(1, 6, np.float64), st.sampled_from(KINDS),
    st.floats(0.5, 50), st.floats(-100, 100),
)  # fmt: skip
def test_scale_and_translation_change_nothing(a, b, kind, scale, shift):
    expected = family.pairwise(a, b, kind)
    moved = family.pairwise(a * scale + shift, b * scale + shift, kind)
    np.testing.assert_allclose(moved, expected, atol=1e-6)


@given(boxes(1, 6), boxes(1, 6))
def test_order_within_the_family(a, b):
    plain = family.pairwise(a, b)
    for kind in ("giou", "diou"):
        assert (family.pairwise(a, b, kind) <= plain + 1e-6).all()
    assert (family.pairwise(a, b, "ciou") <= family.pairwise(a, b, "diou") + 1e-6).all()


@pytest.mark.parametrize(
    ("kind", "peer"),
    [
        ("iou", ops.box_iou),
        ("giou", ops.generalized_box_iou),
        ("diou", ops.distance_box_iou),
        ("ciou", ops.complete_box_iou),
    ],
)
def test_pairwise_equals_torchvision(kind, peer):
    a, b = (torch.from_numpy(random_boxes(n, seed=n)[0]) for n in (30, 50))
    torch.testing.assert_close(family.pairwise(a, b, kind), peer(a, b), atol=2e-6, rtol=0)


@pytest.mark.parametrize(
    ("kind", "peer"),
    [
        ("giou", ops.generalized_box_iou_loss),
        ("diou", ops.distance_box_iou_loss),
        ("ciou", ops.complete_box_iou_loss),
    ],
)
def test_losses_and_their_gradients_equal_torchvision(kind, peer):
    a = torch.from_numpy(random_boxes(40, 1, "clusters")[0]).double().requires_grad_()
    b = torch.from_numpy(random_boxes(40, 1, "clusters")[0]).double() + torch.rand(
        40, 4, generator=torch.Generator().manual_seed(0)
    )
    ours, theirs = 1 - family.KINDS[kind](a, b), peer(a, b)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)
    (got,) = torch.autograd.grad(ours.sum(), a)
    (expected,) = torch.autograd.grad(theirs.sum(), a)
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("kind", ["iou", "giou", "diou"])
def test_gradcheck(kind):
    a = torch.tensor([[0.0, 0, 4, 3], [1, 1, 7, 5], [10, 10, 12, 13]]).double().requires_grad_()
    b = torch.tensor([[1.0, 0.5, 5, 2], [0, 2, 6.5, 9], [1, 2, 3, 4]]).double().requires_grad_()
    assert torch.autograd.gradcheck(family.KINDS[kind], (a, b))


def test_ciou_treats_alpha_as_a_constant():
    """Zheng et al. 2020, eq. 11: the trade-off weight carries no gradient."""
    a = torch.tensor([[0.0, 0, 4, 3]]).double().requires_grad_()
    b = torch.tensor([[1.0, 0.5, 5, 2]]).double()

    def v(x):
        ratio = [torch.atan((y[:, 2] - y[:, 0]) / (y[:, 3] - y[:, 1])) for y in (x, b)]
        return 4 / math.pi**2 * (ratio[0] - ratio[1]) ** 2

    alpha = (v(a) / (1 - family.iou(a, b) + v(a))).detach()
    (expected,) = torch.autograd.grad((family.diou(a, b) - alpha * v(a)).sum(), a)
    (got,) = torch.autograd.grad(family.ciou(a, b).sum(), a)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(70, 90), (600, 1100)])  # one thread, several threads
def test_kernel_is_bit_equal_to_arrays_and_torchvision(dtype, shape):
    a, b = (random_boxes(n, seed=n)[0].astype(dtype) for n in shape)
    assert len(a) * len(b) >= family.KERNEL_FROM
    expected = family.iou(a[:, None], b[None])
    got = family.pairwise(a, b)
    np.testing.assert_array_equal(got, expected)
    tensors = family.pairwise(torch.from_numpy(a), torch.from_numpy(b))
    np.testing.assert_array_equal(tensors.numpy(), expected)
    peer = ops.box_iou(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    np.testing.assert_array_equal(got, peer)


@settings(max_examples=25, deadline=None)
@given(boxes(64, 70), boxes(64, 70))
def test_kernel_handles_empty_boxes_like_arrays(a, b):
    np.testing.assert_array_equal(family.pairwise(a, b), family.iou(a[:, None], b[None]))


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_nan_and_infinity_in_the_kernel_as_in_arrays():
    a, b = random_boxes(80, 0)[0], random_boxes(80, 1)[0].copy()
    b[3, 1], b[5, 2], b[7] = np.nan, np.inf, [-np.inf, -np.inf, np.inf, np.inf]
    np.testing.assert_array_equal(family.pairwise(a, b), family.iou(a[:, None], b[None]))
    assert np.isnan(family.pairwise(a, b)[:, 3]).all()


def test_gradients_flow_through_large_pairwise():
    a = torch.from_numpy(random_boxes(80)[0]).requires_grad_()
    family.pairwise(a, a.detach().clone()).sum().backward()
    assert a.grad is not None
    assert a.grad.abs().sum() > 0


def test_leading_axes_broadcast():
    a, b = (random_boxes(12, s)[0].reshape(2, 6, 4) for s in (0, 1))
    got = family.pairwise(a, b, "giou")
    assert got.shape == (2, 6, 6)
    np.testing.assert_array_equal(got[1], family.pairwise(a[1], b[1], "giou"))


def test_no_boxes_and_wrong_arguments():
    assert family.pairwise(np.zeros((0, 4), np.float32), np.ones((3, 4), np.float32)).shape == (
        0,
        3,
    )
    with pytest.raises(ConfigError, match="did you mean giou"):
        family.pairwise(np.zeros((1, 4)), np.zeros((1, 4)), "gious")
    with pytest.raises(ConfigError, match="N, 4"):
        family.pairwise(np.zeros((1, 5)), np.zeros((1, 4)))
