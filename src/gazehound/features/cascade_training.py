"""Training an attentional cascade (Viola and Jones 2001, section 4; Table 2 of the 2004 paper).

Every stage is boosted until it keeps ``detection`` of the held-out objects while letting through at
most ``false_positives`` of the held-out others; its threshold is lowered until the first holds. The
next stage's others are windows of object-free image area that the cascade so far takes for objects.
All chance comes from the seed and the stage's number, so a killed training that is resumed ends in
the very same cascade.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from gazehound.errors import ConfigError, TrainingError
from gazehound.features.boosting import Boosting, load_stumps, save_stumps
from gazehound.features.cascade import Cascade
from gazehound.features.haar import HaarFeatures, haar_features
from gazehound.features.stumps import Loss, Method, Patches, Stumps, StumpSearch

FEWEST = 30  # windows to learn a stage from; below it the cascade has run out of false positives


@dataclass(frozen=True)
class CascadeRules:
    """How a cascade is trained.

    Attributes:
        stages: the most stages.
        detection: part of the held-out objects that a stage must keep.
        false_positives: part of the held-out others that a stage may let through.
        goal: the whole cascade's false-positive rate at which training ends.
        rounds: the most stumps of a stage.
        negatives: others to learn each stage from.
        held_out: part of the patches that sets thresholds and is not learnt from.
        boosting: ``discrete`` or ``gentle``.
        mirror: learn from mirrored objects too.
        jitter: learn from, and judge by, each object shifted by up to so many pixels too (its border
            repeated), since a scan does not meet objects centred.
        tilted: offer features turned by 45 degrees too.
        candidates: how many features, drawn at random, are offered; 0: all.
        search: ``sorted`` (exact) or ``histogram``.
        memory: bytes for the search's tables.

    Raises:
        ConfigError: a value is out of its range.
    """

    stages: int = 20
    detection: float = 0.995
    false_positives: float = 0.5
    goal: float = 1e-6
    rounds: int = 100
    negatives: int = 5000
    held_out: float = 0.2
    boosting: Loss = "gentle"
    mirror: bool = True
    jitter: int = 0
    tilted: bool = False
    candidates: int = 0
    search: Method = "sorted"
    memory: int = 8 << 30

    def __post_init__(self) -> None:
        for name in ("detection", "false_positives", "held_out"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigError(f"{name} must lie between 0 and 1; got {getattr(self, name)}")
        if min(self.stages, self.rounds, self.negatives) < 1:
            raise ConfigError(
                "stages, rounds and negatives must be 1 or more; got "
                f"{self.stages}, {self.rounds} and {self.negatives}"
            )


class Background(Protocol):
    """Where the others come from."""

    def windows(
        self, cascade: Cascade | None, count: int, rng: np.random.Generator
    ) -> NDArray[np.uint8]:
        """Return up to ``count`` patches (N, h, w) without objects that ``cascade`` takes for some.

        Without a cascade, any patches.
        """
        ...


@dataclass
class _Stage:
    """What one stage learns from, and what it is judged by."""

    boosting: Boosting
    objects: Patches
    others: Patches
    object_scores: NDArray[np.float64] = field(init=False)
    other_scores: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        stumps = self.boosting.stumps
        features = self.boosting.search.features
        self.object_scores = self.objects.values(features, stumps).sum(axis=0)
        self.other_scores = self.others.values(features, stumps).sum(axis=0)

    def step(self) -> None:
        """Add a stump and score the held-out patches with it."""
        self.boosting.step()
        stumps, features = self.boosting.stumps, self.boosting.search.features
        last = Stumps(stumps.feature[-1:], stumps.threshold[-1:], stumps.leaves[-1:])
        self.object_scores = self.object_scores + self.objects.values(features, last)[0]
        self.other_scores = self.other_scores + self.others.values(features, last)[0]

    def lowered(self, detection: float) -> tuple[np.float32, float, float]:
        """Return the highest threshold that keeps ``detection`` of the objects, and both rates."""
        ordered = np.sort(self.object_scores)
        lost = int(np.floor((1 - detection) * len(ordered)))
        threshold = np.nextafter(np.float32(ordered[lost]), np.float32(-np.inf))
        kept = float((self.object_scores >= threshold).mean())
        return threshold, kept, float((self.other_scores >= threshold).mean())


class _Training:
    """The state of :func:`train_cascade`: finished stages, and the data they left."""

    def __init__(
        self, objects: NDArray[np.uint8], background: Background, rules: CascadeRules, seed: int
    ) -> None:
        self.rules, self.seed, self.background = rules, seed, background
        rng = np.random.default_rng([seed, 0])
        window = (objects.shape[1], objects.shape[2])
        self.features = _candidates(window, rules, rng)
        held = rng.permutation(len(objects)) < max(1, round(rules.held_out * len(objects)))
        learnt, self.judged = (
            _jittered(part, rules.jitter, rng) for part in (objects[~held], objects[held])
        )
        self.learnt = np.concatenate([learnt, learnt[:, :, ::-1]]) if rules.mirror else learnt
        self.stages: list[Stumps] = []
        self.thresholds: list[float] = []
        self.rate = 1.0

    def cascade(self) -> Cascade | None:
        """Return the cascade so far."""
        if not self.thresholds:
            return None
        done = self.stages[: len(self.thresholds)]
        return Cascade.of_stages(self.features, done, self.thresholds)

    def begin(self, kept: Stumps) -> _Stage | None:
        """Gather the next stage's patches and take up its stumps; None: no more false positives."""
        number = len(self.thresholds)
        rng = np.random.default_rng([self.seed, 1, number])
        wanted = round(self.rules.negatives / (1 - self.rules.held_out))
        others = self.background.windows(self.cascade(), wanted, rng)
        if len(others) < FEWEST:
            return None
        cut = max(1, round(self.rules.held_out * len(others)))
        judged, learnt = others[:cut], others[cut:]
        objects = self._passing(self.learnt)
        patches = Patches(np.concatenate([objects, learnt]), self.rules.tilted)
        search = StumpSearch(self.features, patches, self.rules.search, self.rules.memory)
        positive = np.arange(len(patches)) < len(objects)
        boosting = Boosting(search, positive, self.rules.boosting)
        boosting.replay(kept)
        tilted = self.rules.tilted
        return _Stage(
            boosting, Patches(self._passing(self.judged), tilted), Patches(judged, tilted)
        )

    def _passing(self, objects: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the objects that every finished stage keeps."""
        patches = Patches(objects, self.rules.tilted)
        kept = np.ones(len(objects), bool)
        for stumps, threshold in zip(self.stages, self.thresholds, strict=False):
            kept &= patches.values(self.features, stumps).sum(axis=0) >= threshold
        if not kept.any():
            raise TrainingError(
                f"no object passes the first {len(self.thresholds)} stages; raise detection"
            )
        return objects[kept]

    def end(self, stumps: Stumps, threshold: float, passed: float) -> None:
        """Take a finished stage."""
        self.stages = [*self.stages[: len(self.thresholds)], stumps]
        self.thresholds = [*self.thresholds, threshold]
        self.rate *= passed


def train_cascade(
    objects: NDArray[np.uint8],
    background: Background,
    rules: CascadeRules,
    *,
    seed: int = 0,
    state: Path | None = None,
    progress: bool = True,
    report: Callable[[str], Any] | None = None,
) -> Cascade:
    """Train a cascade.

    Args:
        objects: (N, h, w) grey patches of the class; h x w becomes the window.
        background: where the others come from.
        rules: targets and limits.
        seed: of every choice made by chance.
        state: file that is written after every round and resumed from when it exists.
        progress: whether to show a progress bar.
        report: receives one line per finished stage.

    Raises:
        TrainingError: there are too few objects or others, or ``state`` is of another training.
    """
    if len(objects) < FEWEST:
        raise TrainingError(f"a cascade needs {FEWEST} objects or more; got {len(objects)}")
    training = _Training(objects, background, rules, seed)
    job = _fingerprint(objects, background, rules, seed)
    under_way = _resume(training, state, job)
    with Progress(disable=not progress) as bar:
        task = bar.add_task("stage 1", total=rules.stages, completed=len(training.thresholds))
        while len(training.thresholds) < rules.stages and training.rate > rules.goal:
            stage = training.begin(under_way)
            if stage is None:
                break
            line = _boost(
                training, stage, state, job, lambda text: bar.update(task, description=text)
            )
            under_way = Stumps.empty()
            bar.update(task, completed=len(training.thresholds))
            if report:
                report(line)
    cascade = training.cascade()
    if cascade is None:
        raise TrainingError(f"fewer than {FEWEST} windows without objects; give more images")
    return cascade


def _boost(
    training: _Training,
    stage: _Stage,
    state: Path | None,
    job: str,
    show: Callable[[str], Any],
) -> str:
    """Boost one stage to its targets; return a line about it."""
    rules, number = training.rules, len(training.thresholds) + 1
    threshold, kept, passed = np.float32(0), 1.0, 1.0
    while len(stage.boosting.stumps) < rules.rounds:
        stage.step()
        stumps = stage.boosting.stumps
        threshold, kept, passed = stage.lowered(rules.detection)
        if state:
            done = training.stages[: len(training.thresholds)]
            save_stumps(state, [*done, stumps], training.thresholds, job)
        show(f"stage {number}: {len(stumps)} stumps, {kept:.3f} kept, {passed:.3f} let through")
        if passed <= rules.false_positives:
            break
    else:
        threshold, kept, passed = stage.lowered(rules.detection)
    training.end(stage.boosting.stumps, float(threshold), passed)
    if state:
        done = [*training.stages, Stumps.empty()]
        save_stumps(state, done, training.thresholds, job)
    return (
        f"stage {number}: {len(stage.boosting.stumps)} stumps, threshold {threshold:.4f}, "
        f"keeps {kept:.4f} of {len(stage.objects)} objects, "
        f"lets {passed:.4f} of {len(stage.others)} others through"
    )


def _resume(training: _Training, state: Path | None, job: str) -> Stumps:
    """Take up a saved training; return the stumps of the stage under way."""
    if state is None or not state.exists():
        return Stumps.empty()
    stages, thresholds = load_stumps(state, job)
    training.stages, training.thresholds = stages[: len(thresholds)], thresholds
    return stages[-1] if len(stages) > len(thresholds) else Stumps.empty()


def _candidates(
    window: tuple[int, int], rules: CascadeRules, rng: np.random.Generator
) -> HaarFeatures:
    features = haar_features(window, rules.tilted)
    if not 0 < rules.candidates < len(features):
        return features
    return features.take(np.sort(rng.permutation(len(features))[: rules.candidates]))


def _jittered(patches: NDArray[np.uint8], most: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the patches and, where ``most`` is over 0, each of them shifted once."""
    if most < 1:
        return patches
    _, height, width = patches.shape
    wide = np.pad(patches, ((0, 0), (most, most), (most, most)), "edge")
    y, x = rng.integers(0, 2 * most + 1, (2, len(patches)))
    rows, columns = np.arange(height), np.arange(width)
    every = np.arange(len(patches))[:, None, None]
    shifted = wide[every, (y[:, None] + rows)[:, :, None], (x[:, None] + columns)[:, None, :]]
    return np.concatenate([patches, shifted])


def _fingerprint(
    objects: NDArray[np.uint8], background: Background, rules: CascadeRules, seed: int
) -> str:
    """Name a training by its data and options."""
    digest = hashlib.sha256(np.ascontiguousarray(objects).tobytes())
    parts: Iterable[object] = (objects.shape, rules, seed, background)
    digest.update(repr(tuple(parts)).encode())
    return digest.hexdigest()
