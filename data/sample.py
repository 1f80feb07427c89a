"""The four values that travel through the house: sample, box, annotation, prediction."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

Split = Literal["train", "holdout"]

# A box of exactly one pixel stays one through a format that keeps centres and sizes, or percent.
ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Box:
    """One object: pixel corners from the top left (x2, y2 exclusive), its label, its score in [0, 1] if predicted."""

    x1: float
    y1: float
    x2: float
    y2: float
    label: str
    score: float | None = None

    @property
    def width(self) -> float:
        return self.x2 - self.x1

    @property
    def height(self) -> float:
        return self.y2 - self.y1

    def without_score(self) -> Box:
        """The same box as a person would have drawn it."""
        return replace(self, score=None)

    def to_json(self) -> dict[str, Any]:
        """A JSON object with the fields of the box; `score` only where there is one."""
        corners = {"x1": float(self.x1), "y1": float(self.y1), "x2": float(self.x2), "y2": float(self.y2)}
        record = {**corners, "label": self.label}
        return record if self.score is None else {**record, "score": self.score}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Box:
        """The inverse of `to_json`."""
        return cls(
            float(record["x1"]),
            float(record["y1"]),
            float(record["x2"]),
            float(record["y2"]),
            str(record["label"]),
            None if record.get("score") is None else float(record["score"]),
        )


def box_problems(box: Box, width: int, height: int, classes: Iterable[str]) -> list[str]:
    """Everything that is wrong with a labelled box in an image of `width` x `height` pixels, in words."""
    problems = []
    corners = (box.x1, box.y1, box.x2, box.y2)
    known = list(classes)
    if box.label not in known:
        problems.append(f"class {box.label!r} is unknown; the job's classes are {', '.join(known)}")
    if not all(math.isfinite(corner) for corner in corners):
        return [*problems, f"box {corners} has a corner that is not a finite number"]
    if min(box.width, box.height) < 1 - ROUNDING:
        problems.append(f"box {corners} is {box.width:g} x {box.height:g} px; both sides must be at least 1 px")
    if box.x1 < -0.5 or box.y1 < -0.5 or box.x2 > width + 0.5 or box.y2 > height + 0.5:
        problems.append(f"box {corners} lies outside the image of {width} x {height} px")
    return problems


@dataclass(frozen=True, slots=True)
class Sample:
    """One image, known by the SHA-256 of its bytes, with what was known when it arrived."""

    id: str
    width: int
    height: int
    domain: str
    source: str
    split: Split
    template_id: str | None = None


@dataclass(frozen=True, slots=True)
class Annotation:
    """What one person said about one sample; `id` is the hash of exactly that.

    `classes` are the classes that the annotator was asked about, sorted; whether the image shows any other is unknown.
    None stands for all classes of the job, whichever they are.
    """

    sample_id: str
    boxes: tuple[Box, ...]
    annotator: str
    updated_at: str
    reference: str = ""
    classes: tuple[str, ...] | None = None

    @property
    def id(self) -> str:
        boxes = sorted(json.dumps(box.without_score().to_json(), sort_keys=True) for box in self.boxes)
        said = [self.sample_id, self.annotator, boxes]
        content = json.dumps(said if self.classes is None else [*said, sorted(self.classes)])
        return hashlib.sha256(content.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Prediction:
    """What one model version found in one sample."""

    sample_id: str
    model_version: str
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class Example:
    """What an estimator learns from: a uint8 grey image [height, width], its template of the same shape, its boxes.

    Where `classes` is not None, whether the image shows any other class is unknown, not ruled out.
    """

    sample_id: str
    image: np.ndarray
    template: np.ndarray | None
    boxes: tuple[Box, ...]
    domain: str
    classes: frozenset[str] | None = None


def sha256(content: bytes) -> str:
    """The name of `content`: its SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
