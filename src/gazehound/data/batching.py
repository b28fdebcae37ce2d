"""From prepared samples to batches: padded targets, and an order that depends only on the seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from gazehound.data.dataset import Dataset
from gazehound.data.preprocess import Preprocess
from gazehound.data.transforms import Augment, Prepared, prepare
from gazehound.records import Batch, Targets

PAD_TRUTHS_TO = 8  # the truth axis grows in these steps, so that few different shapes occur


def pad_targets(boxes: Sequence[Tensor], labels: Sequence[Tensor]) -> Targets:
    """Pad the truths of several images ((N_i, 4) boxes, (N_i,) labels) to one length."""
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
    return batch


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
        sizes: multi-scale training: each batch draws its input size from these.
        rank: of this process.
        world: number of processes.
        epoch: of the next iteration.
        start: batches of that epoch that are already done.
    """

    images: int
    batch: int
    seed: int = 0
    sizes: Sequence[int] = ()
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
        sizes = generator.choice(self.sizes, len(self)) if self.sizes else np.zeros(len(self), int)
        for rows, size in list(zip(mine, sizes, strict=True))[start:]:
            yield [Draw(epoch, int(row), int(size)) for row in rows]


class TrainingSamples(TorchDataset[Prepared]):
    """Prepares draws; the augmentation of each depends only on (seed, epoch, image)."""

    def __init__(
        self, dataset: Dataset, augment: Augment, preprocess: Preprocess, seed: int = 0
    ) -> None:
        self.dataset, self.augment, self.preprocess, self.seed = dataset, augment, preprocess, seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, draw: Draw) -> Prepared:
        words = np.random.SeedSequence((self.seed, draw.epoch, draw.image)).generate_state(2)
        preprocess = self.preprocess.at_size(draw.size) if draw.size else self.preprocess
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(words[0]) << 32 | int(words[1]))
            return prepare(self.dataset[draw.image], self.augment, preprocess)


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
        targets = pad_targets([p.boxes for p in prepared], [p.labels for p in prepared])
        return self.preprocess.collate(
            [p.pixels for p in prepared],
            [p.geometry for p in prepared],
            targets,
            [p.image_id for p in prepared],
        )


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
    """Return the loader of this process's share of the validation images, in order."""
    return DataLoader(
        samples,
        batch_size=batch,
        sampler=range(rank, len(samples), world),
        collate_fn=Collate(samples.preprocess),
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
