"""Class names and the ids that a data set gave them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gazehound.errors import ConfigError


@dataclass(frozen=True)
class Classes:
    """Class names and the ids that the data set gave them; label ``k`` is row ``k``.

    Attributes:
        names: one name per label.
        ids: the original category id of each label (COCO's may have gaps). Defaults to 0..K-1.
        supercategories: optional, one per label; empty when the data set has none.

    Raises:
        ConfigError: names or ids repeat, or their lengths differ.
    """

    names: tuple[str, ...]
    ids: tuple[int, ...] = ()
    supercategories: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.ids:
            object.__setattr__(self, "ids", tuple(range(len(self.names))))
        for what, values in (("names", self.names), ("ids", self.ids)):
            repeated = sorted({str(v) for v in values if values.count(v) > 1})
            if repeated:
                raise ConfigError(f"class {what} must be unique; repeated: {', '.join(repeated)}")
        if len(self.ids) != len(self.names):
            raise ConfigError(
                f"classes need one id per name; got {len(self.names)} names and {len(self.ids)} ids"
            )

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def label_of_id(self) -> dict[int, int]:
        """Return the map from original category id to label."""
        return {category: label for label, category in enumerate(self.ids)}

    def label_of_name(self) -> dict[str, int]:
        """Return the map from class name to label."""
        return {name: label for label, name in enumerate(self.names)}
