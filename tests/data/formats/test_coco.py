"""COCO: round trip, ids in any order, and refusals with every reason."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from data.formats import FormatRefused, LabelledImage
from data.formats.coco import read, write
from data.sample import Box
from tests.data.formats.labelled import assert_same, picture, with_boxes


@settings(max_examples=25)
@given(with_boxes())
def test_what_was_written_is_read(images: list[LabelledImage]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), images)
        assert_same(list(read(Path(folder))), images, tolerance=1e-9)


def test_pycocotools_reads_what_was_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from pycocotools.coco import COCO

    write(tmp_path, [LabelledImage("a.png", picture(0), (Box(1, 2, 30, 20, "dent"), Box(0, 0, 5, 5, "crack")))])
    coco = COCO(str(tmp_path / "annotations.json"))
    annotations = coco.loadAnns(coco.getAnnIds(catIds=coco.getCatIds(["dent"])))
    assert [annotation["bbox"] for annotation in annotations] == [[1, 2, 29, 18]]
    assert annotations[0]["area"] == 29 * 18


def stored(folder: Path, **changes: Any) -> Path:
    (folder / "images").mkdir(exist_ok=True)
    (folder / "images" / "a.png").write_bytes(picture(0))
    document = {
        "info": {"description": "with what else people put in"},
        "images": [{"id": 900, "file_name": "a.png", "width": 60, "height": 40, "license": 1}],
        "categories": [{"id": 18, "name": "dent"}, {"id": 3, "name": "crack", "supercategory": "x"}],
        "annotations": [
            {"id": 7, "image_id": 900, "category_id": 18, "bbox": [1, 2, 29, 18], "iscrowd": 0, "segmentation": []},
            {"id": 5, "image_id": 900, "category_id": 3, "bbox": [0.5, 0.5, 10, 10]},
            {"id": 6, "image_id": 900, "category_id": 3, "bbox": [0, 0, 60, 40], "iscrowd": 1},
        ],
        **changes,
    }
    file = folder / "instances.json"
    file.write_text(json.dumps(document))
    return file


def test_ids_are_sparse_and_crowds_are_left_out(tmp_path: Path) -> None:
    (image,) = read(stored(tmp_path))
    assert image.boxes == (Box(1, 2, 30, 20, "dent"), Box(0.5, 0.5, 10.5, 10.5, "crack"))


def test_label_studio_names_files_with_their_folder(tmp_path: Path) -> None:
    (image,) = read(stored(tmp_path, images=[{"id": 900, "file_name": "images/a.png"}]))
    assert image.place == "a.png"


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    annotations = [
        {"image_id": 900, "category_id": 99, "bbox": [0, 0, 5, 5]},
        {"image_id": 1, "category_id": 18, "bbox": [0, 0, 5, 5]},
        {"image_id": 900, "category_id": 18, "bbox": [50, 30, 50, 5]},
        {"image_id": 900, "category_id": 18, "bbox": [5, 5, 0, -3]},
        {"image_id": 900, "category_id": 18, "bbox": [float("nan"), 5, 5, 5]},
    ]
    images = [{"id": 900, "file_name": "a.png"}, {"id": 901, "file_name": "missing.png"}]
    images += [{"id": 902, "file_name": "a.png"}, {"id": 903, "file_name": "../secret.png"}]
    with pytest.raises(FormatRefused) as caught:
        read(stored(tmp_path, annotations=annotations, images=images))
    told = "\n".join(caught.value.problems)
    for part in (
        "annotations.0: category_id 99 is not in categories",
        "annotations.1: image_id 1 is not in images",
        "lies outside the image of 60 x 40 px",
        "both sides must be at least 1 px",
        "not a finite number",
        "missing.png lies neither in images/ nor beside",
        "images: file_name a.png stands 2 times",
        "../secret.png leads out of the data set",
    ):
        assert part in told


@pytest.mark.parametrize("text", ["", "{", "[]", '{"images": []}', '{"images": [{"id": "x"}]}', "\xff"])
def test_what_is_not_coco_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "annotations.json").write_text(text, encoding="latin-1")
    with pytest.raises(FormatRefused):
        read(tmp_path)
