"""Checks of labels: each rule says its value, how many and which samples; they take seconds, not minutes."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import pytest

from data.checks import CheckReport, check_labels
from data.images import Limits
from data.sample import Annotation, Box, Sample, Split, sha256

pytestmark = pytest.mark.slow

CLASSES = ["open", "short", "spur"]
GOOD = (Box(0, 0, 10, 20, "open"), Box(-0.4, 5, 9.5, 40.4, "short"))


def labelled(number: int, boxes: tuple[Box, ...] = GOOD, **changes: Any) -> tuple[Sample, Annotation]:
    split: Split = "train" if number % 5 else "holdout"
    sample = Sample(sha256(str(number).encode()), 40, 40, f"group{number % 2}", "", split)
    sample = replace(sample, **changes)
    return sample, Annotation(sample.id, boxes, "a person", "")


def failure(report: CheckReport) -> str:
    assert not report.success
    [sentence] = report.failures
    return sentence


def test_good_labels_pass_and_are_counted() -> None:
    report = check_labels([*map(labelled, range(9)), labelled(9, ())], CLASSES)
    assert report.success
    assert report.statistics == {
        "samples": 10,
        "samples_per_split": {"holdout": 2, "train": 8},
        "samples_per_domain": {"group0": 5, "group1": 5},
        "samples_without_box": 1,
        "samples_labelled_for_some_classes": 0,
        "boxes_per_class": {"open": 9, "short": 9, "spur": 0},
        "absent_classes": ["spur"],
    }


def test_nothing_passes() -> None:
    assert check_labels([], CLASSES).success
    assert check_labels([labelled(1, ())], CLASSES).success


@pytest.mark.parametrize(
    ("box", "said"),
    [
        (Box(1, 1, 9, 9, "dent"), "of an unknown class; the job's classes are open, short, spur: dent in sample"),
        (Box(1, 1, 1.5, 9, "open"), "with a side of less than 1 px: 0.5 in sample"),
        (Box(9, 1, 1, 9, "open"), "with a side of less than 1 px: -8.0 in sample"),
        (Box(1, 1, 43.5, 9, "open"), "more than 0.5 px outside their image: 3.5 in sample"),
        (Box(-2, 1, 4, 9, "open"), "more than 0.5 px outside their image: 2.0 in sample"),
    ],
)
def test_a_bad_box_is_named(box: Box, said: str) -> None:
    sentence = failure(check_labels([labelled(1), labelled(2, (*GOOD, box))], CLASSES))
    assert sentence == f"1 of 5 boxes {said} {labelled(2)[0].id}"


@pytest.mark.parametrize("corner", [math.nan, math.inf, -math.inf])
def test_a_corner_that_is_no_number_is_named(corner: float) -> None:
    report = check_labels([labelled(1, (Box(1, 1, corner, 9, "open"),))], CLASSES)
    assert report.failures[0].startswith("1 of 1 boxes with a corner that is not a finite number: (1, 1, ")


def test_bad_samples_are_named() -> None:
    assert "1 of 2 samples with a side of less than 32 px: 31 in sample" in failure(
        check_labels([labelled(1, ()), labelled(2, (), width=31)], CLASSES)
    )
    assert "with more than 1000 pixels: 1600 in sample" in failure(
        check_labels([labelled(1)], CLASSES, Limits(max_pixels=1000))
    )
    assert "1 of 1 samples in another split than train or holdout: test in sample" in failure(
        check_labels([labelled(1, split="test")], CLASSES)
    )
    assert "whose id is not a SHA-256 in hexadecimal: sample x" in failure(check_labels([labelled(1, id="x")], CLASSES))


def test_a_sample_is_given_once_and_in_one_split() -> None:
    assert "2 of 3 samples given more than once" in failure(check_labels(map(labelled, (1, 1, 2)), CLASSES))
    report = check_labels([labelled(1), labelled(1, split="holdout")], CLASSES)
    assert len(report.failures) == 2
    assert "2 of 2 samples in more than one split; a split is for ever: holdout and train in" in report.failures[1]


def asked(number: int, *classes: str, boxes: tuple[Box, ...] = ()) -> tuple[Sample, Annotation]:
    sample, annotation = labelled(number, boxes)
    return sample, replace(annotation, classes=classes)


def test_a_box_that_nobody_was_asked_about_is_named() -> None:
    report = check_labels([labelled(1), asked(2, "short", "spur", boxes=GOOD)], CLASSES)
    assert failure(report) == (
        f"1 of 4 boxes of a class that their annotator was not asked about: open in sample {labelled(2)[0].id}"
    )
    assert report.statistics["samples_labelled_for_some_classes"] == 1


def test_every_class_is_asked_about_somewhere_in_the_dataset() -> None:
    of_open, of_two = asked(1, "open"), asked(2, "open", "short", "dent")
    assert failure(check_labels([of_open], CLASSES)) == (
        "no image was labelled for short, spur; label images for that, or take it from the job's classes"
    )
    assert "for spur;" in failure(check_labels([of_open], CLASSES, earlier=[("short",), ("open",)]))
    assert "for spur;" in failure(check_labels([], CLASSES, earlier=[("short", "open")]))
    assert check_labels([of_open, of_two], CLASSES, earlier=[("open",), ("spur",)]).success
    assert check_labels([of_open, of_two], CLASSES, earlier=[None]).success
    others = iter([("spur",), ("never read",)])
    assert check_labels([of_two], CLASSES, earlier=others).success
    assert next(others) == ("never read",)


def test_many_failures_are_one_sentence_with_a_few_examples() -> None:
    sentence = failure(check_labels([labelled(number, width=3, boxes=()) for number in range(100)], CLASSES))
    assert sentence.startswith("100 of 100 samples")
    assert sentence.count("in sample") == 3
    assert sentence.endswith(", ...")


def test_five_thousand_samples_take_seconds(capfd: pytest.CaptureFixture[str]) -> None:
    pairs = [labelled(number) for number in range(5000)]
    check_labels(pairs[:1], CLASSES)
    start = time.process_time()
    assert check_labels(pairs, CLASSES).success
    assert time.process_time() - start < 10
    assert capfd.readouterr() == ("", "")
