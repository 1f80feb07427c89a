"""Where a board's copper lies: planes, traces, pads and vias, laid one after the other where there is still room."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from data.boards.canvas import Canvas, Capsule, Point, Rectangle, disc
from data.boards.dice import Dice
from data.boards.family import Family, PadStyle, Range
from data.boards.paths import HEADINGS, border, cornered, curved, parallel, pieces


def draw_layout(family: Family, dice: Dice, size: int) -> np.ndarray:
    """The signed distance in pixels to the edge of the copper, float32 [size, size], positive inside copper.

    A smaller board has fewer elements, not smaller ones.
    """
    layout = _Layout(family, dice, size)
    for draw, (low, high) in (
        (layout.plane, family.planes),
        (layout.wide_trace, family.wide_traces),
        (layout.pads, family.pads),
        (layout.bus, family.buses),
        (layout.via, family.vias),
    ):
        for _ in range(int(dice.uniform(low, high + 1) * size * size / (640 * 640))):
            draw()
    field = layout.canvas.field
    return -field if family.inverted else field


class _Layout:
    """The elements of one board; width and gap of its traces are drawn once, as a design rule holds for a board."""

    def __init__(self, family: Family, dice: Dice, size: int):
        self.family = family
        self.dice = dice
        self.size = size
        self.canvas = Canvas(size)
        self.trace = dice.uniform(*family.trace)
        self.gap = dice.uniform(*family.gap)
        self.clearance = max(7.0, 0.8 * self.gap)
        self.drill = dice.uniform(0.35, 0.6)

    def plane(self) -> None:
        """A large area of copper: a disc with slits, or a rectangle, sometimes drilled."""
        dice = self.dice
        x, y = self._anywhere()
        a, b = dice.uniform(*self.family.plane), dice.uniform(*self.family.plane)
        if self.family.round_planes:
            self._slit_disc(x, y, a)
            return
        plane = Rectangle(x, y, a, b, chamfer=dice.choice((3.0, 6.0, 0.5 * min(a, b))))
        if not self.canvas.is_clear(plane, self.clearance):
            return
        self.canvas.add([plane])
        if dice.chance(0.4):
            radius, pitch = dice.uniform(6, 14), dice.uniform(50, 100)
            self.canvas.remove(disc(x, y - b + i * pitch, radius) for i in range(1, int(2 * b / pitch)))

    def _slit_disc(self, x: float, y: float, radius: float) -> None:
        dice, plane = self.dice, disc(x, y, radius)
        if not self.canvas.is_clear(plane, self.clearance):
            return
        self.canvas.add([plane])
        middle = x + dice.uniform(-0.4, 0.4) * radius, y + dice.uniform(-0.4, 0.4) * radius
        self.canvas.remove([disc(*middle, radius * dice.uniform(0.15, 0.3))])
        slit, reach = dice.uniform(4, 8), 2 * radius
        for _ in range(dice.integer(1, 3)):
            ux, uy = dice.choice(HEADINGS)
            if dice.chance(0.6):
                begin = middle
            else:
                begin = x + uy * radius / 2 - ux * reach, y - ux * radius / 2 - uy * reach
                reach = 2 * reach
            end = begin[0] + ux * reach, begin[1] + uy * reach
            self.canvas.remove(pieces([begin, end], slit))

    def wide_trace(self) -> None:
        """A trace of its own, as wide as the family's wide ones."""
        width = self.dice.uniform(*self.family.wide)
        self._lane(self._path(*border(self.dice, self.size), straight=(120, 360)), width, via=None, stops=0.2)

    def bus(self) -> None:
        """Parallel traces that bend together and end one by one, in vias."""
        dice = self.dice
        lanes = dice.integer(*self.family.lanes)
        path = self._path(*border(dice, self.size), straight=(60, 260))
        via = self.trace * dice.uniform(0.9, 1.25) if self.trace < 20 else None
        for lane in range(lanes):
            offset = (lane - (lanes - 1) / 2) * (self.trace + self.gap)
            self._lane(parallel(path, offset), self.trace, via, self.family.stops)

    def via(self) -> None:
        """A disc of copper that stands alone."""
        shape = disc(*self._anywhere(), self.trace * self.dice.choice((0.9, 1.1, 2.4)))
        if self.canvas.is_clear(shape, self.clearance):
            self.canvas.add([shape])

    def pads(self) -> None:
        """A group of pads in one of the family's styles, with traces that lead away."""
        draw: dict[PadStyle, Callable[[], None]] = {
            "vias": self._vias,
            "holes": self._holes,
            "ovals": self._ovals,
            "chips": self._chips,
            "footprint": self._footprint,
        }
        draw[self.dice.choice(self.family.pad_styles)]()

    def _vias(self) -> None:
        columns, rows = self.dice.integer(1, 4), self.dice.integer(1, 3)
        radius = self.trace * self.dice.uniform(1.0, 1.5)
        self._discs(columns, rows, radius, 0, pitch=2 * radius + self.gap + 1.5 * self.trace)

    def _holes(self) -> None:
        columns, rows = self.dice.integer(1, 4), self.dice.integer(1, 2)
        radius = self.dice.uniform(17, 34)
        pitch = 2 * radius + self.gap + self.dice.uniform(4, 40)
        self._discs(columns, rows, radius, self.drill * radius, pitch)

    def _discs(self, columns: int, rows: int, radius: float, hole: float, pitch: float) -> None:
        left, top = self._anywhere()
        for x in (left + i * pitch for i in range(columns)):
            for y in (top + i * pitch for i in range(rows)):
                pad = disc(x, y, radius)
                if not self.canvas.is_clear(pad, self.clearance):
                    continue
                if self.dice.chance(0.7):
                    self._lead(x, y, self.dice.integer(0, 7), min(self.trace, radius - hole))
                self.canvas.add([pad])
                if hole:
                    self.canvas.remove([disc(x, y, hole)])

    def _ovals(self) -> None:
        dice = self.dice
        radius = dice.uniform(15, 32)
        half = dice.choice((0.0, radius * dice.uniform(0.8, 2.2)))
        heading = dice.integer(0, 3)
        ux, uy = HEADINGS[heading]
        x, y = self._anywhere()
        pitch = 2 * radius + self.clearance + dice.uniform(6, 60)
        drilled = dice.chance(0.6)
        for i in range(dice.integer(1, 4)):
            middle, end = (x - uy * pitch * i, y + ux * pitch * i), (ux * half, uy * half)
            pad = Capsule(middle[0] - end[0], middle[1] - end[1], middle[0] + end[0], middle[1] + end[1], radius)
            if not self.canvas.is_clear(pad, self.clearance):
                continue
            if dice.chance(0.8):
                width = dice.choice((self.trace, min(2 * radius, dice.uniform(*self.family.wide))))
                self._lead(pad.x2, pad.y2, heading + dice.integer(-1, 1), width)
            self.canvas.add([pad])
            if drilled:
                self.canvas.remove([disc(pad.x2, pad.y2, self.drill * radius)])

    def _chips(self) -> None:
        dice = self.dice
        half_width, half_height = dice.uniform(11, 30), dice.uniform(12, 34)
        chamfer = dice.choice((1.5, 1.5, 4.0))
        self._rows(
            (half_width, half_height, chamfer),
            heading=dice.integer(0, 7) if dice.chance(0.15) else 2 * dice.integer(0, 3),
            count=dice.integer(1, 4),
            sides=(-1, 1),
            apart=2 * half_width + max(self.clearance, dice.uniform(10, 26)),
            pitch=2 * half_height + self.clearance + dice.uniform(4, 30),
            clearance=self.clearance,
        )

    def _footprint(self) -> None:
        dice = self.dice
        half = self.trace * dice.uniform(0.55, 0.8)
        self._rows(
            (dice.uniform(12, 20), half, 1.5),
            heading=2 * dice.integer(0, 3),
            count=dice.integer(4, 12),
            sides=(-1, 1)[: dice.integer(1, 2)],
            apart=dice.uniform(60, 130),
            pitch=2 * half + max(7.0, dice.uniform(0.7, 1.1) * self.gap),
            clearance=5.0,
        )

    def _rows(
        self,
        pad_shape: tuple[float, float, float],
        *,
        heading: int,
        count: int,
        sides: Sequence[int],
        apart: float,
        pitch: float,
        clearance: float,
    ) -> None:
        """Rows of `count` rectangles that face each other, `apart`; `pad_shape` is half width, half height, chamfer."""
        x, y = self._anywhere()
        ux, uy = HEADINGS[heading]
        for side in sides:
            for i in range(count):
                pad_x, pad_y = x + ux * side * apart / 2 - uy * pitch * i, y + uy * side * apart / 2 + ux * pitch * i
                pad = Rectangle(pad_x, pad_y, *pad_shape, ux, uy)
                if not self.canvas.is_clear(pad, clearance):
                    continue
                if self.dice.chance(0.65):
                    self._lead(pad_x, pad_y, heading if side > 0 else heading + 4, self.trace * 0.9, clearance)
                self.canvas.add([pad])

    def _lead(self, x: float, y: float, heading: int, width: float, clearance: float | None = None) -> None:
        """A trace that leads away from a pad that is not laid yet."""
        via = width * self.dice.uniform(0.9, 1.3) if width < 20 else None
        path = self._path((x, y), heading % len(HEADINGS), straight=(30, 200))
        self._lane(path, width, via, stops=0.5, clearance=clearance)

    def _lane(
        self, path: Sequence[Point], width: float, via: float | None, stops: float, clearance: float | None = None
    ) -> None:
        """Lay a trace up to the first obstacle, or, with probability `stops`, less; on the board it ends in a via.

        `via` is that via's radius, `clearance` the distance kept from other copper; by default the board's own.
        """
        near = clearance or self.clearance
        whole = pieces(path, width / 2)
        last = self.dice.integer(1, len(whole)) if whole and self.dice.chance(stops) else len(whole)
        reached = 0
        while reached < last and self.canvas.is_clear(whole[reached], near):
            reached += 1
        tip: list[Capsule] = []
        if via and reached < len(whole):
            while reached and not self.canvas.is_clear(_end(whole[reached - 1], via), near):
                reached -= 1
            tip = [_end(piece, via) for piece in whole[:reached][-1:]]
        if reached >= 2:
            self.canvas.add(whole[:reached] + tip)

    def _path(self, start: Point, heading: int, straight: Range) -> list[Point]:
        """A path across the board in the family's style of turning."""
        if self.family.corner == "curve":
            return curved(self.dice, start, heading, self.size)
        turn = 2 if self.family.corner == "square" else 1
        return cornered(self.dice, start, heading, turn=turn, straight=straight, size=self.size)

    def _anywhere(self) -> Point:
        return self.dice.uniform(-10, self.size + 10), self.dice.uniform(-10, self.size + 10)


def _end(piece: Capsule, radius: float) -> Capsule:
    return disc(piece.x2, piece.y2, radius)
