"""NMS as an operator of fixed shapes, and decoding without NMS."""

import dataclasses

import numpy as np
import pytest
import torch

from gazehound.boxes.nms import batched_nms
from gazehound.catalog import find
from gazehound.checkpoints.rebuild import build
from gazehound.errors import ConfigError
from gazehound.nn.postprocess import Limits, suppress
from gazehound.nn.suppression import best_kept, best_of, kept_by_nms
from gazehound.records import Classes


def candidates(count=60, images=3):
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(images, count, 2, generator=generator) * 50
    sides = 5 + torch.rand(images, count, 2, generator=generator) * 40
    scores = torch.rand(images, count, generator=generator)
    scores = scores.where(scores > 0.3, 0.0)  # those of score 0 are none
    labels = torch.randint(0, 3, (images, count), generator=generator)
    return torch.cat((corners, corners + sides), dim=2), scores, labels


def test_the_operator_keeps_what_nms_keeps():
    boxes, scores, labels = candidates()
    kept = kept_by_nms(boxes, scores, labels, 0.4, 100)
    for image in range(3):
        real = np.flatnonzero(scores[image].numpy() > 0)
        columns = (column[image].numpy()[real] for column in (boxes, scores, labels))
        wanted = real[batched_nms(*columns, 0.4)]
        assert np.array_equal(np.flatnonzero(kept[image].numpy()), np.sort(wanted))
    assert 0 < int(kept.sum()) < int((scores > 0).sum())


def test_the_best_that_stay_are_what_suppress_returns():
    boxes, scores, labels = candidates()
    found = suppress(boxes, scores, labels, Limits(iou=0.4, per_image=8))
    index, valid = best_kept(boxes, scores, labels, 0.4, 8)
    assert valid.all()
    assert torch.equal(scores.gather(1, index), found.scores)
    assert torch.equal(labels.gather(1, index), found.labels)


def test_without_nms_all_candidates_come_back():
    boxes, scores, labels = candidates()
    found = suppress(boxes, scores, labels, Limits(nms=False))
    assert not found.final
    assert found.boxes is boxes
    assert torch.equal(found.valid, scores > 0)


def test_the_best_of_few_are_all_of_them():
    values = torch.tensor([[0.1, 0.9, 0.4]])
    top, index = best_of(values, 10)
    assert top.tolist() == [pytest.approx([0.9, 0.4, 0.1])]
    assert index.tolist() == [[1, 2, 0]]


def test_score_voting_wants_nms_inside():
    network, _ = build("paa_r18", Classes(("a", "b")), find("paa_r18").tiny)
    network.eval().limits = dataclasses.replace(network.limits, nms=False)
    with torch.no_grad(), pytest.raises(ConfigError, match="export with --nms"):
        network.decode(network(torch.zeros(1, 3, 64, 64)), torch.tensor([[64.0, 64.0]]))
