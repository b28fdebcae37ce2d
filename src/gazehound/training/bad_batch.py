"""A batch whose loss is not finite, kept for inspection."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save_file

from gazehound.data import Dataset
from gazehound.records import Batch

NAME = "bad_batch.safetensors"


@dataclass(frozen=True)
class BadBatchKeeper:
    """Writes a batch whose loss is not finite, and says which files it was made of.

    Attributes:
        folder: of the run.
        dataset: that the images came from.
    """

    folder: Path
    dataset: Dataset

    def __call__(self, batch: Batch, losses: Mapping[str, float], step: int) -> str:
        """Return where the batch is and the files of its images, as the end of a message."""
        files = files_of(batch, self.dataset)
        file = save_bad_batch(self.folder, batch, losses, step, files)
        shown = ", ".join(files[:4]) + (f" and {len(files) - 4} more" if len(files) > 4 else "")
        return f"the batch is kept in {file}; its images: {shown}"


def files_of(batch: Batch, dataset: Dataset | None) -> list[str]:
    """Return the file of each image of a batch; its id where the data set does not know it."""
    if dataset is None:
        return [str(image) for image in batch.image_ids]
    wanted = set(batch.image_ids)
    rows = {image: row for row, image in enumerate(dataset.image_ids.tolist()) if image in wanted}
    return [
        str(dataset.image_path(rows[image])) if image in rows else str(image)
        for image in batch.image_ids
    ]


def save_bad_batch(
    folder: Path, batch: Batch, losses: Mapping[str, float], step: int, files: list[str]
) -> Path:
    """Write the very tensors that the network got, with losses and file names as metadata.

    Returns:
        The safetensors file: ``images``, ``boxes``, ``labels``, ``valid``.
    """
    assert batch.targets is not None
    columns = {"images": batch.images, "sizes": batch.sizes} | {
        name: getattr(batch.targets, name) for name in ("boxes", "labels", "valid")
    }
    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in columns.items()}
    facts = {
        "step": str(step),
        "files": json.dumps(files),
        "losses": json.dumps({name: repr(value) for name, value in losses.items()}),
    }
    file = folder / NAME
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, file, facts)
    return file
