"""The distribution focal loss (Li et al. 2020, Generalized Focal Loss, equation 6)."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from gazehound.nn.coders import IntegralCoder


class DistributionFocalLoss:
    """Cross-entropy with the two bins around the true distance, each weighted by its nearness.

    The mean over the four sides, as in the authors' code; summed over the positives of each image. The
    caller divides by the sum of the weights.

    Args:
        weight: factor on the loss.
    """

    def __init__(self, weight: float = 0.25) -> None:
        self.weight = weight

    def __call__(
        self,
        logits: Float[Tensor, "B L S"],
        truths: Float[Tensor, "B L 4"],
        anchors: Float[Tensor, "L 4"],
        positive: Bool[Tensor, "B L"],
        coder: IntegralCoder,
        weights: Float[Tensor, "B L"],
    ) -> Float[Tensor, " B"]:
        """Return the loss of each image.

        Args:
            logits: of the bins, side by side.
            truths: the matched truths; read only where ``positive``.
            anchors: from whose centres distances are taken.
            positive: anchors that learn a box.
            coder: knows the bins and their unit.
            weights: factors on the anchors.
        """
        wanted = coder.encode(truths, anchors)[..., None]  # B x L x 4 x 1
        log_p: Tensor = logits.float().unflatten(-1, (4, coder.reach + 1)).log_softmax(dim=-1)
        left = wanted.long()  # never the last bin: the coder keeps targets under it
        share = wanted - left
        entropy = -(log_p.gather(-1, left) * (1 - share) + log_p.gather(-1, left + 1) * share)
        loss: Tensor = entropy[..., 0].mean(dim=2) * positive * weights
        return self.weight * loss.sum(dim=1)
