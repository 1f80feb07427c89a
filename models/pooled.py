"""DeepPCB's own score: one average precision over the detections of all classes and images together.

Formulas of the evaluation script of Tang et al., "Online PCB Defect Detector On A New PCB Defect Dataset",
arXiv 1902.06197. It is not a mean over classes, and its greedy matching follows the order of the lists, not the scores.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from data.sample import Box
from models.boxes import corners, intersection_over_union, scores

MINIMUM_OVERLAP = 0.33


def match(truth: Sequence[Box], predicted: Sequence[Box], iou: float = MINIMUM_OVERLAP) -> np.ndarray:
    """Which predictions are right, bool [len(predicted)].

    Each true box takes the first free prediction that overlaps it by more than `iou`, whatever its label; the
    prediction is right if the labels agree, and otherwise has used the true box up.
    """
    overlaps = intersection_over_union(corners(truth), corners(predicted)) > iou
    free = np.ones(len(predicted), bool)
    right = np.zeros(len(predicted), bool)
    for box, overlapped in zip(truth, overlaps, strict=True):
        candidates = np.flatnonzero(overlapped & free)
        if candidates.size:
            free[candidates[0]] = False
            right[candidates[0]] = predicted[candidates[0]].label == box.label
    return right


def average_precision(confidences: np.ndarray, right: np.ndarray, support: int) -> float | None:
    """Mean over the `support` true boxes of the precision at each hit, 0 for a miss; none without true boxes.

    Of equal confidences the wrong ones come first, so that the order in which they are given changes nothing.
    """
    if support == 0:
        return None
    ordered = right[np.lexsort((right, -confidences))]
    precision = np.cumsum(ordered) / np.arange(1, len(ordered) + 1)
    return float(precision[ordered].sum() / support)


@dataclass(frozen=True)
class PooledScore:
    """Average precision over everything; precision, recall and F at one threshold (none where undefined)."""

    ap: float | None
    precision: float | None
    recall: float | None
    f1: float | None


def ratios(true_positives: int, detections: int, support: int) -> tuple[float | None, float | None, float | None]:
    """Precision, recall and F; none where nothing was detected, nothing was there, or neither."""
    precision = true_positives / detections if detections else None
    recall = true_positives / support if support else None
    f1 = 2 * true_positives / (detections + support) if detections + support else None
    return precision, recall, f1


def deeppcb(
    pairs: Iterable[tuple[Sequence[Box], Sequence[Box]]], threshold: float = 0.0, iou: float = MINIMUM_OVERLAP
) -> PooledScore:
    """The data set's score for (true boxes, predicted boxes) of every image.

    AP is over all predictions; precision, recall and F are over those that score more than `threshold`.
    """
    confidences, right, support, found, detections = [np.zeros(0)], [np.zeros(0, bool)], 0, 0, 0
    for truth, predicted in pairs:
        confidences.append(scores(predicted))
        right.append(match(truth, predicted, iou))
        support += len(truth)
        kept = [box for box in predicted if box.score is None or box.score > threshold]
        detections += len(kept)
        found += int(match(truth, kept, iou).sum())
    ap = average_precision(np.concatenate(confidences), np.concatenate(right), support)
    return PooledScore(ap, *ratios(found, detections, support))


def best_threshold(
    pairs: Iterable[tuple[Sequence[Box], Sequence[Box]]], iou: float = MINIMUM_OVERLAP, tolerance: float = 0.005
) -> float:
    """The middle of the range of thresholds around the best F in which F stays within `tolerance` of it.

    F hardly changes over a wide range, so that the best threshold itself is arbitrary. 0.5 where nothing was found.
    """
    confidences, right, support = [np.zeros(0)], [np.zeros(0, bool)], 0
    for truth, predicted in pairs:
        ordered = sorted(predicted, key=lambda box: -(1.0 if box.score is None else box.score))
        confidences.append(scores(ordered))
        right.append(match(truth, ordered, iou))
        support += len(truth)
    pooled, hits = np.concatenate(confidences), np.concatenate(right)
    if not hits.any():
        return 0.5
    order = np.argsort(-pooled, kind="stable")
    pooled, hits = pooled[order], hits[order]
    f1 = 2 * np.cumsum(hits) / (np.arange(1, len(hits) + 1) + support)
    first = last = int(np.argmax(f1))
    while first > 0 and f1[first - 1] >= f1.max() - tolerance:
        first -= 1
    while last + 1 < len(f1) and f1[last + 1] >= f1.max() - tolerance:
        last += 1
    lowest = pooled[last + 1] if last + 1 < len(pooled) else 0.0
    return float((pooled[first] + lowest) / 2)
