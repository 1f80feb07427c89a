"""Predicting a folder: file names, templates, formats, and nothing written where anything is wrong."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from data.images import encode_png
from data.sample import Box
from pipelines.job import Job
from pipelines.predict import Format, ImagesRefused, find_images, predict
from tests.pipelines.tiny import SIZE, Tiny, picture


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two boards with their templates, one without, and a file that is no image's."""
    images = tmp_path / "images"
    for place in ("a/1_test.png", "a/1_temp.png", "b/2_test.PNG", "b/2_temp.PNG", "3.png", "notes.txt"):
        (images / place).parent.mkdir(parents=True, exist_ok=True)
        (images / place).write_bytes(encode_png(picture(len(place))))
    return images


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_templates_and_other_files_are_no_images(folder: Path, job: Job) -> None:
    found = [path.relative_to(folder).as_posix() for path in find_images(folder, job)]
    assert found == ["3.png", "a/1_test.png", "b/2_test.PNG"]


def test_coco_names_images_by_their_place_and_keeps_scores(folder: Path, job: Job, out: Path) -> None:
    assert predict(Tiny(job.classes), job, folder, out, "coco") == 3
    written = json.loads(out.read_text())
    assert [(image["id"], image["file_name"]) for image in written["images"]] == [
        (1, "3.png"),
        (2, "a/1_test.png"),
        (3, "b/2_test.PNG"),
    ]
    assert {(image["width"], image["height"]) for image in written["images"]} == {(SIZE, SIZE)}
    assert [category["name"] for category in written["categories"]] == job.classes
    assert [annotation["image_id"] for annotation in written["annotations"]] == [1, 2, 3]
    first = written["annotations"][0]
    assert (first["bbox"], first["area"], first["score"], first["category_id"]) == (
        [0, 0, SIZE, SIZE],
        SIZE**2,
        0.75,
        1,
    )


def test_pycocotools_reads_it(folder: Path, job: Job, out: Path) -> None:
    from pycocotools.coco import COCO

    predict(Tiny(job.classes), job, folder, out, "coco")
    read = COCO(str(out))
    assert len(read.getAnnIds(imgIds=[2])) == 1


def test_a_class_that_the_job_no_longer_has_is_a_category_still(folder: Path, job: Job, out: Path) -> None:
    predict(Tiny(["scratch"]), job, folder, out, "coco")
    written = json.loads(out.read_text())
    categories = {category["id"]: category["name"] for category in written["categories"]}
    assert {categories[annotation["category_id"]] for annotation in written["annotations"]} == {"scratch"}


def test_deeppcb_is_one_file_of_lines_for_each_board(folder: Path, job: Job, out: Path) -> None:
    assert predict(Tiny(job.classes), job, folder, out, "deeppcb") == 3
    with zipfile.ZipFile(out) as archive:
        assert sorted(archive.namelist()) == ["1.txt", "2.txt", "3.txt"]
        assert archive.read("1.txt").decode() == f"0.00,0.00,{SIZE}.00,{SIZE}.00,0.75000,open\n"


def test_an_image_without_boxes_is_in_either_file(folder: Path, job: Job, out: Path) -> None:
    class Blind(Tiny):
        def predict(self, examples: object) -> list[tuple[Box, ...]]:
            return [() for _ in examples]  # type: ignore[attr-defined]

    predict(Blind(job.classes), job, folder, out, "coco")
    assert len(json.loads(out.read_text())["images"]) == 3
    predict(Blind(job.classes), job, folder, out, "deeppcb")
    assert zipfile.ZipFile(out).read("3.txt") == b""


@pytest.mark.parametrize("form", ["coco", "deeppcb"])
def test_everything_wrong_is_said_at_once_and_nothing_is_written(
    folder: Path, job: Job, out: Path, form: Format
) -> None:
    (folder / "a" / "broken_test.jpg").write_bytes(b"not an image")
    (folder / "b" / "2_temp.PNG").write_bytes(encode_png(picture(1, 2 * SIZE)))
    (folder / "z.png").write_bytes(b"")
    with pytest.raises(ImagesRefused) as caught:
        predict(Tiny(job.classes), job, folder, out, form)
    problems = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 3
    assert "broken_test.jpg: it is not an image" in problems
    assert f"the image is {SIZE} x {SIZE} px and its template {2 * SIZE} x {2 * SIZE} px" in problems
    assert "z.png: it has zero bytes" in problems
    assert not out.exists()


def test_two_images_that_would_share_one_file_of_results_are_refused(folder: Path, job: Job, out: Path) -> None:
    (folder / "b" / "1_test.jpg").write_bytes(encode_png(picture(5)))
    with pytest.raises(ImagesRefused, match=r"a/1_test.png and .*b/1_test.jpg would both have the results 1.txt"):
        predict(Tiny(job.classes), job, folder, out, "deeppcb")
    assert not out.exists()
    assert predict(Tiny(job.classes), job, folder, out, "coco") == 4


def test_a_folder_without_images_is_refused(tmp_path: Path, job: Job, out: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImagesRefused, match="holds no image"):
        predict(Tiny(job.classes), job, tmp_path / "empty", out, "coco")
    assert not out.exists()
