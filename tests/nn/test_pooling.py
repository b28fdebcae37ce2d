"""RoIPool, RoIAlign and the level rule against torchvision's, forward and gradient."""

import pytest
import torch
import torchvision.ops
from torchvision.ops.poolers import LevelMapper, MultiScaleRoIAlign

from gazehound.errors import ConfigError
from gazehound.nn.pooling import RegionPool, RoIAlign, RoIPool


def boxes_in(count, height, width, seed=0, batch=2):
    """Boxes of all sizes: inside, across the border, outside, without extent, inverted."""
    generator = torch.Generator().manual_seed(seed)
    corner = (torch.rand(batch, count, 2, generator=generator) * 1.4 - 0.2) * torch.tensor(
        [width, height]
    )
    size = torch.rand(batch, count, 2, generator=generator) ** 3 * torch.tensor([width, height])
    boxes = torch.cat([corner, corner + size], 2)
    boxes[:, 0] = torch.tensor([0.0, 0, width, height])
    boxes[:, 1] = torch.tensor([5.0, 5, 5, 5])
    boxes[:, 2] = torch.tensor([-3.0 * width, 0, -2.0 * width, 9])
    boxes[:, 3] = torch.tensor([30.0, 30, 10, 12])
    return boxes


def rows_of(boxes):
    return torch.cat([torch.cat([torch.full_like(b[:, :1], i), b], 1) for i, b in enumerate(boxes)])


@pytest.mark.parametrize("channels", [1, 5, 16])
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("sampling", [0, 1, 2, 3])
def test_kernel_equals_torchvision(sampling, aligned, channels):
    maps = torch.randn(2, channels, 19, 23, generator=torch.Generator().manual_seed(1))
    rows = rows_of(boxes_in(60, 19 * 8, 23 * 8))
    wanted = torchvision.ops.roi_align(maps, rows, 7, 1 / 8, sampling, aligned)
    pool = RoIAlign(7, sampling, aligned=aligned)
    for layout in (torch.contiguous_format, torch.channels_last):
        got = pool(maps.to(memory_format=layout), rows, 8)
        assert (got - wanted).abs().max() <= 1e-5 * wanted.abs().max()
    assert pool(maps, rows[:0], 8).shape == (0, channels, 7, 7)


def test_kernel_on_several_threads_gives_the_same(monkeypatch):
    maps, rows = torch.randn(2, 8, 16, 16), rows_of(boxes_in(200, 128, 128))
    one = RoIAlign()(maps, rows, 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert torch.equal(RoIAlign()(maps, rows, 8), one)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("sampling", [0, 1, 2, 3])
@pytest.mark.parametrize("threads", [1, 2])
def test_gradient_of_the_kernel_equals_torchvision(monkeypatch, sampling, aligned, threads):
    """Boxes over the edge, outside, inverted, and smaller than a cell among them."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    generator = torch.Generator().manual_seed(5)
    start = torch.rand(60, 2, generator=generator) * 260 - 40
    rows = torch.cat(
        [
            torch.randint(0, 2, (60, 1), generator=generator).float(),
            start,
            start + torch.rand(60, 2, generator=generator) * 150 - 5,
        ],
        dim=1,
    )
    maps = torch.randn(2, 70, 19, 23, generator=generator)
    pull = torch.randn(60, 70, 7, 7, generator=generator)
    ours, theirs = maps.clone().requires_grad_(), maps.clone().requires_grad_()
    RoIAlign(7, sampling, aligned=aligned)(ours, rows, 8).backward(pull)
    torchvision.ops.roi_align(theirs, rows, 7, 1 / 8, sampling, aligned).backward(pull)
    assert theirs.grad.abs().max() > 0.1
    assert torch.allclose(ours.grad, theirs.grad, rtol=1e-5, atol=1e-5)


def test_kernel_takes_boxes_that_are_no_numbers():
    rows = torch.tensor([[0, float("nan"), 0, 9, 9], [0, 0, 0, float("inf"), 9]])
    assert RoIAlign()(torch.ones(1, 3, 8, 8), rows, 8).shape == (2, 3, 7, 7)


@pytest.mark.parametrize(
    ("pool", "theirs"),
    [
        (RoIAlign(7, 2), lambda m, r: torchvision.ops.roi_align(m, r, 7, 1 / 8, 2)),
        (
            RoIAlign(5, 0, aligned=True),
            lambda m, r: torchvision.ops.roi_align(m, r, 5, 1 / 8, 0, True),
        ),
        (RoIPool(6), lambda m, r: torchvision.ops.roi_pool(m, r, 6, 1 / 8)),
    ],
)
def test_one_map_equals_torchvision_with_gradient(pool, theirs):
    boxes = boxes_in(30, 152, 184)
    a = torch.randn(2, 4, 19, 23, generator=torch.Generator().manual_seed(2)).requires_grad_()
    b = a.detach().clone().requires_grad_()
    got, wanted = RegionPool((8,), pool)([a], boxes), theirs(b, rows_of(boxes))
    assert torch.allclose(got, wanted, atol=1e-6)
    weight = torch.randn(got.shape, generator=torch.Generator().manual_seed(3))
    (got * weight).sum().backward()
    (wanted * weight).sum().backward()
    assert torch.allclose(a.grad, b.grad, atol=1e-5)


def pyramid(seed=4, channels=6, size=256, wants_gradient=False):
    generator = torch.Generator().manual_seed(seed)
    maps = [
        torch.randn(2, channels, size // s, size // s, generator=generator) for s in (4, 8, 16, 32)
    ]
    return [m.requires_grad_(wants_gradient) for m in maps]


def test_levels_equal_torchvision_at_the_edges_too():
    sides = torch.cat([torch.rand(500) * 1200, 224 * 2.0 ** torch.arange(-6, 4), torch.zeros(1)])
    boxes = torch.stack([torch.zeros_like(sides), torch.zeros_like(sides), sides, sides], 1)
    assert torch.equal(RegionPool().levels(boxes), LevelMapper(2, 5)([boxes]))


@pytest.mark.parametrize("wants_gradient", [False, True])
def test_pyramid_equals_torchvision(wants_gradient):
    boxes = boxes_in(50, 256, 256)[:, 3:].sort(dim=2).values  # theirs wants extent
    boxes[..., 2:] += 0.5
    maps = pyramid(wants_gradient=wants_gradient)
    theirs = MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2)
    named = {str(i): m for i, m in enumerate(maps)}
    wanted = theirs(named, list(boxes), [(256, 256)] * 2)
    got = RegionPool()(maps, boxes)
    assert (got - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def test_pooling_in_fixed_shapes_gives_the_same_with_gradient():
    """What runs on a device, where the number of regions per level is not known on the host."""
    pool, boxes = RegionPool(), boxes_in(40, 256, 256)
    grads = []
    for method in (pool._sorted_by_level, pool._all_levels):
        maps = pyramid(wants_gradient=True)
        out = method(maps, rows_of(boxes), pool.levels(boxes).flatten())
        (out * torch.linspace(-1, 1, out.numel()).view(out.shape)).sum().backward()
        grads.append([out.detach(), *(0 * m if m.grad is None else m.grad for m in maps)])
    for a, b in zip(*grads, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_no_region_pools_to_nothing():
    assert RegionPool()(pyramid(), torch.zeros(2, 0, 4)).shape == (0, 6, 7, 7)


def test_strides_must_be_powers_of_two():
    with pytest.raises(ConfigError, match=r"powers of two; got \(4, 12\)"):
        RegionPool((4, 12))
