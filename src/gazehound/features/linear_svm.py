"""A linear support vector machine, and its responses turned into probabilities (Platt 1999)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gazehound.errors import TrainingError
from gazehound.records import BoolArray, FloatArray

TOLERANCE = 0.1  # of the projected gradient: liblinear's own choice for the hinge loss


def fit_linear_svm(
    positives: FloatArray,
    negatives: FloatArray,
    c: float = 0.01,
    seed: int = 0,
    *,
    positive_weight: float | None = None,
    bias: float = 3.0,
) -> tuple[FloatArray, float]:
    """Fit a linear SVM: hinge loss, as SVMlight and liblinear minimise it.

    By default the two kinds weigh the same in the loss, however many there are of each: mined negatives
    would otherwise push the margins of all objects below -1 as soon as some objects are hard to see.

    Args:
        positives: (P, D) descriptors.
        negatives: (N, D) descriptors.
        c: the weight of a negative's loss (Dalal & Triggs use 0.01, for positives too).
        seed: of the solver's order.
        positive_weight: how many times ``c`` a positive's loss weighs; None: both kinds weigh the same.
        bias: of the constant feature whose weight is the bias; the larger, the freer it is.

    Returns:
        The weights (D,) float32 and the bias.

    Raises:
        TrainingError: one of the two kinds has no sample.
    """
    from sklearn.svm import LinearSVC

    for name, rows in (("positive", positives), ("negative", negatives)):
        if len(rows) == 0:
            raise TrainingError(f"a linear SVM needs both kinds of samples; there is no {name} one")
    samples = np.concatenate([positives, negatives])
    truth = np.repeat([1, 0], [len(positives), len(negatives)])
    # SVMlight's bias is free; here it is a weight of a constant feature, large enough to cost little
    solver = LinearSVC(
        C=c,
        loss="hinge",
        dual=True,
        intercept_scaling=bias,
        tol=TOLERANCE,
        max_iter=1000,
        random_state=seed,
        class_weight={1: positive_weight or len(negatives) / len(positives), 0: 1.0},
    )
    solver.fit(samples, truth)
    return solver.coef_[0].astype(np.float32), float(solver.intercept_[0])


@dataclass(frozen=True)
class Platt:
    """The probability that a detection is right: 1 / (1 + exp(-(slope * margin + offset)))."""

    slope: float = 1.0
    offset: float = 0.0

    def probability(self, margin: NDArray[np.floating]) -> FloatArray:
        """Map responses to probabilities; the order stays."""
        return np.asarray(1 / (1 + np.exp(-(self.slope * margin + self.offset))), np.float32)

    def margin(self, probability: float) -> float:
        """Map a probability back to the response it belongs to; 0 and 1 to the infinities."""
        if not 0 < probability < 1:
            return float(np.inf if probability >= 1 else -np.inf)
        return float((np.log(probability / (1 - probability)) - self.offset) / self.slope)


def fit_platt(margins: FloatArray, right: BoolArray) -> Platt:
    """Fit the sigmoid on held-out responses (N,) and whether each was right, (N,).

    The targets are Platt's, (n+ + 1) / (n+ + 2) and 1 / (n- + 2), so that few samples cannot make it
    sure. Without both kinds, or where higher responses are not righter, the plain sigmoid is kept.
    """
    from sklearn.linear_model import LogisticRegression

    good, bad = int(right.sum()), int((~right).sum())
    if good == 0 or bad == 0:
        return Platt()
    target = np.where(right, (good + 1) / (good + 2), 1 / (bad + 2))
    rows = np.concatenate([margins, margins])[:, None].astype(np.float64)
    kinds = np.repeat([1, 0], len(margins))
    model = LogisticRegression(C=1e6, max_iter=1000)
    model.fit(rows, kinds, sample_weight=np.concatenate([target, 1 - target]))
    slope, offset = float(model.coef_[0, 0]), float(model.intercept_[0])
    return Platt(slope, offset) if slope > 0 else Platt()
