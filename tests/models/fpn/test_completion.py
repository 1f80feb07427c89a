"""Completion: what is added, what is not, and what then counts as labelled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from data.sample import Box
from models.fpn.completion import complete
from models.fpn.network import build_network
from models.fpn.predictor import Predictor
from models.fpn.prepared import PreparedExamples

CLASSES = ["hole", "spot", "scratch"]
FOUND = (
    Box(10, 10, 30, 30, "hole", 0.9),
    Box(60, 60, 80, 80, "hole", 0.4),
    Box(90, 90, 110, 110, "spot", 0.8),
    Box(42, 40, 62, 60, "hole", 0.7),
    Box(5, 90, 25, 110, "scratch", 0.9),
)
LABELLED = Box(40, 40, 60, 60, "spot")


class Finds(Predictor):
    """Finds the same in every image."""

    def predict(self, images: Sequence[np.ndarray]) -> list[tuple[Box, ...]]:
        return [FOUND for _ in images]


def predictor() -> Predictor:
    return Finds(build_network(2, 3), CLASSES, 1)


def test_sure_boxes_of_open_classes_that_it_knows_are_added(boards):
    whole, partial, other = boards(0, 3)
    examples = PreparedExamples(
        [
            whole,
            replace(partial, boxes=(LABELLED,), classes=frozenset({"spot"})),
            replace(other, boxes=(), classes=frozenset({"hole", "spot"})),
        ],
        CLASSES,
        "pair",
    )
    untouched = [examples.outlines[0], examples.outlines[2]]
    assert complete(examples, predictor(), np.array([True, True, False]), threshold=0.5) == 1
    first, second, third = examples.outlines
    assert first is untouched[0]
    assert third is untouched[1]
    assert second.boxes.tolist() == [[40, 40, 60, 60], [10, 10, 30, 30]]
    assert second.classes.tolist() == [1, 0]
    assert second.labelled.tolist() == [True, True, False]


def test_where_nothing_is_found_the_class_is_absent(boards):
    examples = PreparedExamples([replace(boards(0, 1)[0], boxes=(), classes=frozenset({"spot"}))], CLASSES, "pair")
    assert complete(examples, predictor(), np.array([True, True, False]), threshold=0.95) == 0
    assert examples.outlines[0].labelled.tolist() == [True, True, False]
    assert len(examples.outlines[0].boxes) == 0
