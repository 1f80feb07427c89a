"""The judgement of a model on labelled images: what the gates compare, whole, per class, per domain, per image."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from data.sample import Box
from models.boxes import scores
from models.coco import coco, mean
from models.pooled import average_precision, match, ratios

Value = float | None
POOLED = ("ap", "precision", "recall", "f1")
SCORE_DIGITS = 6


@dataclass(frozen=True)
class Counts:
    """One class in one image: true positives, false positives and false negatives at the report's threshold.

    `right` and `wrong` are the scores of all detections, the best first, also of those below the threshold.
    """

    tp: int
    fp: int
    fn: int
    right: list[float] = field(default_factory=list)
    wrong: list[float] = field(default_factory=list)

    @property
    def support(self) -> int:
        """How many true boxes there are."""
        return self.tp + self.fn


@dataclass(frozen=True)
class EvaluationReport:
    """How well predictions agree with the truth; every value is in [0, 1], or none where it is undefined.

    `metrics`: `ap` (pooled, DeepPCB's rule), `precision`, `recall`, `f1` (same rule, at `threshold`), `ap50` (COCO).
    `per_class[metric][class]` and `per_domain[domain][metric]` hold the same metrics for parts.
    `support[class]` and `domain_support[domain]` count true boxes. A class that was never predicted has no precision.
    `per_image[image][class]` has what two models are compared by, image by image.
    """

    threshold: float
    images: int
    metrics: dict[str, Value]
    per_class: dict[str, dict[str, Value]]
    per_domain: dict[str, dict[str, Value]]
    support: dict[str, int]
    domain_support: dict[str, int]
    per_image: dict[str, dict[str, Counts]]

    def metric(self, name: str) -> Value:
        """The value called `name`, for example `ap`, or `precision[open]` for one class.

        Raises:
            KeyError: there is no such metric or class.
        """
        base, _, label = name.partition("[")
        values: Mapping[str, Value] = self.per_class.get(base, {}) if label else self.metrics
        key = label.rstrip("]") if label else base
        if key not in values:
            names = [*self.metrics, *(f"{metric}[{known}]" for metric in self.per_class for known in self.support)]
            raise KeyError(f"{name!r} is not a metric of this report; known are {', '.join(names)}")
        return values[key]

    def to_json(self) -> dict[str, Any]:
        """A JSON object with every field."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> EvaluationReport:
        """The inverse of `to_json`."""
        per_image = {
            name: {label: Counts(**counts) for label, counts in classes.items()}
            for name, classes in record["per_image"].items()
        }
        return cls(**{**record, "per_image": per_image})


@dataclass(frozen=True)
class _Image:
    domain: str
    truth: Sequence[Box]
    predicted: Sequence[Box]
    right: np.ndarray
    scores: np.ndarray


def judged(boxes: Iterable[Box], labelled: Collection[str] | None) -> list[Box]:
    """Those of a model's boxes that can be judged in an image that was `labelled` for these classes (None: for all).

    Whether it shows any other class is unknown, so that finding one is neither right nor wrong.
    """
    return [box for box in boxes if labelled is None or box.label in labelled]


def evaluate(
    truth: Mapping[str, Sequence[Box]],
    predicted: Mapping[str, Sequence[Box]],
    domains: Mapping[str, str],
    classes: Sequence[str],
    threshold: float,
    labelled: Mapping[str, Collection[str] | None] | None = None,
) -> EvaluationReport:
    """Compare the boxes predicted for each image of `truth` with the true ones; an image without predictions counts.

    Precision, recall and F are over predictions that score at least `threshold`, AP and AP50 over all of them. Scores
    count to six digits, so that the stored report says exactly what was measured. `classes` are those that the model
    knows; others that `truth` has are judged too, and all their boxes are missed. `labelled` has the classes that an
    image was labelled for, where that is not all: what is predicted of others there is left out.

    Raises:
        ValueError: images without a domain, predictions for images that are not in `truth`, or predicted labels that
            are not in `classes`.
    """
    _check(truth, predicted, domains, classes)
    classes = [*classes, *sorted({box.label for boxes in truth.values() for box in boxes}.difference(classes))]
    images = {}
    for name in sorted(truth):
        asked = judged(predicted.get(name, ()), (labelled or {}).get(name))
        ranked = sorted(asked, key=lambda box: -(1.0 if box.score is None else box.score))
        right = match(truth[name], ranked)
        images[name] = _Image(domains[name], truth[name], ranked, right, scores(ranked).round(SCORE_DIGITS))
    groups: dict[str, dict[str, _Image]] = {}
    for name, image in images.items():
        groups.setdefault(image.domain, {})[name] = image
    ap50 = _ap50(images, classes)
    by_class = {label: _pooled(images.values(), threshold, label) for label in classes}
    return EvaluationReport(
        threshold=threshold,
        images=len(images),
        metrics={**_pooled(images.values(), threshold), "ap50": mean(ap50)},
        per_class={
            **{metric: {label: by_class[label][metric] for label in classes} for metric in POOLED},
            "ap50": ap50,
        },
        per_domain={
            domain: {**_pooled(group.values(), threshold), "ap50": mean(_ap50(group, classes))}
            for domain, group in sorted(groups.items())
        },
        support={label: sum(box.label == label for boxes in truth.values() for box in boxes) for label in classes},
        domain_support={
            domain: sum(len(image.truth) for image in group.values()) for domain, group in sorted(groups.items())
        },
        per_image={name: _counts(image, classes, threshold) for name, image in images.items()},
    )


def _check(
    truth: Mapping[str, Sequence[Box]],
    predicted: Mapping[str, Sequence[Box]],
    domains: Mapping[str, str],
    classes: Sequence[str],
) -> None:
    problems = []
    if homeless := sorted(set(truth) - set(domains)):
        problems.append(f"there are images without a domain: {', '.join(homeless[:5])}")
    if strangers := sorted(set(predicted) - set(truth)):
        problems.append(f"there are predictions for images without a truth: {', '.join(strangers[:5])}")
    labels = {box.label for boxes in predicted.values() for box in boxes}
    if unknown := sorted(labels - set(classes)):
        problems.append(f"the predicted labels {', '.join(unknown)} are not among the classes {', '.join(classes)}")
    if problems:
        raise ValueError("; ".join(problems))


def _pooled(images: Iterable[_Image], threshold: float, label: str | None = None) -> dict[str, Value]:
    """The pooled metrics over all boxes, or over those of one class, matched among all."""
    confidences, right, support = [np.zeros(0)], [np.zeros(0, bool)], 0
    for image in images:
        chosen = np.array([label in (None, box.label) for box in image.predicted], bool)
        confidences.append(image.scores[chosen])
        right.append(image.right[chosen])
        support += sum(label in (None, box.label) for box in image.truth)
    pooled, hits = np.concatenate(confidences), np.concatenate(right)
    kept = pooled >= threshold
    figures = (average_precision(pooled, hits, support), *ratios(int(hits[kept].sum()), int(kept.sum()), support))
    return dict(zip(POOLED, figures, strict=True))


def _ap50(images: Mapping[str, _Image], classes: Sequence[str]) -> dict[str, Value]:
    truth = {name: image.truth for name, image in images.items()}
    return coco(truth, {name: image.predicted for name, image in images.items()}, classes)["ap50"]


def _counts(image: _Image, classes: Sequence[str], threshold: float) -> dict[str, Counts]:
    """The counts of each class that occurs in the image or its predictions."""
    table = {}
    for label in classes:
        chosen = np.array([box.label == label for box in image.predicted], bool)
        support = sum(box.label == label for box in image.truth)
        if support or chosen.any():
            right, wrong = image.scores[chosen & image.right], image.scores[chosen & ~image.right]
            found = int((right >= threshold).sum())
            false = int((wrong >= threshold).sum())
            table[label] = Counts(tp=found, fp=false, fn=support - found, right=right.tolist(), wrong=wrong.tolist())
    return table
