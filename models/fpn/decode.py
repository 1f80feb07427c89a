"""From the network's outputs to boxes: the best points of each image, then non-maximum suppression."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from data.sample import Box
from models.boxes import intersection_over_union

CANDIDATES = 300
MOST_BOXES = 100
SUPPRESSING_OVERLAP = 0.5


def best_points(logits: tf.Tensor, distances: tf.Tensor, centres: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The candidates of each image, best first: corners [b, k, 4] in pixels, scores [b, k], class indices [b, k]."""
    best = tf.reduce_max(logits, axis=-1)
    values, indices = tf.math.top_k(best, tf.minimum(CANDIDATES, tf.shape(best)[1]))
    sides = tf.gather(distances, indices, batch_dims=1)
    middles = tf.gather(centres, indices)
    corners = tf.concat([middles - sides[..., :2], middles + sides[..., 2:]], axis=-1)
    classes = tf.argmax(tf.gather(logits, indices, batch_dims=1), axis=-1)
    return corners, tf.sigmoid(values), classes


def to_boxes(
    corners: np.ndarray,
    scores: np.ndarray,
    labels: Sequence[str],
    *,
    size: tuple[int, int],
    minimum_score: float,
) -> tuple[Box, ...]:
    """The boxes of one image of `size` (height, width), best first, clipped to it; no two overlap by more than half."""
    height, width = size
    # What lies in the padding beyond the image, or is thinner than a pixel in it, is no box of the image.
    corners = np.clip(corners.astype(np.float64), 0, [width, height, width, height])
    valid = (scores >= minimum_score) & ((corners[:, 2:] - corners[:, :2]).min(axis=1, initial=np.inf) >= 1)
    corners, scores = corners[valid], scores[valid]
    kept_labels = [label for label, kept in zip(labels, valid, strict=True) if kept]
    kept = suppress(corners, SUPPRESSING_OVERLAP)[:MOST_BOXES]
    return tuple(
        Box(x1, y1, x2, y2, kept_labels[index], float(scores[index]))
        for index, (x1, y1, x2, y2) in zip(kept, corners[kept].round(2).tolist(), strict=True)
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
