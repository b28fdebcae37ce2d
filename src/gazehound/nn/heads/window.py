"""The head of a localizer: what is in a window, and where exactly.

Fully connected layers on a window of G x G cells are a convolution with a kernel of that size: on a map
of just that window it is the localizer, on a larger map it is the localizer slid over it, with
everything that windows share computed once (Sermanet et al. 2014, OverFeat, section 3.5).
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn


class WindowHead(nn.Module):
    """Class logits and four box numbers for every window of G x G cells.

    Args:
        channels: of the map.
        logits: numbers that say the class.
        cells: G, the side of a window in cells; 1 looks at single (pooled) cells.
        hidden: width of the layer that looks at the window; 0 for none, then both outputs do.
    """

    def __init__(self, channels: int, logits: int, cells: int = 1, hidden: int = 0) -> None:
        super().__init__()
        self.cells = cells
        self.shared = nn.Identity() if not hidden else _hidden(channels, hidden, cells)
        inputs, kernel = (hidden, 1) if hidden else (channels, cells)
        self.class_logits = nn.Conv2d(inputs, logits, kernel)
        self.box_deltas = nn.Conv2d(inputs, 4, kernel)
        for layer in (self.class_logits, self.box_deltas):
            nn.init.normal_(layer.weight, std=0.01)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(
        self, cells: Float[Tensor, "B C H W"]
    ) -> tuple[Float[Tensor, "B K h w"], Float[Tensor, "B 4 h w"]]:
        """Return both outputs of each window, h = H - G + 1 by w = W - G + 1 of them."""
        shared = self.shared(cells)
        return self.class_logits(shared), self.box_deltas(shared)


def _hidden(channels: int, hidden: int, cells: int) -> nn.Module:
    layer = nn.Conv2d(channels, hidden, cells)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return nn.Sequential(layer, nn.ReLU(inplace=True))
