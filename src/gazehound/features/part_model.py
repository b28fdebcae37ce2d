"""A trained model of one class: mixture, threshold, box prediction, cascade; to and from arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazehound.errors import CheckpointError
from gazehound.features.part_boxes import BoxRegression
from gazehound.features.part_cascade import Cascade
from gazehound.features.parts import Component, Mixture
from gazehound.kernels.dpm_features import CHANNELS

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class PartModel:
    """Everything that detection of one class needs.

    Attributes:
        mixture: the components.
        threshold: the lowest score that counts by default.
        regression: predicts boxes from parts; None: the root's window is the box.
        cascade: order and thresholds of the early exit; None when it was not calibrated.
    """

    mixture: Mixture
    threshold: float
    regression: BoxRegression | None = None
    cascade: Cascade | None = None

    def to_arrays(self) -> Arrays:
        """Return the model as named arrays."""
        mixture = self.mixture
        arrays: Arrays = {
            "geometry": np.array([len(mixture.components), mixture.cell, mixture.reach], np.int64),
            "threshold": np.array([self.threshold]),
        }
        for index, component in enumerate(mixture.components):
            arrays |= {
                f"component{index}.root": component.root,
                f"component{index}.parts": component.parts,
                f"component{index}.anchors": component.anchors,
                f"component{index}.deformations": component.deformations,
                f"component{index}.bias": np.array([component.bias, *component.scale_bias]),
            }
        if self.regression is not None:
            arrays["regression"] = self.regression.coefficients
        if self.cascade is not None:
            arrays |= {
                "cascade.order": self.cascade.order,
                "cascade.thresholds": self.cascade.thresholds,
            }
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> PartModel:
        """Rebuild a model.

        Raises:
            CheckpointError: an array is missing or has a shape that does not fit the others.
        """
        try:
            count, cell, reach = (int(n) for n in arrays["geometry"])
            components = tuple(_component(arrays, index) for index in range(count))
            regression = arrays.get("regression")
            order = arrays.get("cascade.order")
            return cls(
                Mixture(components, cell, reach),
                float(arrays["threshold"][0]),
                None if regression is None else BoxRegression(_fitting(regression, components)),
                None if order is None else Cascade(order, arrays["cascade.thresholds"]),
            )
        except KeyError as error:
            raise CheckpointError(f"a part model needs the array {error}") from None
        except (ValueError, IndexError) as error:
            raise CheckpointError(f"the arrays of a part model do not fit: {error}") from None


def _component(arrays: Mapping[str, NDArray[Any]], index: int) -> Component:
    names = ("root", "parts", "anchors", "deformations", "bias")
    root, parts, anchors, deformations, bias = (arrays[f"component{index}.{n}"] for n in names)
    count = len(parts)
    for name, array, shape in (
        ("root", root, (*root.shape[:2], CHANNELS)),
        ("parts", parts, (count, *parts.shape[1:3], CHANNELS)),
        ("anchors", anchors, (count, 2)),
        ("deformations", deformations, (count, 4)),
        ("bias", bias, (3,)),
    ):
        if array.shape != shape:
            raise ValueError(f"component{index}.{name} has shape {array.shape}, not {shape}")
    return Component(
        np.asarray(root, np.float32), np.asarray(parts, np.float32), np.asarray(anchors, np.int64),
        np.asarray(deformations, np.float64), float(bias[0]), np.asarray(bias[1:], np.float64),
    )  # fmt: skip


def _fitting(coefficients: NDArray[Any], components: tuple[Component, ...]) -> NDArray[np.float64]:
    shape = (len(components), 4, 2 * (1 + len(components[0].parts)) + 1)
    if coefficients.shape != shape:
        raise ValueError(f"regression has shape {coefficients.shape}, not {shape}")
    return np.asarray(coefficients, np.float64)
