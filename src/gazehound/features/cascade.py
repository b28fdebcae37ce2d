"""The attentional cascade as a record: stages of trees over Haar-like or LBP features.

One form holds what is trained here and what OpenCV's files hold (stumps are trees of one node), so
that scanning, saving and the XML dialects have one thing to read. A cascade from a file is checked
before anything runs it: every index and every rectangle, and that each walk ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazehound.errors import CheckpointError
from gazehound.features.haar import HaarFeatures, corner_points
from gazehound.features.stumps import Stumps

SLACK = np.float32(1e-5)  # OpenCV's: a stage passes from its threshold less this on


@dataclass(frozen=True, eq=False)
class Cascade:
    """Stages of trees; M nodes in T trees in S stages over F features.

    Attributes:
        window: (height, width) of the detector, pixels.
        rects: (F, 3, 4) int16 x, y, width, height of Haar-like features (see ``HaarFeatures``), or
            (F, 1, 4) the top left one of an LBP feature's 3 x 3 equal blocks.
        weights: (F, 3) float32; (F, 0) for LBP.
        tilted: (F,) bool.
        feature: (M,) int32, the feature that each node asks.
        threshold: (M,) float32; a response below it goes left.
        subsets: (M, 8) int32 bit sets of LBP patterns that go left; (M, 0) for Haar-like features.
        children: (M, 2) int32; positive: the node of the same tree to go to, else leaf ``-child``.
        leaves: (M + T,) float32; a tree of n nodes has n + 1.
        tree_first: (T + 1,) int64, first node of each tree.
        stage_first: (S + 1,) int64, first tree of each stage.
        stage_threshold: (S,) float32.

    Raises:
        CheckpointError: the arrays do not fit each other.
    """

    window: tuple[int, int]
    rects: NDArray[np.int16]
    weights: NDArray[np.float32]
    tilted: NDArray[np.bool_]
    feature: NDArray[np.int32]
    threshold: NDArray[np.float32]
    subsets: NDArray[np.int32]
    children: NDArray[np.int32]
    leaves: NDArray[np.float32]
    tree_first: NDArray[np.int64]
    stage_first: NDArray[np.int64]
    stage_threshold: NDArray[np.float32]

    def __post_init__(self) -> None:
        _check(self)

    @property
    def is_lbp(self) -> bool:
        """Whether the features are local binary patterns."""
        return bool(self.rects.shape[1] == 1)

    @property
    def is_stumps(self) -> bool:
        """Whether every tree is one node with leaf 0 at its left."""
        single = len(self.feature) == len(self.tree_first) - 1
        return single and bool((self.children == (0, -1)).all())

    @property
    def bounds(self) -> NDArray[np.float64]:
        """(S,) the sum from which each stage passes: the threshold less the slack, in float32."""
        return (self.stage_threshold - SLACK).astype(np.float64)

    @property
    def response_range(self) -> tuple[float, float]:
        """The least and the largest sum that the last stage's leaves could give."""
        trees = np.arange(len(self.tree_first) - 1)
        starts = self.tree_first[:-1] + trees
        last = slice(self.stage_first[-2], None)
        low = np.minimum.reduceat(self.leaves, starts)[last].sum(dtype=np.float64)
        high = np.maximum.reduceat(self.leaves, starts)[last].sum(dtype=np.float64)
        return float(low), float(high)

    def __len__(self) -> int:
        return len(self.stage_threshold)

    @classmethod
    def of_stages(
        cls, features: HaarFeatures, stages: Sequence[Stumps], thresholds: Sequence[float]
    ) -> Cascade:
        """Build a cascade of stumps; it keeps only the features that its stumps ask."""
        asked = np.concatenate([stage.feature for stage in stages])
        used, feature = np.unique(asked, return_inverse=True)
        kept = features.take(used)
        count = len(asked)
        return cls(
            window=features.window,
            rects=kept.rects,
            weights=kept.weights,
            tilted=kept.tilted,
            feature=feature.astype(np.int32),
            threshold=np.concatenate([stage.threshold for stage in stages]).astype(np.float32),
            subsets=np.zeros((count, 0), np.int32),
            children=np.tile(np.asarray([0, -1], np.int32), (count, 1)),
            leaves=np.concatenate([stage.leaves for stage in stages]).astype(np.float32).ravel(),
            tree_first=np.arange(count + 1, dtype=np.int64),
            stage_first=np.cumsum([0, *(len(stage) for stage in stages)]).astype(np.int64),
            stage_threshold=np.asarray(thresholds, np.float32),
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the cascade as named arrays, for a checkpoint."""
        names = [name for name in self.__dataclass_fields__ if name != "window"]
        arrays: dict[str, NDArray[Any]] = {name: getattr(self, name) for name in names}
        return {"window": np.asarray(self.window, np.int64), **arrays}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Cascade:
        """Rebuild a cascade; CheckpointError when an array is missing or does not fit."""
        missing = [name for name in cls.__dataclass_fields__ if name not in arrays]
        if missing:
            raise CheckpointError(f"cascade without {', '.join(missing)}")
        if arrays["window"].shape != (2,):
            raise CheckpointError(
                f"cascade: window must be (height, width); got {arrays['window']}"
            )
        height, width = (int(side) for side in arrays["window"])
        rest = {name: arrays[name] for name in cls.__dataclass_fields__ if name != "window"}
        return cls((height, width), **rest)

    def corners(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """Return x, y of every node's integral-image entries, and whether they are tilted ones.

        (M, 12) for Haar-like features, (M, 16) for LBP (the 4 x 4 lattice, row by row).
        """
        rects, tilted = self.rects[self.feature], self.tilted[self.feature]
        if not self.is_lbp:
            return *corner_points(rects, tilted), tilted
        x, y, w, h = (rects[:, 0, i, None].astype(np.int64) for i in range(4))
        lattice = np.arange(16)
        return x + lattice % 4 * w, y + lattice // 4 * h, tilted


_TYPES = {
    "rects": np.int16, "weights": np.float32, "tilted": np.bool_, "feature": np.int32,
    "threshold": np.float32, "subsets": np.int32, "children": np.int32, "leaves": np.float32,
    "tree_first": np.int64, "stage_first": np.int64, "stage_threshold": np.float32,
}  # fmt: skip


def _need(fits: bool, message: str) -> None:
    if not fits:
        raise CheckpointError(f"cascade: {message}")


def _check(c: Cascade) -> None:
    for name, kind in _TYPES.items():
        array = getattr(c, name)
        _need(array.dtype == kind, f"{name} must be {np.dtype(kind)}; got {array.dtype}")
    features, nodes, trees = len(c.rects), len(c.feature), len(c.tree_first) - 1
    parts = c.rects.shape[1] if c.rects.ndim == 3 else 0
    subset = 8 if parts == 1 else 0
    shapes = {
        "rects": (features, parts, 4), "weights": (features, 0 if parts == 1 else 3),
        "tilted": (features,), "threshold": (nodes,), "subsets": (nodes, subset),
        "children": (nodes, 2), "leaves": (nodes + trees,), "tree_first": (trees + 1,),
        "stage_first": (len(c.stage_threshold) + 1,),
    }  # fmt: skip
    _need(parts in (1, 3), f"rects must be (F, 1, 4) or (F, 3, 4); got {c.rects.shape}")
    for name, shape in shapes.items():
        got = getattr(c, name).shape
        _need(got == shape, f"{name} must have shape {shape}; got {got}")
    _need(min(c.window) >= 3, f"the window must have 3 pixels or more a side; got {c.window}")
    _check_runs(c.tree_first, nodes, "tree_first")
    _check_runs(c.stage_first, trees, "stage_first")
    _need(nodes > 0 and trees > 0 and len(c) > 0, "there is no stage, no tree or no node")
    inside = (c.feature >= 0) & (c.feature < features)
    _need(bool(inside.all()), f"a node asks a feature that is not one of {features}")
    _check_children(c)
    _check_rects(c)
    floats = (c.threshold, c.leaves, c.stage_threshold, c.weights)
    _need(all(np.isfinite(values).all() for values in floats), "a value is not finite")


def _check_runs(first: NDArray[np.int64], total: int, name: str) -> None:
    rising = first[0] == 0 and first[-1] == total and bool((np.diff(first) > 0).all())
    _need(bool(rising), f"{name} must rise from 0 to {total}; got {first[0]}..{first[-1]}")


def _check_children(c: Cascade) -> None:
    """Each walk must end: a child node lies further on in its tree, a leaf exists."""
    size = np.diff(c.tree_first)
    place = np.arange(len(c.feature)) - np.repeat(c.tree_first[:-1], size)
    size, place = np.repeat(size, size)[:, None], place[:, None]
    inner = (c.children > place) & (c.children < size)
    leaf = (c.children <= 0) & (-c.children <= size)
    _need(bool(np.where(c.children > 0, inner, leaf).all()), "a tree has a child out of range")


def _check_rects(c: Cascade) -> None:
    height, width = c.window
    if c.is_lbp:
        x, y, w, h = (c.rects[:, 0, i].astype(np.int64) for i in range(4))
        fits = (x >= 0) & (y >= 0) & (w > 0) & (h > 0)
        fits &= (x + 3 * w <= width) & (y + 3 * h <= height)
        _need(bool(fits.all()), f"an LBP feature leaves the window of {height} x {width} pixels")
        return
    xs, ys = corner_points(c.rects, c.tilted)
    fits = (xs >= 0) & (ys >= 0) & (xs <= width) & (ys <= height)
    _need(bool(fits.all()), f"a feature leaves the window of {height} x {width} pixels")
