"""Shapes against their geometry, sampled point by point."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.boards.canvas import REACH, Canvas, Capsule, Rectangle, Shape, depth, disc, window
from data.boards.paths import parallel, pieces

places = st.floats(-20, 80)
shapes = st.one_of(
    st.builds(Capsule, places, places, places, places, st.floats(1, 20)),
    st.builds(disc, places, places, st.floats(1, 20)),
    st.builds(Rectangle, places, places, st.floats(2, 20), st.floats(2, 20), st.floats(0, 2)),
)


@given(shapes, shapes)
def test_laying_and_taking_away_are_union_and_difference(first: Shape, second: Shape) -> None:
    whole = (slice(0, 64), slice(0, 64))
    a, b = depth(first, whole) > 1e-3, depth(second, whole) > 1e-3
    clear = (np.abs(depth(first, whole)) > 1e-3) & (np.abs(depth(second, whole)) > 1e-3)
    canvas = Canvas(64)
    canvas.add([first, second])
    assert ((canvas.field > 0) == (a | b))[clear].all()
    canvas.remove([second])
    assert ((canvas.field > 0) == (a & ~b))[clear].all()
    assert canvas.field.dtype == np.float32
    assert np.abs(canvas.field).max() <= REACH


@given(shapes, shapes, st.floats(0, 12))
def test_a_shape_is_clear_of_what_lies_farther_than_the_clearance(laid: Shape, shape: Shape, clearance: float) -> None:
    canvas = Canvas(64)
    canvas.add([laid])
    near = depth(shape, (slice(0, 64), slice(0, 64))) > -clearance
    assert canvas.is_clear(shape, clearance) == (not (near & (canvas.field > 0)).any())


def test_depth_is_the_distance_to_the_edge() -> None:
    area = (slice(0, 41), slice(0, 41))
    bar = depth(Capsule(10, 20, 30, 20, 5), area)
    assert (bar[20, 20], bar[15, 20], bar[20, 35], bar[20, 38]) == (5, 0, 0, -3)
    square = depth(Rectangle(20, 20, 10, 6, chamfer=4), area)
    assert (square[20, 20], square[14, 20], square[20, 33]) == (6, 0, -3)
    assert square[14, 30] == pytest.approx(-4 * math.sqrt(0.5))


def test_a_window_off_the_board_is_none() -> None:
    assert window((70, 0, 80, 10), 2, 64) is None
    assert window((60, -5, 80, 10.5), 2, 64) == (slice(0, 14), slice(58, 64))


@given(st.floats(-30, 30), st.floats(20, 300))
def test_a_parallel_path_keeps_its_distance_round_corners(offset: float, length: float) -> None:
    path = [(0.0, 0.0), (length, 0.0), (length + 100, 100.0), (length + 100, 300.0)]
    moved = parallel(path, offset)
    for (ax, ay), (bx, by), (px, py) in zip(path, path[1:], moved, strict=False):
        along = math.hypot(bx - ax, by - ay)
        assert ((bx - ax) * (py - ay) - (by - ay) * (px - ax)) / along == pytest.approx(offset, abs=1e-6)


def test_pieces_cover_their_path() -> None:
    capsules = pieces([(0, 0), (100, 0), (100, 30)], 4)
    assert [round(c.x2, 6) for c in capsules[:3]] == [33.333333, 66.666667, 100]
    assert (capsules[3].y1, capsules[3].y2) == (0, 30)
