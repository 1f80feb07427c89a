"""What a person said is known by its content: the boxes, by whom, and what they were asked about."""

from __future__ import annotations

from dataclasses import replace

from data.sample import Annotation, Box

SAID = Annotation("a", (Box(1, 2, 30, 40, "open"),), "ann", "2026-01-01T00:00:00Z", "1")


def test_an_annotation_of_all_classes_is_known_as_it_always_was() -> None:
    assert SAID.id == "af9cd0c314b4d1fa9f682e6ed0d37295d731a1d35a0890dc53d481c061223392"


def test_an_annotation_is_known_by_what_its_annotator_was_asked_about_in_any_order() -> None:
    of_two = replace(SAID, classes=("open", "short"))
    assert of_two.id == replace(SAID, classes=("short", "open"), updated_at="", reference="2").id
    assert len({SAID.id, of_two.id, replace(SAID, classes=("open",)).id}) == 3
