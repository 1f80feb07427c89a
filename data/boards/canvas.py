"""A board as a signed distance field: positive inside copper, in pixels, cut off at `REACH`.

Only + - * / and square roots are used, which IEEE 754 rounds the same way everywhere, so a board has the same
pixels on every machine; no trigonometry, no font or polygon rasteriser.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

REACH = 6.0
SQRT_HALF = math.sqrt(0.5)

Point = tuple[float, float]
Window = tuple[slice, slice]


@dataclass(frozen=True, slots=True)
class Capsule:
    """All points within `half` of the segment from (x1, y1) to (x2, y2); a disc where the ends are one point."""

    x1: float
    y1: float
    x2: float
    y2: float
    half: float

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """The smallest upright box around it: x1, y1, x2, y2."""
        return (
            min(self.x1, self.x2) - self.half,
            min(self.y1, self.y2) - self.half,
            max(self.x1, self.x2) + self.half,
            max(self.y1, self.y2) + self.half,
        )

    def depth(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """How far inside the shape each point lies, float32; negative outside."""
        dx, dy = self.x2 - self.x1, self.y2 - self.y1
        length = dx * dx + dy * dy
        across, down = x - self.x1, y - self.y1
        if length > 1e-6:
            along = np.clip(across * (dx / length) + down * (dy / length), 0, 1)
            across, down = across - along * dx, down - along * dy
        depth: np.ndarray = self.half - np.sqrt(across * across + down * down)
        return depth


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A rectangle by its centre and half sides, its corners cut at 45 degrees, its width along the unit (ux, uy)."""

    x: float
    y: float
    half_width: float
    half_height: float
    chamfer: float = 1.5
    ux: float = 1.0
    uy: float = 0.0

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """The smallest upright box around it: x1, y1, x2, y2."""
        wide = abs(self.ux) * self.half_width + abs(self.uy) * self.half_height
        high = abs(self.uy) * self.half_width + abs(self.ux) * self.half_height
        return self.x - wide, self.y - high, self.x + wide, self.y + high

    def depth(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """How far inside the shape each point lies, float32; negative outside."""
        across, down = x - self.x, y - self.y
        a = np.abs(across * self.ux + down * self.uy)
        b = np.abs(down * self.ux - across * self.uy)
        sides = np.minimum(self.half_width - a, self.half_height - b)
        corners = (self.half_width + self.half_height - self.chamfer - a - b) * SQRT_HALF
        result: np.ndarray = np.minimum(sides, corners)
        return result


Shape = Capsule | Rectangle


def disc(x: float, y: float, radius: float) -> Capsule:
    """All points within `radius` of (x, y)."""
    return Capsule(x, y, x, y, radius)


def window(bounds: tuple[float, float, float, float], grow: float, size: int) -> Window | None:
    """Rows and columns of the pixels within `grow` of `bounds` on a board of `size` pixels; none if that is off it."""
    left, top = max(0, math.floor(bounds[0] - grow)), max(0, math.floor(bounds[1] - grow))
    right, bottom = min(size, math.ceil(bounds[2] + grow) + 1), min(size, math.ceil(bounds[3] + grow) + 1)
    return (slice(top, bottom), slice(left, right)) if left < right and top < bottom else None


def depth(shape: Shape, area: Window) -> np.ndarray:
    """The depth of every pixel of `area` in `shape`, float32."""
    rows, columns = area
    x = np.arange(columns.start, columns.stop, dtype=np.float32)
    y = np.arange(rows.start, rows.stop, dtype=np.float32)
    return shape.depth(x[None, :], y[:, None])


class Canvas:
    """A square board of `size` pixels without copper, to draw on."""

    def __init__(self, size: int):
        self.size = size
        self.field = np.full((size, size), -REACH, np.float32)

    def add(self, shapes: Iterable[Shape]) -> None:
        """Lay copper."""
        for shape in shapes:
            if area := window(shape.bounds, REACH, self.size):
                self.field[area] = np.maximum(self.field[area], np.minimum(depth(shape, area), REACH))

    def remove(self, shapes: Iterable[Shape]) -> None:
        """Take copper away."""
        for shape in shapes:
            if area := window(shape.bounds, REACH, self.size):
                self.field[area] = np.minimum(self.field[area], np.maximum(-depth(shape, area), -REACH))

    def is_clear(self, shape: Shape, clearance: float) -> bool:
        """Whether no copper lies within `clearance` of `shape`."""
        area = window(shape.bounds, clearance, self.size)
        if area is None:
            return True
        copper = self.field[area] > 0
        return not copper.any() or not (copper & (depth(shape, area) > -clearance)).any()
