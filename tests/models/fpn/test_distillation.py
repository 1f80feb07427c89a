"""Distillation against values worked out by hand, and what it leaves to the labels."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from models.fpn.distillation import distillation_loss
from models.fpn.losses import BOX_WEIGHT, CLASS_WEIGHT
from models.fpn.targets import BACKGROUND, IGNORED

SURE, UNSURE, BLIND = 4.0, -2.0, -6.0


def loss(
    logits: list[float],
    teacher: list[float],
    target: int = BACKGROUND,
    *,
    labelled: tuple[bool, bool] = (True, True),
    knows: tuple[bool, bool] = (True, True),
    distance: float = 5.0,
) -> float:
    """The loss of one point at (5, 5) with two classes, whose box is (0, 0, 10, 10) if the teacher is asked."""
    value = distillation_loss(
        tf.constant([[logits]], tf.float32),
        tf.fill((1, 1, 4), distance),
        tf.constant([[teacher]], tf.float32),
        tf.fill((1, 1, 4), 5.0),
        tf.constant([[5.0, 5.0]]),
        tf.constant([[target]]),
        tf.constant([[labelled]]),
        np.array(knows),
    )
    return float(value)


def divergence(logit: float, teacher: float) -> float:
    """The Kullback-Leibler divergence between two Bernoulli distributions."""
    said, taught = (1 / (1 + np.exp(-value)) for value in (logit, teacher))
    return float(taught * np.log(taught / said) + (1 - taught) * np.log((1 - taught) / (1 - said)))


def test_the_teacher_itself_costs_nothing():
    assert loss([SURE, UNSURE], [SURE, UNSURE]) == pytest.approx(0, abs=1e-6)


def test_at_the_background_all_that_the_teacher_knows_counts():
    expected = CLASS_WEIGHT * (divergence(0, UNSURE) + divergence(1, BLIND))
    assert loss([0, 1], [UNSURE, BLIND]) == pytest.approx(expected, rel=1e-4)


def test_what_the_teacher_does_not_know_is_free():
    expected = CLASS_WEIGHT * divergence(0, UNSURE)
    assert loss([0, 1], [UNSURE, BLIND], knows=(True, False)) == pytest.approx(expected, rel=1e-4)
    assert loss([0, 1], [SURE, SURE], knows=(False, False), distance=2.0) == 0


def test_a_confident_teacher_holds_its_box():
    same = loss([SURE, BLIND], [SURE, BLIND], distance=2.5)
    assert same == pytest.approx(BOX_WEIGHT * (1 - 0.25), rel=1e-4)
    assert loss([UNSURE, BLIND], [UNSURE, BLIND], distance=2.5) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("target", [0, 1])
def test_where_the_labels_say_it_the_teacher_is_not_asked(target):
    assert loss([0, 0], [SURE, SURE], target, distance=2.5) == 0


def test_at_a_labelled_box_only_the_classes_that_it_is_not_labelled_for_count():
    expected = CLASS_WEIGHT * divergence(0, UNSURE)
    assert loss([0, 0], [SURE, UNSURE], 0, labelled=(True, False)) == pytest.approx(expected, rel=1e-4)
    assert loss([0, 0], [SURE, BLIND], 0, labelled=(True, False)) == 0


def test_ignored_points_cost_nothing():
    assert loss([0, 0], [SURE, SURE], IGNORED, labelled=(False, False)) == 0
