"""Boxes as arrays: corners [n, 4] float64 in pixels (x1, y1, x2, y2), and their overlaps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data.sample import Box


def corners(boxes: Sequence[Box]) -> np.ndarray:
    """The corners of `boxes`, float64 [n, 4]."""
    return np.array([(box.x1, box.y1, box.x2, box.y2) for box in boxes], dtype=np.float64).reshape(-1, 4)


def scores(boxes: Sequence[Box]) -> np.ndarray:
    """The scores of `boxes`, float64 [n]; a box without one counts as certain."""
    return np.array([1.0 if box.score is None else box.score for box in boxes], dtype=np.float64)


def intersection_over_union(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The overlap of every box of `first` [n, 4] with every box of `second` [m, 4], float64 [n, m] in [0, 1]."""
    across, down = (
        np.minimum(first[:, None, axis + 2], second[None, :, axis + 2])
        - np.maximum(first[:, None, axis], second[None, :, axis])
        for axis in (0, 1)
    )
    intersection = np.maximum(across, 0) * np.maximum(down, 0)
    areas = [np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None), axis=1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None, :] - intersection
    overlap: np.ndarray = np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)
    return overlap
