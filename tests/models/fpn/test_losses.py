"""The loss against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from models.fpn.losses import BOX_WEIGHT, CLASS_WEIGHT, detection_loss, overlaps
from models.fpn.targets import BACKGROUND, IGNORED


def tensor(values: object) -> tf.Tensor:
    return tf.constant(np.array(values, np.float32))


@pytest.mark.parametrize(
    ("second", "iou", "generalised"),
    [
        ((0, 0, 10, 10), 1.0, 1.0),
        ((5, 0, 15, 10), 1 / 3, 1 / 3),
        ((20, 0, 30, 10), 0.0, -1 / 3),
        ((10, 10, 20, 20), 0.0, -0.5),
    ],
)
def test_overlaps_by_hand(second, iou, generalised):
    values = overlaps(tensor((0, 0, 10, 10)), tensor(second))
    assert [float(value) for value in values] == pytest.approx([iou, generalised], abs=1e-6)


def loss(logit: float, distance: float, target: int, *, labelled: bool = True) -> float:
    """The loss of one point at (5, 5) with one class, whose box, if any, is (0, 0, 10, 10)."""
    box = (0, 0, 10, 10) if target >= 0 else (0, 0, 0, 0)
    value = detection_loss(
        tensor([[[logit]]]),
        tensor([[[distance] * 4]]),
        tensor([[5, 5]]),
        tf.constant([[target]]),
        tensor([[box]]),
        tf.constant([[[labelled]]]),
    )
    return float(value)


def test_background_by_hand():
    assert loss(0.0, 5, BACKGROUND) == pytest.approx(CLASS_WEIGHT * 0.5**2 * np.log(2), rel=1e-5)


def test_ignored_points_cost_nothing():
    assert loss(3.0, 5, IGNORED) == 0.0


def test_a_perfect_box_leaves_its_class():
    assert loss(0.0, 5, 0) == pytest.approx(CLASS_WEIGHT * 0.5**2 * np.log(2), rel=1e-5)


def test_a_wrong_box_lowers_the_class_that_is_wanted():
    overlap = (2.5 / 5) ** 2
    quality = max(overlap, 0.3)
    expected = CLASS_WEIGHT * (quality - 0.5) ** 2 * np.log(2) + BOX_WEIGHT * (1 - overlap)
    assert loss(0.0, 2.5, 0) == pytest.approx(expected, rel=1e-5)


def test_what_a_point_is_not_labelled_for_costs_nothing():
    assert loss(3.0, 5, BACKGROUND, labelled=False) == 0.0
    assert loss(3.0, 5, 0, labelled=False) == 0.0


def test_each_point_has_classes_of_its_own_that_teach_it():
    logits = tf.Variable(np.zeros((1, 2, 3), np.float32))
    with tf.GradientTape() as tape:
        value = detection_loss(
            logits,
            tf.ones((1, 2, 4)),
            tensor([[5, 5], [50, 50]]),
            tf.constant([[BACKGROUND, 1]]),
            tensor([[(0, 0, 0, 0), (45, 45, 55, 55)]]),
            tf.constant([[[True, False, False], [True, True, False]]]),
        )
    gradient = tape.gradient(value, logits).numpy()
    assert ((gradient != 0) == [[[True, False, False], [True, True, False]]]).all()
