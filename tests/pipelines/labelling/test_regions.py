from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.sample import Box
from pipelines.labelling.regions import boxes_of, regions_of

CLASSES = ["open", "short"]
WIDTH, HEIGHT = 640, 480


@st.composite
def images_with_boxes(draw: st.DrawFn) -> tuple[int, int, list[Box]]:
    width, height = draw(st.integers(8, 5000)), draw(st.integers(8, 5000))
    boxes = []
    for x1, y1 in draw(st.sets(st.tuples(st.integers(0, width // 2 - 2), st.integers(0, height // 2 - 2)), max_size=6)):
        x2, y2 = draw(st.integers(x1 + 2, width)), draw(st.integers(y1 + 2, height))
        boxes.append(Box(x1, y1, x2, y2, draw(st.sampled_from(CLASSES))))
    return width, height, boxes


@given(images_with_boxes())
def test_boxes_in_pixels_come_back_exactly(image: tuple[int, int, list[Box]]) -> None:
    width, height, boxes = image
    back, problems = boxes_of(regions_of(boxes, width, height), width, height, CLASSES)
    assert list(back) == boxes
    assert all("twice" in problem for problem in problems)


def test_a_prediction_carries_the_score_of_each_box() -> None:
    (region,) = regions_of([Box(64, 48, 128, 96, "open", 0.75)], WIDTH, HEIGHT)
    assert region["score"] == 0.75
    assert region["value"] == {
        "x": 10.0,
        "y": 10.0,
        "width": 10.0,
        "height": 10.0,
        "rotation": 0,
        "rectanglelabels": ["open"],
    }
    assert (region["original_width"], region["original_height"]) == (WIDTH, HEIGHT)


def region(**changes: Any) -> dict[str, Any]:
    (whole,) = regions_of([Box(64, 48, 128, 96, "open")], WIDTH, HEIGHT)
    value = {**whole["value"], **changes.pop("value", {})}
    return {**whole, "value": value, **changes}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (region(from_name="other"), "from 'other' to 'image'"),
        (region(to_name="template"), "from 'label' to 'template'"),
        (region(type="choices"), "it is a choices"),
        ({"type": "relation", "from_id": "a", "to_id": "b"}, "it is a relation"),
        ("text", "it is a str"),
        (region(value={"rectanglelabels": ["scratch"]}), "class 'scratch' is unknown"),
        (region(value={"rectanglelabels": []}), "exactly one"),
        (region(value={"rectanglelabels": ["open", "short"]}), "exactly one"),
        (region(value={"width": 0}), "0 x 48 px"),
        (region(value={"x": 95.0}), "outside the image"),
        (region(value={"x": None}), "x must be a number"),
        (region(value={"x": float("nan")}), "not a finite number"),
        (region(value={"rotation": 30}), "turned by 30 degrees"),
    ],
)
def test_what_is_wrong_with_a_region_is_said(wrong: Any, said: str) -> None:
    _, problems = boxes_of([wrong], WIDTH, HEIGHT, CLASSES)
    assert len(problems) == 1
    assert said in problems[0]


def test_all_problems_are_said_at_once() -> None:
    wrong = [region(), region(), region(value={"rectanglelabels": ["scratch"], "width": 0}), {"type": "choices"}]
    boxes, problems = boxes_of(wrong, WIDTH, HEIGHT, CLASSES)
    assert [problem.split(":")[0] for problem in problems] == ["region 2", "region 3", "region 3", "region 4"]
    assert len(boxes) == 3


def test_a_corner_just_outside_is_moved_to_the_edge() -> None:
    boxes, problems = boxes_of([region(value={"x": -0.05, "width": 100.1})], WIDTH, HEIGHT, CLASSES)
    assert problems == []
    assert boxes == (Box(0, 48, WIDTH, 96, "open"),)
