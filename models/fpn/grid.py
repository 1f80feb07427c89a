"""The points at which the network predicts: one in the middle of each cell, on each level."""

from __future__ import annotations

import numpy as np

FINEST_STRIDE = 8
LARGEST_EXPONENT = 5.0


def strides(levels: int) -> list[int]:
    """The stride in pixels of each prediction level, finest first."""
    return [FINEST_STRIDE << level for level in range(levels)]


def side_multiple(levels: int) -> int:
    """What the sides of an input must be a multiple of: the coarsest stride that the network computes."""
    return max(16, FINEST_STRIDE << (levels - 1))


def points(height: int, width: int, levels: int) -> np.ndarray:
    """Centres (x, y) in pixels and stride of every point of every level, float32 [points, 3], finest level first."""
    return np.concatenate([_grid(height, width, stride) for stride in strides(levels)])


def quarters(side: int, levels: int) -> np.ndarray:
    """In which quarter of a square sample each of its points lies, int32 [points]: 0 and 1 above, 2 and 3 below."""
    right, below = (points(side, side, levels)[:, :2] >= side / 2).astype(np.int32).T
    numbers: np.ndarray = right + 2 * below
    return numbers


def _grid(height: int, width: int, stride: int) -> np.ndarray:
    rows, columns = -(-height // stride), -(-width // stride)
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    centres = (np.stack([x, y], axis=-1).reshape(-1, 2) + 0.5) * stride
    return np.concatenate([centres, np.full((len(centres), 1), stride, np.float32)], axis=1)
