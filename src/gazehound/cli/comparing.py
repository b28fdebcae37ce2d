"""The work of ``gazehound compare``: train or load, measure, rank, and write the page.

The folder holds ``comparison.html`` and a folder per model: a run as ``gazehound train`` leaves it
where the model was trained here, and what was measured, so that nothing is done twice.

    asked.yaml        the recipe that it was trained by
    trained.json      written when training came to its end
    measured.json     its cost, and what it was measured on
    evaluation.npz    its detections beside the truths
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from rich.console import Console
from rich.table import Table

from gazehound import model as loading
from gazehound.catalog import BY_NAME, find
from gazehound.catalog.entry import Entry
from gazehound.checkpoints.published.store import find_published
from gazehound.cli.measuring import measure, shared_classes
from gazehound.cli.training import command_line, plan, train_on
from gazehound.data import Dataset, available_splits, open_dataset
from gazehound.errors import ConfigError, GazehoundError
from gazehound.export.passport import SUFFIXES
from gazehound.metrics import Evaluation
from gazehound.reports.comparison import write_comparison
from gazehound.reports.standings import PROTOCOLS, Contender, Cost, Standing, as_record, rank
from gazehound.training import machine, run_folder
from gazehound.training.fit import open_splits, validation_split
from gazehound.training.recipe import Recipe

PAGE = "comparison.html"
ASKED, TRAINED = "asked.yaml", "trained.json"
MEASURED, EVALUATION = "measured.json", "evaluation.npz"


@dataclass(frozen=True)
class Options:
    """What the command was asked for; see ``gazehound compare --help``."""

    models: tuple[str, ...]
    data: str
    out: Path | None
    split: str | None
    protocol: str
    budget: Mapping[str, Any]
    draws: int
    pictures: int
    json: Path | None


@dataclass(frozen=True)
class Named:
    """A model of the command line.

    Attributes:
        name: in the table, and of its folder.
        given: as it was typed.
        recipe: how to train it; None for one that is loaded.
    """

    name: str
    given: str
    recipe: Recipe | None


def run(options: Options) -> list[Standing]:
    """Compare, print the table and write the page.

    Raises:
        ConfigError: a model is unknown, a setting is wrong, or some models could not take part: the
            page shows the others.
        KeyboardInterrupt: passed on, after the page was written from what was finished.
    """
    console = Console(stderr=True)
    named = name_models(options)
    split = options.split or _default_split(options.data, any(one.recipe for one in named))
    dataset = open_dataset(options.data, split)
    if not len(dataset):
        raise ConfigError(f"{options.data}: the split '{split}' has no images to compare on")
    if any(one.recipe and one.recipe.train_split == split for one in named):
        console.print(f"note: judged on '{split}', the images that models learn from here")
    out = options.out or Path("runs") / f"compare-{dataset.name or 'data'}"
    contenders: list[Contender] = []
    failed: dict[str, str] = {}
    stopped = False
    named.sort(  # first what is done, then what takes minutes, then what takes hours
        key=lambda one: (not (out / one.name / MEASURED).exists(), one.recipe is not None)
    )
    for number, one in enumerate(named, 1):
        console.rule(f"[bold]{one.name}[/]  {number} of {len(named)}", align="left", style="dim")
        try:
            contenders.append(take_part(one, dataset, split, out / one.name, console))
        except GazehoundError as error:
            failed[one.name] = str(error)
            console.print(f"{one.name}: {error}", highlight=False, soft_wrap=True, style="red")
        except (KeyboardInterrupt, SystemExit):  # Lightning turns the one into the other
            signal.signal(signal.SIGINT, signal.default_int_handler)  # and stops listening
            stopped = True
            rest = [later.name for later in named[number - 1 :]]
            console.print(f"stopped; not finished: {', '.join(rest)}", soft_wrap=True)
            failed |= dict.fromkeys(rest, "not finished: run the same command again")
            break
    rows = _conclude(options, dataset, contenders, failed, out, console) if contenders else []
    if stopped:
        raise KeyboardInterrupt
    if failed:
        raise ConfigError(f"{len(failed)} of {len(named)} could not take part: {', '.join(failed)}")
    return rows


def _default_split(data: str, trains: bool) -> str | None:
    """Return the split whose images no model was chosen on: test, else the validation split.

    Data without declared splits is looked at whole, unless a share of it is learned from.
    """
    splits = available_splits(data)
    if not splits:
        return "val" if trains else None
    return "test" if "test" in splits else validation_split(data)


def name_models(options: Options) -> list[Named]:
    """Say of each model whether it is trained or loaded, and give it a name of its own.

    Raises:
        ConfigError: a model is unknown, or a setting is wrong.
    """
    changes = {**options.budget, "data": options.data}
    out: list[Named] = []
    for given in options.models:
        path, recipe = Path(given), None
        if path.suffix in (".yaml", ".yml"):
            name, recipe = path.stem, plan(path, changes, None, resume=False)
        elif path.suffix in (".safetensors", *SUFFIXES) or path.exists():
            name = path.parent.name if path.stem in ("best", "last") else path.stem
        elif "@" in given and find_published(given):
            name = given
        else:
            entry = find(given)
            name = entry.name
            if entry.weights is None:
                recipe = plan(None, {**changes, "model": name}, None, resume=False)
        out.append(Named(_unused(name or "model", [one.name for one in out]), given, recipe))
    return out


def _unused(name: str, taken: Sequence[str]) -> str:
    tries = (name if k == 1 else f"{name}-{k}" for k in range(1, len(taken) + 2))
    return next(one for one in tries if one not in taken)


def take_part(
    one: Named, dataset: Dataset, split: str | None, folder: Path, console: Console
) -> Contender:
    """Train or load one model and measure it, or take what was done before.

    Raises:
        GazehoundError: it cannot take part, in one line.
    """
    seconds = None
    weights: str | Path = one.given
    if one.recipe is not None:
        seconds = _train(one.recipe, folder, console)
        chosen_on = one.recipe.val_split or validation_split(one.recipe.data)
        weights = folder / (run_folder.LAST if chosen_on in (None, split) else run_folder.BEST)
    asked = {"data": f"{dataset.name}:{split}", "images": len(dataset), **_identity(weights)}
    known = _read(folder / MEASURED)
    if known.get("asked") == asked and (folder / EVALUATION).exists():
        console.print(f"{one.name}: measured before, in {folder}", highlight=False, soft_wrap=True)
    else:
        known = _measure(one, weights, dataset, folder, console) | {"asked": asked}
        _write(folder / MEASURED, known)
    with np.load(folder / EVALUATION, allow_pickle=False) as arrays:
        tables = Evaluation.from_state(dict(arrays)).tables
    cost = replace(Cost(**known["cost"]), training=seconds)
    entry: Entry | None = BY_NAME.get(known["detector"])
    return Contender(one.name, entry, tables, tuple(known["judged"]), cost)


def _train(recipe: Recipe, folder: Path, console: Console) -> float:
    """Train where it was not done before, and return the seconds that it took.

    Raises:
        ConfigError: the folder holds a run by another recipe.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before = (folder / ASKED).read_text() if (folder / ASKED).exists() else None
    recipe.to_yaml(folder / ASKED)
    if before not in (None, (folder / ASKED).read_text()):
        (folder / ASKED).write_text(str(before))
        raise ConfigError(f"{folder}: holds a run under another budget; give another --out")
    if (folder / TRAINED).exists():
        console.print(f"trained before, in {folder}", highlight=False, soft_wrap=True)
        return float(_read(folder / TRAINED)["seconds"])
    resume = (folder / run_folder.RESUME).exists()
    if resume:
        recipe = plan(None, {}, folder, resume=True)
    train, val = open_splits(recipe)
    classical = find(recipe.model).kind == "classical"  # learns without looking at a second split
    done = train_on(
        recipe, (train, None if classical else val), folder, resume=resume, console=console
    )
    history = run_folder.CsvLog(folder / run_folder.HISTORY, "epoch").read()
    seconds = sum(row["seconds"] for row in history) if history else done.seconds
    _write(folder / TRAINED, {"seconds": seconds})
    (folder / run_folder.RESUME).unlink(missing_ok=True)  # the largest file, of no use any more
    return seconds


def _measure(
    one: Named, weights: str | Path, dataset: Dataset, folder: Path, console: Console
) -> dict[str, Any]:
    loaded = loading.load(weights)
    if machine.device_name() == "cuda":
        loaded.to("cuda")
    judged = shared_classes(loaded.classes, dataset.classes)
    evaluation, cost = measure(loaded.detector, dataset, console, one.name)
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{EVALUATION}"
    with part.open("wb") as stream:
        np.savez_compressed(stream, **evaluation.state())  # type: ignore[arg-type]
    run_folder.replace_whole(part, folder / EVALUATION)
    return {"detector": loaded.name, "judged": judged, "cost": asdict(cost)}


def _identity(weights: str | Path) -> dict[str, Any]:
    """Return what tells one file of weights from another; a name of the package is enough."""
    path = Path(weights)
    if not path.is_file():
        return {"weights": str(weights)}
    facts = path.stat()
    return {"weights": str(path.resolve()), "bytes": facts.st_size, "changed": facts.st_mtime_ns}


def _conclude(
    options: Options,
    dataset: Dataset,
    contenders: Sequence[Contender],
    failed: Mapping[str, str],
    out: Path,
    console: Console,
) -> list[Standing]:
    """Rank, print, and write what was asked for."""
    with console.status("scoring") as status:
        rows = rank(contenders, options.protocol, options.draws, status.update)
    _print(rows, options.protocol)
    for one in contenders:
        if one.remark:
            console.print(f"note: {one.remark}", highlight=False, soft_wrap=True)
    write_comparison(
        out / PAGE,
        rows,
        dataset,
        protocol=options.protocol,
        facts=_facts(options, contenders),
        command=command_line(),
        failed=failed,
        pictures=options.pictures,
    )
    console.print(f"page     {out / PAGE}", highlight=False, soft_wrap=True)
    if options.json is not None:
        numbers = {
            "data": options.data,
            "split": dataset.split,
            "images": len(dataset),
            "protocol": options.protocol,
            "budget": dict(options.budget),
            "models": [as_record(row) for row in rows],
            "failed": dict(failed),
        }
        _write(options.json, numbers)
        console.print(f"numbers  {options.json}", highlight=False, soft_wrap=True)
    return rows


def _facts(options: Options, contenders: Sequence[Contender]) -> dict[str, str]:
    facts = {"Protocol": PROTOCOLS[options.protocol]}
    if any(one.cost.training is not None for one in contenders):
        budget = {"epochs": Recipe.epochs, "seed": Recipe.seed, **options.budget}
        facts["Budget"] = ", ".join(f"{name} {value}" for name, value in _flat(budget))
    return facts | {"Device": f"{machine.device_name()}, {machine.cores()} cores"}


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested tables under dotted names."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _print(rows: Sequence[Standing], protocol: str) -> None:
    interval = "interval" if protocol == "coco" else "of AP50"
    names = ("AP", interval, "AP50", "AP75", "ms", "gain over the next")
    table = Table("model", *names, box=None, pad_edge=False, header_style="dim")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        around = row.interval
        table.add_row(
            row.contender.name,
            _percent(row.scores["AP"]),
            "–" if around is None else f"{_percent(around.low)} to {_percent(around.high)}",
            _percent(row.scores["AP50"]),
            _percent(row.scores["AP75"]),
            f"{row.contender.cost.milliseconds:.1f}",
            _gain(row),
        )
    Console().print(table)


def _gain(row: Standing) -> str:
    gap = row.gain and row.gain.comparison.difference
    if row.gain is None or not gap or gap.value is None:
        return ""
    return f"{100 * gap.value:+.1f} {'real' if row.gain.real else 'may be chance'}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _read(file: Path) -> dict[str, Any]:
    """Return a JSON object; an empty one where there is none, or not a whole one."""
    try:
        found: dict[str, Any] = orjson.loads(file.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    return found


def _write(file: Path, value: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}")
    part.write_bytes(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY))
    run_folder.replace_whole(part, file)
