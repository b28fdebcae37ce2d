"""Evaluation: one matching pass, every protocol, the same digits as the official tools."""

from gazehound.metrics.coco import CocoResult, evaluate_coco
from gazehound.metrics.evaluation import Evaluation
from gazehound.metrics.tables import Found, Tables, Truths, xywh_of

__all__ = [
    "CocoResult",
    "Evaluation",
    "Found",
    "Tables",
    "Truths",
    "evaluate_coco",
    "xywh_of",
]
