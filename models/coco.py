"""COCO's average precision: per class, 101-point interpolated, as pycocotools computes it for boxes of any size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from data.sample import Box
from models.boxes import corners, intersection_over_union, scores

OVERLAPS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
MOST_DETECTIONS = 100


def coco(
    truth: Mapping[str, Sequence[Box]], predicted: Mapping[str, Sequence[Box]], classes: Sequence[str]
) -> dict[str, dict[str, float | None]]:
    """{"ap", "ap50", "ap75"} → {class: value}; none for a class without a true box.

    The images are those of `truth`; the order in which it names them breaks ties between equal scores.
    """
    table = {label: _class_precision(truth, predicted, label) for label in classes}
    return {
        "ap": {label: None if row is None else float(row.mean()) for label, row in table.items()},
        "ap50": {label: None if row is None else float(row[0]) for label, row in table.items()},
        "ap75": {label: None if row is None else float(row[5]) for label, row in table.items()},
    }


def mean(per_class: Mapping[str, float | None]) -> float | None:
    """The mean over the classes that have a value."""
    values = [value for value in per_class.values() if value is not None]
    return float(np.mean(values)) if values else None


def _class_precision(
    truth: Mapping[str, Sequence[Box]], predicted: Mapping[str, Sequence[Box]], label: str
) -> np.ndarray | None:
    """Average precision at each of `OVERLAPS`, float64 [10]."""
    confidences: list[np.ndarray] = [np.zeros(0)]
    matched: list[np.ndarray] = [np.zeros((len(OVERLAPS), 0), bool)]
    support = 0
    for name, boxes in truth.items():
        true = [box for box in boxes if box.label == label]
        found = [box for box in predicted.get(name, ()) if box.label == label]
        order = np.argsort(-scores(found), kind="stable")[:MOST_DETECTIONS]
        overlaps = intersection_over_union(corners(found)[order], corners(true))
        confidences.append(scores(found)[order])
        matched.append(np.stack([_greedy(overlaps, minimum) for minimum in OVERLAPS]))
        support += len(true)
    if support == 0:
        return None
    ranking = np.argsort(-np.concatenate(confidences), kind="stable")
    right = np.concatenate(matched, axis=1)[:, ranking]
    return np.array([_interpolated(row, support) for row in right])


def _greedy(overlaps: np.ndarray, minimum: float) -> np.ndarray:
    """Which detections (rows, best first) are matched when each takes the free true box it overlaps most."""
    free = np.ones(overlaps.shape[1], bool)
    matched = np.zeros(overlaps.shape[0], bool)
    if not overlaps.size:
        return matched
    for row in np.flatnonzero((overlaps >= minimum).any(axis=1)):
        candidates = np.where(free, overlaps[row], -1.0)
        # Of equal overlaps pycocotools keeps the last.
        best = len(candidates) - 1 - int(np.argmax(candidates[::-1]))
        if candidates[best] >= minimum:
            free[best], matched[row] = False, True
    return matched


def _interpolated(right: np.ndarray, support: int) -> float:
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(right) + 1)
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(envelope[np.searchsorted(hits / support, RECALLS, side="left")].mean())
