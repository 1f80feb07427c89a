"""YOLO: round trip, the layouts that exist in the wild, and refusals with every reason."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings

from data.formats import FormatRefused, LabelledImage
from data.formats.yolo import read, write
from data.sample import Box
from tests.data.formats.labelled import assert_same, picture, with_boxes


@settings(max_examples=25)
@given(with_boxes())
def test_what_was_written_is_read(images: list[LabelledImage]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), images)
        assert_same(list(read(Path(folder))), images, tolerance=1e-6)


def stored(folder: Path, labels: str, **document: object) -> None:
    for split, seed in (("train", 0), ("val", 1)):
        (folder / "images" / split).mkdir(parents=True, exist_ok=True)
        (folder / "labels" / split).mkdir(parents=True, exist_ok=True)
        (folder / "images" / split / f"{split}.png").write_bytes(picture(seed))
    (folder / "labels" / "train" / "train.txt").write_text(labels)
    content = {"train": "images/train", "val": "images/val", "names": ["dent", "crack"], **document}
    (folder / "data.yaml").write_text(yaml.safe_dump(content))


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"path": "/nowhere/on/this/machine", "nc": 2},
        {"names": {0: "dent", 1: "crack"}},
        {"train": ["images/train", "images/val"], "val": "images/val", "test": None},
    ],
)
def test_layouts_in_the_wild(document: dict[str, object], tmp_path: Path) -> None:
    stored(tmp_path, "1 0.5 0.5 0.5 0.25\n\n", **document)
    images = {image.name: image for image in read(tmp_path / "data.yaml")}
    assert images.keys() == {"train.png", "val.png"}
    assert images["train.png"].boxes == (Box(15, 15, 45, 25, "crack"),)
    assert images["val.png"].boxes == ()
    assert images["val.png"].domain == ""


def test_labels_may_lie_beside_their_images(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.png").write_bytes(picture(0))
    (tmp_path / "set" / "a.txt").write_text("0 0.5 0.5 1 1")
    (tmp_path / "data.yaml").write_text("{train: set, names: [dent]}")
    (image,) = read(tmp_path)
    assert image.boxes == (Box(0, 0, 60, 40, "dent"),)


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    labels = "2 .5 .5 .1 .1\n0 .5 .5 .1\n0 15 20 30 30\n0 .5 .5 0 .1\n0 .99 .5 .5 .5\n0 .1 .1 .2 .1 .2 .2 .1 .2\n"
    stored(tmp_path, labels, test="images/missing")
    (tmp_path / "images" / "val" / "val.png").write_bytes(b"")
    with pytest.raises(FormatRefused) as caught:
        read(tmp_path)
    told = "\n".join(caught.value.problems)
    for part in (
        "train.txt:1: class 2 is not in names",
        "train.txt:2: '0 .5 .5 .1' is not `class cx cy width height`",
        "train.txt:3: '0 15 20 30 30' has a value outside 0..1",
        "both sides must be at least 1 px",
        "lies outside the image of 60 x 40 px",
        "train.txt:6",
        "val.png: it has zero bytes",
        "test: images/missing is not a folder",
    ):
        assert part in told


@pytest.mark.parametrize("text", ["", "[]", "{", "names: 3", "names: {dent: 0}", "names: [dent]", "\x00"])
def test_what_is_not_a_data_yaml_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(FormatRefused):
        read(tmp_path)
