"""Frames: whether two images are two shots of one thing, taken a moment apart."""

from __future__ import annotations

import numpy as np

from data.images import CELL, same_picture

REACH = 4
# Pixels between the rows by which the shift is found; a shot of 640 x 640 px keeps 51,200 of its pixels.
ROW_STEP = 8


def same_frame(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two images, uint8 [height, width], show the same once one is moved by up to 4 px either way.

    `same_picture` judges what both then show; a defect that only one of them has makes them two.
    """
    if first.shape != second.shape or min(first.shape) < CELL + 2 * REACH:
        return False
    down, across = _shift(first, second)
    moved = second[REACH + down : second.shape[0] - REACH + down, REACH + across : second.shape[1] - REACH + across]
    return same_picture(_middle(first), np.ascontiguousarray(moved))


def _middle(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image[REACH:-REACH, REACH:-REACH])


def _shift(first: np.ndarray, second: np.ndarray) -> tuple[int, int]:
    """How far to move the second down and across, in pixels, to lie on the first: where they differ least."""
    height, width = first.shape
    rows = np.arange(REACH, height - REACH, ROW_STEP)
    wanted = first[rows, REACH : width - REACH].astype(np.int16)
    steps = range(-REACH, REACH + 1)

    def difference(shift: tuple[int, int]) -> tuple[int, int]:
        down, across = shift
        seen = second[rows + down, REACH + across : width - REACH + across]
        return int(np.abs(wanted - seen).sum()), abs(down) + abs(across)

    return min(((down, across) for down in steps for across in steps), key=difference)
