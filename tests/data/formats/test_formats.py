"""What all formats share: they load lazily, tell every problem at once, and write nothing they cannot express."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from data.formats import FORMATS, SHOWN, FormatRefused, LabelledImage
from data.sample import Box
from tests.data.formats.labelled import picture

BOX = Box(1.0, 2.0, 30.0, 20.0, "dent")
BOXED = sorted(FORMATS.keys() - {"folder"})


def place(name: str, folder: Path) -> Path:
    return folder / "index.txt" if name == "index" else folder


def test_the_list_of_formats_costs_nothing_heavy() -> None:
    code = "import sys, data.formats; print([m for m in sys.modules if m.split('.')[0] in ('numpy', 'PIL', 'yaml')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "PIL" not in done.stdout
    assert "yaml" not in done.stdout


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_what_is_not_there_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(FormatRefused, match="problem"):
        FORMATS[name].read(tmp_path / "none")


@pytest.mark.parametrize("name", sorted(FORMATS))
@pytest.mark.parametrize("at", ["../outside.png", "/outside.png"])
def test_nothing_is_written_outside_of_the_data_set(name: str, at: str, tmp_path: Path) -> None:
    label = "dent" if name == "folder" else None
    inside = tmp_path / "a" / "b"
    with pytest.raises(FormatRefused, match="leads out of the data set"):
        FORMATS[name].write(place(name, inside), [LabelledImage(at, picture(0), label=label)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["coco", "voc", "yolo", "deeppcb"])
def test_a_format_of_boxes_refuses_labels_of_whole_images(name: str, tmp_path: Path) -> None:
    images = [LabelledImage(f"{number}_test.png", picture(0), label="dent") for number in range(3)]
    with pytest.raises(FormatRefused) as caught:
        FORMATS[name].write(tmp_path / "out", images)
    assert len(caught.value.problems) == 3
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", BOXED)
def test_the_same_place_twice_is_refused(name: str, tmp_path: Path) -> None:
    twice = [LabelledImage("a_test.png", picture(0), (BOX,), domain="group1", template=picture(1))] * 2
    with pytest.raises(FormatRefused, match="more than once"):
        FORMATS[name].write(place(name, tmp_path / "out"), twice)


@pytest.mark.parametrize("name", ["coco", "voc", "yolo"])
def test_writing_an_image_that_cannot_be_read_writes_nothing(name: str, tmp_path: Path) -> None:
    images = [LabelledImage("a.png", picture(0)), LabelledImage("b.png", b"no image"), LabelledImage("c.png", b"")]
    with pytest.raises(FormatRefused) as caught:
        FORMATS[name].write(tmp_path / "out", images)
    assert len(caught.value.problems) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_long_list_of_problems_is_shown_in_part_and_kept_whole() -> None:
    refusal = FormatRefused(Path("set"), [f"problem {number}" for number in range(SHOWN + 5)])
    assert "set has 25 problem(s), so none of it was used" in str(refusal)
    assert str(refusal).endswith("and 5 more")
    assert len(refusal.problems) == SHOWN + 5


@pytest.mark.parametrize("name", ["voc", "yolo", "coco", "deeppcb"])
def test_any_of_them_reads_what_was_converted_from_deeppcb(name: str, tmp_path: Path, deeppcb: Path) -> None:
    boards = [board for board, _ in zip(FORMATS["deeppcb"].read(deeppcb / "PCBData"), range(10), strict=False)]
    FORMATS[name].write(tmp_path / "converted", boards)
    converted = {image.name: image for image in FORMATS[name].read(tmp_path / "converted")}
    assert converted.keys() == {board.name for board in boards}
    for board in boards:
        image = converted[board.name]
        assert image.domain in (board.domain, f"{board.domain}/{board.domain}")
        assert [box.label for box in image.boxes] == [box.label for box in board.boxes]
        for one, other in zip(image.boxes, board.boxes, strict=True):
            assert one.x1 == pytest.approx(other.x1, abs=1e-6)
            assert one.y2 == pytest.approx(other.y2, abs=1e-6)
