"""Learning a mixture of part models for one class: the stages of voc-release5.

    1  a root per aspect group, from warped objects that all face one way, against random windows
    2  left and right: the pair of mirror images learns where and which way its objects are
    3  all pairs together
    4  parts
    5  a last round on all images

Stages 2 to 5 alternate between placing the positives under the last model and a convex problem whose
negatives are mined. Deviations: images with objects serve as negatives too, away from the objects
(sets without an empty image can be learned from); objects are not mirrored in the images, each
counts twice instead, which is the same for a model that contains its mirror image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gazehound.boxes.formats import area, clip
from gazehound.boxes.iou import pairwise
from gazehound.errors import TrainingError
from gazehound.features.dpm_features import feature_pyramid, mirror_filter
from gazehound.features.threads import in_threads
from gazehound.features.latent_svm import Cache, Problem
from gazehound.features.part_boxes import filter_boxes, fit_box_regression, mirror_boxes
from gazehound.features.part_cascade import calibrate, patch, score_terms
from gazehound.features.part_model import PartModel
from gazehound.features.part_placing import Placed, place_object
from gazehound.features.part_start import (
    START_DEFORMATION,
    facing_one_way,
    place_first_parts,
    root_size,
    split_by_aspect,
    warped_features,
)
from gazehound.features.part_structure import (
    BIAS_FEATURE,
    Layout,
    describe,
    root_only,
    with_mirrors,
)
from gazehound.features.parts import Component, Mixture, find_placements

Vector = NDArray[np.float64]
Image = NDArray[np.uint8]
Report = Callable[[str], None]

MINING_THRESHOLD = -1.002  # a little outside the margin (voc-release5)
BOTH_SIDES = 2.0  # an object stands for its mirror image too
ENOUGH_MINED = 1.05  # full objective over the cache's: below it the negatives are complete
LOST_BY_THRESHOLD = 0.05  # share of the placed objects that the default threshold loses
SETTLED = 0.999  # positive loss after placing over before: above it placing again is no use


@dataclass(frozen=True)
class Scene:
    """One training image.

    Attributes:
        load: returns the image (H, W, 3) uint8.
        objects: (N, 4) boxes to learn from.
        avoid: (M, 4) boxes where nothing is known to be background: objects, crowds, difficult ones.
    """

    load: Callable[[], Image]
    objects: NDArray[np.float32]
    avoid: NDArray[np.float32]


@dataclass(frozen=True)
class TrainingPlan:
    """How to learn; the defaults are those of voc-release5 unless said otherwise.

    Attributes:
        components: aspect groups; every one becomes a mirrored pair of components.
        parts: parts per component.
        part_size: side of a part filter, part cells.
        cell: side of a root cell, pixels.
        reach: the largest displacement of a part, part cells.
        c: weight of the losses.
        root_area: smallest and largest area of a root, square pixels.
        positive_overlap: lowest IoU of a placement with its object.
        negative_overlap: highest IoU of a mined window with anything to avoid (voc-release5 mines
            only in images without objects).
        positive_interval: pyramid levels per octave when placing objects.
        negative_interval: likewise when mining.
        few_images: images mined in all stages but the last.
        last_images: images mined in the last stage.
        per_image: entries mined per image and round (voc-release5 has no such limit).
        cache: most examples in the cache.
        root_rounds: (placings, minings per placing) of stage 2.
        mixture_rounds: likewise of stage 3.
        part_rounds: likewise of stage 4.
        last_rounds: likewise of stage 5.
        iterations: of the solver, at most.
    """

    components: int = 3
    parts: int = 8
    part_size: int = 6
    cell: int = 8
    reach: int = 4
    c: float = 0.001
    root_area: tuple[float, float] = (3000.0, 5000.0)
    positive_overlap: float = 0.7
    negative_overlap: float = 0.3
    positive_interval: int = 5
    negative_interval: int = 4
    few_images: int = 200
    last_images: int = 2000
    per_image: int = 200
    cache: int = 24000
    root_rounds: tuple[int, int] = (4, 3)
    mixture_rounds: tuple[int, int] = (1, 5)
    part_rounds: tuple[int, int] = (8, 10)
    last_rounds: tuple[int, int] = (1, 5)
    iterations: int = 1000


@dataclass(frozen=True)
class _Object:
    """One box to learn from, and the image it is in."""

    scene: int
    box: NDArray[np.float32]


@dataclass
class Trainer:
    """The state of one training: scenes, plan, random numbers."""

    scenes: Sequence[Scene]
    plan: TrainingPlan
    rng: np.random.Generator
    report: Report = lambda _: None
    objects: list[_Object] = field(init=False)

    def __post_init__(self) -> None:
        self.objects = [
            _Object(index, box)
            for index, scene in enumerate(self.scenes)
            for box in scene.objects
        ]

    def train(self) -> PartModel:
        """Run all stages.

        Raises:
            TrainingError: there are fewer objects than components, or none can be covered.
        """
        plan = self.plan
        if len(self.objects) < 2 * plan.components:
            raise TrainingError(
                f"{plan.components} components need at least {2 * plan.components} objects; "
                f"got {len(self.objects)}"
            )
        sizes = self._sizes(self.objects)
        group = split_by_aspect(sizes, plan.components)
        order = self.rng.permutation(len(self.scenes))
        few = order[: plan.few_images]
        components = []
        for g in range(plan.components):
            own = [o for o, member in zip(self.objects, group, strict=True) if member == g]
            start = self.first_root(own)
            self.report(f"root {g + 1} of {plan.components}")
            components += self.improve([start], own, few, plan.root_rounds)
        self.report("all components")
        components = self.improve(components, self.objects, few, plan.mixture_rounds)
        if plan.parts:
            components = [self.with_parts(component) for component in components]
            self.report("parts")
            components = self.improve(components, self.objects, few, plan.part_rounds)
        self.report("last round")
        most = order[: plan.last_images]
        components = self.improve(components, self.objects, most, plan.last_rounds)
        self.report("box prediction and cascade")
        return self.finish(with_mirrors(components, plan.cell, plan.reach))

    def _sizes(self, objects: Sequence[_Object]) -> NDArray[np.float64]:
        boxes = np.array([o.box for o in objects], np.float64)
        return np.maximum(np.stack([boxes[:, 3] - boxes[:, 1], boxes[:, 2] - boxes[:, 0]], 1), 1)

    def first_root(self, objects: Sequence[_Object]) -> Component:
        """Stage 1: learn a root from warped objects that face one way, against random windows."""
        plan = self.plan
        size = root_size(self._sizes(objects), plan.cell, plan.root_area)

        def warped(o: _Object) -> NDArray[np.float32]:
            return warped_features(self.scenes[o.scene].load(), o.box, size, plan.cell)

        large = [o for o in objects if self._large_enough(o.box, size)]
        if not large:
            raise TrainingError(
                f"no object of a group is as large as half its root of {size[1] * plan.cell}x"
                f"{size[0] * plan.cell} pixels: lower root_area, or enlarge the images"
            )
        features = np.stack(in_threads(warped, large))
        turned = facing_one_way(features, self.rng)
        features[turned] = mirror_filter(features[turned])
        start = root_only(np.zeros_like(features[0]))
        layout = Layout.of(start)
        cache = Cache.empty([sum(layout.sizes)])
        biases = np.array([BIAS_FEATURE, 0, 0], np.float32)
        for positive in features:
            cache.add_positive(0, np.concatenate([biases, positive.reshape(-1)]))
        for number, window in enumerate(self._random_windows(size)):
            cache.add_negative(0, np.concatenate([biases, window.reshape(-1)]), number, 0)
        problem = self._problem(cache, [layout], learn_scale=False)
        vector = problem.solve([layout.to_vector(start)], plan.iterations)[0]
        return layout.to_component(vector, start.anchors)

    def _large_enough(self, box: NDArray[np.float32], size: tuple[int, int]) -> bool:
        """Return whether a box has a quarter of the root's area (half its sides)."""
        return bool(area(box) >= size[0] * size[1] * (self.plan.cell / 2) ** 2)

    def _random_windows(self, size: tuple[int, int]) -> list[NDArray[np.float32]]:
        """Return features (h, w, 32) of windows anywhere away from the objects."""
        plan = self.plan
        scenes = self.rng.permutation(len(self.scenes))[: plan.few_images]
        each = max(1, min(plan.per_image, plan.cache // 4 // max(len(scenes), 1)))
        seeds = self.rng.integers(2**32, size=len(scenes))

        def windows(item: tuple[int, int]) -> list[NDArray[np.float32]]:
            rng, scene = np.random.default_rng(item[1]), self.scenes[item[0]]
            pyramid = feature_pyramid(scene.load(), plan.cell, plan.negative_interval)
            found = []
            for level in rng.integers(len(pyramid.coarse), size=each):
                coarse = pyramid.coarse[level]
                room = np.array(coarse.shape[1:]) - size
                if room.min() < 0:
                    continue
                corner = rng.integers(room + 1)
                cell = pyramid.cell_sizes()[level]
                # Without padding the first cell of a map is the second of the image.
                box = np.concatenate([corner + 1, corner + 1 + size])[[1, 0, 3, 2]] * cell
                if _is_background(box[None], scene.avoid, plan.negative_overlap)[0]:
                    found.append(patch(coarse, corner, size).copy())
            return found

        return [w for some in in_threads(windows, zip(scenes, seeds, strict=True)) for w in some]

    def with_parts(self, component: Component) -> Component:
        """Stage 4 begins: put parts where the root has most energy."""
        plan = self.plan
        anchors, filters = place_first_parts(component.root, plan.parts, plan.part_size, self.rng)
        deformations = np.tile(START_DEFORMATION, (plan.parts, 1))
        return Component(
            component.root, filters, anchors, deformations, component.bias, component.scale_bias
        )

    def _problem(self, cache: Cache, layouts: list[Layout], *, learn_scale: bool) -> Problem:
        return Problem(
            cache,
            [layout.multipliers() for layout in layouts],
            [layout.lower() for layout in layouts],
            [layout.fixed(learn_scale) for layout in layouts],
            self.plan.c,
        )

    def improve(
        self,
        components: list[Component],
        objects: Sequence[_Object],
        images: NDArray[np.int64],
        rounds: tuple[int, int],
    ) -> list[Component]:
        """Alternate between placing the objects and solving with mined negatives."""
        layouts = [Layout.of(component) for component in components]
        cache = Cache.empty([sum(layout.sizes) for layout in layouts])
        problem = self._problem(cache, layouts, learn_scale=layouts[0].parts > 0)
        vectors = [la.to_vector(c) for la, c in zip(layouts, components, strict=True)]
        placings, minings = rounds
        for placing in range(placings):
            before = self._positive_loss(cache, vectors)
            cache.drop_positives()
            self._place(cache, components, objects)
            after = self._positive_loss(cache, vectors)
            self.report(f"placed objects, round {placing + 1} of {placings}")
            if placing and after > SETTLED * before:
                break
            reached = np.inf
            for mining in range(minings):
                complete = self._mine(cache, components, images)
                full = problem.objective(vectors)
                if mining and complete and full < ENOUGH_MINED * reached:
                    break
                vectors = problem.solve(vectors, self.plan.iterations)
                reached = problem.objective(vectors)
                components = [
                    layout.to_component(vector, component.anchors)
                    for layout, vector, component in zip(layouts, vectors, components, strict=True)
                ]
                cache.drop_easy(vectors, self.plan.cache // 2)
                self.report(
                    f"solved, mining {mining + 1} of {minings}: objective {reached:.4f}, "
                    f"{cache.negatives()} negatives"
                )
        return components

    def _positive_loss(self, cache: Cache, vectors: list[Vector]) -> float:
        scores = cache.example_scores(vectors)[np.array(cache.positive, bool)]
        return float(np.maximum(0, 1 - scores[np.isfinite(scores)]).sum())

    def _place(
        self, cache: Cache, components: list[Component], objects: Sequence[_Object]
    ) -> None:
        """Add every object's best placement to the cache."""
        mixture = with_mirrors(components, self.plan.cell, self.plan.reach)

        def entry(o: _Object) -> tuple[int, NDArray[np.float32]] | None:
            placed = self.place(mixture, o)
            if placed is None:
                return None
            return placed.component // 2, describe(mixture, placed.pyramid, placed.found, 0)

        entries = [e for e in in_threads(entry, objects) if e is not None]
        if not entries:
            raise TrainingError(
                "no object can be covered by a detection window: are they smaller than the roots?"
            )
        for group, features in entries:
            cache.add_positive(group, features, BOTH_SIDES)

    def place(self, mixture: Mixture, o: _Object) -> Placed | None:
        """Return the best placement on an object, if it can be covered."""
        plan = self.plan
        if not self._large_enough(o.box, mixture.smallest):
            return None
        image, box = self.scenes[o.scene].load(), o.box.astype(np.float64)
        return place_object(mixture, image, box, plan.positive_interval, plan.positive_overlap)

    def _mine(
        self, cache: Cache, components: list[Component], images: NDArray[np.int64]
    ) -> bool:
        """Add hard negatives; return whether all images were searched before the cache was full."""
        plan = self.plan
        mixture = with_mirrors(components, plan.cell, plan.reach)

        def search(index: int) -> list[tuple[int, NDArray[np.float32], tuple[int, ...], bytes]]:
            scene = self.scenes[index]
            pyramid = feature_pyramid(
                scene.load(), plan.cell, plan.negative_interval, mixture.padding
            )
            found = find_placements(mixture, pyramid, MINING_THRESHOLD)
            boxes = filter_boxes(mixture, pyramid, found)[:, 0]
            background = _is_background(boxes, scene.avoid, plan.negative_overlap)
            found = found.select(np.flatnonzero(background)[: plan.per_image])
            return [
                (
                    int(found.components[row]) // 2,
                    describe(mixture, pyramid, found, row),
                    (index, int(found.levels[row]), *found.roots[row].tolist()),
                    found.components[row].tobytes() + found.parts[row].tobytes(),
                )
                for row in range(len(found))
            ]

        batch = 32
        for first in range(0, len(images), batch):
            for some in in_threads(search, [int(i) for i in images[first : first + batch]]):
                for group, features, place, placement in some:
                    cache.add_negative(group, features, place, placement)
            if cache.negatives() >= plan.cache:
                return False
        return True

    def finish(self, mixture: Mixture) -> PartModel:
        """Fit threshold, box prediction and cascade on the objects' placements."""

        def measured(o: _Object) -> _Measured | None:
            placed = self.place(mixture, o)
            return None if placed is None else _measured(mixture, placed)

        rows = [row for row in in_threads(measured, self.objects) if row is not None]
        regression = fit_box_regression(
            np.array([row.window for row in rows]),
            np.array([row.filters for row in rows]),
            np.array([row.truth for row in rows]),
            np.array([row.component // 2 for row in rows]),
            len(mixture.components) // 2,
        )
        # A pair is one model: what one side was seen to score, the other can score as well.
        pairs = [
            [row.terms for row in rows if row.component // 2 == index // 2]
            for index in range(len(mixture.components))
        ]
        cascade = calibrate([np.concatenate(own) for own in pairs]) if all(pairs) else None
        threshold = float(np.quantile([row.score for row in rows], LOST_BY_THRESHOLD))
        return PartModel(mixture, threshold, regression, cascade)


@dataclass(frozen=True)
class _Measured:
    """What box prediction and cascade need of one placement; boxes from the unmirrored side."""

    component: int
    score: float
    window: NDArray[np.float64]
    filters: NDArray[np.float64]
    truth: NDArray[np.float64]
    terms: NDArray[np.float64]


def _measured(mixture: Mixture, placed: Placed) -> _Measured:
    filters = filter_boxes(mixture, placed.pyramid, placed.found)[0]
    window = clip(filters[0], *placed.pyramid.image_size)
    turn = mirror_boxes if placed.component % 2 else np.asarray
    terms = score_terms(mixture.components[placed.component], placed.pyramid, placed.found)
    return _Measured(
        placed.component, placed.score, turn(window), turn(filters), turn(placed.box), terms
    )


def _is_background(
    boxes: NDArray[np.float64], avoid: NDArray[np.float32], overlap: float
) -> NDArray[np.bool_]:
    """Return which windows (N, 4) overlap nothing to avoid (M, 4) by more than an IoU."""
    if not len(avoid):
        return np.ones(len(boxes), bool)
    return np.asarray((pairwise(boxes, avoid.astype(np.float64)) <= overlap).all(axis=1))
