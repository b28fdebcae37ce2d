"""Assigners by name, each with the settings of its paper: what a recipe or a checkpoint can say."""

from __future__ import annotations

from collections.abc import Callable

from gazehound.errors import unknown_name
from gazehound.nn.assigners.assigner import Assigner
from gazehound.nn.assigners.atss import ATSSAssigner
from gazehound.nn.assigners.fcos import FCOSAssigner
from gazehound.nn.assigners.max_iou import MaxIoUAssigner
from gazehound.nn.assigners.ota import OTAAssigner
from gazehound.nn.assigners.paa import PAAAssigner
from gazehound.nn.assigners.simota import SimOTAAssigner

ASSIGNERS: dict[str, Callable[[], Assigner]] = {
    "max-iou": MaxIoUAssigner,
    "fcos": FCOSAssigner,
    "atss": ATSSAssigner,
    "paa": PAAAssigner,
    "ota": OTAAssigner,
    "simota": SimOTAAssigner,
}


def make_assigner(name: str) -> Assigner:
    """Build an assigner by its name.

    Args:
        name: ``max-iou`` (0.5 / 0.4, as RetinaNet), ``fcos``, ``atss``, ``paa``, ``ota`` or ``simota``.

    Raises:
        ConfigError: the name is unknown.
    """
    if name not in ASSIGNERS:
        raise unknown_name("assigner", name, ASSIGNERS)
    return ASSIGNERS[name]()
