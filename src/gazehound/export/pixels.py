"""Preprocessing as a graph: resize, normalise and pad pictures of any size with matrix products.

Bilinear resizing is linear in the rows and in the columns of a picture, so it is two products with
matrices of weights, which are computed from the sizes inside the graph. Every runtime multiplies
matrices alike, whereas their resize operators disagree about antialiasing. On uint8, weights and
products are rounded as torch rounds them, so the pixels are those of :meth:`Preprocess.apply`. Weights
are computed in float64; a runtime that makes float32 of it is a grey level off here and there.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gazehound.data.preprocess import Preprocess

Fixed = tuple[int, int]


def fixed_shape(preprocess: Preprocess) -> Fixed | None:
    """Return the (height, width) of the network input where all pictures get the same, else None."""
    size, multiple = preprocess.size, preprocess.multiple
    if preprocess.resize == "stretch":
        side = -(-size // multiple) * multiple
        return side, side
    if preprocess.resize == "longer" and preprocess.square and size % multiple == 0:
        return size, size
    return None


class Pixels(nn.Module):
    """Turns pictures into network inputs, as a detector's :class:`Preprocess` does.

    Args:
        preprocess: what to do.
    """

    mean: Tensor
    std: Tensor
    fill: Tensor

    def __init__(self, preprocess: Preprocess) -> None:
        super().__init__()
        self.preprocess = preprocess
        self.fixed = fixed_shape(preprocess)
        flip = -1 if preprocess.order == "bgr" else 1
        for name in ("mean", "std"):
            values = torch.tensor(getattr(preprocess, name)[::flip], dtype=torch.float32)
            self.register_buffer(name, values[:, None, None])
        self.register_buffer("fill", preprocess.padding())

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Prepare a batch of pictures of one size.

        Args:
            pictures: (B, H, W, 3) uint8 RGB.

        Returns:
            Images (B, 3, h, w) float32; the sizes (B, 2) of their content; and what maps boxes back:
            scale (4,) and limit (4,), of x, y, x, y.
        """
        height, width = pictures.shape[1], pictures.shape[2]
        original = torch.cat((_number(height), _number(width)))
        content = self._content(original)  # (h, w), whole numbers
        rows, columns = self._canvas(content)
        pixels = pictures.permute(0, 3, 1, 2).float()  # B x 3 x H x W
        if self.preprocess.order == "bgr":
            pixels = pixels.flip(1)
        across = self._weights(columns, width, content[1])  # w x W
        down = self._weights(rows, height, content[0])  # h x H
        pixels = self._rounded(pixels @ across.T)
        pixels = self._rounded(down @ pixels)
        shown = (down.sum(dim=1) > 0)[:, None] & (across.sum(dim=1) > 0)  # h x w
        images = torch.where(shown, (pixels / 255 - self.mean) / self.std, self.fill)
        sizes = content.float().expand(pictures.shape[0], 2)
        scale = (content / original).float().flip(0).repeat(2)
        return images, sizes, scale, original.float().flip(0).repeat(2)

    def _content(self, original: Tensor) -> Tensor:
        """Return the (height, width) that the picture itself gets, as :meth:`Preprocess.resized`."""
        size, largest = float(self.preprocess.size), float(self.preprocess.largest)
        if self.preprocess.resize == "stretch":
            return torch.full_like(original, size)
        # Divided as Python divides: a number over a tensor would be a product with the reciprocal.
        shorter, longer = original.amin(dim=0), original.amax(dim=0)
        scale = torch.full_like(longer, size) / longer
        if self.preprocess.resize == "shorter":
            most = torch.full_like(longer, largest) / longer
            scale = torch.minimum(torch.full_like(shorter, size) / shorter, most)
        cut = original * scale
        whole = cut.round() if self.preprocess.filter == "antialias" else cut.floor()
        return whole.clamp(min=1.0)

    def _canvas(self, content: Tensor) -> Fixed:
        """Return the (height, width) of the network input."""
        if self.fixed is not None:
            return self.fixed
        multiple = self.preprocess.multiple
        sides = ((content + (multiple - 1)) / multiple).floor() * multiple
        if self.preprocess.square:
            sides = sides.clamp(min=float(self.preprocess.size))
        rows, columns = sides.long().tolist()  # symbols, in a graph
        for side in (rows, columns):
            torch._check(side >= 1)
        return rows, columns

    def _weights(self, count: int, length: int, content: Tensor) -> Tensor:
        """Return the (count, length) weights of source pixels in target pixels; none in the padding."""
        ratio = _number(length) / content
        support = ratio.clamp(min=1.0) if self.preprocess.filter == "antialias" else 1.0
        target, source = torch.arange(count), torch.arange(length)
        centre = ((target.double() + 0.5) * ratio)[:, None]
        weights = (1 - (source.double() + 0.5 - centre).abs() / support).clamp(min=0.0)
        weights = weights * (target < content)[:, None]
        weights = weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-12)
        exact = self.preprocess.filter == "torchvision"
        return (weights if exact else _sixteen_bits(weights)).float()

    def _rounded(self, pixels: Tensor) -> Tensor:
        """Round to grey levels, halves up, unless the filter works on real numbers."""
        if self.preprocess.filter == "torchvision":
            return pixels
        return (pixels + 0.5).floor().clamp(0.0, 255.0)


class Restored(nn.Module):
    """Maps what a network found back to the picture that :class:`Pixels` was given.

    Args:
        outputs: names of the network's outputs, in order.
    """

    def __init__(self, outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, boxes: Tensor, scale: Tensor, limit: Tensor, *others: Tensor) -> list[Tensor]:
        """Return boxes (B, D, 4) in pixels of the picture, clipped to it, and the other outputs."""
        mapped = torch.minimum((boxes / scale).clamp(min=0.0), limit)
        return [mapped, *(self._other(n, o, scale) for n, o in zip(self.outputs[1:], others))]  # noqa: B905

    def _other(self, name: str, column: Tensor, scale: Tensor) -> Tensor:
        if name != "keypoints":
            return column
        return torch.cat((column[..., :2] / scale[:2], column[..., 2:]), dim=-1)


def _sixteen_bits(weights: Tensor) -> Tensor:
    """Round weights as torch's resize of uint8 does: as fine as the largest fits into 16 bits."""
    steps = 2.0 ** torch.arange(15, 23, dtype=weights.dtype)
    finer = (weights.amax(dim=(0, 1)) * steps + 0.5).floor() < 2**15
    unit = 2**14 * torch.where(finer, 2.0, 1.0).prod(dim=0)
    return (weights * unit + 0.5).floor() / unit


def _number(side: int) -> Tensor:
    """Return a length as a tensor (1,): in a graph it is a symbol."""
    return torch.full((1,), side, dtype=torch.float64)
