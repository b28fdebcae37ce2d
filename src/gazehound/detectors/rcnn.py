"""R-CNN: regions with CNN features (Girshick, Donahue, Darrell, Malik 2014).

    image ── selective search ── ~2,000 boxes ── each warped to 227 x 227 ── CNN ──┬── fc7 ── K SVMs
                                                                                   └── pool5 ── K box
                                                                                       regressions

Three phases, one after the other: the CNN is fine-tuned to tell the classes and background apart; a
linear SVM per class is trained on its features, with hard negatives; a linear regression per class
moves the boxes. Nothing is shared between regions: each goes through the whole CNN, which is why Fast
R-CNN came a year later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor

from gazehound.boxes.formats import clip
from gazehound.data.preprocess import Preprocess
from gazehound.detectors.detector import Proposer
from gazehound.errors import CheckpointError, ConfigError, TrainingError, unknown_name
from gazehound.features.box_ridge import RidgeExamples
from gazehound.features.region_models import RegionModels
from gazehound.features.region_svms import MinedSvm, SvmRules, feature_scale
from gazehound.features.region_truths import RegionTruths
from gazehound.features.selective_search import SelectiveSearch
from gazehound.nn.coders import DeltaCoder
from gazehound.nn.postprocess import Limits, decode_regions
from gazehound.nn.region_classifier import FineTuning, RegionClassifier, fine_tune
from gazehound.nn.region_draws import RegionDraws
from gazehound.records import Classes, Detections, FloatArray

if TYPE_CHECKING:
    from gazehound.data import Dataset

SCORES = ("svm", "softmax")
Features = tuple[FloatArray, FloatArray, FloatArray]


class RCNN:
    """The detector, behind the ``Fittable`` protocol.

    Args:
        classes: names and ids of the classes.
        network: what regions go through.
        proposer: where regions come from.
        proposals: regions per image.
        scores: ``svm``, the paper; ``softmax``: the fine-tuned network's own, which needs no SVMs.
        context: pixels around a region that it is warped with.
        tuning: how the network is fine-tuned.
        svm: how the SVMs are trained.
        penalty: of the box regression.
        pairs: regions per class that the box regression learns from, at most.
        limits: what ``predict`` keeps; scores are probabilities.

    Raises:
        ConfigError: ``scores`` is unknown, or a number is out of its range.
    """

    coder = DeltaCoder()
    near = 0.6  # IoU with an object from which a region teaches the box regression
    preprocess = Preprocess()  # its normalisation only: regions are resized one by one

    def __init__(
        self,
        classes: Classes,
        network: RegionClassifier,
        proposer: Proposer | None = None,
        *,
        proposals: int = 2000,
        scores: str = "svm",
        context: int = 16,
        tuning: FineTuning | None = None,
        svm: SvmRules | None = None,
        penalty: float = 1000.0,
        pairs: int = 2000,
        limits: Limits | None = None,
    ) -> None:
        if scores not in SCORES:
            raise unknown_name("scores of R-CNN", scores, SCORES)
        for name, number in (("proposals", proposals), ("pairs", pairs), ("penalty", penalty)):
            if number <= 0:
                raise ConfigError(f"R-CNN needs {name} above 0; got {number}")
        self.classes, self.network = classes, network.eval()
        self.proposer: Proposer = proposer or SelectiveSearch()
        self.proposals, self.scores, self.context = proposals, scores, context
        self.tuning, self.svm = tuning or FineTuning(), svm or SvmRules()
        self.penalty, self.pairs = penalty, pairs
        self.limits = limits or Limits(score=0.05, iou=0.3)
        self.models: RegionModels | None = None

    def to(self, device: str | torch.device) -> RCNN:
        """Move the network to a device."""
        self.network.to(device)
        return self

    def predict(
        self, images: Sequence[NDArray[np.uint8]], *, score: float | None = None
    ) -> list[Detections]:
        """Detect on (H, W, 3) uint8 RGB images of any sizes, one after the other.

        ``score`` is the lowest probability kept; the detector's own limit applies first.

        Raises:
            ConfigError: the detector has not been trained.
        """
        if self.models is None:
            raise ConfigError("this R-CNN has not been trained yet: fit it, or load one")
        return [self._detect(self.models, image, score or 0.0) for image in images]

    def _detect(self, models: RegionModels, image: NDArray[np.uint8], score: float) -> Detections:
        height, width = image.shape[:2]
        boxes = self.proposer.propose(image, self.proposals)
        fc7, pool5, logits = self.features(image, boxes)
        scores = torch.from_numpy(logits).softmax(dim=1)[:, :-1]  # R x K
        if self.scores == "svm":
            scores = torch.from_numpy(models.probabilities(fc7))
        deltas = torch.from_numpy(models.deltas(pool5))  # R x K x 4
        moved = clip(self.coder.decode(deltas, torch.from_numpy(boxes)[:, None]), height, width)
        found = decode_regions(scores[None], moved[None], self.limits)
        keep = found.valid[0] & (found.scores[0] >= score)
        columns = found.boxes, found.scores, found.labels
        boxes, best, labels = (column[0][keep].numpy() for column in columns)
        return Detections(boxes, best, labels, self.classes, (height, width))

    def features(self, image: NDArray[np.uint8], boxes: FloatArray) -> Features:
        """Return fc7 (R, D), pool5 (R, E) and the logits (R, K + 1) of regions of an image."""
        pixels = self._normalised(image).to(self.network.device)
        rows = torch.from_numpy(boxes).to(self.network.device)
        fc7, pool5, logits = self.network.describe(pixels, rows, self.context)
        return fc7.cpu().numpy(), pool5.cpu().numpy(), logits.cpu().numpy()

    def _normalised(self, image: NDArray[np.uint8]) -> Tensor:
        pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
        return self.preprocess.normalise(pixels)

    def fit(self, dataset: Dataset, *, seed: int = 0, progress: bool = True) -> None:
        """Propose regions in every image, then run the three phases.

        Raises:
            TrainingError: no image has an object, or the loss is no longer finite.
        """
        if not len(dataset) or not (~dataset.crowd).any():
            raise TrainingError("R-CNN cannot be trained on a data set without objects")
        bar = _bar(range(len(dataset)), "regions of all images", progress)
        truths = [self._truths(dataset, row) for row in bar]
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self._fine_tune(dataset, truths, seed, progress)
            self._learn_from_features(dataset, truths, seed, progress)

    def _truths(self, dataset: Dataset, row: int) -> RegionTruths:
        boxes = self.proposer.propose(_picture(dataset, row), self.proposals)
        sample = dataset.annotations(row)
        objects = sample.select(~sample.crowd)
        return RegionTruths.of(boxes, objects.boxes, objects.labels)

    def _fine_tune(
        self, dataset: Dataset, truths: Sequence[RegionTruths], seed: int, progress: bool
    ) -> None:
        """Phase 1: a classifier of K + 1 classes, a quarter of each batch with an object."""
        draws = RegionDraws(
            lambda row: self._normalised(_picture(dataset, row)),
            [own.boxes for own in truths],
            [own.region_labels(len(self.classes)) for own in truths],
            self.network,
            self.tuning,
            self.context,
            seed,
        )
        steps = _bar(range(self.tuning.steps), "1: fine-tuning", progress)
        fine_tune(self.network, draws, self.tuning, steps)

    def _learn_from_features(
        self, dataset: Dataset, truths: Sequence[RegionTruths], seed: int, progress: bool
    ) -> None:
        """Phases 2 and 3: both read the features of all regions, which are computed once per pass."""
        scale, svms = self._first_svms(dataset, truths, seed, progress)
        examples = [RidgeExamples(self.pairs) for _ in self.classes]
        generator = np.random.default_rng(seed)
        for turn in range(self.svm.passes if svms else 1):
            order = generator.permutation(len(truths)).tolist()
            for row in _bar(order, f"2: hard negatives, pass {turn + 1}", progress):
                fc7, pool5, _ = self.features(_picture(dataset, row), truths[row].boxes)
                for label, svm in enumerate(svms):
                    svm.offer(fc7[truths[row].beside(label, self.svm.overlap)] * scale)
                if turn == 0:
                    self._add_examples(examples, truths[row], pool5)
        for svm in svms:
            svm.train()
        bar = _bar(examples, "3: box regression", progress)
        ridges = tuple(known.fit(self.penalty) for known in bar)
        self.models = RegionModels(float(scale), tuple(svm.scorer() for svm in svms), ridges)

    def _first_svms(
        self, dataset: Dataset, truths: Sequence[RegionTruths], seed: int, progress: bool
    ) -> tuple[np.float32, list[MinedSvm]]:
        """Return the scale of the features, and an SVM per class that knows its objects."""
        if self.scores == "softmax":
            return np.float32(1), []
        rows = [i for i, t in enumerate(truths) if len(t.objects)]
        bar = _bar(rows, "2: features of the objects", progress)
        found = [self.features(_picture(dataset, row), truths[row].objects)[0] for row in bar]
        labels = np.concatenate([truths[row].labels for row in rows])
        scale = np.float32(feature_scale(np.concatenate(found)))
        objects = np.concatenate(found) * scale
        count = len(self.classes)
        return scale, [MinedSvm(objects[labels == k], self.svm, seed) for k in range(count)]

    def _add_examples(
        self, examples: Sequence[RidgeExamples], truths: RegionTruths, pool5: FloatArray
    ) -> None:
        """Add the regions near objects, each to its class: features, and the deltas they should get."""
        for label, known in enumerate(examples):
            rows = truths.near(label, self.near)
            ends = truths.objects[truths.truth[rows]].reshape(-1, 4)
            boxes = torch.from_numpy(truths.boxes[rows])
            known.add(pool5[rows], self.coder.encode(torch.from_numpy(ends), boxes).numpy())

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the learned state: ``network.*``, and what :class:`RegionModels` adds."""
        state = self.network.state_dict()
        network = {f"network.{name}": tensor.cpu().numpy() for name, tensor in state.items()}
        return {**network, **(self.models.arrays() if self.models else {})}

    def load_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take a learned state; CheckpointError when an array is missing or does not fit."""
        state = {n[8:]: torch.from_numpy(a) for n, a in arrays.items() if n.startswith("network.")}
        try:
            models = RegionModels.of_arrays(arrays, len(self.classes), scorers=self.scores == "svm")
            self.network.load_state_dict(state)
        except KeyError as error:
            raise CheckpointError(f"the file has no {error} of this R-CNN") from None
        except RuntimeError as error:
            last = str(error).splitlines()[-1].strip()
            raise CheckpointError(f"the network is another: {last}") from None
        self.models = models


def _picture(dataset: Dataset, row: int) -> NDArray[np.uint8]:
    image = dataset[row].image
    assert image is not None
    return image


def _bar(work: Sequence[Any], text: str, shown: bool) -> Iterable[Any]:
    return track(work, f"R-CNN {text}", disable=not shown)


def rcnn(
    classes: Classes,
    *,
    backbone: str = "alexnet",
    pretrained: bool | str = False,
    hidden: int = 4096,
    search: Mapping[str, Any] | None = None,
    tuning: Mapping[str, Any] | None = None,
    svm: Mapping[str, Any] | None = None,
    limits: Mapping[str, Any] | None = None,
    **options: Any,
) -> RCNN:
    """Build an untrained R-CNN.

    Args:
        classes: names and ids.
        backbone: ``alexnet``, ``vgg16`` or a timm name.
        pretrained: start from ImageNet weights; a path is a file of torchvision's (the two classics).
        hidden: width of fc6 and fc7 of the two classics.
        search: arguments of :class:`SelectiveSearch`.
        tuning: fields of :class:`FineTuning` that differ from its defaults.
        svm: fields of :class:`SvmRules` that differ from its defaults.
        limits: fields of :class:`Limits` that differ from R-CNN's.
        options: of :class:`RCNN`.
    """
    return RCNN(
        classes,
        RegionClassifier(backbone, len(classes), pretrained=pretrained, hidden=hidden),
        SelectiveSearch(**(search or {})),
        tuning=FineTuning(**(tuning or {})),
        svm=SvmRules(**(svm or {})),
        limits=Limits(**{"score": 0.05, "iou": 0.3, **(limits or {})}),
        **options,
    )


def rcnn_alexnet(classes: Classes, **options: Any) -> RCNN:
    """R-CNN as published: AlexNet, regions of 227 x 227."""
    return rcnn(classes, **{"backbone": "alexnet", **options})


def rcnn_r18(classes: Classes, **options: Any) -> RCNN:
    """R-CNN on ResNet-18, regions of 224 x 224."""
    return rcnn(classes, **{"backbone": "resnet18", **options})
