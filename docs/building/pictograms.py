"""Small line drawings for the figures of the documentation, one function per idea.

Each returns SVG for a field of 100 x 52 units. The classes are styled in ``assets/gazehound.css``:
``l`` is a line, ``f`` a soft area, ``a`` a line of the accent colour and ``af`` its area.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable


def _rect(x: float, y: float, w: float, h: float, style: str = "l", more: str = "") -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" class="{style}" {more}/>'


def _line(x1: float, y1: float, x2: float, y2: float, style: str = "l") -> str:
    return f'<path d="M{x1:g} {y1:g}L{x2:g} {y2:g}" class="{style}"/>'


def _path(d: str, style: str = "l", more: str = "") -> str:
    return f'<path d="{d}" class="{style}" {more}/>'


def _dot(x: float, y: float, r: float = 2, style: str = "i") -> str:
    return f'<circle cx="{x:g}" cy="{y:g}" r="{r:g}" class="{style}"/>'


def _grid(x: float, y: float, side: float, columns: int, rows: int, style: str = "t") -> str:
    upright = (
        _line(x + i * side, y, x + i * side, y + rows * side, style) for i in range(columns + 1)
    )
    flat = (
        _line(x, y + j * side, x + columns * side, y + j * side, style) for j in range(rows + 1)
    )
    return "".join((*upright, *flat))


def _word(x: float, y: float, text: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" class="w">{text}</text>'


def _frame() -> str:
    return _rect(16, 2, 68, 48, "f", 'rx="2"')


def image() -> str:
    """Draw a photograph."""
    hills = _path("M16 42L34 24L46 36L60 18L84 42V50H16Z", "s")
    return _frame() + hills + _dot(30, 13, 4, "s") + _rect(16, 2, 68, 48, "l", 'rx="2"')


def boxes() -> str:
    """Draw a photograph with found objects."""
    return image() + _rect(44, 14, 32, 31, "a") + _rect(22, 20, 18, 26, "a")


def layers() -> str:
    """Draw the maps of a convolutional network, ever smaller and deeper."""
    maps = ((8, 4, 6, 44), (20, 9, 9, 34), (36, 14, 13, 24), (56, 18, 17, 16), (80, 22, 14, 8))
    return "".join(_rect(x, y, w, h, "fl", 'rx="1.5"') for x, y, w, h in maps)


def _sheet(x: float, y: float, w: float, style: str = "fl") -> str:
    return _path(f"M{x + 9:g} {y:g}H{x + w + 9:g}L{x + w:g} {y + 9:g}H{x:g}Z", style)


def pyramid() -> str:
    """Draw a feature pyramid."""
    return "".join(_sheet(50 - w / 2 - 4, y, w) for w, y in ((64, 41), (46, 28), (30, 15), (16, 2)))


def paths() -> str:
    """Draw a pyramid with a way down and a way up."""
    sheets = "".join(
        _sheet(x, y, w)
        for w, y in ((22, 39), (16, 21), (10, 3))
        for x in (16 - w / 2, 48 - w / 2, 80 - w / 2)
    )
    arrows = _path("M37 10V16M35 13L37 17L39 13M37 28V34M35 31L37 35L39 31", "a")
    back = _path("M70 16V10M68 13L70 9L72 13M70 34V28M68 31L70 27L72 31", "a")
    return sheets + arrows + back


def anchors() -> str:
    """Draw anchors of several shapes around one cell."""
    shapes = ((30, 30), (46, 23), (22, 46), (16, 16))
    return "".join(_rect(50 - w / 2, 26 - h / 2, w, h, "a") for w, h in shapes) + _dot(50, 26, 2.5)


def cells() -> str:
    """Draw a grid with one responsible cell."""
    return _grid(25, 1, 10, 5, 5) + _rect(45, 21, 10, 10, "af") + _rect(31, 9, 38, 34, "a")


def points() -> str:
    """Draw distances from a point to the four sides of a box."""
    grid = "".join(_dot(x, y, 1.2, "s") for x in range(20, 85, 10) for y in (6, 16, 26, 36, 46))
    rays = _path("M50 26H26M50 26H80M50 26V4M50 26V48", "a")
    return grid + rays + _rect(26, 4, 54, 44) + _dot(50, 26, 3)


def heat() -> str:
    """Draw a heatmap with two peaks."""
    peaks = ((40, 22, 1.0), (66, 33, 0.7))
    rings = "".join(_dot(x, y, r * z, "h") for x, y, z in peaks for r in (13, 9, 5.5, 2.5))
    return _rect(16, 2, 68, 48, "l", 'rx="2"') + rings


def bars() -> str:
    """Draw class scores."""
    heights = (8, 14, 40, 6, 11, 18)
    drawn = (
        _rect(22 + 10 * i, 48 - h, 7, h, "af" if h == 40 else "fl") for i, h in enumerate(heights)
    )
    return "".join(drawn) + _line(16, 48, 84, 48)


def predict() -> str:
    """Draw a head: class scores and a box with handles."""
    scores = "".join(
        _rect(10 + 9 * i, 46 - h, 6, h, "af" if h == 36 else "fl")
        for i, h in enumerate((10, 36, 16, 7))
    )
    handles = "".join(_rect(x - 2, y - 2, 4, 4, "i") for x in (58, 90) for y in (12, 44))
    return scores + _line(6, 46, 46, 46) + _rect(58, 12, 32, 32, "a") + handles


def integral() -> str:
    """Draw an integral image: the sum of any rectangle from four corners."""
    corners = "".join(_dot(x, y, 2.6) for x in (45, 75) for y in (21, 41))
    return _grid(25, 1, 10, 5, 5) + _rect(45, 21, 30, 20, "af") + corners


def haar() -> str:
    """Draw three Haar-like features."""
    two = _rect(6, 12, 12, 28, "fl") + _rect(18, 12, 12, 28, "i")
    flat = _rect(38, 12, 24, 14, "i") + _rect(38, 26, 24, 14, "fl")
    three = _rect(70, 12, 8, 28, "fl") + _rect(78, 12, 8, 28, "i") + _rect(86, 12, 8, 28, "fl")
    return two + flat + three


def funnel() -> str:
    """Draw a cascade: fewer windows after each stage."""
    drawn = (
        _rect(8 + 18 * i, 26 - h / 2, 11, h, "af" if i == 4 else "fl")
        for i, h in enumerate((46, 30, 18, 10, 5))
    )
    return "".join(drawn) + _path("M4 3L96 23M4 49L96 29", "t")


def hog() -> str:
    """Draw histograms of gradient orientations."""
    out = [_grid(20, 1, 12.5, 5, 4)]
    for column in range(5):
        for row in range(4):
            x, y = 26.25 + 12.5 * column, 7.25 + 12.5 * row
            main = math.atan2(row - 1.5, column - 2) + math.pi / 2
            for turn, length in ((0, 5), (0.6, 2.8), (-0.6, 2.8)):
                dx, dy = length * math.cos(main + turn), length * math.sin(main + turn)
                out.append(_line(x - dx, y - dy, x + dx, y + dy, "a" if not turn else "l"))
    return "".join(out)


def svm() -> str:
    """Draw two classes and the line between them."""
    one = "".join(
        _dot(x, y, 2.4, "af") for x, y in ((24, 12), (34, 20), (22, 26), (40, 10), (30, 33))
    )
    two = "".join(
        _dot(x, y, 2.4, "i") for x, y in ((62, 40), (74, 30), (70, 44), (80, 18), (56, 46))
    )
    return one + two + _line(34, 50, 68, 2) + _path("M24 50L58 2M44 50L78 2", "d")


def parts() -> str:
    """Draw a root filter and parts that moved."""
    springs = _path("M50 14L45 9M43 30L34 31M57 30L68 32M50 44L54 47", "a")
    moved = ((38, 2, 14, 12), (25, 25, 12, 12), (65, 26, 12, 12), (47, 39, 14, 11))
    return _rect(36, 4, 28, 44, "fl") + springs + "".join(_rect(*m, "a") for m in moved)


def scales() -> str:
    """Draw an image pyramid."""
    frames = ((4, 5, 42), (50, 12, 28), (80, 18, 16))
    return "".join(_rect(x, y, s, s, "fl") for x, y, s in frames)


def window() -> str:
    """Draw a window that slides over an image."""
    steps = "".join(_rect(x, 12, 20, 26, "d") for x in (34, 40, 46))
    return (
        _frame()
        + _rect(16, 2, 68, 48)
        + steps
        + _rect(24, 12, 20, 26, "a")
        + _path("M68 25H79M76 22L80 25L76 28", "a")
    )


def regions() -> str:
    """Draw superpixels."""
    lines = "M38 2L34 18L16 24M34 18L52 28L48 50M52 28L66 20L62 2M66 20L84 26M52 28L70 38L66 50M70 38L84 36"
    return (
        _frame() + _path("M34 18L52 28L66 20L62 2H38Z", "af") + _path(lines) + _rect(16, 2, 68, 48)
    )


def proposals() -> str:
    """Draw many boxes that may hold something."""
    drawn = (
        (20, 6, 26, 30),
        (24, 10, 26, 34),
        (40, 8, 36, 36),
        (46, 14, 32, 32),
        (58, 5, 20, 20),
        (19, 26, 22, 20),
    )
    return _frame() + "".join(_rect(*b, "d") for b in drawn) + _rect(43, 11, 34, 34, "a")


def roi() -> str:
    """Draw a region pooled into a fixed grid."""
    return (
        _rect(6, 6, 46, 40, "f")
        + _grid(6, 6, 8, 5, 5)
        + _rect(15, 12, 27, 28, "a")
        + _path("M56 26H64M61 23L65 26L61 29", "a")
        + _rect(70, 13, 26, 26, "af")
        + _grid(70, 13, 26 / 3, 3, 3, "l")
    )


def warp() -> str:
    """Draw a region of any shape warped to a square."""
    return (
        _rect(6, 14, 42, 22, "fl")
        + _path("M54 26H62M59 23L63 26L59 29", "a")
        + _rect(67, 11, 28, 28, "af")
    )


def bells() -> str:
    """Draw a mixture of two Gaussians."""

    def bell(mean: float, width: float, height: float) -> str:
        xs = [mean + width * i / 4 for i in range(-12, 13)]
        return "M" + "L".join(
            f"{x:.1f} {47 - height * math.exp(-(((x - mean) / width) ** 2) / 2):.1f}" for x in xs
        )

    return (
        _path(bell(32, 6, 40) + "Z", "af")
        + _path(bell(32, 6, 40), "a")
        + _path(bell(65, 10, 26))
        + _line(8, 47, 94, 47)
    )


def focal() -> str:
    """Draw the focal loss over the probability of the right class."""

    def curve(gamma: float) -> str:
        xs = [0.06 + 0.94 * i / 24 for i in range(25)]
        return "M" + "L".join(
            f"{14 + 76 * p:.1f} {47 - 16 * -math.log(p) * (1 - p) ** gamma:.1f}" for p in xs
        )

    return _path("M14 2V47H92") + _path(curve(0), "d") + _path(curve(0.5)) + _path(curve(2), "a")


def transport() -> str:
    """Draw supplies that are sent to demands."""
    ways = ((12, 6, "a"), (12, 16, "a"), (12, 26, "d"), (40, 26, "d"), (40, 36, "a"), (40, 46, "d"))
    drawn = "".join(_line(27, y, 72, end, style) for y, end, style in ways)
    ends = "".join(_dot(75, y, 3, "i") for y in (6, 16, 26, 36, 46))
    return drawn + _dot(24, 12, 6, "af") + _dot(24, 40, 6, "fl") + ends


def overlap() -> str:
    """Draw the intersection over union of two boxes."""
    return _rect(24, 4, 36, 30, "fl") + _rect(40, 16, 20, 18, "af") + _rect(40, 16, 38, 32, "a")


def suppression() -> str:
    """Draw one box that stays and those that it suppresses."""
    gone = "".join(_rect(*b, "d") for b in ((26, 5, 38, 34), (38, 13, 40, 35), (29, 12, 36, 38)))
    return gone + _rect(32, 8, 39, 37, "a")


def deform() -> str:
    """Draw a convolution whose samples moved."""
    out = []
    for i, x in enumerate((28, 50, 72)):
        for j, y in enumerate((8, 26, 44)):
            dx, dy = 7 * math.sin(2.1 * i + j), 4 * math.cos(1.7 * j + i)
            out.append(
                _dot(x, y, 1.6, "s")
                + _line(x, y, x + dx, y + dy, "a")
                + _dot(x + dx, y + dy, 2.4, "af")
            )
    return "".join(out)


def distribution() -> str:
    """Draw a side's distance as a distribution with its mean."""
    heights = (2, 4, 9, 22, 38, 27, 11, 5, 3, 2)
    drawn = "".join(_rect(14 + 7.4 * i, 47 - h, 5.4, h, "fl") for i, h in enumerate(heights))
    return drawn + _line(8, 47, 94, 47) + _line(47, 2, 47, 50, "a")


def compound() -> str:
    """Draw one number that scales several things."""
    small = _rect(14, 26, 16, 16, "fl") + _rect(18, 22, 16, 16, "l")
    large = "".join(_rect(54 + 4 * i, 18 - 5 * i, 26, 26, "fl") for i in range(4))
    return small + _path("M38 30H48M45 27L49 30L45 33", "a") + large


def cube() -> str:
    """Draw a 3D box."""
    front, back = (26, 16, 34, 30), (44, 5, 34, 30)
    edges = _path("M26 16L44 5M60 16L78 5M60 46L78 35", "a") + _path("M26 46L44 35", "d")
    return (
        _rect(*back, "d")
        + _path("M44 5H78V35", "a")
        + _rect(*front, "af")
        + _rect(*front, "a")
        + edges
    )


def pose() -> str:
    """Draw a person's joints."""
    limbs = "M50 13V30M50 17L38 24L33 34M50 17L62 23L69 15M50 30L43 40L40 50M50 30L57 40L61 50"
    joints = ((50, 17), (38, 24), (33, 34), (62, 23), (69, 15), (50, 30), (43, 40), (57, 40))
    return _path(limbs) + _dot(50, 8, 5, "fl") + "".join(_dot(x, y, 2.3, "af") for x, y in joints)


def split() -> str:
    """Draw a cross-stage partial block: half of the channels pass the work by."""
    blocks = "".join(_rect(x, 6, 12, 16, "fl", 'rx="2"') for x in (34, 52))
    ways = _path("M6 26H16M16 26V14H34M46 14H52M64 14H84V26M16 26V42H84V26M84 26H95")
    return ways + blocks + _dot(84, 26, 3.4, "af")


def pooling() -> str:
    """Draw pools of several sizes over one map."""
    rings = "".join(_rect(50 - s / 2, 26 - s / 2, s, s, "a") for s in (46, 32, 18))
    return _grid(25, 1, 10, 5, 5) + rings + _dot(50, 26, 2.4)


def mosaic() -> str:
    """Draw four pictures in one."""
    frames = ((16, 2, 30, 21), (46, 2, 38, 21), (16, 23, 30, 27), (46, 23, 38, 27))
    found = ((22, 7, 12, 12), (54, 6, 20, 13), (24, 30, 16, 14), (58, 30, 14, 16))
    return "".join(_rect(*f, "fl") for f in frames) + "".join(_rect(*b, "a") for b in found)


def neighbours() -> str:
    """Draw a truth that is learned in its cell and the two nearest ones."""
    chosen = _rect(40, 21, 10, 10, "af") + _rect(50, 21, 10, 10, "h") + _rect(40, 31, 10, 10, "h")
    return _grid(20, 1, 10, 6, 5) + chosen + _dot(48, 29, 2.2)


def threshold() -> str:
    """Draw the mean of some overlaps, and a standard deviation more."""
    dots = ((14, 30), (22, 36), (30, 22), (40, 32), (52, 16), (60, 28), (70, 10), (80, 38))
    drawn = "".join(_dot(x, y, 2.6, "af" if y < 18 else "s") for x, y in dots)
    return drawn + _line(8, 28, 92, 28, "d") + _line(8, 18, 92, 18, "a") + _path("M8 2V48H92")


def tree() -> str:
    """Draw a hierarchy of regions that join."""
    ways = _path("M16 46V34H32V46M48 46V34H64V46M24 34V20H56V34M80 46V12H40V20M60 12V4")
    return (
        ways
        + "".join(_rect(x - 5, 43, 10, 7, "fl") for x in (16, 32, 48, 64, 80))
        + _dot(60, 5, 3.4, "af")
    )


def product() -> str:
    """Draw a joint probability."""
    return (
        _dot(27, 26, 17, "fl")
        + _dot(73, 26, 17, "fl")
        + _path("M45 21L55 31M55 21L45 31", "a")
        + (_word(27, 30, "object") + _word(73, 30, "class"))
    )


def stages() -> str:
    """Draw boxes that get better from stage to stage."""
    drawn = ((8, 9, 24, 22), (38, 10, 26, 29), (70, 11, 26, 34))
    truths = "".join(_rect(x, 13, 24, 30, "d") for x in (10, 41, 71))
    return truths + "".join(_rect(*b, "a") for b in drawn)


def hourglass() -> str:
    """Draw an hourglass network."""
    heights = (46, 34, 22, 12, 22, 34, 46)
    return "".join(
        _rect(8 + 13 * i, 26 - h / 2, 7, h, "fl", 'rx="1.5"') for i, h in enumerate(heights)
    )


def texture() -> str:
    """Draw one object in one image."""
    return image() + _rect(40, 12, 38, 34, "a") + _dot(59, 29, 2.6, "af")


def _all(functions: Iterable[Callable[[], str]]) -> dict[str, Callable[[], str]]:
    return {f.__name__: f for f in functions}


PICTOGRAMS = _all((
    anchors, bars, bells, boxes, cells, compound, cube, deform, distribution, focal, funnel,
    haar, heat, hog, hourglass, image, integral, layers, mosaic, neighbours, overlap, parts,
    paths, points, pooling, pose, predict, product, proposals, pyramid, regions, roi,
    scales, split, stages, suppression, svm, texture, threshold, transport, tree, warp,
    window,
))  # fmt: skip
