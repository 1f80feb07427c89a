"""What each defect does to the connected parts of a whole board, counted independently of how it was placed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from data.boards.board import FRAME
from data.boards.defects import DEFECTS, SPECK, Defect, Pen
from data.boards.dice import Dice
from data.boards.family import FAMILIES
from data.boards.layout import draw_layout
from data.boards.scanner import scan

SIZE = 480


def parts(mask: np.ndarray) -> int:
    """How many connected parts of more than a few pixels there are."""
    labels, _ = ndimage.label(mask)
    return int((np.bincount(labels.ravel())[1:] > SPECK).sum())


def drawn(defect: Defect, index: int) -> list[tuple[np.ndarray, np.ndarray, tuple[int, int, int, int]]]:
    """The copper before and after, and the box, of one defect on a board of each family that has room for it."""
    results = []
    for family in FAMILIES.values():
        dice = Dice(family.seed, 1000 + index)
        field = scan(draw_layout(family, dice, SIZE), dice)
        before = field > 0
        pen = Pen(field, dice, FRAME)
        if pen.draw(defect, attempts=200):
            results.append((before, field > 0, pen.boxes[0]))
    assert len(results) >= 5
    return results


def around(box: tuple[int, int, int, int]) -> tuple[slice, slice]:
    return slice(box[1], box[3]), slice(box[0], box[2])


@pytest.mark.parametrize("index", range(3))
@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.label)
def test_a_defect_changes_pixels_of_its_side_alone_and_in_its_box_alone(defect: Defect, index: int) -> None:
    for before, after, box in drawn(defect, index):
        changed = before != after
        assert changed.sum() >= 20
        assert changed.sum() == changed[around(box)].sum()
        assert (before[changed] == (defect.side > 0)).all()


@pytest.mark.parametrize("index", range(3))
@pytest.mark.parametrize(
    ("label", "copper", "background"),
    [("mousebite", (0, 1), 0), ("spur", (0,), 0), ("copper", (1,), 0), ("pin-hole", (0,), 1)],
)
def test_the_parts_of_the_board_change_as_the_name_says(
    label: str, copper: tuple[int, ...], background: int, index: int
) -> None:
    defect = next(defect for defect in DEFECTS if defect.label == label)
    for before, after, _ in drawn(defect, index):
        assert parts(after) - parts(before) in copper
        assert parts(~after) - parts(~before) == background


@pytest.mark.parametrize("index", range(3))
def test_a_short_joins_two_conductors_into_one(index: int) -> None:
    for before, after, _ in drawn(DEFECTS[1], index):
        assert parts(after) - parts(before) == -1


@pytest.mark.parametrize("index", range(3))
def test_an_open_cuts_a_conductor_in_two(index: int) -> None:
    for before, after, box in drawn(DEFECTS[0], index):
        # A conductor that runs in a ring outside the box stays one part; in the box it is always two.
        assert parts(after) - parts(before) in (0, 1)
        assert parts(~after) - parts(~before) in (0, -1)
        assert parts(after[around(box)]) - parts(before[around(box)]) == 1


def test_some_opens_cut_a_corner_off() -> None:
    # What runs across a conductor joins the gaps on its two sides; what cuts a corner off lies in one gap.
    joined = [parts(~after) - parts(~before) for index in range(4) for before, after, _ in drawn(DEFECTS[0], index)]
    assert set(joined) == {0, -1}


def test_some_mousebites_cut_a_piece_off_an_edge() -> None:
    pieces = [parts(after) - parts(before) for index in range(12) for before, after, _ in drawn(DEFECTS[2], index)]
    assert set(pieces) == {0, 1}
    assert np.mean(pieces) < 0.3


@pytest.mark.parametrize("side", [1, -1])
def test_a_board_without_any_edge_has_room_for_spots_only(side: int) -> None:
    field = np.full((SIZE, SIZE), 6.0 * side, np.float32)
    pen = Pen(field, Dice(1), FRAME)
    assert [defect.label for defect in DEFECTS if pen.draw(defect)] == (["pin-hole"] if side > 0 else ["copper"])
