"""From prepared samples to batches: padded targets, and an order that depends only on the seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from gazehound.data.augment import Augment
from gazehound.data.chance import integer
from gazehound.data.companions import prepare_with
from gazehound.data.dataset import Dataset
from gazehound.data.preprocess import Preprocess
from gazehound.data.scene import Scene
from gazehound.data.transforms import Prepared, prepare
from gazehound.errors import DataError, ImageError
from gazehound.records import Batch, Sample, Targets

PAD_TRUTHS_TO = 8  # the truth axis grows in these steps, so that few different shapes occur
REPLACEMENTS = 10  # other images tried for one that cannot be read


def pad_targets(
    boxes: Sequence[Tensor],
    labels: Sequence[Tensor],
    extras: Sequence[Mapping[str, Tensor]] = (),
) -> Targets:
    """Pad the truths of several images to one length.

    Args:
        boxes: (N_i, 4) of each image.
        labels: (N_i,) of each image.
        extras: further columns (N_i, ...) of each image; padded with NaN, "not annotated".
    """
    most = max((len(b) for b in boxes), default=0)
    most = max(PAD_TRUTHS_TO, -(-most // PAD_TRUTHS_TO) * PAD_TRUTHS_TO)
    batch = Targets(
        torch.zeros(len(boxes), most, 4),
        torch.zeros(len(boxes), most, dtype=torch.int64),
        torch.zeros(len(boxes), most, dtype=torch.bool),
    )
    for row, (image_boxes, image_labels) in enumerate(zip(boxes, labels, strict=True)):
        batch.boxes[row, : len(image_boxes)] = image_boxes
        batch.labels[row, : len(image_labels)] = image_labels
        batch.valid[row, : len(image_boxes)] = True
    names = list(extras[0]) if extras else []
    columns = {name: _padded([image[name] for image in extras], most) for name in names}
    return replace(batch, extras=columns) if columns else batch


def _padded(columns: Sequence[Tensor], most: int) -> Tensor:
    """Stack (N_i, ...) columns to (B, most, ...); what is missing is NaN."""
    shape = [max(sides) for sides in zip(*(column.shape[1:] for column in columns), strict=True)]
    padded = torch.full((len(columns), most, *shape), torch.nan)
    for row, column in zip(padded, columns, strict=True):
        row[tuple(slice(side) for side in column.shape)] = column
    return padded


class Draw(NamedTuple):
    """One sample to prepare: which image, in which epoch, at which input size (0: the preprocess's)."""

    epoch: int
    image: int
    size: int = 0


@dataclass
class EpochOrder:
    """Batches of draws: a fresh permutation per epoch, a pure function of (seed, epoch).

    Every process takes its own share; the last batch is filled from the start of the permutation, so
    all batches have one size and all processes the same number of them. ``epoch`` and ``start`` say
    where the next iteration begins (each one moves them on): that is all it takes to resume in the
    middle of an epoch.

    Attributes:
        images: how many there are.
        batch: images per batch and process.
        seed: of the order, the sizes and the augmentation.
        sizes: multi-scale training: batches draw their input size from these, all processes alike.
        hold: batches that keep a drawn size; 0 keeps it for a whole epoch.
        rank: of this process.
        world: number of processes.
        epoch: of the next iteration.
        start: batches of that epoch that are already done.
    """

    images: int
    batch: int
    seed: int = 0
    sizes: Sequence[int] = ()
    hold: int = 1
    rank: int = 0
    world: int = 1
    epoch: int = 0
    start: int = 0

    def __len__(self) -> int:
        return -(-self.images // (self.batch * self.world))

    def __iter__(self) -> Iterator[list[Draw]]:
        epoch, start = self.epoch, self.start
        self.epoch, self.start = epoch + 1, 0  # where the next iteration begins
        generator = np.random.default_rng((self.seed, epoch))
        order = np.resize(generator.permutation(self.images), len(self) * self.batch * self.world)
        mine = order.reshape(len(self), self.world, self.batch)[:, self.rank]
        sizes = self._draw_sizes(generator)
        for rows, size in list(zip(mine, sizes, strict=True))[start:]:
            yield [Draw(epoch, int(row), int(size)) for row in rows]

    def _draw_sizes(self, generator: np.random.Generator) -> NDArray[np.int64]:
        """Return the input size of each batch of an epoch; 0 is the preprocess's own."""
        if not self.sizes:
            return np.zeros(len(self), np.int64)
        hold = self.hold or len(self)
        drawn = generator.choice(self.sizes, -(-len(self) // hold))
        return np.repeat(drawn, hold)[: len(self)]


class TrainingSamples(TorchDataset[Prepared]):
    """Prepares draws; the augmentation of each depends only on (seed, epoch, image).

    Args:
        dataset: what is drawn from, the partners of mosaics and mixup too.
        augment: of the run.
        preprocess: of the network.
        seed: of the augmentation.
        calm_from: the epoch from which on ``augment.calm()`` is used; ``None`` for never.
        on_unreadable: ``replace`` takes another image at random for one that cannot be read, and
            says so in ``Prepared.unreadable``; ``stop`` raises its error.
        reads: columns of the data set's extras that come along (``Network.reads``).
    """

    def __init__(
        self,
        dataset: Dataset,
        augment: Augment,
        preprocess: Preprocess,
        seed: int = 0,
        *,
        calm_from: int | None = None,
        on_unreadable: Literal["replace", "stop"] = "stop",
        reads: Sequence[str] = (),
    ) -> None:
        self.dataset, self.augment, self.preprocess, self.seed = dataset, augment, preprocess, seed
        self.calm = augment.calm()
        self.calm_from, self.on_unreadable = calm_from, on_unreadable
        self.reads = tuple(reads)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, draw: Draw) -> Prepared:
        words = np.random.SeedSequence((self.seed, draw.epoch, draw.image)).generate_state(2)
        preprocess = self.preprocess.at_size(draw.size) if draw.size else self.preprocess
        calm = self.calm_from is not None and draw.epoch >= self.calm_from
        unreadable: list[str] = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(words[0]) << 32 | int(words[1]))
            sample = self._read(draw.image, unreadable)
            augment = self.calm if calm else self.augment
            if self.reads:
                prepared = prepare_with(sample, self.reads, augment, preprocess)
            else:
                prepared = prepare(
                    sample,
                    augment,
                    preprocess,
                    lambda: Scene.of(self._read(integer(len(self.dataset)), unreadable)),
                )
        return replace(prepared, size=draw.size, unreadable=tuple(unreadable))

    def _read(self, image: int, unreadable: list[str]) -> Sample:
        """Read an image, or one that stands in for it; ``unreadable`` gets what was wrong."""
        for _ in range(REPLACEMENTS):
            try:
                return self.dataset[image]
            except (ImageError, DataError) as error:
                if self.on_unreadable == "stop":
                    raise
                unreadable.append(str(error))
                image = integer(len(self.dataset))
        raise DataError(
            f"{REPLACEMENTS} images drawn one after another cannot be read; the last: {unreadable[-1]}"
        )


class ValidationSamples(TorchDataset[Prepared]):
    """Prepares every image once, exactly as prediction does."""

    def __init__(self, dataset: Dataset, preprocess: Preprocess) -> None:
        self.dataset, self.preprocess = dataset, preprocess

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Prepared:
        sample = self.dataset[index]
        assert sample.image is not None
        truths = sample.select(~sample.crowd)
        pixels, geometry = self.preprocess.apply(sample.image)
        boxes = torch.from_numpy(geometry.to_input(truths.boxes))
        labels = torch.from_numpy(truths.labels.copy())
        return Prepared(pixels, boxes, labels, geometry, sample.image_id)


@dataclass(frozen=True)
class Collate:
    """Stacks prepared samples into a :class:`Batch`."""

    preprocess: Preprocess

    def __call__(self, prepared: Sequence[Prepared]) -> Batch:
        """Pad and stack."""
        targets = pad_targets(
            [p.boxes for p in prepared], [p.labels for p in prepared], [p.extras for p in prepared]
        )
        size = max(p.size for p in prepared)  # one size per batch; a square input is padded to it
        preprocess = self.preprocess.at_size(size) if size else self.preprocess
        batch = preprocess.collate(
            [p.pixels for p in prepared],
            [p.geometry for p in prepared],
            targets,
            [p.image_id for p in prepared],
        )
        unreadable = tuple(text for p in prepared for text in p.unreadable)
        return replace(batch, unreadable=unreadable) if unreadable else batch


def training_loader(
    samples: TrainingSamples, order: EpochOrder, workers: int, **options: Any
) -> DataLoader[Prepared]:
    """Return the loader of training batches; iterating it runs the epoch that ``order`` points at."""
    return DataLoader(
        samples,
        batch_sampler=order,  # draws, not bare indices
        collate_fn=Collate(samples.preprocess),
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        **options,
    )


def validation_loader(
    samples: ValidationSamples, batch: int, workers: int, rank: int = 0, world: int = 1
) -> DataLoader[Prepared]:
    """Return the loader of this process's share of the validation images, in order.

    Shares may differ by one image. Where there are fewer images than processes, some see one that
    another sees, too: a process without any would not take part in the evaluation.
    """
    rows = range(rank, max(len(samples), world), world)
    return DataLoader(
        samples,
        batch_size=batch,
        sampler=[row % len(samples) for row in rows] if len(samples) else [],
        collate_fn=Collate(samples.preprocess),
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
