"""Synthetic circuit boards with known defects: family, index and size decide every pixel, on every machine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data.boards.defects import DEFECTS, Pen
from data.boards.dice import Dice
from data.boards.family import Family
from data.boards.layout import draw_layout
from data.boards.scanner import scan
from data.sample import Box

LABELS = tuple(defect.label for defect in DEFECTS)
FRAME = 4
SMALLEST, LARGEST = 320, 640


@dataclass(frozen=True)
class SyntheticBoard:
    """A board and its defect-free template, uint8 grey [size, size], copper 0 and background 255, with its defects."""

    name: str
    image: np.ndarray
    template: np.ndarray
    boxes: tuple[Box, ...]


def draw_board(family: Family, index: int, size: int = LARGEST, flawless: bool = False) -> SyntheticBoard:
    """Draw board number `index` of a family: 3 to 12 defects in the manner of DeepPCB (arXiv 1902.06197), or none.

    Board and template are two scans, so their edges differ; in three of ten the template lies 1 or 2 px off.

    Raises:
        ValueError: `size` is not within 320 to 640 px, or `index` is negative.
    """
    if not SMALLEST <= size <= LARGEST or index < 0:
        raise ValueError(f"size {size}, index {index}: choose a size of {SMALLEST} to {LARGEST} px and an index from 0")
    dice = Dice(family.seed, index)
    clean = draw_layout(family, dice, size + 2 * FRAME)
    while not 0.04 < (clean > 0).mean() < 0.93:
        clean = draw_layout(family, dice, size + 2 * FRAME)
    board = scan(clean, dice)
    boxes = () if flawless else _draw_defects(board, dice)
    across, down = (dice.integer(-2, 2) for _ in "xy") if dice.chance(0.3) else (0, 0)
    template = scan(clean, dice)
    return SyntheticBoard(
        name=f"{family.name}{index:05d}",
        image=_pixels(board, size, 0, 0),
        template=_pixels(template, size, across, down),
        boxes=boxes,
    )


def write_boards(directory: Path, family: Family, indices: Iterable[int], size: int = LARGEST) -> list[Path]:
    """Write boards as DeepPCB names them: `NAME_test.png`, `NAME_temp.png`, `NAME.txt` of lines `x1 y1 x2 y2 type`.

    Returns the `_test.png` paths.
    """
    from PIL import Image

    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for index in indices:
        board = draw_board(family, index, size)
        path = directory / f"{board.name}_test.png"
        Image.fromarray(board.template).save(directory / f"{board.name}_temp.png")
        lines = [f"{b.x1:.0f} {b.y1:.0f} {b.x2:.0f} {b.y2:.0f} {LABELS.index(b.label) + 1}\n" for b in board.boxes]
        (directory / f"{board.name}.txt").write_text("".join(lines))
        Image.fromarray(board.image).save(path)
        written.append(path)
    return written


def _draw_defects(board: np.ndarray, dice: Dice) -> tuple[Box, ...]:
    """Draw 3 to 12 defects, every kind about as often, into `board`; their boxes in pixels of the image."""
    wanted = 3 + sum(dice.chance(0.45) for _ in range(9))
    pen = Pen(board, dice, FRAME)
    first = dice.integer(0, len(DEFECTS) - 1)
    boxes: list[Box] = []
    for turn in range(3 * wanted):
        box = pen.draw(DEFECTS[(first + turn) % len(DEFECTS)])
        if box:
            boxes.append(replace(box, x1=box.x1 - FRAME, y1=box.y1 - FRAME, x2=box.x2 - FRAME, y2=box.y2 - FRAME))
        if len(boxes) == wanted:
            break
    return tuple(boxes)


def _pixels(field: np.ndarray, size: int, across: int, down: int) -> np.ndarray:
    """The frame of the field, moved by whole pixels, as black copper on white."""
    rows, columns = slice(FRAME + down, FRAME + down + size), slice(FRAME + across, FRAME + across + size)
    return np.where(field[rows, columns] > 0, 0, 255).astype(np.uint8)
