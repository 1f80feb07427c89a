"""One folder per class: round trip and refusals."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings

from data.formats import FormatRefused, LabelledImage
from data.formats.folder import read, write
from tests.data.formats.labelled import assert_same, picture, with_labels


@settings(max_examples=25)
@given(with_labels())
def test_what_was_written_is_read(images: list[LabelledImage]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), images)
        assert_same(list(read(Path(folder))), images)


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    for name, content in (("cat/a.png", picture(0)), ("cat/b.png", b"text"), ("lost.png", picture(1)), (".DS", b"")):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(FormatRefused) as caught:
        read(tmp_path)
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "b.png",
        "lost.png lies in no class's folder",
    ]


@pytest.mark.parametrize("label", ["", "a/b", "..", ".hidden", None])
def test_a_label_that_is_no_folder_is_refused(label: str | None, tmp_path: Path) -> None:
    with pytest.raises(FormatRefused):
        write(tmp_path / "out", [LabelledImage("a.png", picture(0), label=label)])
    assert list(tmp_path.iterdir()) == []
