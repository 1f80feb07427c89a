"""From the network's outputs to boxes: the best points of each image, then non-maximum suppression."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce

import numpy as np

from data.sample import Box
from models.boxes import intersection_over_union
from models.fpn.grid import LARGEST_EXPONENT

LEAST_SCORE = 0.05
CANDIDATES = 300
MOST_BOXES = 100
SUPPRESSING_OVERLAP = 0.5


def boxes_of(
    logits: np.ndarray, distances: np.ndarray, centres: np.ndarray, labels: Sequence[str], size: tuple[int, int]
) -> tuple[Box, ...]:
    """The boxes of one image of `size` (height, width), best first, with scores from 0.05.

    `logits` [points, classes] and `distances` [points, 4] are the network's outputs, `centres` [points, 2] its points.
    """
    corners, scores, classes = best_points(logits, distances, centres)
    return to_boxes(corners, scores, [labels[index] for index in classes], size=size)


def distances(raw: np.ndarray, strides: np.ndarray) -> np.ndarray:
    """What an exported network leaves to do: raw [points, 4] to pixels, at points of `strides` [points, 1].

    As the network does it in training, where a distance is two strides times an exponential.
    """
    pixels: np.ndarray = np.exp(np.clip(raw, -LARGEST_EXPONENT, LARGEST_EXPONENT)) * (2.0 * strides)
    return pixels


def best_points(
    logits: np.ndarray, distances: np.ndarray, centres: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """At most 300 points with scores from 0.05, best first: corners [k, 4] in pixels, scores [k], class indices [k]."""
    # Class by class, since NumPy is slow along an axis this short.
    best = reduce(np.maximum, logits.T)
    likely = np.flatnonzero(best >= math.log(LEAST_SCORE / (1 - LEAST_SCORE)))
    likely = likely[np.argsort(-best[likely], kind="stable")[:CANDIDATES]]
    middles, sides = centres[likely], distances[likely]
    corners = np.concatenate([middles - sides[:, :2], middles + sides[:, 2:]], axis=1)
    return corners, 1 / (1 + np.exp(-best[likely])), logits[likely].argmax(axis=1)


def to_boxes(
    corners: np.ndarray, scores: np.ndarray, labels: Sequence[str], *, size: tuple[int, int]
) -> tuple[Box, ...]:
    """The boxes of one image of `size` (height, width), best first, clipped to it; no two overlap by more than half.

    A box that overlaps better ones keeps of its score what `unshared` leaves, and needs 0.05 of it.
    """
    height, width = size
    # What lies in the padding beyond the image, or is thinner than a pixel in it, is no box of the image.
    corners = np.clip(corners.astype(np.float64), 0, [width, height, width, height])
    valid = (corners[:, 2:] - corners[:, :2]).min(axis=1, initial=np.inf) >= 1
    corners, scores = corners[valid], scores[valid]
    kept_labels = [label for label, kept in zip(labels, valid, strict=True) if kept]
    kept = suppress(corners, SUPPRESSING_OVERLAP)
    scores = scores[kept] * unshared(corners[kept])
    order = np.argsort(-scores, kind="stable")[: min(MOST_BOXES, int((scores >= LEAST_SCORE).sum()))]
    return tuple(
        Box(x1, y1, x2, y2, kept_labels[kept[index]], float(scores[index]))
        for index, (x1, y1, x2, y2) in zip(order, corners[kept][order].round(2).tolist(), strict=True)
    )


def suppress(corners: np.ndarray, overlap: float) -> list[int]:
    """Non-maximum suppression over `corners` [n, 4], best first: the indices that are kept."""
    overlapping = intersection_over_union(corners, corners) > overlap
    open_ = np.ones(len(corners), bool)
    kept = []
    for index in range(len(corners)):
        if open_[index]:
            kept.append(index)
            open_ &= ~overlapping[index]
    return kept


def unshared(corners: np.ndarray) -> np.ndarray:
    """The factor in 0..1 by which the score of each of `corners` [n, 4], best first, shrinks: [n].

    Two objects hardly ever overlap, two answers about one often do: each better box takes the share by which it
    overlaps. The linear penalty of Bodla et al., "Soft-NMS", arXiv 1704.04503, in the order of the scores as they were.
    """
    better = np.tril(intersection_over_union(corners, corners), -1)
    factors: np.ndarray = np.prod(1 - better, axis=1)
    return factors
