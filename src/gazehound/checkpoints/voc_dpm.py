"""Import models of voc-release5 (``{class}_final.mat``): the grammar becomes flat arrays.

A voc-release5 model is an object detection grammar: symbols, rules and blocks of weights that rules
share. A star-structured mixture uses one shape of it: the start symbol has one structural rule per
component; its first right-hand symbol is the root (a filter, or a filter behind a rigid deformation
rule), the others are deformation rules over one filter each. Mirrored rules and filters keep the
weights of their partner and a ``flip`` flag, so flipping is undone here. Other grammars (the person
grammar of 2011) are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazehound.detectors.dpm import DPM
from gazehound.errors import CheckpointError
from gazehound.features.dpm_features import mirror_filter
from gazehound.features.part_boxes import BoxRegression
from gazehound.features.part_model import PartModel
from gazehound.features.parts import Component, Mixture
from gazehound.records import Classes

RIGID = 100.0  # a quadratic term from here on never lets a filter move (the files have 1000)


@dataclass(frozen=True)
class _Grammar:
    """The fields of the file that matter, one-based indices as in the file."""

    model: Any
    file: Path

    def refuse(self, reason: str) -> CheckpointError:
        return CheckpointError(
            f"{self.file}: not a star-structured mixture of voc-release5: {reason}"
        )

    def block(self, reference: Any) -> NDArray[np.float64]:
        """Return the weights that a rule or filter refers to, in the shape the file gives them."""
        block = self.model.blocks[int(reference.blocklabel) - 1]
        shape = np.atleast_1d(block.shape).astype(int)
        return np.asarray(block.w, np.float64).reshape(shape, order="F")

    def rules(self, symbol: int) -> list[Any]:
        return list(np.atleast_1d(self.model.rules[symbol - 1]))

    def filter(self, symbol: int) -> NDArray[np.float32]:
        """Return the filter (h, w, 32) of a terminal symbol, mirrored where the file says so."""
        terminal = self.model.symbols[symbol - 1]
        if terminal.type != "T":
            raise self.refuse(f"symbol {symbol} is not a filter")
        entry = self.model.filters[int(terminal.filter) - 1]
        weights = self.block(entry).astype(np.float32)
        if weights.ndim != 3 or weights.shape[2] != 32:
            raise self.refuse(f"a filter has shape {weights.shape}, not (h, w, 32)")
        return mirror_filter(weights) if int(entry.flip) else weights

    def deformation(self, rule: Any) -> NDArray[np.float64]:
        """Return (ax, bx, ay, by); a mirrored rule has its partner's with bx reversed."""
        definition = getattr(rule, "def")
        values = self.block(definition).reshape(4).copy()
        if int(definition.flip):
            values[1] = -values[1]
        for name in ("offset", "loc"):
            if hasattr(rule, name) and np.any(self.block(getattr(rule, name))):
                raise self.refuse(f"a part has a '{name}' of its own")
        return values

    def root(self, symbol: int) -> NDArray[np.float32]:
        """Return the root filter, behind a rigid deformation rule or not."""
        if self.model.symbols[symbol - 1].type == "T":
            return self.filter(symbol)
        rules = self.rules(symbol)
        if len(rules) != 1 or rules[0].type != "D":
            raise self.refuse("the first symbol of a component is not a root filter")
        if self.deformation(rules[0])[[0, 2]].min() < RIGID:
            raise self.refuse("a root that can move")
        return self.filter(int(rules[0].rhs))

    def part(self, symbol: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Return filter and deformation of a part."""
        rules = [] if self.model.symbols[symbol - 1].type == "T" else self.rules(symbol)
        if len(rules) != 1 or rules[0].type != "D":
            raise self.refuse(f"symbol {symbol} is not a part behind one deformation rule")
        return self.filter(int(rules[0].rhs)), self.deformation(rules[0])

    def component(self, rule: Any) -> Component:
        """Return the component of one structural rule of the start symbol."""
        if rule.type != "S" or np.any(rule.shiftwindow):
            raise self.refuse("a component with a shifted window, or no structural rule")
        symbols = [int(s) for s in np.atleast_1d(rule.rhs)]
        anchors = np.array([np.asarray(a, np.int64) for a in rule.anchor]).reshape(-1, 3)
        if np.any(anchors[0]) or np.any(anchors[1:, 2] != 1):
            raise self.refuse("a root off the origin, or parts not at twice the resolution")
        root = self.root(symbols[0])
        if tuple(np.asarray(rule.detwindow, int)) != root.shape[:2]:
            raise self.refuse("a detection window that is not the root filter's")
        filters, deformations = zip(*[self.part(s) for s in symbols[1:]], strict=True)
        bias = float(self.block(rule.offset).item()) * float(self.model.features.bias)
        scale_bias = self.block(rule.loc).reshape(-1)[1:]
        return Component(
            root, np.stack(filters), anchors[1:, :2], np.stack(deformations), bias, scale_bias
        )


def _read(path: Path) -> Any:
    """Return the ``model`` struct of a MATLAB file; CheckpointError when there is none."""
    from scipy.io import loadmat

    try:
        content = loadmat(path, squeeze_me=True, struct_as_record=False)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from None
    except Exception as error:  # the reader raises many kinds on foreign or damaged bytes
        raise CheckpointError(f"{path}: not a MATLAB 5 file, or damaged ({error})") from None
    model = content.get("model")
    wanted = ("class", "rules", "symbols", "filters", "blocks", "start", "sbin", "interval")
    missing = [name for name in wanted if not hasattr(model, name)]
    if missing:
        raise CheckpointError(f"{path}: a MATLAB file without model.{missing[0]}: not voc-release5")
    return model


def import_voc_dpm(path: str | Path) -> DPM:
    """Read a star-structured mixture of voc-release5 and return the detector that runs it.

    Raises:
        CheckpointError: the file cannot be read, is no voc-release5 model, or uses a grammar other
            than a mixture of root-and-parts components.
    """
    file = Path(path)
    model = _read(file)
    grammar = _Grammar(model, file)
    try:
        rules = grammar.rules(int(model.start))
        components = tuple(grammar.component(rule) for rule in rules)
        regression = _regression(model)
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise grammar.refuse(f"unexpected fields ({error})") from None
    if len({c.parts.shape for c in components}) != 1:
        raise grammar.refuse("components with unequal parts")
    detector = DPM(Classes((str(getattr(model, "class")),)), interval=int(model.interval))
    mixture = Mixture(components, cell=int(model.sbin))
    detector.models = {0: PartModel(mixture, float(model.thresh), regression)}
    return detector


def _regression(model: Any) -> BoxRegression | None:
    """Return the coefficients (components, 4, 2 (1 + P) + 1) of the box prediction, if any."""
    if not hasattr(model, "bboxpred"):
        return None
    sides = [[getattr(p, side) for side in ("x1", "y1", "x2", "y2")] for p in model.bboxpred]
    return BoxRegression(np.asarray(sides, np.float64))
