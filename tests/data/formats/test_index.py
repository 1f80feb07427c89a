"""Index files: round trip as .txt and .csv, the predecessors' lines, and refusals with every reason."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.formats import FormatRefused, LabelledImage
from data.formats.index import read, write
from data.sample import Box
from tests.data.formats.labelled import assert_same, picture, with_boxes, with_labels, words


@settings(max_examples=25)
@given(with_boxes(domains=("", "line")), with_labels(), st.booleans())
def test_what_was_written_is_read(boxed: list[LabelledImage], labelled: list[LabelledImage], table: bool) -> None:
    images = list({image.place: image for image in [*boxed, *labelled]}.values())
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / ("index.csv" if table else "index.txt")
        write(file, images)
        assert_same(list(read(file)), images)


@settings(max_examples=25)
@given(with_boxes(labels=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=9) | words))
def test_a_table_takes_any_label(images: list[LabelledImage]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "index.csv", images)
        assert_same(list(read(Path(folder) / "index.csv")), images)


def stored(folder: Path, text: str, suffix: str = ".txt") -> Path:
    for number, name in enumerate("abc"):
        (folder / f"{name}.png").write_bytes(picture(number))
    file = folder / f"index{suffix}"
    file.write_text(text)
    return file


def test_the_lines_of_the_predecessors(tmp_path: Path) -> None:
    (tmp_path / "b.xml").write_text(
        "<annotation><filename>elsewhere.png</filename><object><name>bad</name><bndbox><xmin>1</xmin><ymin>1</ymin>"
        "<xmax>5</xmax><ymax>5</ymax></bndbox></object></annotation>"
    )
    file = stored(tmp_path, "a.png 1,2,30,20,0 5,5,9,9,1\n\nb.png b.xml\nc.png\n")
    images = {image.name: image.boxes for image in read(file)}
    assert images == {
        "a.png": (Box(1, 2, 30, 20, "0"), Box(5, 5, 9, 9, "1")),
        "b.png": (Box(0, 0, 5, 5, "bad"),),
        "c.png": (),
    }


def test_a_table_of_whole_image_labels_needs_two_columns(tmp_path: Path) -> None:
    file = stored(tmp_path, "\ufeffimage,label\na.png,cat\nb.png,dog\n", ".csv")
    assert [(image.name, image.label) for image in read(file)] == [("a.png", "cat"), ("b.png", "dog")]


@pytest.mark.parametrize(
    ("text", "suffix", "parts"),
    [
        (
            "a.png 1,2,3\nb.png 1,2,x,4,dent\nmissing.png cat\na.png cat\nc.png c.xml\n../out.png\n",
            ".txt",
            [
                "index.txt:1: '1,2,3' is not",
                "index.txt:2",
                "missing.png",
                "a.png stands more than once",
                "c.xml",
                "leads out",
            ],
        ),
        (
            "image,x1,y1,x2,y2,label\na.png,1,2,x,4,dent\nb.png,1,2,300,4,dent\nc.png,,,,,cat\nc.png,,,,,dog\n",
            ".csv",
            ["index.csv:2", "lies outside", "c.png has the label dog and cat"],
        ),
        ("picture,class\na.png,cat\n", ".csv", ["its header is picture, class; it must have image and label"]),
        ("", ".csv", ["it must have image and label"]),
    ],
)
def test_everything_that_is_wrong_is_told_at_once(text: str, suffix: str, parts: list[str], tmp_path: Path) -> None:
    with pytest.raises(FormatRefused) as caught:
        read(stored(tmp_path, text, suffix))
    told = "\n".join(caught.value.problems)
    assert all(part in told for part in parts), told


@pytest.mark.parametrize(
    "image",
    [
        LabelledImage("a b.png", picture(0), label="cat"),
        LabelledImage("a.png", picture(0), label="two words"),
        LabelledImage("a.png", picture(0), label="cat.xml"),
        LabelledImage("a.png", picture(0), (Box(1, 1, 5, 5, "a,b"),)),
    ],
)
def test_what_a_line_cannot_hold_is_refused_and_a_table_holds_it(image: LabelledImage, tmp_path: Path) -> None:
    with pytest.raises(FormatRefused, match=r"use a \.csv"):
        write(tmp_path / "out" / "index.txt", [image])
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / "index.csv", [image])
    assert_same(list(read(tmp_path / "index.csv")), [image])
