"""Run a recipe: the plan said aloud, the data, Lightning's trainer, the run folder."""

from __future__ import annotations

import dataclasses
import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy, Strategy
from rich.console import Console
from torch.utils.data import DataLoader

from gazehound.checkpoints.native import Header
from gazehound.data import Dataset, available_splits, open_dataset
from gazehound.data.anchor_shapes import input_shapes
from gazehound.data.batching import (
    Collate,
    Draw,
    EpochOrder,
    TrainingSamples,
    ValidationSamples,
    training_loader,
    validation_loader,
)
from gazehound.detectors.network import Network
from gazehound.errors import ConfigError, GazehoundError
from gazehound.records import Batch
from gazehound.training import machine, run_folder
from gazehound.training.bad_batch import BadBatchKeeper
from gazehound.training.callbacks import Bar, Recorder, Watch, Watcher
from gazehound.training.freezing import Freezing
from gazehound.training.health import Health
from gazehound.training.prefetch import DevicePrefetch
from gazehound.training.probing import fitting_batch, seconds_per_step, weights_without_gradient
from gazehound.training.processes import Processes, from_first, gather, join
from gazehound.training.readiness import findings
from gazehound.training.recipe import Recipe
from gazehound.training.task import DetectionTask


def complete(
    recipe: Recipe, network: Network, train: Dataset, place: Processes | None = None
) -> Recipe:
    """Fill in what the recipe leaves to the machine: batch, accumulation, loader processes."""
    place = place or Processes()
    batch = recipe.batch
    if batch is None:
        size = max((recipe.size or network.preprocess.size, *recipe.sizes))
        samples, _ = source_of_batches(network, dataclasses.replace(recipe, batch=1), train)
        one = Collate(samples.preprocess)([samples[Draw(0, 0, size)]])
        batch = min(gather(fitting_batch(network, one, size, recipe.precision, place.per_machine)))
    if recipe.total_batch is not None:
        batch = min(batch, max(1, recipe.total_batch // place.world))
    steps = recipe.total_batch / (batch * place.world) if recipe.total_batch else 1
    accumulate = recipe.accumulate or max(1, round(steps))
    workers = recipe.workers
    if workers is None:
        workers = machine.default_workers(place.per_machine)
    return dataclasses.replace(
        recipe, batch=batch, accumulate=accumulate, total_batch=None, workers=workers
    )


def validation_split(data: str) -> str | None:
    """Return the split to evaluate on: the one named for it, else the test split, else none."""
    splits = available_splits(data)
    named = [split for split in splits if split.startswith("val")]
    return next(iter(named), "test" if "test" in splits else None)


def open_splits(recipe: Recipe) -> tuple[Dataset, Dataset | None]:
    """Open the training and validation splits, and check that they speak of the same classes.

    Raises:
        ConfigError: the training split has no images, or the splits' classes differ.
    """
    train = open_dataset(recipe.data, split=recipe.train_split)
    if len(train) == 0:
        raise ConfigError(f"{recipe.data}: the split '{recipe.train_split}' has no images")
    split = recipe.val_split or validation_split(recipe.data)
    if split is None:
        return train, None
    val = open_dataset(recipe.data, split=split)
    if val.classes.names != train.classes.names or val.classes.ids != train.classes.ids:
        raise ConfigError(
            f"{recipe.data}: the splits '{recipe.train_split}' and '{split}' differ in "
            f"their classes: {list(train.classes)} against {list(val.classes)}"
        )
    return train, val


def fit(
    network: Network,
    header: Header,
    recipe: Recipe,
    out: Path,
    *,
    data: tuple[Dataset, Dataset | None] | None = None,
    resume: bool = False,
    console: Console | None = None,
    watch: Watch | None = None,
) -> DetectionTask:
    """Train a network by a recipe, and write the run folder.

    Where a launcher started several processes they work together; the first one writes and prints.

    Args:
        network: the detector; trained in place, and left with the averaged weights.
        header: what the checkpoints say about it.
        recipe: ``None`` values are filled in by :func:`complete`.
        out: the run folder.
        data: training and validation sets that are open already.
        resume: go on with the run in ``out``.
        console: where to print.
        watch: is told the scores of each evaluation, and says whether the run should end.

    Returns:
        The finished task; its ``evaluation`` is the last one.

    Raises:
        TrainingError: see :func:`run_folder.claim`; or the loss is no longer finite.
        ConfigError: the recipe does not fit the data.
    """
    place = join()
    opened = data or open_splits(recipe)
    told = place.console(console)
    return _fit(network, header, recipe, out, opened, resume, told, watch, place)


def _fit(
    network: Network,
    header: Header,
    recipe: Recipe,
    out: Path,
    data: tuple[Dataset, Dataset | None],
    resume: bool,
    console: Console,
    watch: Watch | None,
    place: Processes,
) -> DetectionTask:
    train, val = data
    recipe = complete(recipe, network, train, place)
    assert recipe.batch is not None
    assert recipe.workers is not None
    checkpoint = from_first(lambda: run_folder.claim(out, resume))
    seed_everything(recipe.seed, workers=True, verbose=False)
    if place.first:
        recipe.to_yaml(out / run_folder.RECIPE)

    samples, order = source_of_batches(network, recipe, train, place)
    network.to(memory_format=torch.channels_last)
    if checkpoint is None and (said := network.look_at(input_shapes(train, network.preprocess))):
        console.print(f"note: {said}", highlight=False, soft_wrap=True)
    freezing = Freezing(network, recipe.tune, console)
    task = DetectionTask(network, recipe, order, val, freezing.learnable)
    task.keep_bad_batch = BadBatchKeeper(out, train)
    loader = training_loader(samples, order, recipe.workers)
    val_loader = val and validation_loader(
        ValidationSamples(val, network.preprocess),
        recipe.batch,
        recipe.workers,
        place.rank,
        place.world,
    )
    _say_plan(console, recipe, train, val, network, order)
    if checkpoint is None and place.first:
        smallest = min((recipe.size or network.preprocess.size, *recipe.sizes))
        for line in findings(network, train, network.preprocess, smallest):
            console.print(f"note: {line}", highlight=False, soft_wrap=True)
        _say_estimate(console, task, samples)

    bar = Bar(console, len(order) * recipe.epochs)
    recorder = Recorder(out, header, recipe.checkpoint_minutes, recipe.patience)
    watcher = [] if watch is None else [Watcher(watch)]
    callbacks = [freezing, Health(out, console, place), *watcher, recorder, bar]
    strategy = _strategy(task, samples, place)
    trainer = _trainer(recipe, out, callbacks, strategy, place)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")  # its advice on loaders and logging
        with one_line_errors():
            batches = prefetched(loader, trainer.strategy.root_device)
            trainer.fit(task, batches, val_loader, ckpt_path=checkpoint, weights_only=True)
    network.load_state_dict(task.averaged_weights())
    return task


def _trainer(
    recipe: Recipe,
    out: Path,
    callbacks: list[Callback],
    strategy: Strategy | str,
    place: Processes,
) -> Trainer:
    """Return Lightning's engine with what the recipe decides; reports and checkpoints are ours."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)  # the plan says what matters
    return Trainer(
        accelerator="auto",
        devices=place.per_machine,
        num_nodes=place.machines,
        strategy=strategy,
        max_epochs=recipe.epochs,
        precision=machine.lightning_precision(recipe.precision),  # type: ignore[arg-type]
        accumulate_grad_batches=recipe.accumulate or 1,
        gradient_clip_val=recipe.clip or None,
        check_val_every_n_epoch=recipe.evaluate_every,
        callbacks=callbacks,
        logger=TensorBoardLogger(out, name="", version="tensorboard"),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        sync_batchnorm=recipe.tune.norm == "synchronised",
        log_every_n_steps=10,
    )


def prefetched(loader: DataLoader[Any], device: torch.device) -> DataLoader[Any] | DevicePrefetch:
    """Return the loader as it is best read by a device: one batch ahead on a GPU."""
    return DevicePrefetch(loader, device) if device.type == "cuda" else loader


def _strategy(task: DetectionTask, samples: TrainingSamples, place: Processes) -> Strategy | str:
    """Return how processes share their gradients.

    Where weights get no gradient (a stage that is still frozen, a part that the losses do not read) they
    are searched for in every step, because a process that waits for them would wait for ever. Buffers
    are not sent in every step: only BatchNorm's statistics differ, and they are shared when evaluated.
    """
    if place.world == 1:
        return "auto"
    tune = task.recipe.tune
    idle = weights_without_gradient(
        task.network, first_batch(samples, task.order), task.recipe.precision
    )
    search = any(gather(bool(idle or tune.unfreeze_every or tune.unfreeze_patience)))
    return DDPStrategy(find_unused_parameters=search, broadcast_buffers=False)


def first_batch(samples: TrainingSamples, order: EpochOrder) -> Batch:
    """Return the batch that the next epoch begins with; the order does not move."""
    draws = next(iter(dataclasses.replace(order, start=0)))
    return Collate(samples.preprocess)([samples[draw] for draw in draws])


def source_of_batches(
    network: Network, recipe: Recipe, train: Dataset, place: Processes | None = None
) -> tuple[TrainingSamples, EpochOrder]:
    """Return the training images as a complete recipe wants them, and this process's order of them."""
    assert recipe.batch is not None
    place = place or Processes()
    samples = TrainingSamples(
        train,
        recipe.augment,
        network.preprocess,
        recipe.seed,
        calm_from=recipe.calm_from,
        on_unreadable=recipe.on_unreadable,
        reads=network.reads,
    )
    hold = 0 if recipe.size_every == "epoch" else recipe.size_every
    order = EpochOrder(
        len(train),
        recipe.batch,
        recipe.seed,
        recipe.sizes,
        hold,
        rank=place.rank,
        world=place.world,
    )
    return samples, order


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn our errors out of loader processes, which carry a traceback as text, into one line.

    A full disk while a checkpoint is written becomes one line, too; the last whole one is still there.
    """
    try:
        yield
    except GazehoundError as error:
        last = str(error).strip().splitlines()[-1]
        if "Original Traceback" not in str(error):
            raise
        raise type(error)(last.partition(": ")[2] or last) from None


def _say_plan(
    console: Console,
    recipe: Recipe,
    train: Dataset,
    val: Dataset | None,
    network: Network,
    order: EpochOrder,
) -> None:
    """Print what the run will do."""
    millions = sum(p.numel() for p in network.parameters() if p.requires_grad) / 1e6
    precision = machine.lightning_precision(recipe.precision).split("-")[0]
    sizes = f"{min(recipe.sizes)} to {max(recipe.sizes)}" if recipe.sizes else f"{recipe.size}"
    batch = f"batch {recipe.batch}" + (
        f" x {recipe.accumulate}" if (recipe.accumulate or 1) > 1 else ""
    )
    batch += f" x {order.world} processes" if order.world > 1 else ""
    lines = (
        f"{recipe.model}: {millions:.1f} M trainable weights, {len(train.classes)} classes "
        f"({', '.join(train.classes.names[:5])}{', ...' if len(train.classes) > 5 else ''})",
        f"{len(train)} images to learn from ({train.split or train.name}), "
        + (
            f"{len(val)} to evaluate on ({val.split or val.name})" if val else "none to evaluate on"
        ),
        f"{recipe.epochs} epochs of {len(order)} steps, {batch}, {sizes} px, "
        f"{recipe.optimizer} at {recipe.lr:g}, {precision} bit on {machine.device_name()}, "
        f"{recipe.workers} loader process(es), seed {recipe.seed}",
    )
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def _say_estimate(console: Console, task: DetectionTask, samples: TrainingSamples) -> None:
    """Time a step on real data and say how long an epoch will take; leaves no trace in the run."""
    began = time.perf_counter()
    batch = first_batch(samples, task.order)
    loading = (time.perf_counter() - began) / max(1, task.recipe.workers or 1)
    seconds = seconds_per_step(task.network, batch, task.recipe.precision)
    steps = len(task.order)
    epoch = steps * max(seconds, loading)
    finish = time.strftime("%H:%M", time.localtime(time.time() + epoch * task.recipe.epochs))
    console.print(
        f"about {_spell(epoch)} an epoch, {_spell(epoch * task.recipe.epochs)} in all "
        f"(done about {finish}), evaluation not counted",
        highlight=False,
    )


def _spell(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
