"""What the line camera makes of a board: edges that waver, differently in every scan."""

from __future__ import annotations

import numpy as np

from data.boards.dice import Dice

SLOW = 16
BYTE_DEVIATION = 73.9


def scan(field: np.ndarray, dice: Dice) -> np.ndarray:
    """`field` as one scan sees it: all edges swollen or shrunk by its exposure, and moved by slow and fast noise."""
    height, width = field.shape
    exposure = dice.uniform(-0.4, 0.4)
    moved = np.float32(0.16) * fast_noise(dice, height, width) + np.float32(0.4) * _slow_noise(dice, height, width)
    return field + (moved + np.float32(exposure))


def fast_noise(dice: Dice, height: int, width: int) -> np.ndarray:
    """Noise that changes from pixel to pixel, of deviation 1, float32; smoothed in whole numbers, hence exact."""
    noise = dice.noise(height + 2, width + 2)
    rows = noise[:-2] + 2 * noise[1:-1] + noise[2:]
    smooth = rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]
    result: np.ndarray = smooth.astype(np.float32) * np.float32(1 / (6 * BYTE_DEVIATION))
    return result


def _slow_noise(dice: Dice, height: int, width: int) -> np.ndarray:
    """Noise that changes over `SLOW` pixels, of deviation about 1, float32; interpolated in whole numbers."""
    noise = dice.noise(height // SLOW + 3, width // SLOW + 3)
    for axis in (0, 1):
        sums = np.cumsum(np.repeat(noise, SLOW, axis), axis)
        ahead, behind = (slice(SLOW, None), slice(None, -SLOW))
        noise = sums[ahead] - sums[behind] if axis == 0 else sums[:, ahead] - sums[:, behind]
    return noise[:height, :width].astype(np.float32) * np.float32(1.5 / (SLOW * SLOW * BYTE_DEVIATION))
