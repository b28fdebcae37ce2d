"""Learning a mixture of part models for one class: the stages of voc-release5.

    1  a root per aspect group, from warped objects that all face one way, against random windows
    2  left and right: the pair of mirror images learns where and which way its objects are
    3  all pairs together
    4  parts
    5  a last round on more images

Stages 2 to 5 alternate between placing the objects under the last model and a convex problem whose
negatives are mined. Deviations: images with objects serve as negatives too, away from the objects,
so that sets without an empty image can be learned from; objects are not mirrored in the images,
each counts twice instead, which is the same for a model that contains its mirror image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from gazehound.boxes.formats import area, clip
from gazehound.errors import TrainingError
from gazehound.features.dpm_features import mirror_filter
from gazehound.features.latent_svm import Cache, Problem
from gazehound.features.part_boxes import filter_boxes, fit_box_regression, mirror_boxes
from gazehound.features.part_cascade import Cascade, calibrate, score_terms
from gazehound.features.part_mining import mine, random_windows
from gazehound.features.part_model import PartModel
from gazehound.features.part_placing import Placed, place_object
from gazehound.features.part_plan import Scene, TrainingPlan
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
from gazehound.features.parts import Component, Mixture
from gazehound.features.threads import in_threads

Vector = NDArray[np.float64]
FloatArray = NDArray[np.float32]

BOTH_SIDES = 2.0  # an object stands for its mirror image too
ENOUGH_MINED = 1.05  # full objective over the cache's: below it the negatives are complete
SETTLED = 0.999  # positive loss after placing over before: above it placing again is no use
LOST_BY_THRESHOLD = 0.05  # share of the placed objects that the default threshold loses


@dataclass(frozen=True)
class LearnedBox:
    """One box to learn from, and the number of the scene it is in."""

    scene: int
    box: FloatArray


@dataclass
class Trainer:
    """Learns one class, or calibrates what was learned.

    Attributes:
        scenes: the training images.
        plan: how to learn.
        rng: all chance comes from it.
        report: told in a few words what has been done.
    """

    scenes: Sequence[Scene]
    plan: TrainingPlan
    rng: np.random.Generator
    report: Callable[[str], None] = lambda _: None
    objects: list[LearnedBox] = field(init=False)

    def __post_init__(self) -> None:
        self.objects = [
            LearnedBox(index, box)
            for index, scene in enumerate(self.scenes)
            for box in scene.objects
        ]

    def train(self) -> PartModel:
        """Run all stages.

        Raises:
            TrainingError: there are too few objects, or none is large enough for a root.
        """
        plan, order = self.plan, self.rng.permutation(len(self.scenes))
        few = order[: plan.few_images]
        components = self.improve(self.pairs(few), self.objects, few, plan.mixture_rounds)
        if plan.parts:
            self.report("parts begin")
            components = [self.with_parts(component) for component in components]
            components = self.improve(components, self.objects, few, plan.part_rounds)
        last = order[: plan.last_images]
        components = self.improve(components, self.objects, last, plan.last_rounds)
        return self.finish(with_mirrors(components, plan.cell, plan.reach))

    def pairs(self, images: NDArray[np.int64]) -> list[Component]:
        """Stages 1 and 2: a root for every aspect group, each learned on its own."""
        count = self.plan.components
        if len(self.objects) < 2 * count:
            raise TrainingError(
                f"{count} components need at least {2 * count} objects; got {len(self.objects)}"
            )
        groups = split_by_aspect(_heights_and_widths(self.objects), count)
        components = []
        for group in range(count):
            own = [o for o, member in zip(self.objects, groups, strict=True) if member == group]
            self.report(f"root {group + 1} of {count} begins")
            components += self.improve([self.first_root(own)], own, images, self.plan.root_rounds)
        return components

    def first_root(self, objects: Sequence[LearnedBox]) -> Component:
        """Stage 1: learn a root from warped objects that face one way, against random windows."""
        plan = self.plan
        size = root_size(_heights_and_widths(objects), plan.cell, plan.root_area)

        def warped(o: LearnedBox) -> FloatArray:
            return warped_features(self.scenes[o.scene].load(), o.box, size, plan.cell)

        large = [o for o in objects if self._large_enough(o.box, size)]
        if not large:
            raise TrainingError(
                f"no object of a group has half the sides of its root, {size[1] * plan.cell}x"
                f"{size[0] * plan.cell} pixels: lower root_area, or magnify the images"
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
        for number, window in enumerate(random_windows(self.scenes, size, plan, self.rng)):
            cache.add_negative(0, np.concatenate([biases, window.reshape(-1)]), number, 0)
        problem = _problem(cache, [layout], plan.c)
        vector = problem.solve([layout.to_vector(start)], plan.iterations)[0]
        return layout.to_component(vector, start.anchors)

    def _large_enough(self, box: FloatArray, size: tuple[int, int]) -> bool:
        """Return whether a box has a quarter of a root's area, that is half its sides."""
        return bool(area(box) >= size[0] * size[1] * (self.plan.cell / 2) ** 2)

    def with_parts(self, component: Component) -> Component:
        """Stage 4 begins: put parts where the root has most energy."""
        plan = self.plan
        anchors, filters = place_first_parts(component.root, plan.parts, plan.part_size, self.rng)
        deformations = np.tile(START_DEFORMATION, (plan.parts, 1))
        return replace(component, anchors=anchors, parts=filters, deformations=deformations)

    def improve(
        self,
        components: list[Component],
        objects: Sequence[LearnedBox],
        images: NDArray[np.int64],
        rounds: tuple[int, int],
    ) -> list[Component]:
        """Alternate between placing the objects and solving with mined negatives.

        Args:
            components: the unmirrored ones, one per pair.
            objects: to place.
            images: numbers of the scenes to mine in.
            rounds: (placings, minings per placing).
        """
        layouts = [Layout.of(component) for component in components]
        cache = Cache.empty([sum(layout.sizes) for layout in layouts])
        problem = _problem(cache, layouts, self.plan.c)
        for placing in range(rounds[0]):
            vectors = [la.to_vector(c) for la, c in zip(layouts, components, strict=True)]
            before = cache.positive_loss(vectors)
            cache.drop_positives()
            self._place(cache, components, objects)
            self.report(f"placed the objects, round {placing + 1} of {rounds[0]}")
            if placing and cache.positive_loss(vectors) > SETTLED * before:
                break
            components = self._solve(problem, layouts, components, images, rounds[1])
        return components

    def _solve(
        self,
        problem: Problem,
        layouts: list[Layout],
        components: list[Component],
        images: NDArray[np.int64],
        minings: int,
    ) -> list[Component]:
        """Mine and solve in turns until the negatives are complete."""
        plan, reached = self.plan, np.inf
        for mining in range(minings):
            mixture = with_mirrors(components, plan.cell, plan.reach)
            complete = mine(problem.cache, mixture, self.scenes, images, plan)
            vectors = [la.to_vector(c) for la, c in zip(layouts, components, strict=True)]
            if mining and complete and problem.objective(vectors) < ENOUGH_MINED * reached:
                break
            vectors = problem.solve(vectors, plan.iterations)
            reached = problem.objective(vectors)
            components = [
                layout.to_component(vector, component.anchors)
                for layout, vector, component in zip(layouts, vectors, components, strict=True)
            ]
            problem.cache.drop_easy(vectors, plan.cache // 2)
            self.report(
                f"solved, mining {mining + 1} of {minings}: objective {reached:.4f}, "
                f"{problem.cache.negatives()} negatives kept"
            )
        return components

    def _place(
        self, cache: Cache, components: list[Component], objects: Sequence[LearnedBox]
    ) -> None:
        """Add every object's best placement to the cache."""
        mixture = with_mirrors(components, self.plan.cell, self.plan.reach)

        def entry(o: LearnedBox) -> tuple[int, FloatArray] | None:
            placed = self.place(mixture, o)
            if placed is None:
                return None
            return placed.component // 2, describe(mixture, placed.pyramid, placed.found, 0)

        entries = [e for e in in_threads(entry, objects) if e is not None]
        if not entries:
            raise TrainingError(
                "no object can be covered by a detection window: all are smaller than the roots; "
                "lower root_area, or magnify the images"
            )
        for group, features in entries:
            cache.add_positive(group, features, BOTH_SIDES)

    def place(self, mixture: Mixture, o: LearnedBox) -> Placed | None:
        """Return the best placement on an object, if it can be covered."""
        plan = self.plan
        if not self._large_enough(o.box, mixture.smallest_root):
            return None
        image, box = self.scenes[o.scene].load(), o.box.astype(np.float64)
        return place_object(mixture, image, box, plan.positive_interval, plan.positive_overlap)

    def finish(self, mixture: Mixture) -> PartModel:
        """Fit threshold, box prediction and cascade on the objects' placements."""
        rows = self._measure(mixture)
        regression = fit_box_regression(
            np.array([row.window for row in rows]),
            np.array([row.filters for row in rows]),
            np.array([row.truth for row in rows]),
            np.array([row.component // 2 for row in rows]),
            len(mixture.components) // 2,
        )
        threshold = float(np.quantile([row.score for row in rows], LOST_BY_THRESHOLD))
        return PartModel(mixture, threshold, regression, _cascade(mixture, rows))

    def calibrated(self, model: PartModel, margin: float) -> PartModel:
        """Return a model with a cascade that keeps the objects it finds above a margin.

        Raises:
            TrainingError: it has no parts, or some pair of components finds no object.
        """
        rows = [row for row in self._measure(model.mixture) if row.score > margin]
        cascade = _cascade(model.mixture, rows)
        if cascade is None:
            raise TrainingError(
                f"a cascade needs parts, and objects of every component; {len(rows)} objects were "
                f"found above a margin of {margin:g}"
            )
        return replace(model, cascade=cascade)

    def _measure(self, mixture: Mixture) -> list[_Measured]:
        def measured(o: LearnedBox) -> _Measured | None:
            placed = self.place(mixture, o)
            return None if placed is None else _measured(mixture, placed)

        return [row for row in in_threads(measured, self.objects) if row is not None]


def _cascade(mixture: Mixture, rows: Sequence[_Measured]) -> Cascade | None:
    """Calibrate on placements; None without parts, or when a pair has no placement.

    A pair is one model: what one side was seen to score, the other can score as well.
    """
    pairs = [
        [row.terms for row in rows if row.component // 2 == index // 2]
        for index in range(len(mixture.components))
    ]
    if not mixture.part_count or not all(pairs):
        return None
    return calibrate([np.concatenate(own) for own in pairs])


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


def _heights_and_widths(objects: Sequence[LearnedBox]) -> NDArray[np.float64]:
    boxes = np.array([o.box for o in objects], np.float64)
    return np.maximum(np.stack([boxes[:, 3] - boxes[:, 1], boxes[:, 2] - boxes[:, 0]], axis=1), 1)


def _problem(cache: Cache, layouts: list[Layout], c: float) -> Problem:
    """Return the convex problem; the scale prior is learned once there are parts."""
    return Problem(
        cache,
        [layout.multipliers() for layout in layouts],
        [layout.lower() for layout in layouts],
        [layout.fixed(learn_scale=layout.parts > 0) for layout in layouts],
        c,
    )
