"""Which point learns which box."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.fpn.grid import points, strides
from models.fpn.targets import BACKGROUND, IGNORED, RADIUS, assign

SIDE = 128
NONE = np.zeros((0, 4))

sides = st.floats(1, 120)


@st.composite
def boxes_in_a_sample(draw) -> np.ndarray:
    rows = []
    for _ in range(draw(st.integers(0, 5))):
        width, height = draw(sides), draw(sides)
        x, y = draw(st.floats(0, SIDE - width)), draw(st.floats(0, SIDE - height))
        rows.append((x, y, x + width, y + height))
    return np.array(rows).reshape(-1, 4)


@given(boxes_in_a_sample(), st.integers(1, 3))
def test_a_lone_box_always_has_a_point(boxes, levels):
    for box in boxes:
        targets = assign(SIDE, levels, box[None], np.array([0]), NONE)
        assert (targets.classes == 0).any()


@given(boxes_in_a_sample(), st.integers(1, 3))
def test_a_point_learns_a_box_whose_centre_is_near(boxes, levels):
    targets = assign(SIDE, levels, boxes, np.arange(len(boxes)), NONE)
    grid = points(SIDE, SIDE, levels)
    assert len(grid) == len(targets.classes) == len(targets.boxes)
    for (x, y, stride), index, box in zip(grid, targets.classes, targets.boxes, strict=True):
        if index != BACKGROUND:
            assert np.allclose(box, boxes[index], rtol=1e-5)
            centre = (box[:2] + box[2:]) / 2
            assert np.abs(centre - [x, y]).max() <= RADIUS * stride + 1e-3


@given(boxes_in_a_sample())
def test_every_box_is_learnt_on_one_level(boxes):
    for box in boxes:
        targets = assign(SIDE, 3, box[None], np.array([0]), NONE)
        levels = points(SIDE, SIDE, 3)[targets.classes == 0, 2]
        assert len(set(levels)) == 1
        assert levels[0] in strides(3)


def test_the_smaller_of_two_boxes_wins():
    boxes = np.array([[60.0, 60, 70, 70], [40.0, 40, 90, 90]])
    targets = assign(SIDE, 1, boxes, np.array([0, 1]), NONE)
    nearest = np.abs(points(SIDE, SIDE, 1)[:, :2] - 65).sum(axis=1).argmin()
    assert targets.classes[nearest] == 0
    assert (targets.classes == 1).any()


def test_ignored_regions_teach_nothing_unless_a_box_is_there():
    ignored = np.array([[0.0, 0, 64, 128]])
    targets = assign(SIDE, 1, np.array([[8.0, 8, 24, 24]]), np.array([3]), ignored)
    left = points(SIDE, SIDE, 1)[:, 0] < 64
    assert set(targets.classes[left]) == {IGNORED, 3}
    assert set(targets.classes[~left]) == {BACKGROUND}
