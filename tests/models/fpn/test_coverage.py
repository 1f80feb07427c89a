"""What training data cannot teach is said, in one sentence for each thing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from data.sample import Box, Example
from models.estimator import TrainingRefused
from models.fpn.coverage import sample_side, shortcomings
from models.fpn.prepared import PreparedExamples

CLASSES = ["hole", "spot", "scratch"]


def prepared(examples: list[Example]) -> PreparedExamples:
    return PreparedExamples(examples, CLASSES, "pair")


def test_a_class_without_a_box_and_boxes_of_unseen_sizes_are_named(boards):
    first, second, third = boards(0, 3)
    odd = (Box(0, 0, 100, 20, "hole"), Box(5, 5, 8, 8, "spot"), Box(5, 5, 30, 8, "spot"))
    examples = prepared([replace(first, boxes=odd), replace(second, boxes=(), classes=frozenset({"spot"})), third])
    assert shortcomings(examples, 64) == [
        "none of the 2 examples that are labelled for scratch has a box of it; nothing of it is learnt",
        "1 of 7 boxes are longer than a training sample of 64 px and teach nothing; "
        "choose a larger crop where the images are larger",
        "1 of 7 boxes are shorter than 4 px, which is hardly seen; make sure that they are meant",
    ]
    assert len(shortcomings(examples, 100)) == 2


def test_good_data_has_none(boards):
    assert shortcomings(PreparedExamples(boards(0, 3), CLASSES[:2], "pair"), 96) == []


def test_a_sample_fits_into_the_smallest_image(boards):
    assert sample_side(prepared([*boards(0, 1), *boards(0, 1, 100)]), 320) == 96
    assert sample_side(prepared(boards(0, 1)), 64) == 64


def test_images_that_are_too_small_are_refused(boards):
    tiny = [replace(board, image=board.image[:48], template=board.template[:48], boxes=()) for board in boards(0, 1)]
    with pytest.raises(TrainingRefused, match="side of 48 px"):
        sample_side(prepared(tiny), 320)
