"""The search for a better recipe: values are drawn, runs compared, the hopeless ones stopped early.

Optuna decides what is tried next (TPE: Bergstra et al. 2011) and what is not worth finishing. The study
is a journal in the folder of the search, so that a search that was killed goes on with what it knows.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gazehound.errors import ConfigError, MissingDependency, TrainingError

if TYPE_CHECKING:
    import optuna

JOURNAL, TABLE = "study.log", "trials.csv"
POWERS = 10.0  # ends that lie further apart than this factor are searched by powers of ten

Report = Callable[[int, float], bool]
"""(epoch, score) -> whether the run is hopeless and should stop."""
Run = Callable[[int, Mapping[str, Any], Report], float]
"""(number, values, report) -> the score of a finished run; greater is better."""
Pruner = Literal["median", "hyperband", "none"]


@dataclass(frozen=True)
class Span:
    """Numbers from ``low`` to ``high``.

    Attributes:
        low: lowest.
        high: highest.
        whole: whole numbers only.
    """

    low: float
    high: float
    whole: bool = False

    @property
    def log(self) -> bool:
        """Return whether every power of ten is as likely as the next: for ends far apart."""
        return self.low > 0 and self.high / self.low >= POWERS

    @property
    def example(self) -> float:
        """Return a value that must be allowed."""
        return int(self.low) if self.whole else self.low

    def draw(self, name: str, trial: optuna.trial.Trial) -> Any:
        """Let a trial choose."""
        if self.whole:
            return trial.suggest_int(name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)

    def __str__(self) -> str:
        return f"{self.low:g}..{self.high:g}"


@dataclass(frozen=True)
class Choice:
    """One of a few values."""

    values: tuple[Any, ...]

    @property
    def example(self) -> Any:
        """Return a value that must be allowed."""
        return self.values[0]

    def draw(self, name: str, trial: optuna.trial.Trial) -> Any:
        """Let a trial choose."""
        return trial.suggest_categorical(name, self.values)

    def __str__(self) -> str:
        return ",".join(str(value) for value in self.values)


Space = Mapping[str, Span | Choice]


def read_space(texts: Sequence[str], lr: float) -> dict[str, Span | Choice]:
    """Read what may vary: ``name=low..high`` or ``name=a,b,c``, names as of a recipe's settings.

    Args:
        texts: of the user; empty for the settings that matter most.
        lr: of the recipe, around which the learning rate is searched when nothing is given.

    Raises:
        ConfigError: a text is neither.
    """
    if not texts:
        return {
            "lr": Span(lr / 10, lr * 10),
            "weight_decay": Span(1e-4, 0.1),
            "backbone_lr": Choice((0.1, 0.3, 1.0)),
            "ema": Choice((0.99, 0.998, 0.9998)),
        }
    space: dict[str, Span | Choice] = {}
    for text in texts:
        name, _, values = text.partition("=")
        if not name or not values:
            raise ConfigError(f"--vary must be name=low..high or name=a,b,c; got '{text}'")
        space[name] = _span(text, values) if ".." in values else _choice(values)
    return space


def _span(text: str, values: str) -> Span:
    ends = values.split("..")
    try:
        low, high = (float(end) for end in ends)
    except ValueError:
        raise ConfigError(f"--vary must be name=low..high with two numbers; got '{text}'") from None
    if not low < high:
        raise ConfigError(f"--vary: the first number must be the lower one; got '{text}'")
    return Span(low, high, all(end.strip().lstrip("-").isdigit() for end in ends))


def _choice(values: str) -> Choice:
    import yaml

    return Choice(tuple(yaml.safe_load(value) for value in values.split(",")))


@dataclass(frozen=True)
class Trial:
    """One run of a search.

    Attributes:
        number: from 0.
        state: ``complete``, ``pruned`` or ``fail`` (it was killed; its values were tried again).
        score: of its last evaluation; ``None`` when there was none.
        epochs: evaluations that it was given.
        values: what was drawn.
    """

    number: int
    state: str
    score: float | None
    epochs: int
    values: Mapping[str, Any]


def search(
    space: Space, run: Run, folder: Path, *, trials: int, seed: int = 0, epochs: int = 1,
    pruner: Pruner = "median",
) -> list[Trial]:  # fmt: skip
    """Run trials until there are so many in the folder's study, and write ``trials.csv``.

    A run that ends in a :class:`TrainingError` (its loss exploded) counts as pruned.

    Args:
        space: what varies.
        run: trains with drawn values; asks ``report`` after each evaluation whether to stop.
        folder: of the search.
        trials: how many there shall be, those of earlier calls counted.
        seed: of the drawing.
        epochs: of a run that is not stopped.
        pruner: ``median`` stops a run that is worse than the median of the others at the same epoch,
            ``hyperband`` gives many a short time and few a long one (Li et al. 2018), ``none`` none.

    Returns:
        All trials of the study, the best first.

    Raises:
        MissingDependency: Optuna is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    study = _study(folder, seed, epochs, pruner)
    _begin_again(study)
    states = [trial.state.name for trial in study.get_trials(deepcopy=False)]
    ended = states.count("COMPLETE") + states.count("PRUNED")
    if trials > ended:
        study.optimize(lambda trial: _objective(trial, space, run), n_trials=trials - ended)
    told = [_told(trial) for trial in study.get_trials() if trial.state.is_finished()]
    ranked = sorted(told, key=_rank)
    _write_table(folder / TABLE, ranked, list(space))
    return ranked


def _study(folder: Path, seed: int, epochs: int, pruner: Pruner) -> optuna.Study:
    try:
        import optuna
    except ImportError:
        raise MissingDependency("optuna", "gazehound tune", "scale") from None
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journal = JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
    study = optuna.create_study(
        storage=journal, study_name="search", direction="maximize", load_if_exists=True
    )
    study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials))
    study.pruner = {
        "median": optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1),
        "hyperband": optuna.pruners.HyperbandPruner(min_resource=1, max_resource=max(2, epochs)),
        "none": optuna.pruners.NopPruner(),
    }[pruner]
    return study


def _begin_again(study: optuna.Study) -> None:
    """Give up the trials that a killed search left running, and put their values first in line."""
    from optuna.trial import TrialState

    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params)


def _objective(trial: optuna.trial.Trial, space: Space, run: Run) -> float:
    import optuna

    values = {name: span.draw(name, trial) for name, span in space.items()}
    stopped = False

    def report(epoch: int, score: float) -> bool:
        nonlocal stopped
        trial.report(score, epoch)
        stopped = trial.should_prune()
        return stopped

    try:
        score = run(trial.number, values, report)
    except TrainingError as error:
        trial.set_user_attr("reason", str(error))
        raise optuna.TrialPruned from None
    if stopped:
        raise optuna.TrialPruned
    return score


def _told(trial: optuna.trial.FrozenTrial) -> Trial:
    last = max(trial.intermediate_values, default=None)
    score = trial.value if last is None else trial.intermediate_values[last]
    if trial.value is not None and trial.state.name == "COMPLETE":
        score = trial.value
    state = trial.state.name.lower()
    return Trial(trial.number, state, score, len(trial.intermediate_values), trial.params)


def _rank(trial: Trial) -> tuple[bool, float, int]:
    """Put complete trials first, then the better score, then the earlier one."""
    score = trial.score if trial.score is not None else -math.inf
    return trial.state != "complete", -score, trial.number


def _write_table(file: Path, trials: Sequence[Trial], names: Sequence[str]) -> None:
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("trial", "state", "score", "epochs", *names))
        for trial in trials:
            values = (trial.values.get(name, "") for name in names)
            score = "" if trial.score is None else trial.score
            writer.writerow((trial.number, trial.state, score, trial.epochs, *values))
