"""What it would cost to make a candidate responsible for a truth: the loss of that pair."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from gazehound.nn.losses.focal import focal_loss

LOWEST_LOG = -100.0  # torch's binary cross-entropy on probabilities cuts its logarithms here


def of_each_truth(
    values: Float[Tensor, "B L K"], labels: Int[Tensor, "B M"]
) -> Float[Tensor, "B M L"]:
    """Return, for each truth, the column of its class."""
    index = labels[..., None].expand(-1, -1, values.shape[1])  # B x M x L
    return values.transpose(1, 2).gather(1, index)


def one_hot_cost(
    hit: Float[Tensor, "B L K"], miss: Float[Tensor, "B L K"], labels: Int[Tensor, "B M"]
) -> Float[Tensor, "B M L"]:
    """Sum a loss over the classes against each truth's one-hot vector, without building it per pair.

    Args:
        hit: the loss where the class is there.
        miss: the loss where it is not.
        labels: of the truths.
    """
    return miss.sum(dim=2)[:, None] + of_each_truth(hit - miss, labels)


def focal_cost(
    logits: Float[Tensor, "B L K"],
    labels: Int[Tensor, "B M"],
    alpha: float = 0.25,
    gamma: float = 2.0,
) -> Float[Tensor, "B M L"]:
    """Return the focal loss of each candidate against each truth's class, summed over classes."""
    hit, miss = (focal_loss(logits, fill(logits), alpha, gamma) for fill in _ONE_AND_ZERO)
    return one_hot_cost(hit, miss, labels)


_ONE_AND_ZERO = (torch.ones_like, torch.zeros_like)


def joint_entropy_cost(
    logits: Float[Tensor, "B L K"], quality: Float[Tensor, "B L"] | None, labels: Int[Tensor, "B M"]
) -> Float[Tensor, "B M L"]:
    """Return the binary cross-entropy of ``sqrt(sigmoid(class) * sigmoid(quality))``, summed over classes.

    As YOLOX's released code has it; without a quality branch, of ``sigmoid(class)``.
    """
    log_p = F.logsigmoid(logits)
    if quality is not None:
        log_p = (log_p + F.logsigmoid(quality)[..., None]) / 2
    log_not_p = torch.log(-torch.expm1(log_p)).clamp(min=LOWEST_LOG)
    return one_hot_cost(-log_p.clamp(min=LOWEST_LOG), -log_not_p, labels)
