"""Cascades in OpenCV's XML: reads both layouts (Haar-like stumps and trees, LBP), writes the new one.

The old layout (``opencv-haar-classifier``) nests features in trees; the new one
(``opencv-cascade-classifier``) lists them apart. A file becomes a ``Cascade``, whose checks apply;
entities and document types are not expanded, so a file cannot reach beyond itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from gazehound.errors import CheckpointError
from gazehound.features.cascade import Cascade

_SUBSET = 8  # 32-bit words of an LBP node's set of 256 patterns


@dataclass
class _Parts:
    """Lists that a reader fills; ``_cascade`` makes arrays of them."""

    rects: list[Any] = field(default_factory=list)
    weights: list[Any] = field(default_factory=list)
    tilted: list[bool] = field(default_factory=list)
    feature: list[int] = field(default_factory=list)
    threshold: list[float] = field(default_factory=list)
    subsets: list[list[int]] = field(default_factory=list)
    children: list[tuple[int, int]] = field(default_factory=list)
    leaves: list[float] = field(default_factory=list)
    tree_first: list[int] = field(default_factory=lambda: [0])
    stage_first: list[int] = field(default_factory=lambda: [0])
    stage_threshold: list[float] = field(default_factory=list)


def load_cascade(file: str | Path) -> Cascade:
    """Read an OpenCV cascade.

    Raises:
        CheckpointError: the file cannot be read, is no cascade, or is damaged.
    """
    path = Path(file)
    root = _parse(path)
    layout = root.get("type_id", "")
    readers: dict[str, Callable[[Element], Cascade]] = {
        "opencv-cascade-classifier": _read_new,
        "opencv-haar-classifier": _read_old,
    }
    if layout not in readers:
        raise CheckpointError(
            f"{path}: no cascade of OpenCV (type_id '{layout}'); known: {', '.join(readers)}"
        )
    try:
        return readers[layout](root)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except (ValueError, IndexError, OverflowError) as error:
        raise CheckpointError(f"{path}: damaged cascade ({error})") from None


def _parse(path: Path) -> Element:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        raise CheckpointError(f"{path}: a cascade has no document type or entities")
    try:
        storage = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise CheckpointError(f"{path}: not valid XML ({error})") from None
    return next(iter(storage), storage)


def _text(node: Element, name: str) -> str:
    found = node.find(name)
    if found is None or found.text is None:
        raise CheckpointError(f"<{node.tag}> without <{name}>")
    return found.text.strip()


def _child(node: Element, name: str) -> Element:
    found = node.find(name)
    if found is None:
        raise CheckpointError(f"<{node.tag}> without <{name}>")
    return found


def _read_new(root: Element) -> Cascade:
    kind = _text(root, "featureType")
    if kind not in ("HAAR", "LBP") or _text(root, "stageType") != "BOOST":
        raise CheckpointError(f"boosted HAAR or LBP features are supported; got {kind}")
    parts = _Parts()
    for node in _child(root, "features"):
        if kind == "LBP":
            parts.rects.append([[int(v) for v in _text(node, "rect").split()]])
            parts.weights.append([])
            parts.tilted.append(False)
        else:
            lean = node.find("tilted")
            _add_haar(parts, _child(node, "rects"), lean is not None and (lean.text or "").strip())
    for stage in _child(root, "stages"):
        for tree in _child(stage, "weakClassifiers"):
            _add_tree(parts, tree, kind == "LBP")
        _end_stage(parts, float(_text(stage, "stageThreshold")))
    return _cascade(parts, (int(_text(root, "height")), int(_text(root, "width"))))


def _add_tree(parts: _Parts, tree: Element, lbp: bool) -> None:
    words = _text(tree, "internalNodes").split()
    step = 3 + (_SUBSET if lbp else 1)
    if len(words) % step:
        raise CheckpointError(
            f"<internalNodes> must hold {step} numbers per node; got {len(words)}"
        )
    for start in range(0, len(words), step):
        left, right, feature = (int(word) for word in words[start : start + 3])
        parts.children.append((left, right))
        parts.feature.append(feature)
        rest = words[start + 3 : start + step]
        parts.threshold.append(0.0 if lbp else float(rest[0]))
        parts.subsets.append([int(word) for word in rest] if lbp else [])
    parts.leaves += [float(word) for word in _text(tree, "leafValues").split()]
    parts.tree_first.append(len(parts.feature))


def _add_haar(parts: _Parts, rects: Element, tilted: Any) -> None:
    rows = [[float(word) for word in (row.text or "").split()] for row in rects]
    if not 0 < len(rows) <= 3 or any(len(row) != 5 for row in rows):
        raise CheckpointError("<rects> must hold one to three rows 'x y width height weight'")
    rows += [[0.0] * 5] * (3 - len(rows))
    parts.rects.append([[int(value) for value in row[:4]] for row in rows])
    parts.weights.append([row[4] for row in rows])
    parts.tilted.append(bool(tilted) and tilted != "0")


def _end_stage(parts: _Parts, threshold: float) -> None:
    parts.stage_threshold.append(threshold)
    parts.stage_first.append(len(parts.tree_first) - 1)


def _read_old(root: Element) -> Cascade:
    """Read the layout of OpenCV 1: every node carries its feature, leaves are ``left_val``."""
    width, height = (int(word) for word in _text(root, "size").split())
    parts = _Parts()
    for stage in _child(root, "stages"):
        for tree in _child(stage, "trees"):
            leaves: list[float] = []
            for node in tree:
                feature = _child(node, "feature")
                parts.feature.append(len(parts.rects))
                _add_haar(parts, _child(feature, "rects"), _text(feature, "tilted"))
                parts.threshold.append(float(_text(node, "threshold")))
                parts.subsets.append([])
                sides = [_old_child(node, side, leaves) for side in ("left", "right")]
                parts.children.append((sides[0], sides[1]))
            parts.leaves += leaves
            parts.tree_first.append(len(parts.feature))
        _end_stage(parts, float(_text(stage, "stage_threshold")))
    return _cascade(parts, (height, width))


def _old_child(node: Element, side: str, leaves: list[float]) -> int:
    if node.find(f"{side}_val") is None:
        return int(_text(node, f"{side}_node"))
    leaves.append(float(_text(node, f"{side}_val")))
    return 1 - len(leaves)


def _cascade(parts: _Parts, window: tuple[int, int]) -> Cascade:
    return Cascade(
        window=window,
        rects=np.asarray(parts.rects, np.int16),
        weights=np.asarray(parts.weights, np.float32).reshape(len(parts.rects), -1),
        tilted=np.asarray(parts.tilted, np.bool_),
        feature=np.asarray(parts.feature, np.int32),
        threshold=np.asarray(parts.threshold, np.float32),
        subsets=np.asarray(parts.subsets, np.int32).reshape(len(parts.feature), -1),
        children=np.asarray(parts.children, np.int32).reshape(-1, 2),
        leaves=np.asarray(parts.leaves, np.float32),
        tree_first=np.asarray(parts.tree_first, np.int64),
        stage_first=np.asarray(parts.stage_first, np.int64),
        stage_threshold=np.asarray(parts.stage_threshold, np.float32),
    )


def save_cascade(file: str | Path, cascade: Cascade) -> None:
    """Write the new layout, which OpenCV 2.4 to 4 runs; numbers keep their last bit.

    Raises:
        CheckpointError: the file cannot be written.
    """
    path = Path(file)
    storage = Element("opencv_storage")
    root = _put(storage, "cascade", type_id="opencv-cascade-classifier")
    kind = "LBP" if cascade.is_lbp else "HAAR"
    trees = np.diff(cascade.stage_first)
    for name, value in (
        ("stageType", "BOOST"), ("featureType", kind),
        ("height", cascade.window[0]), ("width", cascade.window[1]),
    ):  # fmt: skip
        _put(root, name, value)
    _put(_put(root, "stageParams"), "maxWeakCount", int(trees.max()))
    _put(_put(root, "featureParams"), "maxCatCount", 256 if cascade.is_lbp else 0)
    _put(root, "stageNum", len(cascade))
    stages = _put(root, "stages")
    for number, threshold in enumerate(cascade.stage_threshold):
        stage = _put(stages, "_")
        _put(stage, "maxWeakCount", int(trees[number]))
        _put(stage, "stageThreshold", _exact(threshold))
        weak = _put(stage, "weakClassifiers")
        for tree in range(cascade.stage_first[number], cascade.stage_first[number + 1]):
            _put_tree(_put(weak, "_"), cascade, tree)
    _put_features(_put(root, "features"), cascade)
    ElementTree.indent(storage)
    try:
        ElementTree.ElementTree(storage).write(path, encoding="utf-8", xml_declaration=True)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written ({error.strerror})") from None


def _put(parent: Element, name: str, value: Any = None, **attributes: str) -> Element:
    node = ElementTree.SubElement(parent, name, attributes)
    if value is not None:
        node.text = str(value)
    return node


def _exact(value: Any) -> str:
    """Write a float32 so that reading it gives the same bits."""
    return format(float(value), ".9g") if float(value) % 1 else f"{int(value)}."


def _row(values: Sequence[Any] | NDArray[Any]) -> str:
    return " ".join(str(value) for value in values)


def _put_tree(node: Element, cascade: Cascade, tree: int) -> None:
    first, end = cascade.tree_first[tree], cascade.tree_first[tree + 1]
    words: list[Any] = []
    for i in range(first, end):
        words += [*cascade.children[i], cascade.feature[i]]
        words += list(cascade.subsets[i]) if cascade.is_lbp else [_exact(cascade.threshold[i])]
    _put(node, "internalNodes", _row(words))
    leaves = cascade.leaves[first + tree : end + tree + 1]
    _put(node, "leafValues", _row([_exact(value) for value in leaves]))


def _put_features(parent: Element, cascade: Cascade) -> None:
    for rects, weights, tilted in zip(cascade.rects, cascade.weights, cascade.tilted, strict=True):
        node = _put(parent, "_")
        if cascade.is_lbp:
            _put(node, "rect", _row(rects[0]))
            continue
        rows = _put(node, "rects")
        for rect, weight in zip(rects, weights, strict=True):
            if weight != 0:
                _put(rows, "_", f"{_row(rect)} {_exact(weight)}")
        _put(node, "tilted", int(tilted))
