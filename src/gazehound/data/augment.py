"""Which augmentations a training run uses: one record of plain numbers, checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gazehound.errors import ConfigError

_SHARES = ("colour", "expand", "iou_crop", "flip", "vertical_flip", "mosaic", "mosaic_nine",
           "mixup", "paste", "visible")  # fmt: skip
_RANGES = ("scale", "mosaic_scale", "mixup_scale")


@dataclass(frozen=True)
class Augment:
    """Which augmentations run; a probability of 0 or a scale of (1, 1) leaves one out.

    A picture first gets objects of another one pasted in (``paste``), then becomes one tile of a
    mosaic (``mosaic``) or stays alone, is distorted (``degrees`` to ``perspective``), blended with
    another picture (``mixup``), recoloured and flipped. Boxes follow every step; what is left of a
    box is dropped by the two rules ``smallest`` and ``visible``.

    Attributes:
        colour: probability of each of brightness, contrast, saturation, hue (SSD's distortion).
        expand: probability of zooming out onto a grey canvas up to ``expand_to`` times as wide; not
            for mosaics and distorted pictures.
        expand_to: largest canvas over image side.
        iou_crop: probability of cropping so that some truth keeps a drawn minimum IoU (SSD's crop);
            not for mosaics and distorted pictures.
        scale: a picture that is no mosaic is resized by a factor drawn uniformly from this range, on
            top of the fit to the input size, then cropped to the input at random.
        flip: probability of a left-right flip.
        vertical_flip: probability of an upside-down flip.
        quarter_turns: turn by a random multiple of 90 degrees (for pictures without an up).
        smallest: boxes with a side under this many pixels of the input are dropped.
        visible: boxes of which less than this share of the area is still in the picture are dropped.
        mosaic: probability of a mosaic of four (YOLOv4) on a square of the input size.
        mosaic_nine: share of the mosaics that are made of nine pictures.
        mosaic_scale: range of a mosaic's zoom; at 1 its tiles fill the input size.
        mixup: probability that another picture is laid over a mosaic (YOLOX: only over mosaics).
        mixup_beta: the pictures' weights are drawn from Beta(b, b); 0 makes it half and half.
        mixup_scale: range of the other picture's zoom.
        paste: probability that objects of another picture are pasted in, boxes with their contents.
        degrees: largest rotation, either way.
        translate: largest shift, as a share of the input side.
        shear: largest shear along each axis, degrees.
        perspective: largest foreshortening along each axis, under 0.5: at 0.1 one edge of the
            picture is drawn 10 % larger and the opposite one 10 % smaller.
        hsv: largest changes of hue (share of the colour circle), saturation and value (shares).

    Raises:
        ConfigError: a number is outside its range.
    """

    colour: float = 0.5
    expand: float = 0.0
    expand_to: float = 2.0
    iou_crop: float = 0.0
    scale: tuple[float, float] = (0.8, 1.25)
    flip: float = 0.5
    vertical_flip: float = 0.0
    quarter_turns: bool = False
    smallest: float = 1.0
    visible: float = 0.1
    mosaic: float = 0.0
    mosaic_nine: float = 0.0
    mosaic_scale: tuple[float, float] = (0.5, 1.5)
    mixup: float = 0.0
    mixup_beta: float = 0.0
    mixup_scale: tuple[float, float] = (0.5, 1.5)
    paste: float = 0.0
    degrees: float = 0.0
    translate: float = 0.0
    shear: float = 0.0
    perspective: float = 0.0
    hsv: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        for name in (*_RANGES, "hsv"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in _SHARES:
            self._need(name, 0, 1)
        for name, most in (("degrees", 180), ("translate", 1), ("shear", 60), ("mixup_beta", 1e6)):
            self._need(name, 0, most)
        if not 0 <= self.perspective < 0.5:
            raise ConfigError(
                f"augment.perspective must lie in 0..0.5 (not 0.5 itself); got {self.perspective}"
            )
        if len(self.hsv) != 3 or not all(0 <= gain <= 1 for gain in self.hsv):
            raise ConfigError(f"augment.hsv must be three numbers in 0..1; got {self.hsv}")
        for name in _RANGES:
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ConfigError(f"augment.{name} must be 0 < low <= high; got ({low}, {high})")

    def _need(self, name: str, least: float, most: float) -> None:
        if not least <= getattr(self, name) <= most:
            raise ConfigError(
                f"augment.{name} must lie in {least:g}..{most:g}; got {getattr(self, name)}"
            )

    @property
    def mixes(self) -> bool:
        """Return whether any step takes a second picture."""
        return bool(self.mosaic or self.paste)

    @property
    def distorts(self) -> bool:
        """Return whether pictures are rotated, shifted, sheared or foreshortened."""
        return any((self.degrees, self.translate, self.shear, self.perspective))

    def calm(self) -> Augment:
        """Return what the last epochs of a run use: one picture at a time, and upright.

        A network learns from mosaics that a picture has seams and objects are cut; the last epochs
        show it pictures as it will meet them (YOLOX, section 2: strong augmentation off).
        """
        none = dict.fromkeys(
            ("mosaic", "mixup", "paste", "degrees", "translate", "shear", "perspective"), 0.0
        )
        return replace(self, **none)  # type: ignore[arg-type]  # all of these are floats


NO_AUGMENT = Augment(colour=0.0, scale=(1.0, 1.0), flip=0.0, visible=0.0)
