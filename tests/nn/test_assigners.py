"""FCOS, ATSS, PAA and OTA assigners against plain loops over boxes and places, and their edge cases."""

import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from assigner_cases import (
    CLASSES,
    SIZE,
    STRIDES,
    iou,
    matched,
    points,
    problem,
    sigmoid,
    truths_of,
)
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from gazehound.boxes.iou import giou
from gazehound.data.batching import pad_targets
from gazehound.errors import ConfigError
from gazehound.nn.anchors import AnchorGrid, octave_sizes
from gazehound.nn.assigners.assigner import Candidates, Predictions
from gazehound.nn.assigners.atss import ATSSAssigner
from gazehound.nn.assigners.fcos import FCOSAssigner
from gazehound.nn.assigners.mixture import fit_mixture
from gazehound.nn.assigners.named import ASSIGNERS, make_assigner
from gazehound.nn.assigners.ota import OTAAssigner
from gazehound.nn.assigners.paa import PAAAssigner, low_loss_group
from gazehound.nn.assigners.sinkhorn import sinkhorn

CASES = {
    "seed": st.integers(0, 10_000),
    "counts": st.lists(st.integers(0, 6), min_size=1, max_size=2),
}
FEW = settings(
    max_examples=12, deadline=None, derandomize=True, phases=(Phase.explicit, Phase.generate)
)


def anchors(ratios=(1.0,), scale=4.0):
    """Anchors of four strides; with several ratios, several per cell."""
    grids = [(SIZE // s, SIZE // s) for s in STRIDES]
    grid = AnchorGrid(STRIDES, octave_sizes(STRIDES, scale, 1), ratios)
    lengths = tuple(h * w * len(ratios) for h, w in grids)
    return Candidates(grid(grids, (SIZE, SIZE)), lengths, STRIDES, len(ratios))


def middle(box):
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


# FCOS


def plain_fcos(candidates, boxes, radius=1.5):
    """Section 3.2 of the paper, one pair at a time."""
    centres, stride = candidates.centres.tolist(), candidates.stride.tolist()
    found = {}
    for place, (x, y) in enumerate(centres):
        s, wanting = stride[place], []
        low = 0 if s == candidates.strides[0] else 4 * s
        high = math.inf if s == candidates.strides[-1] else 8 * s
        for truth, (x1, y1, x2, y2) in enumerate(boxes):
            ways = (x - x1, y - y1, x2 - x, y2 - y)
            cx, cy = middle(boxes[truth])
            near = max(abs(x - cx), abs(y - cy)) < radius * s
            if min(ways) > 0 and low < max(ways) < high and near:
                wanting.append(((x2 - x1) * (y2 - y1), truth))
        if wanting:
            found[place] = min(wanting)[1]
    return found


@FEW
@given(**CASES)
def test_fcos_equals_plain_loops(seed, counts):
    candidates, targets, _ = problem(seed, counts)
    match = FCOSAssigner()(candidates, targets)
    for image in range(len(counts)):
        assert matched(match, image) == plain_fcos(candidates, truths_of(targets, image)[0])


def test_fcos_tells_areas_apart_that_float32_sums_cannot():
    """In float32, 1e8 - 400 and 1e8 - 401 are one number; the smaller box must still win."""
    boxes = torch.tensor([[30.0, 30, 50, 50.05], [30.0, 30, 50, 50]])
    assert np.float32(1e8) - np.float32(401) == np.float32(1e8) - np.float32(400)
    targets = pad_targets([boxes], [torch.tensor([0, 1])])
    assert set(matched(FCOSAssigner()(points(), targets), 0).values()) == {1}


def test_fcos_without_centre_sampling_takes_the_whole_box():
    box = torch.tensor([[0.0, 0, 56, 56]])
    targets = pad_targets([box], [torch.zeros(1, dtype=torch.long)])
    wide, narrow = (matched(FCOSAssigner(r)(points(), targets), 0) for r in (0.0, 1.5))
    first = points().lengths[0]  # all ways are under 8 strides of 8: the finest level has it
    assert len([p for p in wide if p < first]) == 7 * 7
    assert set(narrow) < set(wide)
    with pytest.raises(ConfigError, match="radius >= 0 and a range"):
        FCOSAssigner(range_of_level=(8.0, 4.0))


# ATSS


def plain_atss(candidates, boxes, nearest=9):
    """Algorithm 1 of the paper, line by line; ties of distance go to the first anchor."""
    all_anchors, centres = candidates.boxes.tolist(), candidates.centres.tolist()
    starts = np.concatenate([[0], np.cumsum(candidates.lengths)])
    wanting = {}
    for truth, box in enumerate(boxes):
        cx, cy = middle(box)
        chosen = []
        for low, high in itertools.pairwise(starts.tolist()):
            order = sorted(
                range(low, high),
                key=lambda p: (centres[p][0] - cx) ** 2 + (centres[p][1] - cy) ** 2,
            )
            chosen += order[: nearest * candidates.per_cell]
        overlaps = [iou(box, all_anchors[p]) for p in chosen]
        threshold = np.mean(overlaps) + np.std(overlaps, ddof=1)
        for place, overlap in zip(chosen, overlaps, strict=True):
            x, y = centres[place]
            inside = min(x - box[0], y - box[1], box[2] - x, box[3] - y) > 0.01
            if overlap >= threshold and inside:
                wanting.setdefault(place, []).append((-overlap, truth))
    return {place: min(those)[1] for place, those in wanting.items()}


@FEW
@given(**CASES, per_cell=st.integers(1, 2))
def test_atss_equals_plain_loops(seed, counts, per_cell):
    candidates, targets, _ = problem(seed, counts, anchors((1.0, 4.0)[:per_cell]))
    match = ATSSAssigner()(candidates, targets)
    for image in range(len(counts)):
        assert matched(match, image) == plain_atss(candidates, truths_of(targets, image)[0])


def test_atss_with_a_single_anchor():
    one = Candidates(torch.tensor([[0.0, 0, 64, 64]]), (1,), (64,))
    boxes = torch.tensor([[10.0, 10, 50, 50]])
    targets = pad_targets([boxes], [torch.zeros(1, dtype=torch.long)])
    assert matched(ATSSAssigner()(one, targets), 0) == {0: 0}
    with pytest.raises(ConfigError, match="nearest >= 1"):
        ATSSAssigner(0)


# PAA


@pytest.mark.parametrize("seed", range(6))
def test_mixture_equals_scikit_learn(seed):
    from sklearn.mixture import GaussianMixture

    generator = np.random.default_rng(seed)
    lengths = generator.integers(2, 46, 8)
    rows = [
        np.where(
            generator.random(n) < 0.4, generator.normal(1, 0.2, n), generator.normal(3, 0.9, n)
        )
        for n in lengths
    ]
    values = torch.full((8, 45), float("inf"), dtype=torch.float64)
    for row, numbers in enumerate(rows):
        values[row, : len(numbers)] = torch.from_numpy(numbers)
    valid = torch.isfinite(values)
    ours = fit_mixture(values, valid)
    labels = ours.log_joint(values.masked_fill(~valid, 0)).argmax(2)
    for row, numbers in enumerate(rows):
        theirs = GaussianMixture(
            2,
            covariance_type="diag",
            weights_init=[0.5, 0.5],
            means_init=[[numbers.min()], [numbers.max()]],
            precisions_init=[[1.0], [1.0]],
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that few numbers do not always converge
            theirs.fit(numbers[:, None])
        assert ours.means[row].numpy() == pytest.approx(theirs.means_[:, 0], abs=1e-6)
        assert ours.variances[row].numpy() == pytest.approx(theirs.covariances_[:, 0], abs=1e-6)
        assert ours.weights[row].numpy() == pytest.approx(theirs.weights_, abs=1e-6)
        assert labels[row, : len(numbers)].tolist() == theirs.predict(numbers[:, None]).tolist()


def plain_low_loss(losses):
    """Figure 3 c of the paper with scikit-learn's mixture."""
    from sklearn.mixture import GaussianMixture

    if len(losses) == 1:
        return set(losses)
    column = np.sort(np.asarray(losses, np.float64))[:, None]
    mixture = GaussianMixture(
        2,
        covariance_type="diag",
        weights_init=[0.5, 0.5],
        means_init=[column.min(0), column.max(0)],
        precisions_init=[[1.0], [1.0]],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        members = column[mixture.fit(column).predict(column) == 0]
    if not len(members):
        return set()
    return set(members[: mixture.score_samples(members).argmax() + 1, 0])


def plain_paa(candidates, boxes, labels, predictions, image):
    """Algorithm 1 of the paper, one truth at a time."""
    if not boxes:
        return {}
    overlap = np.array([[iou(a, b) for b in boxes] for a in candidates.boxes.tolist()])
    best = overlap.argmax(1)
    ties = (overlap == overlap.max(0)) & (overlap.max(0) > 0)
    near = (overlap.max(1) >= 0.1) | ties.any(1)
    p = sigmoid(predictions.logits[image].double().numpy())
    starts = np.concatenate([[0], np.cumsum(candidates.lengths)])

    def loss(place, truth):
        hot = np.eye(p.shape[1])[labels[truth]]
        q = p[place]
        focal = -0.25 * hot * (1 - q) ** 2 * np.log(q) - 0.75 * (1 - hot) * q**2 * np.log(1 - q)
        pair = (predictions.boxes[image, place].double(), torch.tensor(boxes[truth]).double())
        return focal.sum() + 1.3 * (1 - float(giou(*pair)))

    found = {}
    for truth in range(len(boxes)):
        kept = {}
        for low, high in itertools.pairwise(starts.tolist()):
            own = [p for p in range(low, high) if near[p] and best[p] == truth]
            kept |= {
                place: value
                for value, place in sorted((loss(place, truth), place) for place in own)[:9]
            }
        low_losses = plain_low_loss(list(kept.values())) if kept else set()
        found |= {place: truth for place, value in kept.items() if value in low_losses}
    return found


@settings(FEW, max_examples=6)
@given(**CASES)
def test_paa_equals_plain_loops(seed, counts):
    candidates, targets, predictions = problem(seed, counts, anchors())
    match = PAAAssigner()(candidates, targets, predictions)
    for image in range(len(counts)):
        boxes, labels = truths_of(targets, image)
        wanted = plain_paa(candidates, boxes, labels, predictions, image)
        assert matched(match, image) == wanted


def test_low_losses_of_rows_without_and_with_few_numbers():
    inf = math.inf
    rows = torch.tensor(
        [
            [inf, inf, inf, inf],  # none: no empty mixture gives NaN or a positive
            [2.0, inf, inf, inf],  # one: positive
            [1.0, 1.0, 1.0, 1.0],  # all alike: all are at the peak
            [0.1, 0.11, 5.0, 5.1],
        ]
    )
    got = low_loss_group(rows)
    assert got[0].tolist() == [False] * 4
    assert got[1].tolist() == [True, False, False, False]
    assert got[2].tolist() == [True] * 4
    assert got[3, 2:].tolist() == [False, False]
    assert got[3].any()
    mixture = fit_mixture(rows, torch.isfinite(rows))
    assert all(torch.isfinite(x).all() for x in (mixture.means, mixture.variances, mixture.weights))


# OTA


def plain_sinkhorn(cost, supply, demand, epsilon, iterations):
    """Cuturi 2013, algorithm 1, on the kernel itself, in float64."""
    kernel = np.exp(-cost / epsilon)
    rows = np.ones(len(supply))
    for _ in range(iterations):
        columns = demand / (kernel.T @ rows)
        rows = supply / (kernel @ columns)
    return rows[:, None] * kernel * columns


@pytest.mark.parametrize("seed", range(3))
def test_plan_equals_optimal_transport_library_and_plain_iteration(seed):
    import ot

    generator = np.random.default_rng(seed)
    cost = generator.random((2, 5, 40)) * 3
    supply = generator.integers(1, 9, (2, 5)).astype(float)
    supply[:, -1] = 40 - supply[:, :-1].sum(1)
    demand = np.ones((2, 40))
    arguments = [torch.from_numpy(a) for a in (cost, supply, demand)]
    plan = sinkhorn(*arguments, epsilon=0.1, iterations=400).numpy()
    for image in range(2):
        pair = (supply[image], demand[image], cost[image])
        theirs = ot.sinkhorn(*pair, reg=0.1, numItermax=400, stopThr=0, warn=False)
        assert np.abs(plan[image] - theirs).max() < 1e-6
        plain = plain_sinkhorn(cost[image], *pair[:2], 0.1, 400)
        assert np.abs(plan[image] - plain).max() < 1e-9
        assert plan[image].sum(1) == pytest.approx(supply[image])
        assert plan[image].sum(0) == pytest.approx(demand[image], abs=1e-4)


def test_an_empty_row_of_the_plan_stays_empty():
    cost = torch.rand(1, 3, 6, generator=torch.Generator().manual_seed(0))
    supply = torch.tensor([[2.0, 0.0, 4.0]])
    plan = sinkhorn(cost, supply, torch.ones(1, 6), 0.1, 100)
    assert torch.isfinite(plan).all()
    assert plan[0, 1].tolist() == [0.0] * 6
    without = sinkhorn(cost[:, ::2], supply[:, ::2], torch.ones(1, 6), 0.1, 100)
    assert torch.allclose(plan[:, ::2], without)


def plain_ota(candidates, boxes, labels, predictions, image):
    """Section 3 of the paper and the authors' rescaling, one pair at a time, in float64."""
    centres, stride = candidates.centres.tolist(), candidates.stride.tolist()
    p = sigmoid(predictions.logits[image].double().numpy())
    miss = -0.75 * p**2 * np.log(1 - p)
    hit = -0.25 * (1 - p) ** 2 * np.log(p)
    cost = np.empty((len(boxes) + 1, len(centres)))
    cost[-1] = miss.sum(1)
    inside = np.zeros((len(boxes), len(centres)), bool)
    overlap = np.zeros(inside.shape)
    for truth, place in np.ndindex(*inside.shape):
        box, (x, y) = boxes[truth], centres[place]
        cx, cy = middle(box)
        near = max(abs(x - cx), abs(y - cy)) < 2.5 * stride[place]
        inside[truth, place] = near and min(x - box[0], y - box[1], box[2] - x, box[3] - y) > 0.01
        overlap[truth, place] = iou(box, predictions.boxes[image, place].tolist())
        focal = miss[place].sum() - miss[place, labels[truth]] + hit[place, labels[truth]]
        distance = -1.5 * np.log(max(overlap[truth, place], np.finfo(np.float32).eps))
        cost[truth, place] = focal + distance + 1e3 * (not inside[truth, place])
    best = -np.sort(-(overlap * inside), axis=1)[:, :20]
    supply = np.maximum(np.floor(best.sum(1)), 1) * inside.any(1)
    rows = [*np.flatnonzero(supply), len(boxes)]
    supply = np.append(supply, len(centres) - supply.sum())
    # The authors' logarithmic form: exp(-1e4) is no number even in float64.
    u, v = np.zeros(len(rows)), np.zeros(len(centres))
    kernel = -cost[rows] / 0.1
    for _ in range(50):
        v = -np.logaddexp.reduce(kernel + u[:, None], axis=0)
        u = np.log(supply[rows]) - np.logaddexp.reduce(kernel + v, axis=1)
    plan = np.exp(kernel + u[:, None] + v)
    share = plan / plan.max(1, keepdims=True)
    found = {}
    for place in range(len(centres)):
        largest = np.flatnonzero(share[:, place] == share[:, place].max())
        row = min((rows[i] for i in largest), key=lambda r: cost[r, place])
        if row < len(boxes) and inside[row, place]:
            found[place] = row
    return found


@FEW
@given(**CASES)
def test_ota_equals_plain_loops(seed, counts):
    candidates, targets, predictions = problem(seed, counts)
    match = OTAAssigner()(candidates, targets, predictions)
    for image in range(len(counts)):
        boxes, labels = truths_of(targets, image)
        assert matched(match, image) == plain_ota(candidates, boxes, labels, predictions, image)


# Every assigner: the edge cases


def even(candidates, images=1):
    """Predictions as good everywhere as the candidates themselves."""
    length = len(candidates.boxes)
    return Predictions(
        torch.zeros(images, length, CLASSES),
        candidates.boxes.expand(images, -1, -1),
        torch.zeros(images, length),
    )


def assign(name, candidates, *images):
    targets = pad_targets(
        [torch.tensor(i).reshape(-1, 4).float() for i in images],
        [torch.zeros(len(i), dtype=torch.long) for i in images],
    )
    match = make_assigner(name)(candidates, targets, even(candidates, len(images)))
    assert torch.isfinite(match.overlap).all()
    assert ((match.truth >= 0) & (match.truth < targets.valid.shape[1])).all()
    return match


@pytest.mark.parametrize("name", sorted(ASSIGNERS))
class TestEveryAssigner:
    def test_no_truth(self, name):
        match = assign(name, points(), [], [[20, 20, 60, 60]])
        assert matched(match, 0) == {}
        assert set(matched(match, 1).values()) == {0}

    def test_identical_truths_are_one(self, name):
        box = [20.0, 20, 60, 60]
        one, many = (matched(assign(name, points(), [box] * n), 0) for n in (1, 20))
        assert set(many.values()) == {0}
        assert many
        if name != "ota":  # there each of them has labels to bring away: see below
            assert one == many

    def test_truths_with_one_centre(self, name):
        """Those that look at one place at a time give the small one all; the others leave some."""
        found = matched(assign(name, points(), [[36, 36, 60, 60], [8, 8, 88, 88]]), 0)
        shared = name in ("atss", "paa", "ota")
        assert set(found.values()) == ({0, 1} if shared else {0})

    def test_a_truth_that_no_place_can_see(self, name):
        """Smaller than the stride and between the points: only what goes by centre or IoU sees it."""
        found = matched(assign(name, points(), [[41, 41, 42.5, 42.5]]), 0)
        seen = {"fcos": 0, "atss": 0, "ota": 0}.get(name, 1)
        assert (len(found) > 0) == bool(seen)

    def test_twenty_truths_on_one_place(self, name):
        one = Candidates(torch.tensor([[0.0, 0, 32, 32]]), (1,), (32,))
        boxes = [[16 - i, 16 - i, 16 + i, 16 + i] for i in range(1, 21)]
        found = matched(assign(name, one, boxes), 0)
        by_rule = {"fcos": 0}  # the smallest area; all others: the best overlap or the least cost
        assert found == {0: by_rule.get(name, 15)}


def test_unknown_assigner():
    with pytest.raises(ConfigError, match="unknown assigner 'ats'; did you mean atss"):
        make_assigner("ats")
