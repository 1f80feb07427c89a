"""DeepPCB: the real boards as the literature counts them, the traps of its files, and the way back."""

from __future__ import annotations

import tempfile
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.boards.board import write_boards
from data.boards.family import FAMILIES
from data.formats import FormatRefused, LabelledImage
from data.formats.deeppcb import CLASSES, read, write, write_results
from data.sample import Box
from tests.data.formats.labelled import assert_same, picture, with_boxes

boards = with_boxes(st.sampled_from(CLASSES), ("group00041", "dense"), whole=True).map(
    lambda images: [
        replace(image, name=image.name.replace(".png", "_test.png"), template=picture(10)) for image in images
    ]
)


def test_the_real_boards_are_those_of_the_paper(deeppcb: Path) -> None:
    images = list(read(deeppcb / "PCBData"))
    assert len(images) == 1000
    assert Counter(box.label for image in images for box in image.boxes) == {
        "open": 1283,
        "short": 1028,
        "mousebite": 1379,
        "spur": 1142,
        "copper": 1010,
        "pin-hole": 1031,
    }
    assert Counter(image.domain for image in images)["group20085"] == 291
    assert all(image.name.endswith("_test.jpg") and isinstance(image.template, Path) for image in images)


@settings(max_examples=25)
@given(boards)
def test_what_was_written_is_read(images: list[LabelledImage]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), images)
        assert_same(list(read(Path(folder))), images)
        assert_same(list(read(Path(folder) / "trainval.txt")), images)


def test_drawn_boards_are_read_from_their_folder(tmp_path: Path) -> None:
    family = FAMILIES["dense"]
    write_boards(tmp_path, family, range(2), size=320)
    images = list(read(tmp_path))
    assert [(image.name, image.domain) for image in images] == [
        ("dense00000_test.png", "dense"),
        ("dense00001_test.png", "dense"),
    ]
    assert all(image.boxes and image.read_template() for image in images)


def board(folder: Path, annotation: str, suffix: str = ".png") -> None:
    (folder / f"a_test{suffix}").write_bytes(picture(0))
    (folder / f"a_temp{suffix}").write_bytes(picture(1))
    (folder / "a.txt").write_text(annotation)


@pytest.mark.parametrize("annotation", ["1 2 30 20 3\n", "1,2,30,20,3\n", "1, 2, 30, 20, 3", "\n1\t2 30 20  3\r\n\n"])
def test_annotations_have_spaces_or_commas(annotation: str, tmp_path: Path) -> None:
    board(tmp_path, annotation)
    (image,) = read(tmp_path)
    assert image.boxes == (Box(1, 2, 30, 20, "mousebite"),)


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    board(tmp_path, "1 2 30 20 7\n1 2 30\n30 2 1 20 1\n1 2 300 20 1\n")
    (tmp_path / "a_temp.png").unlink()
    (tmp_path / "trainval.txt").write_text("a.png a.txt\nonly-one-word\nb/b.png b/b.txt\n")
    with pytest.raises(FormatRefused) as caught:
        read(tmp_path)
    told = "\n".join(caught.value.problems)
    for part in (
        "template a_temp.png is missing",
        "type 7 is not one of 1 to 6",
        "'1 2 30' is not `x1 y1 x2 y2 type`",
        "both sides must be at least 1 px",
        "lies outside the image",
        "'only-one-word' is not `board annotation`",
        "its annotation",
    ):
        assert part in told


def test_what_deeppcb_cannot_express_is_refused(tmp_path: Path) -> None:
    images = [LabelledImage("a.png", picture(0), (Box(1, 1, 5, 5, "dent"),))]
    with pytest.raises(FormatRefused) as caught:
        write(tmp_path / "out", images)
    assert len(caught.value.problems) == 4


def test_results_are_laid_out_as_the_golden_ones(tmp_path: Path, deeppcb: Path) -> None:
    with zipfile.ZipFile(deeppcb / "golden" / "results.zip") as golden:
        expected = {name: golden.read(name).decode().split() for name in golden.namelist()}
    found = {}
    for name, lines in expected.items():
        rows = [line.split(",") for line in lines]
        found[name.replace(".txt", "_test.jpg")] = [
            Box(float(x1), float(y1), float(x2), float(y2), kind, float(score)) for x1, y1, x2, y2, score, kind in rows
        ]
    write_results(tmp_path / "results.zip", found)
    with zipfile.ZipFile(tmp_path / "results.zip") as written:
        assert {name: written.read(name).decode().split() for name in written.namelist()} == expected
