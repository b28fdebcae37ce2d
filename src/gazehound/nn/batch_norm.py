"""BatchNorm that also takes what it cannot normalise."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class SteadyBatchNorm(nn.BatchNorm2d):
    """BatchNorm whose training pass falls back on the running statistics for one value per channel.

    SSD ends in a map of one cell: in a batch of one image a channel has a single value there, whose
    deviation is nothing to divide by, and ``nn.BatchNorm2d`` refuses it. Otherwise it is the same.
    """

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Normalise each channel."""
        if self.training and x.numel() == x.shape[1]:
            mean, variance = self.running_mean, self.running_var
            return F.batch_norm(x, mean, variance, self.weight, self.bias, eps=self.eps)
        normal: Tensor = super().forward(x)
        return normal
