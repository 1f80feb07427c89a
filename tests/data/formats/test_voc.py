"""Pascal VOC: round trip, corners from 1, and XML that must not be trusted."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings

from data.formats import FormatRefused, LabelledImage
from data.formats.voc import read, write
from data.sample import Box
from tests.data.formats.labelled import assert_same, picture, with_boxes

OBJECT = (
    "<object><name>{name}</name><bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox>"
    "</object>"
)


def stored(folder: Path, body: str, name: str = "a.xml") -> None:
    (folder / "a.png").write_bytes(picture(0))
    (folder / name).write_text(f"<annotation><filename>a.png</filename>{body}</annotation>")


@settings(max_examples=25)
@given(with_boxes())
def test_what_was_written_is_read(images: list[LabelledImage]) -> None:
    unique = list({image.place.casefold(): image for image in images}.values())
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), unique)
        assert_same(list(read(Path(folder))), unique, tolerance=1e-9)


def test_corners_are_counted_from_one(tmp_path: Path) -> None:
    stored(tmp_path, OBJECT.format(1, 1, 60, 40, name="dent") + OBJECT.format(2.5, 3, 4, 5.5, name="crack"))
    (image,) = read(tmp_path)
    assert image.boxes == (Box(0, 0, 60, 40, "dent"), Box(1.5, 2, 4, 5.5, "crack"))
    write(tmp_path / "out", [image])
    assert "<xmin>1</xmin>" in (tmp_path / "out" / "Annotations" / "a.xml").read_text()


def test_an_image_is_found_by_the_name_of_its_annotation_too(tmp_path: Path) -> None:
    stored(tmp_path, "")
    (tmp_path / "b.jpg").write_bytes(picture(1))
    (tmp_path / "b.xml").write_text("<annotation><filename>somewhere/else.bmp</filename></annotation>")
    assert sorted(image.name for image in read(tmp_path)) == ["a.png", "b.jpg"]


@pytest.mark.parametrize(
    "attack",
    [
        '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><annotation>&b;</annotation>',
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]><annotation><filename>&a;</filename></annotation>',
        '<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd"><annotation/>',
    ],
)
def test_entities_and_dtds_are_refused(attack: str, tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(attack)
    with pytest.raises(FormatRefused, match="without a DTD"):
        read(tmp_path)


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    stored(
        tmp_path,
        OBJECT.format(1, 1, 600, 40, name="dent")
        + OBJECT.format(5, 5, 2, 9, name="dent")
        + OBJECT.format("x", 5, 2, 9, name="dent")
        + "<object><name>dent</name></object>"
        + OBJECT.format(1, 1, 5, 5, name=" "),
    )
    (tmp_path / "b.xml").write_text("<annotation><filename>b.png</filename></annotation>")
    (tmp_path / "c.xml").write_text("<annotation>")
    with pytest.raises(FormatRefused) as caught:
        read(tmp_path)
    told = "\n".join(caught.value.problems)
    for part in (
        "lies outside the image of 60 x 40 px",
        "both sides must be at least 1 px",
        "object 3: <xmin> is 'x', not a number",
        "object 4: <ymax> is None, not a number",
        "object 5 has no <name>",
        "b.xml: its image b.png is not in",
        "c.xml: it cannot be read as XML",
    ):
        assert part in told


def test_two_images_of_one_stem_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatRefused, match="more than once"):
        write(tmp_path, [LabelledImage("a.png", picture(0)), LabelledImage("a.jpg", picture(1))])
