"""Two bins of orientation, against plain arithmetic."""

import math

import pytest
import torch

from gazehound.nn.orientation import angle_of, orientation_loss, wrapped


def plain_loss(numbers, angles):
    """Objective of the published code, object by object."""
    entropies, aways = [[], []], [[], []]
    for row, angle in zip(numbers.tolist(), angles.tolist(), strict=True):
        inside = (
            angle < math.pi / 6 or angle > 5 * math.pi / 6,
            angle > -math.pi / 6 or angle < -5 * math.pi / 6,
        )
        for b, centre in enumerate((-math.pi / 2, math.pi / 2)):
            out, into, sine, cosine = row[4 * b : 4 * b + 4]
            top = math.log(math.exp(out) + math.exp(into))
            entropies[b].append(top - (into if inside[b] else out))
            if inside[b]:
                total = 0.0
                for got, want in (
                    (sine, math.sin(angle - centre)),
                    (cosine, math.cos(angle - centre)),
                ):
                    gap = abs(got - want)
                    total += 0.5 * gap**2 if gap < 1 else gap - 0.5
                aways[b].append(total)
    return sum(sum(e) / len(e) for e in entropies) + sum(sum(a) / max(len(a), 1) for a in aways)


def test_loss_is_the_published_one():
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randn(1, 40, 8, generator=generator)
    angles = (torch.rand(1, 40, generator=generator) * 2 - 1) * math.pi
    counted = torch.ones(1, 40, dtype=torch.bool)
    got = float(orientation_loss(numbers, angles, counted))
    assert got == pytest.approx(plain_loss(numbers[0], angles[0]), rel=1e-5)
    counted[0, 10:] = False
    angles[0, 10:] = torch.nan
    got = float(orientation_loss(numbers, angles, counted))
    assert got == pytest.approx(plain_loss(numbers[0, :10], angles[0, :10]), rel=1e-5)
    assert float(orientation_loss(numbers, angles, counted & False)) == 0


def test_an_angle_written_into_the_bins_is_read_back():
    angles = torch.linspace(-math.pi, math.pi, 181)[:-1]
    rows = []
    for angle in angles.tolist():
        row = []
        for centre in (-math.pi / 2, math.pi / 2):
            rest = angle - centre
            inside = abs(math.remainder(rest, 2 * math.pi)) < 2 * math.pi / 3
            row += [0.0, 5.0 if inside else -5.0, math.sin(rest), math.cos(rest)]
        rows.append(row)
    gap = wrapped(angle_of(torch.tensor(rows)) - angles).abs()
    assert float(gap.max()) < 1e-5
