"""Evaluation: one matching pass, every protocol, the same digits as the official tools.

``Evaluation`` collects records while a detector runs; ``read_coco`` reads files. Both end in
``Tables``, and every protocol and diagnosis is a function of those.
"""

from gazehound.metrics.annotations import Annotations
from gazehound.metrics.bootstrap import Comparison, Interval, bootstrap, compare
from gazehound.metrics.calibration import Calibration, calibration
from gazehound.metrics.coco import CocoResult, evaluate_coco
from gazehound.metrics.coco_files import read_coco, read_coco_annotations, read_coco_results
from gazehound.metrics.confusion import Confusion, confusion
from gazehound.metrics.curves import Curve, curves
from gazehound.metrics.difference import Difference, explain_difference
from gazehound.metrics.evaluation import Evaluation
from gazehound.metrics.kitti import KittiResult, evaluate_kitti
from gazehound.metrics.lvis import Federation, LvisResult, evaluate_lvis
from gazehound.metrics.mistakes import Mistakes, mistakes
from gazehound.metrics.tables import Found, Tables, Truths, xywh_of
from gazehound.metrics.text_files import read_text_results
from gazehound.metrics.voc import VocResult, evaluate_voc

__all__ = [
    "Annotations",
    "Calibration",
    "CocoResult",
    "Comparison",
    "Confusion",
    "Curve",
    "Difference",
    "Evaluation",
    "Federation",
    "Found",
    "Interval",
    "KittiResult",
    "LvisResult",
    "Mistakes",
    "Tables",
    "Truths",
    "VocResult",
    "bootstrap",
    "calibration",
    "compare",
    "confusion",
    "curves",
    "evaluate_coco",
    "evaluate_kitti",
    "evaluate_lvis",
    "evaluate_voc",
    "explain_difference",
    "mistakes",
    "read_coco",
    "read_coco_annotations",
    "read_coco_results",
    "read_text_results",
    "xywh_of",
]
