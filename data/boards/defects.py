"""The six defects of DeepPCB, drawn as strokes of a pen and kept only if they do to the copper what their name says.

There are three shapes, each on either side of the copper's edge: what an open does to copper, a short does to the gap.
Two more cut a piece off the rim: off a corner of copper, which DeepPCB calls an open; off a straight edge, a mousebite.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy import ndimage

from data.boards.canvas import Capsule, Point, Window, depth, window
from data.boards.dice import Dice
from data.boards.scanner import fast_noise
from data.sample import Box

AROUND = 12.0
WIDEST_CUT = 70.0
WIDEST_BRIDGE = 45.0
SMALLEST_CHANGE = 20
SPECK = 6
SAFETY = 0.75


@dataclass(frozen=True)
class Defect:
    """A kind of defect: the side of the edge it takes from, and what that does to the connected parts around it.

    Attributes:
        label: its name in DeepPCB.
        side: 1 where it takes copper away, -1 where it takes from the gaps.
        taken: how many parts it adds to the side it takes from.
        given: how many parts it adds to the other side.
    """

    label: str
    side: int
    taken: int
    given: int


DEFECTS = (
    Defect("open", side=1, taken=1, given=-1),
    Defect("short", side=-1, taken=1, given=-1),
    Defect("mousebite", side=1, taken=0, given=0),
    Defect("spur", side=-1, taken=0, given=0),
    Defect("copper", side=-1, taken=0, given=1),
    Defect("pin-hole", side=1, taken=0, given=1),
)
CHIPPED = replace(DEFECTS[0], given=0)
RINGED = replace(DEFECTS[2], taken=1)
RARE = {CHIPPED.label: (CHIPPED, 0.25), RINGED.label: (RINGED, 0.1)}


class Pen:
    """Draws defects on one scan, a signed distance field (float32, positive in copper) that it changes in place.

    No box leaves the frame, which is `margin` pixels inside the field; two boxes share at most a seam of two pixels.
    """

    def __init__(self, field: np.ndarray, dice: Dice, margin: int):
        self.field = field
        self.dice = dice
        self.margin = margin
        self.boxes: list[tuple[int, int, int, int]] = []
        copper = field > 0
        self._nets = ndimage.label(copper)[0]
        self._edge_rows, self._edge_columns = np.nonzero(copper[:-1, :-1] != copper[1:, 1:])

    def draw(self, defect: Defect, attempts: int = 80) -> Box | None:
        """Draw one defect at random; its box in pixels of the field, or none where it found no place."""
        rare, probability = RARE.get(defect.label, (defect, 0.0))
        if self.dice.chance(probability):
            defect = rare
        for _ in range(attempts):
            stroke = self._stroke(defect)
            if stroke and (box := self._commit(defect, stroke)):
                return Box(*box, defect.label)
        return None

    def _stroke(self, defect: Defect) -> list[Capsule] | None:
        if defect is RINGED:
            return self._around()
        if defect.taken:
            return self._across(defect.side, slant=1.5 if defect is CHIPPED else 0.45)
        return self._apart(defect.side) if defect.given else self._into_edge(defect.side)

    def _across(self, side: int, slant: float) -> list[Capsule] | None:
        """A stroke from one edge to the opposite one, up to `slant` askew."""
        dice = self.dice
        found = self._edge(side, slant)
        if found is None:
            return None
        (x, y), (ux, uy), thickness = found
        widest, share = WIDEST_CUT if side > 0 else WIDEST_BRIDGE, dice.unit()
        if not 3 <= thickness <= 8 + (widest - 8) * share * share * share * share:
            return None
        begin, end = -dice.uniform(1, 4), thickness + dice.uniform(1, 4)
        bow = dice.uniform(-0.2, 0.2) * thickness
        middle = thickness * dice.uniform(0.3, 0.7)
        half = dice.uniform(3, 6) if dice.chance(0.2) else dice.uniform(1.4, 3) + 0.04 * thickness
        points = [
            (x + ux * begin, y + uy * begin),
            (x + ux * middle - uy * bow, y + uy * middle + ux * bow),
            (x + ux * end, y + uy * end),
        ]
        return _stroke(points, half)

    def _around(self) -> list[Capsule] | None:
        """A thin stroke into copper, along its edge, and out again."""
        dice = self.dice
        found = self._edge(1, slant=0.6)
        if found is None:
            return None
        (x, y), (ux, uy), thickness = found
        deep, along = min(dice.uniform(5, 13), thickness * 0.75), dice.sign() * dice.uniform(7, 20)
        if deep < 4:
            return None
        out, begin, end = dice.uniform(0.1, 0.4) * along, -dice.uniform(1, 4), -dice.uniform(1, 6)
        inner = deep * dice.uniform(0.6, 1)
        points = [
            (x + ux * begin, y + uy * begin),
            (x + ux * deep - uy * out, y + uy * deep + ux * out),
            (x + ux * inner - uy * (along - out), y + uy * inner + ux * (along - out)),
            (x + ux * end - uy * along, y + uy * end + ux * along),
        ]
        return _stroke(points, dice.uniform(1.3, 2.2))

    def _scribble(self, x: float, y: float, ux: float, uy: float) -> list[Capsule]:
        """Up to three thin strokes that wander, from a point towards a direction."""
        dice = self.dice
        half = dice.uniform(0.9, 2)
        stroke = []
        for _ in range(dice.integer(1, 3)):
            points, (dx, dy) = [(x, y)], (ux, uy)
            for _ in range(dice.integer(3, 9)):
                length, turn = dice.uniform(2, 5), dice.uniform(-1.2, 1.2)
                dx, dy = _unit(dx - dy * turn, dy + dx * turn)
                points.append((points[-1][0] + dx * length, points[-1][1] + dy * length))
            stroke += _stroke(points, half)
        return stroke

    def _into_edge(self, side: int) -> list[Capsule] | None:
        """A stroke that enters at an edge and stops well before the opposite one."""
        dice = self.dice
        found = self._edge(side, slant=0.8)
        if found is None:
            return None
        (x, y), (ux, uy), thickness = found
        if dice.chance(0.3):
            return self._scribble(x - ux, y - uy, ux, uy)
        reach = min(dice.uniform(4, 16), thickness * dice.uniform(0.35, 0.7))
        if reach < 3:
            return None
        half = min(reach * 0.9 if dice.chance(0.25) else dice.uniform(1.8, 4.5), 0.8 * reach)
        begin, end = -dice.uniform(0, 3), max(0.0, reach - half)
        points = [(x + ux * begin, y + uy * begin), (x + ux * end, y + uy * end)]
        if dice.chance(0.3):
            hook = dice.sign() * dice.uniform(3, 9)
            points.append((points[1][0] - uy * hook, points[1][1] + ux * hook))
        return _stroke(points, half)

    def _apart(self, side: int) -> list[Capsule] | None:
        """A stroke or a spot that touches no edge."""
        dice = self.dice
        size = self.field.shape[0]
        x, y = (dice.uniform(self.margin + 20, size - self.margin - 20) for _ in "xy")
        if side * self.field[int(y), int(x)] < 3:
            return None
        if dice.chance(0.35):
            stroke = self._scribble(x, y, *_unit(dice.uniform(-1, 1), dice.uniform(-1, 1)))
            return stroke if self._keeps_distance(stroke, side) else None
        spot = dice.chance(0.25)
        half = dice.uniform(3.5, 10) if spot else dice.uniform(2, 5.5)
        length = dice.uniform(0, 3) if spot else dice.uniform(4, 22)
        ux, uy = _unit(dice.uniform(-1, 1), dice.uniform(-1, 1))
        bow = dice.uniform(-0.6, 0.6) * length
        points = [
            (x - ux * length / 2, y - uy * length / 2),
            (x - uy * bow, y + ux * bow),
            (x + ux * length / 2, y + uy * length / 2),
        ]
        stroke = _stroke(points, half)
        return stroke if self._keeps_distance(stroke, side) else None

    def _keeps_distance(self, stroke: list[Capsule], side: int) -> bool:
        area = window(_bounds(stroke), 5, self.field.shape[0])
        assert area is not None
        return not ((side * self.field[area] <= 0) & (_depth(stroke, area) > -4)).any()

    def _edge(self, side: int, slant: float) -> tuple[Point, Point, float] | None:
        """A point on an edge, a unit vector into the `side`, up to `slant` askew, and how thick that side is there."""
        if not len(self._edge_rows):
            return None
        size, dice = self.field.shape[0], self.dice
        pick = dice.integer(0, len(self._edge_rows) - 1)
        row, column = int(self._edge_rows[pick]), int(self._edge_columns[pick])
        low, high = self.margin + 20, size - self.margin - 21
        if not (low <= row <= high and low <= column <= high):
            return None
        ux, uy = _unit(
            side * float(self.field[row, column + 3] - self.field[row, column - 3]),
            side * float(self.field[row + 3, column] - self.field[row - 3, column]),
        )
        askew = dice.uniform(-slant, slant)
        ux, uy = _unit(ux - uy * askew, uy + ux * askew)
        thickness = 2.0
        while thickness < WIDEST_CUT:
            x, y = column + ux * thickness, row + uy * thickness
            if not (0 <= x < size and 0 <= y < size):
                return None
            if side * self.field[int(y), int(x)] <= 0:
                break
            thickness += 1
        return (column, row), (ux, uy), thickness

    def _commit(self, defect: Defect, stroke: list[Capsule]) -> tuple[int, int, int, int] | None:
        """Draw the stroke if it does what the defect's name says; its box, or none."""
        size = self.field.shape[0]
        x1, y1, x2, y2 = _bounds(stroke)
        edges = [self.dice.uniform(8.5, 10.5) for _ in range(4)]
        box = round(x1 - edges[0]), round(y1 - edges[1]), round(x2 + edges[2]) + 1, round(y2 + edges[3]) + 1
        if min(box[:2]) < self.margin or max(box[2:]) > size - self.margin or any(_overlap(box, b) for b in self.boxes):
            return None
        area = window((x1, y1, x2, y2), AROUND, size)
        assert area is not None
        drawn = _depth(stroke, area)
        scratchy = self.dice.uniform(0.9, 1.7) if self.dice.chance(0.3) else 0.4
        drawn = drawn + np.float32(scratchy) * fast_noise(self.dice, *drawn.shape)
        before = defect.side * self.field[area]
        after = np.minimum(before, -drawn)
        if not _holds(defect, before, after):
            return None
        if defect.label == "short" and len(set(self._nets[area][(drawn > -1.5) & (before <= 0)].tolist()) - {0}) != 2:
            return None
        self.field[area] = defect.side * after
        self.boxes.append(box)
        return box


def _holds(defect: Defect, before: np.ndarray, after: np.ndarray) -> bool:
    """Whether both sides' parts change as the defect says, and would if every edge lay `SAFETY` pixels off."""
    changed = (before > 0) & (after <= 0)
    if changed.sum() < SMALLEST_CHANGE:
        return False
    parts = ndimage.label(before > 0)[0]
    touched = np.unique(parts[changed])
    if len(touched) > 1:
        return False
    if defect.taken:
        pieces = np.bincount(ndimage.label((after > 0) & (parts == touched[0]))[0].ravel())[1:]
        if ((pieces > SPECK) & (pieces < SMALLEST_CHANGE)).any():
            return False
    elif not defect.given:
        others = ndimage.label(after <= 0)[0]
        grown = others == np.bincount(others[changed]).argmax()
        if 3 * changed.sum() > grown.sum():
            return False
    doubtful = -SAFETY if defect.taken else SAFETY
    return all(
        _parts(after > level) - _parts(before > level) == defect.taken
        and _parts(after <= level) - _parts(before <= level) == defect.given
        for level in (0.0, doubtful)
    )


def _parts(mask: np.ndarray) -> int:
    """How many connected parts there are, specks not counted."""
    return int((np.bincount(ndimage.label(mask)[0].ravel())[1:] > SPECK).sum())


def _stroke(points: list[Point], half: float) -> list[Capsule]:
    return [Capsule(*a, *b, half) for a, b in pairwise(points)]


def _bounds(stroke: list[Capsule]) -> tuple[float, float, float, float]:
    lefts, tops, rights, bottoms = zip(*(capsule.bounds for capsule in stroke), strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def _depth(stroke: list[Capsule], area: Window) -> np.ndarray:
    depths = [depth(capsule, area) for capsule in stroke]
    result: np.ndarray = np.maximum.reduce(depths)
    return result


def _unit(x: float, y: float) -> Point:
    length = math.sqrt(x * x + y * y)
    return (x / length, y / length) if length > 1e-6 else (1.0, 0.0)


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    return a[0] < b[2] - 2 and b[0] < a[2] - 2 and a[1] < b[3] - 2 and b[1] < a[3] - 2
