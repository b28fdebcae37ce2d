"""SimOTA against plain loops over boxes and places."""

import numpy as np
import pytest
import torch
from assigner_cases import iou, matched, points, problem, sigmoid, truths_of
from hypothesis import given, settings
from hypothesis import strategies as st

from gazehound.data.batching import pad_targets
from gazehound.nn.assigners.assigner import Candidates, Predictions
from gazehound.nn.assigners.selection import lowest
from gazehound.nn.assigners.simota import SimOTAAssigner


def plain_simota(candidates, boxes, labels, predictions, image, radius=1.5, most=10):
    """YOLOX, section 2.1, one pair at a time."""
    centres, stride = candidates.centres.tolist(), candidates.stride.tolist()
    scores = sigmoid(predictions.logits[image].double().numpy())
    scores = np.sqrt(scores * sigmoid(predictions.quality[image].double().numpy())[:, None])

    def near(truth, place):
        x, y = (boxes[truth][0] + boxes[truth][2]) / 2, (boxes[truth][1] + boxes[truth][3]) / 2
        px, py = centres[place]
        return max(abs(px - x), abs(py - y)) < radius * stride[place]

    places = [p for p in range(len(centres)) if any(near(t, p) for t in range(len(boxes)))]
    overlap = {
        (t, p): iou(boxes[t], predictions.boxes[image, p].tolist())
        for t in range(len(boxes))
        for p in places
    }
    cost = {}
    for (truth, place), value in overlap.items():
        one_hot = np.eye(scores.shape[1])[labels[truth]]
        entropy = -(one_hot * np.log(scores[place]) + (1 - one_hot) * np.log(1 - scores[place]))
        number = np.float32(entropy.sum() - 3 * np.log(value + 1e-8))
        cost[truth, place] = number + np.float32(0 if near(truth, place) else 1e6)
    takers = {}
    for truth in range(len(boxes)):
        best = sorted((overlap[truth, p] for p in places), reverse=True)[:most]
        count = max(int(sum(best)), 1)
        for place in sorted(places, key=lambda p: cost[truth, p])[:count]:
            takers.setdefault(place, []).append(truth)
    return {
        place: those[0] if len(those) == 1 else min(range(len(boxes)), key=lambda t: cost[t, place])
        for place, those in takers.items()
    }


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), counts=st.lists(st.integers(0, 6), min_size=1, max_size=2))
def test_equals_plain_loops(seed, counts):
    candidates, targets, predictions = problem(seed, counts)
    match = SimOTAAssigner()(candidates, targets, predictions)
    for image in range(len(counts)):
        boxes, labels = truths_of(targets, image)
        wanted = plain_simota(candidates, boxes, labels, predictions, image)
        got = matched(match, image)
        assert got == wanted
        for place, truth in got.items():
            value = iou(boxes[truth], predictions.boxes[image, place].tolist())
            assert float(match.overlap[image, place]) == pytest.approx(value, abs=1e-5)


def alike(candidates, count=1):
    """Predictions that are the same everywhere: only geometry can tell places apart."""
    length = len(candidates.boxes)
    return Predictions(
        torch.zeros(count, length, 3),
        candidates.boxes.expand(count, -1, -1),
        torch.zeros(count, length),
    )


def test_twenty_truths_claim_one_place():
    """Only one place exists: it goes to the truth for which it is cheapest, the others have none."""
    one = Candidates(torch.tensor([[0.0, 0, 32, 32]]), (1,), (32,))
    boxes = torch.tensor([[16.0 - i, 16 - i, 16 + i, 16 + i] for i in range(1, 21)])
    targets = pad_targets([boxes], [torch.zeros(20, dtype=torch.long)])
    match = SimOTAAssigner()(one, targets, alike(one))
    assert matched(match, 0) == {0: 15}  # the box of side 32 has IoU 1 with what is predicted there


def test_identical_truths_go_to_the_first():
    candidates, _, predictions = problem(5, [1])
    box = torch.tensor([[20.0, 20, 60, 60]])
    single = pad_targets([box], [torch.tensor([1])])
    double = pad_targets([box.repeat(5, 1)], [torch.ones(5, dtype=torch.long)])
    assign = SimOTAAssigner()
    once, again = (matched(assign(candidates, t, predictions), 0) for t in (single, double))
    assert once == again
    assert set(once.values()) == {0}


def test_truths_with_one_centre_share_the_places():
    candidates = points()
    boxes = torch.tensor([[40.0, 40, 56, 56], [16.0, 16, 80, 80]])
    targets = pad_targets([boxes], [torch.tensor([0, 1])])
    predictions = alike(candidates)
    better = predictions.boxes.clone()
    better[0, ::2] = boxes[1]  # every second place predicts the large one
    better[0, 1::2] = boxes[0]
    match = SimOTAAssigner()(candidates, targets, Predictions(predictions.logits, better))
    got = matched(match, 0)
    assert set(got.values()) == {0, 1}
    assert all(truth == (place + 1) % 2 for place, truth in got.items())


def test_a_truth_smaller_than_the_stride_gets_a_place_and_one_outside_the_grid_none():
    candidates = points()
    boxes = torch.tensor([[41.0, 41, 42, 42], [900.0, 900, 950, 950]])
    targets = pad_targets([boxes, boxes[:0]], [torch.zeros(2, dtype=torch.long), torch.zeros(0)])
    match = SimOTAAssigner()(candidates, targets, alike(candidates, 2))
    assert set(matched(match, 0).values()) == {0}
    assert matched(match, 1) == {}
    assert torch.isfinite(match.overlap).all()


def test_lowest_takes_the_first_of_equals_and_nothing_infinite():
    values = torch.tensor(
        [[3.0, 1, 2, 1, 2, 2], [9, torch.inf, torch.inf, torch.inf, 9, torch.inf]]
    )
    assert lowest(values, 4, 4).tolist() == [
        [False, True, True, True, True, False],
        [True, False, False, False, True, False],
    ]
    counts = torch.tensor([[0], [1]])
    assert lowest(values, counts, 9).tolist() == [[False] * 6, [True] + [False] * 5]
