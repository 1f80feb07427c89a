"""DeepPCB's pooled score: the golden figures, and what is peculiar to its matching."""

from __future__ import annotations

import pytest

from data.sample import Box
from models.pooled import best_threshold, deeppcb, match


def test_golden_score(golden):
    expected, images = golden
    score = deeppcb(images.values(), threshold=expected["best_f_threshold"])
    assert score.ap == pytest.approx(expected["pooled_ap_iou33"], abs=5e-5)
    assert score.precision == pytest.approx(expected["precision_at_best_f"], abs=5e-5)
    assert score.recall == pytest.approx(expected["recall_at_best_f"], abs=5e-5)
    assert score.f1 == pytest.approx(expected["best_f_iou33"], abs=5e-5)


def test_the_middle_of_the_plateau_is_nearly_the_best(golden):
    expected, images = golden
    score = deeppcb(images.values(), threshold=best_threshold(images.values()))
    assert score.f1 > expected["best_f_iou33"] - 0.005


def test_a_wrong_class_uses_the_true_box_up():
    truth = [Box(0, 0, 10, 10, "open")]
    found = [Box(0, 0, 10, 10, "short", 0.4), Box(0, 0, 10, 10, "open", 0.9)]
    assert match(truth, found).tolist() == [False, False]
    assert match(truth, found[::-1]).tolist() == [True, False]


def test_average_precision_by_hand():
    truth = [Box(0, 0, 10, 10, "open"), Box(20, 0, 30, 10, "open")]
    found = [Box(0, 0, 10, 10, "open", 0.9), Box(50, 0, 60, 10, "open", 0.8), Box(20, 0, 30, 10, "open", 0.7)]
    assert deeppcb([(truth, found)]).ap == pytest.approx((1 + 2 / 3) / 2)


def test_of_equal_confidences_the_wrong_ones_come_first():
    truth = [Box(0, 0, 10, 10, "open")]
    found = [Box(0, 0, 10, 10, "open", 0.5), Box(50, 0, 60, 10, "open", 0.5)]
    assert deeppcb([(truth, found)]).ap == deeppcb([(truth, found[::-1])]).ap == 0.5


def test_nothing_found_is_no_precision_and_no_score():
    score = deeppcb([([Box(0, 0, 10, 10, "open")], [])])
    assert (score.ap, score.precision, score.recall, score.f1) == (0.0, None, 0.0, 0.0)
    assert best_threshold([([Box(0, 0, 10, 10, "open")], [])]) == 0.5


def test_the_threshold_lies_between_the_hits_and_the_false_alarms():
    truth = [Box(0, 0, 10, 10, "open")]
    found = [Box(0, 0, 10, 10, "open", 0.8), Box(50, 0, 60, 10, "open", 0.2)]
    assert best_threshold([(truth, found)]) == pytest.approx(0.5)
