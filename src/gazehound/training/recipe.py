"""Recipes: everything that decides a training run, as one typed record that is written to the run
folder as YAML and read back.

Values are checked when a recipe is made, by whichever way it was made (Python, YAML, command line).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from gazehound.data.augment import Augment
from gazehound.data.preprocess import Preprocess
from gazehound.errors import ConfigError, GazehoundError
from gazehound.training.tune import Tune

Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Recipe:
    """One training run.

    Attributes:
        model: a name of the catalogue.
        arguments: the builder's arguments.
        data: the data set's path.
        train_split: what to learn from.
        start_from: a checkpoint, or a name with bundled weights, whose weights are taken where they
            fit; see :mod:`gazehound.training.transfer`.
        val_split: what to evaluate on after each epoch; ``None`` takes ``val`` where there is one.
        epochs: passes over the data.
        size: input size in pixels: the longer side of the image; ``None`` takes the detector's own
            (640 for those made for a shorter side).
        resize: ``longer`` letterboxes, ``stretch`` changes the aspect ratio; ``None`` takes what the
            detector was made for (``longer`` for those made for a shorter side).
        sizes: multi-scale training: batches draw their size from these; empty for one size.
        size_every: batches that keep a drawn size, or ``epoch``.
        batch: images per step and process; ``None`` takes what fits this machine's memory.
        accumulate: steps whose gradients are added before the optimiser moves; ``None`` takes as many
            as ``total_batch`` wants.
        total_batch: images per move of the optimiser, over all processes; ``None``: whatever
            ``batch`` and ``accumulate`` make.
        optimizer: ``adamw`` or ``sgd``.
        lr: learning rate for ``reference_batch`` images per optimiser step; scaled in proportion.
        reference_batch: see ``lr``; ``None`` takes ``lr`` as it is.
        backbone_lr: factor on the learning rate of the backbone.
        weight_decay: on weights of convolutions and matrices; never on biases and norms.
        momentum: of SGD (and beta1 of AdamW).
        schedule: ``onecycle``, ``cosine``, ``multistep`` or ``constant``, after the warm-up.
        warmup: share of all steps in which the learning rate rises.
        milestones: shares of all steps at which ``multistep`` divides the learning rate by ten.
        precision: ``32``, ``bf16``, ``fp16`` or ``auto``: bf16 where the machine computes it natively.
        compile: let ``torch.compile`` make kernels of the forward pass and the losses. The first steps
            take minutes; worth it on a GPU, for runs of hours, with one input size.
        clip: largest norm of the gradient; 0 for none.
        ema: decay of the averaged weights that are evaluated and saved; 0 for none.
        patience: stop after so many evaluations without a better AP; 0 for never.
        evaluate_every: epochs between evaluations; the last epoch is always evaluated.
        checkpoint_minutes: also write the resume file this often inside an epoch; 0 for only at its end.
        workers: loader processes; ``None`` takes what fits this machine.
        seed: of everything random.
        augment: see :class:`Augment`.
        close_mosaic: in so many last epochs the augmentation is calm: without mosaic, mixup, pasted
            objects and distortion.
        tune: what learns, and how fast; see :class:`Tune`.
        on_unreadable: what happens to an image that cannot be read in the middle of an epoch:
            ``replace`` puts another one in its place and counts it, ``stop`` ends the run.
    """

    model: str
    data: str
    arguments: dict[str, Any] = field(default_factory=dict)
    start_from: str | None = None
    train_split: str = "train"
    val_split: str | None = None
    epochs: Positive = 30
    size: Annotated[int, Field(ge=32, le=4096)] | None = None
    resize: Literal["longer", "stretch"] | None = None
    sizes: tuple[Annotated[int, Field(ge=32, le=4096)], ...] = ()
    size_every: Positive | Literal["epoch"] = 10
    batch: Positive | None = None
    accumulate: Positive | None = None
    total_batch: Positive | None = None
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: Annotated[float, Field(gt=0)] = 6e-4
    reference_batch: Positive | None = None
    backbone_lr: Annotated[float, Field(ge=0)] = 1.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.02
    momentum: Fraction = 0.9
    schedule: Literal["onecycle", "cosine", "multistep", "constant"] = "onecycle"
    warmup: Fraction = 0.1
    milestones: tuple[Fraction, ...] = (0.67, 0.89)
    precision: Literal["auto", "32", "bf16", "fp16"] = "auto"
    compile: bool = False
    clip: Annotated[float, Field(ge=0)] = 10.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.998
    patience: Annotated[int, Field(ge=0)] = 0
    evaluate_every: Positive = 1
    checkpoint_minutes: Annotated[float, Field(ge=0)] = 10.0
    workers: Annotated[int, Field(ge=0)] | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    augment: Augment = field(default_factory=Augment)
    close_mosaic: Annotated[int, Field(ge=0)] = 0
    tune: Tune = field(default_factory=Tune)
    on_unreadable: Literal["replace", "stop"] = "replace"

    def __post_init__(self) -> None:
        if self.accumulate and self.total_batch:
            raise ConfigError("give accumulate or total_batch, not both")

    @property
    def calm_from(self) -> int | None:
        """Return the first epoch of calm augmentation; ``None`` when there is none."""
        return max(0, self.epochs - self.close_mosaic) if self.close_mosaic else None

    def pastes(self, epoch: int) -> bool:
        """Return whether this epoch (from 0) shows several pictures in one: mosaic or pasted objects."""
        return self.augment.mixes and not (self.calm_from is not None and epoch >= self.calm_from)

    def to_yaml(self, file: Path) -> None:
        """Write the recipe."""
        values = asdict(self)
        file.parent.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(_plain(values), sort_keys=False)
        file.write_text(f"# A gazehound recipe: gazehound train --recipe {file.name}\n{text}")


def for_input(recipe: Recipe, preprocess: Preprocess) -> tuple[Recipe, Preprocess]:
    """Settle how images are resized: what the recipe says, else what the detector was made for.

    Returns:
        The recipe with its size filled in, and the detector's preprocessing for this run.
    """
    by_side = preprocess.resize != "shorter"
    size = recipe.size or (preprocess.size if by_side else 640)
    resize = recipe.resize or (preprocess.resize if by_side else "longer")
    square = preprocess.square and resize == "longer"
    return replace(recipe, size=size), replace(
        preprocess.at_size(size), resize=resize, square=square
    )


def _plain(value: Any) -> Any:
    """Turn tuples into lists, which YAML shows readably."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def make_recipe(values: Mapping[str, Any], where: str = "recipe") -> Recipe:
    """Check plain values and make a recipe of them.

    Raises:
        ConfigError: an unknown key, or a value out of its range; names the key and what came.
    """
    try:
        return TypeAdapter(Recipe).validate_python(dict(values))
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"] if part != "Recipe")
        came = "" if problem["type"] == "missing" else f"; got {problem['input']!r}"
        raise ConfigError(f"{where}: {key}: {problem['msg'].lower()}{came}") from None
    except GazehoundError as error:
        raise ConfigError(f"{where}: {error}") from None


def read_recipe(file: str | Path, **changes: Any) -> Recipe:
    """Read a recipe from YAML, with some values changed.

    Raises:
        ConfigError: the file is missing, is not YAML, or holds wrong values.
    """
    path = Path(file)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML ({str(error).splitlines()[0]})") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: a recipe is a table of settings; got {type(values).__name__}")
    return make_recipe({**values, **changes}, where=str(path))
