"""A backbone learns to classify whole pictures before it learns to detect.

Redmon and Farhadi 2017 (YOLO9000, section 2, "High Resolution Classifier"): first at 224 x 224 pixels,
then some more epochs at 448 x 448, so that the filters know large inputs before detection begins.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from rich.console import Console
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from gazehound.catalog import find
from gazehound.checkpoints.native import Header, save_tensors
from gazehound.checkpoints.rebuild import build
from gazehound.data.images import IMAGE_SUFFIXES, read_image
from gazehound.data.preprocess import Preprocess
from gazehound.detectors.network import Network
from gazehound.errors import ConfigError, DataError
from gazehound.nn.backbones import Backbone
from gazehound.records import Classes
from gazehound.training import machine
from gazehound.training.run_folder import HISTORY, LAST, CsvLog

DETECTOR = "classifier"  # what the checkpoint says it is; only ``--from`` reads it
PROBE = 64  # pixels of the empty picture that tells how many channels come out


@dataclass(frozen=True)
class Schooling:
    """One run of the two phases.

    Attributes:
        epochs: at ``size``.
        size: side of the square input of the first phase, pixels.
        fine_epochs: at ``fine_size``; 0 leaves the second phase out.
        fine_size: side of the second phase's input, pixels.
        batch: images per step.
        lr: of the first phase; the second has a tenth of it.
        momentum: of SGD.
        weight_decay: on all weights but norms and biases.
        smoothing: of the labels.
        workers: loader processes.
        seed: of everything random.

    Raises:
        ConfigError: a number is out of its range.
    """

    epochs: int = 20
    size: int = 224
    fine_epochs: int = 10
    fine_size: int = 448
    batch: int = 32
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    smoothing: float = 0.1
    workers: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "size", "fine_size", "batch"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be 1 or more; got {getattr(self, name)}")
        for name in ("fine_epochs", "workers", "lr"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must be 0 or more; got {getattr(self, name)}")

    def phases(self) -> list[tuple[int, int, float]]:
        """Return (epochs, size, learning rate) of each phase."""
        fine = (self.fine_epochs, self.fine_size, self.lr / 10)
        return [(self.epochs, self.size, self.lr), *([fine] if self.fine_epochs else [])]


class Classifier(nn.Module):
    """A backbone, the mean over its last map, one linear layer.

    Args:
        backbone: gives feature maps, the coarsest last.
        classes: K.
    """

    def __init__(self, backbone: nn.Module, classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.classify = nn.Linear(_channels(backbone), classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, K) logits of images (B, 3, H, W)."""
        logits: Tensor = self.classify(self.backbone(images)[-1].mean(dim=(2, 3)))
        return logits


@torch.no_grad()
def _channels(backbone: nn.Module) -> int:
    training = backbone.training
    maps = backbone.eval()(torch.zeros(1, 3, PROBE, PROBE))
    backbone.train(training)
    return int(maps[-1].shape[1])


def backbone_of(model: str, pretrained: bool = False) -> tuple[nn.Module, Preprocess]:
    """Return the backbone of a detector of the catalogue, or a timm network, and its preprocessing.

    Raises:
        ConfigError: the name is neither, or the detector has no backbone.
    """
    if timm.is_model(model):
        return Backbone(model, (32,), pretrained=pretrained, norm="batch"), Preprocess()
    arguments: dict[str, Any] = {"pretrained": True, "norm": "batch"} if pretrained else {}
    detector, _ = build(find(model).name, Classes(("object",)), arguments)
    backbone = getattr(detector, "backbone", None)
    if not isinstance(detector, Network) or not isinstance(backbone, nn.Module):
        raise ConfigError(f"'{model}' has no backbone that could learn to classify")
    return backbone, detector.preprocess


def open_folders(data: str | Path) -> tuple[ImageFolder, ImageFolder | None]:
    """Open ``DATA/train`` and ``DATA/val``, one folder per class; without them all of DATA is learned.

    Raises:
        DataError: there are no class folders with images, or those of the two splits differ.
    """
    root = Path(data)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    train = _folder(root / "train" if (root / "train").is_dir() else root)
    val = next((root / name for name in ("val", "test") if (root / name).is_dir()), None)
    if val is None or not (root / "train").is_dir():
        return train, None
    held = _folder(val)
    if held.classes != train.classes:
        raise DataError(
            f"{val}: its class folders are {held.classes}, those of {root / 'train'} {train.classes}"
        )
    return train, held


def _folder(path: Path) -> ImageFolder:
    try:
        return ImageFolder(str(path), loader=read_image, is_valid_file=_is_image)
    except FileNotFoundError as error:
        raise DataError(
            f"{path}: needs one folder per class with images in it ({str(error).splitlines()[0]})"
        ) from None


def _is_image(file: str) -> bool:
    return Path(file).suffix.lower() in IMAGE_SUFFIXES


def learning_view(image: Any, size: int, preprocess: Preprocess) -> Tensor:
    """Return a random part of a picture (H, W, 3), resized, recoloured, flipped or not, normalised."""
    steps = v2.Compose(
        [
            v2.RandomResizedCrop(size, scale=(0.25, 1.0), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(0.3, 0.3, 0.3),
        ]
    )
    return preprocess.normalise(steps(_planes(image)))


def testing_view(image: Any, size: int, preprocess: Preprocess) -> Tensor:
    """Return the middle of a picture (H, W, 3): the shorter side becomes 8/7 of ``size``, then a crop."""
    steps = v2.Compose([v2.Resize(round(size * 8 / 7), antialias=True), v2.CenterCrop(size)])
    return preprocess.normalise(steps(_planes(image)))


def _planes(image: Any) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)


class ClassifierTask(LightningModule):
    """Cross entropy, SGD with a cosine, accuracy on the held-out pictures.

    Args:
        network: the classifier.
        schooling: the run.
        lr: of this phase.
        steps: of this phase.
    """

    def __init__(self, network: Classifier, schooling: Schooling, lr: float, steps: int) -> None:
        super().__init__()
        self.network, self.schooling, self.lr, self.steps = network, schooling, lr, steps
        self.losses: list[Tensor] = []
        self.right: list[Tensor] = []

    def configure_optimizers(self) -> Any:
        """Return SGD and its per-step cosine with a short warm-up."""
        decayed = [p for p in self.network.parameters() if p.ndim >= 2]
        plain = [p for p in self.network.parameters() if p.ndim < 2]
        groups = [
            {"params": decayed, "weight_decay": self.schooling.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.SGD(
            groups, self.lr, momentum=self.schooling.momentum, nesterov=True
        )
        warm = max(1, self.steps // 20)

        def factor(step: int) -> float:
            rise = min(1.0, (step + 1) / warm)
            return rise * 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.steps)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        """Return the cross entropy with smoothed labels."""
        images, labels = batch
        smoothing = self.schooling.smoothing
        loss = F.cross_entropy(self.network(images), labels, label_smoothing=smoothing)
        self.losses.append(loss.detach())
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        """Note which pictures of a batch are classified right."""
        images, labels = batch
        self.right.append(self.network(images).argmax(dim=1) == labels)


class _Keeper(Callback):
    """Writes the checkpoint and the row of every epoch, and prints it."""

    def __init__(
        self, folder: Path, header: Header, size: int, before: int, console: Console
    ) -> None:
        self.folder, self.header, self.size, self.before = folder, header, size, before
        self.console, self.history = console, CsvLog(folder / HISTORY, "epoch")

    def on_train_epoch_end(self, trainer: Trainer, task: ClassifierTask) -> None:  # type: ignore[override]
        """Save; validation has run by now."""
        loss = float(torch.stack(task.losses).mean())
        accuracy = float(torch.cat(task.right).float().mean()) if task.right else None
        task.losses, task.right = [], []
        epoch = self.before + trainer.current_epoch
        self.history.write(
            {"epoch": epoch, "size": self.size, "loss_total": loss, "accuracy": accuracy}
        )
        notes = {**self.header.notes, "epoch": epoch, "size": self.size, "accuracy": accuracy}
        save_tensors(
            self.folder / LAST, task.network.state_dict(), replace(self.header, notes=notes)
        )
        shown = "" if accuracy is None else f"  accuracy {accuracy:.3f}"
        self.console.print(
            f"epoch {epoch + 1:>3}  {self.size} px  loss {loss:.4f}{shown}", highlight=False
        )


def train_classifier(
    model: str,
    data: str | Path,
    out: Path,
    schooling: Schooling,
    *,
    pretrained: bool = False,
    console: Console | None = None,
) -> Classifier:
    """Train a backbone on folders of pictures, in two phases; write ``last.safetensors``.

    The file's tensors are named ``backbone...`` as in a detector, which takes them with ``--from``.

    Args:
        model: a detector of the catalogue whose backbone learns, or a timm name.
        data: one folder per class, in ``train`` and ``val`` or without.
        out: the run folder.
        schooling: epochs, sizes, rates.
        pretrained: start from ImageNet weights.
        console: where to print.

    Raises:
        ConfigError: the model is unknown or has no backbone.
        DataError: the folders are not as they should be.
    """
    console = console or Console(stderr=True)
    seed_everything(schooling.seed, workers=True, verbose=False)
    train, val = open_folders(data)
    backbone, preprocess = backbone_of(model, pretrained)
    network = Classifier(backbone, len(train.classes))
    out.mkdir(parents=True, exist_ok=True)
    (out / HISTORY).unlink(missing_ok=True)
    header = Header(
        DETECTOR, {"model": model}, Classes(tuple(train.classes)), preprocess.to_dict(),
        {"data": str(data)},
    )  # fmt: skip
    console.print(
        f"{model}: {len(train)} pictures of {len(train.classes)} classes to learn from, "
        f"{len(val) if val else 'none'} to test on",
        highlight=False,
    )
    done = 0
    for epochs, size, lr in schooling.phases():
        loader = _loader(train, learning_view, size, preprocess, schooling)
        held = None if val is None else _loader(val, testing_view, size, preprocess, schooling)
        task = ClassifierTask(network, schooling, lr, epochs * len(loader))
        keeper = _Keeper(out, header, size, done, console)
        _trainer(epochs, keeper).fit(task, loader, held)
        done += epochs
    return network


def _loader(
    part: ImageFolder,
    view: Callable[..., Tensor],
    size: int,
    preprocess: Preprocess,
    schooling: Schooling,
) -> DataLoader[Any]:
    part.transform = partial(view, size=size, preprocess=preprocess)
    learning = view is learning_view
    return DataLoader(
        part,
        schooling.batch,
        shuffle=learning,
        num_workers=schooling.workers,
        persistent_workers=schooling.workers > 0,
        drop_last=learning and len(part) > schooling.batch,
    )


def _trainer(epochs: int, keeper: Callback) -> Trainer:
    return Trainer(
        accelerator="auto",
        devices=1,
        max_epochs=epochs,
        precision=machine.lightning_precision("auto"),  # type: ignore[arg-type]
        callbacks=[keeper],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
