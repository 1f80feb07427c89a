"""Overlaps of boxes."""

from __future__ import annotations

import numpy as np
import pytest

from data.sample import Box
from models.boxes import corners, intersection_over_union, scores


def test_overlaps_by_hand():
    boxes = corners([Box(0, 0, 10, 10, "a"), Box(5, 0, 15, 10, "a"), Box(20, 20, 30, 30, "a")])
    assert intersection_over_union(boxes, boxes)[0].tolist() == pytest.approx([1, 1 / 3, 0])


def test_an_empty_box_overlaps_nothing():
    boxes = np.array([[3.0, 3.0, 3.0, 3.0]])
    assert intersection_over_union(boxes, boxes).tolist() == [[0]]


def test_no_boxes_have_shapes_too():
    assert corners([]).shape == (0, 4)
    assert intersection_over_union(corners([]), corners([Box(0, 0, 1, 1, "a")])).shape == (0, 1)


def test_a_box_without_a_score_is_certain():
    assert scores([Box(0, 0, 1, 1, "a"), Box(0, 0, 1, 1, "a", 0.5)]).tolist() == [1.0, 0.5]
