"""The courses that traces take: with corners or along curves, side by side, in pieces that are quick to draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from data.boards.canvas import SQRT_HALF, Capsule, Point
from data.boards.dice import Dice

HEADINGS: tuple[Point, ...] = (
    (1, 0), (SQRT_HALF, SQRT_HALF), (0, 1), (-SQRT_HALF, SQRT_HALF),
    (-1, 0), (-SQRT_HALF, -SQRT_HALF), (0, -1), (SQRT_HALF, -SQRT_HALF),
)  # fmt: skip
OUTSIDE = 70.0
PIECE = 40.0
STEP = 22.0


def border(dice: Dice, size: int) -> tuple[Point, int]:
    """A point just outside a board of `size` pixels, and the heading (an index of `HEADINGS`) that leads onto it."""
    along = dice.uniform(0.02, 0.98) * size
    near, far = 10 - OUTSIDE, size + OUTSIDE - 10
    starts: tuple[tuple[Point, int], ...] = (
        ((near, along), 0), ((along, near), 2), ((far, along), 4), ((along, far), 6),
    )  # fmt: skip
    return dice.choice(starts)


def cornered(
    dice: Dice, start: Point, heading: int, *, turn: int, straight: tuple[float, float], size: int
) -> list[Point]:
    """The corners of a path off the board that leaves its heading, by `turn` eighths, only to come back to it."""
    (x, y), ahead = start, heading
    points = [start]
    while _on_board(x, y, size) and len(points) < 14:
        length = dice.uniform(*straight) + (OUTSIDE if len(points) == 1 else 0)
        if heading != ahead and turn == 2:
            length *= 0.3
        x, y = x + HEADINGS[heading][0] * length, y + HEADINGS[heading][1] * length
        points.append((x, y))
        heading = ahead if heading != ahead else (ahead + turn * dice.sign()) % len(HEADINGS)
    return points


def curved(dice: Dice, start: Point, heading: int, size: int) -> list[Point]:
    """A path off the board that bends now to one side, now to the other."""
    (x, y), (ux, uy) = start, HEADINGS[heading]
    points, bend = [start], 0.0
    while _on_board(x, y, size) and len(points) < 70:
        x, y = x + ux * STEP, y + uy * STEP
        points.append((x, y))
        if len(points) % 5 == 0:
            bend = dice.uniform(-0.11, 0.11)
        # The tangent half-angle formulas turn without trigonometry.
        cosine, sine = (1 - bend * bend) / (1 + bend * bend), 2 * bend / (1 + bend * bend)
        ux, uy = ux * cosine - uy * sine, ux * sine + uy * cosine
    return points


def parallel(path: Sequence[Point], offset: float) -> list[Point]:
    """The path moved sideways by `offset` pixels, its corners mitred."""
    units = []
    for (x1, y1), (x2, y2) in pairwise(path):
        length = _length(x2 - x1, y2 - y1)
        units.append(((x2 - x1) / length, (y2 - y1) / length))
    points = []
    for (x, y), (ax, ay), (bx, by) in zip(path, [units[0], *units], [*units, units[-1]], strict=True):
        scale = offset / (1 + ax * bx + ay * by)
        points.append((x - (ay + by) * scale, y + (ax + bx) * scale))
    return points


def pieces(path: Sequence[Point], half: float) -> list[Capsule]:
    """The path as capsules no longer than `PIECE`, because a long diagonal would fill a large window."""
    capsules = []
    for (x1, y1), (x2, y2) in pairwise(path):
        dx, dy = x2 - x1, y2 - y1
        count = max(1, math.ceil(_length(dx, dy) / PIECE))
        for i in range(count):
            a, b = i / count, (i + 1) / count
            capsules.append(Capsule(x1 + dx * a, y1 + dy * a, x1 + dx * b, y1 + dy * b, half))
    return capsules


def _length(dx: float, dy: float) -> float:
    return math.sqrt(dx * dx + dy * dy)


def _on_board(x: float, y: float, size: int) -> bool:
    return -OUTSIDE <= x <= size + OUTSIDE and -OUTSIDE <= y <= size + OUTSIDE
