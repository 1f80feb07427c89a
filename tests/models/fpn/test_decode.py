"""From points to boxes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.boxes import intersection_over_union
from models.fpn.decode import CANDIDATES, LEAST_SCORE, best_points, suppress, to_boxes, unshared

corner = st.integers(0, 30)
box_arrays = st.lists(st.tuples(corner, corner, st.integers(1, 20), st.integers(1, 20)), max_size=12).map(
    lambda rows: np.array([(x, y, x + w, y + h) for x, y, w, h in rows], np.float64).reshape(-1, 4)
)


@given(box_arrays)
def test_the_kept_do_not_overlap_and_cover_the_rest(boxes):
    kept = suppress(boxes, 0.5)
    overlaps = intersection_over_union(boxes, boxes)
    assert (overlaps[np.ix_(kept, kept)] - np.eye(len(kept)) <= 0.5).all()
    for index in set(range(len(boxes))) - set(kept):
        assert any(better < index and overlaps[better, index] > 0.5 for better in kept)


@given(box_arrays)
def test_a_score_shrinks_by_what_better_boxes_share_and_by_nothing_else(boxes):
    factors = unshared(boxes)
    overlaps = intersection_over_union(boxes, boxes)
    for index, factor in enumerate(factors):
        assert factor == pytest.approx(np.prod([1 - overlaps[index, better] for better in range(index)]))


def test_boxes_that_overlap_better_ones_come_later_or_not_at_all():
    # The second shares a third with the first, the third and the last nothing with any.
    corners = np.array([[0.0, 0, 20, 20], [10, 0, 30, 20], [40, 40, 60, 60], [0, 30, 20, 50]])
    found = to_boxes(corners, np.array([0.9, 0.6, 0.5, 0.06]), ["a", "b", "c", "d"], size=(64, 64))
    assert [box.label for box in found] == ["a", "c", "b", "d"]
    assert [box.score for box in found] == pytest.approx([0.9, 0.5, 0.4, 0.06])
    found = to_boxes(corners[:2], np.array([0.9, 0.07]), ["a", "b"], size=(64, 64))
    assert [box.label for box in found] == ["a"]


def test_boxes_are_clipped_and_those_outside_dropped():
    corners = np.array([[-5.0, -5, 20, 20], [60, 0, 80, 20], [30, 30, 40, 40]])
    found = to_boxes(corners, np.array([0.9, 0.8, 0.7]), ["a", "b", "c"], size=(50, 50))
    assert [(box.x1, box.y1, box.x2, box.y2, box.label) for box in found] == [
        (0, 0, 20, 20, "a"),
        (30, 30, 40, 40, "c"),
    ]


def test_the_best_points_come_first():
    logits = np.array([[0.0, -1.0], [-1.0, 2.0], [-4.0, -3.0]])
    centres = np.array([[4.0, 4.0], [12.0, 4.0], [20.0, 4.0]])
    corners, scores, classes = best_points(logits, np.ones((3, 4)), centres)
    assert classes.tolist() == [1, 0]
    assert corners.tolist() == [[11, 3, 13, 5], [3, 3, 5, 5]]
    assert scores == pytest.approx([1 / (1 + np.exp(-2)), 0.5])


@given(st.integers(0, 99), st.floats(-6, 2))
def test_no_better_point_is_left_out(seed, shift):
    logits = np.random.default_rng(seed).normal(shift, 1, (2 * CANDIDATES, 3))
    _, scores, _ = best_points(logits, np.ones((len(logits), 4)), np.zeros((len(logits), 2)))
    every = np.sort(1 / (1 + np.exp(-logits.max(axis=1))))[::-1]
    assert scores == pytest.approx(every[: min(CANDIDATES, int((every >= LEAST_SCORE).sum()))])


def test_no_points_are_no_boxes():
    assert to_boxes(np.zeros((0, 4)), np.zeros(0), [], size=(50, 50)) == ()
