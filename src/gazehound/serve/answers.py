"""The documents that the server sends, as OpenAPI describes them."""

from __future__ import annotations

from typing import Any

import orjson
from pydantic import BaseModel, Field

from gazehound import __version__
from gazehound.records import Detections
from gazehound.serve.engine import Engine


class Found(BaseModel):
    """One object."""

    box: tuple[float, float, float, float] = Field(
        description="x1, y1, x2, y2 in pixels of the upright image; its left top corner is 0, 0."
    )
    score: float
    label: int = Field(description="0-based; see /v1/model.")
    name: str
    category_id: int = Field(description="The data set's own id of the class.")
    extras: dict[str, Any] | None = Field(
        None, description="What else the detector says: keypoints, depth, dimensions, ..."
    )


class ImageSize(BaseModel):
    """An upright image, pixels."""

    width: int
    height: int


class DetectAnswer(BaseModel):
    """What was found in an image."""

    model: str
    image: ImageSize
    suppressed: bool = Field(description="False: candidates, before non-maximum suppression.")
    detections: list[Found] = Field(description="Best first.")


class ClassName(BaseModel):
    """A class."""

    label: int
    name: str
    category_id: int


class SuppressionAnswer(BaseModel):
    """How one box is made of many."""

    plain: bool = Field(
        description="Greedy NMS per class and nothing else: whoever has the candidates can do the same."
    )
    iou: float | None = Field(
        None, description="A box is dropped above this IoU with a better one."
    )
    limit: int | None = Field(None, description="Boxes kept per image.")


class CandidatesAnswer(BaseModel):
    """What `candidates=true` returns."""

    score: float = Field(description="From this score, where none is asked for.")
    limit: int = Field(description="The best ones, at most.")


class LimitsAnswer(BaseModel):
    """What is taken."""

    upload_bytes: int
    pixels: int
    seconds: float
    requests: int = Field(description="In work at once.")
    batch: int


class ModelAnswer(BaseModel):
    """The model that is served."""

    name: str
    version: str = Field(description="Of gazehound.")
    paper: str | None = None
    year: int | None = None
    summary: str | None = None
    parameters: int | None = Field(None, description="Weights of a network.")
    classes: list[ClassName]
    suppression: SuppressionAnswer
    candidates: CandidatesAnswer
    start_score: float = Field(description="Where a slider may start.")
    limits: LimitsAnswer


class Health(BaseModel):
    """Whether the server lives, or may be sent requests."""

    status: str


def detections_document(model: str, found: Detections, suppressed: bool) -> bytes:
    """Return a :class:`DetectAnswer` as JSON; numbers have as few digits as give the same float32."""
    height, width = found.image_size
    names, ids = found.classes.names, found.classes.ids
    rows: list[dict[str, Any]] = [
        {
            "box": box,
            "score": score,
            "label": label,
            "name": names[label],
            "category_id": ids[label],
        }
        for box, score, label in zip(found.boxes, found.scores, found.labels.tolist(), strict=True)
    ]
    if found.extras:
        for k, row in enumerate(rows):
            row["extras"] = {name: column[k] for name, column in found.extras.items()}
    document = {
        "model": model,
        "image": {"width": width, "height": height},
        "suppressed": suppressed,
        "detections": rows,
    }
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def model_document(engine: Engine) -> ModelAnswer:
    """Return what there is to know of the model; never where its file lies."""
    entry, classes, settings = engine.entry, engine.detector.classes, engine.settings
    rule = engine.suppression
    return ModelAnswer(
        name=engine.header.detector,
        version=__version__,
        paper=entry.paper if entry else None,
        year=entry.year if entry else None,
        summary=entry.summary if entry else None,
        parameters=engine.parameters,
        classes=[
            ClassName(label=label, name=name, category_id=number)
            for label, (name, number) in enumerate(zip(classes.names, classes.ids, strict=True))
        ],
        suppression=SuppressionAnswer(plain=rule.plain, iou=rule.iou, limit=rule.limit),
        candidates=CandidatesAnswer(score=settings.candidate_score, limit=settings.candidates),
        start_score=settings.start_score,
        limits=LimitsAnswer(
            upload_bytes=settings.upload_bytes,
            pixels=settings.pixels,
            seconds=settings.seconds,
            requests=settings.queue,
            batch=settings.batch,
        ),
    )
