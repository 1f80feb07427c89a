"""A dataset read from files: splits, lazy examples, slices, and what changed since when."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data.archive import write_archive
from data.dataset import Blob, Dataset, DatasetVersion, Part
from data.images import encode_png
from data.manifest import Row, write_manifest
from data.sample import Annotation, Box, Sample, sha256

SIDE = 16


class Files:
    """Parts written into a folder, and which of their files were fetched."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.fetched: list[str] = []
        self.images: dict[str, np.ndarray] = {}

    def part(self, number: int, count: int, *, relabelled: list[Row] | None = None) -> tuple[Part, list[Row]]:
        rows, members = [], {}
        for place in range(count):
            image = np.full((SIDE, SIDE + number), place, dtype=np.uint8)
            content = encode_png(image)
            name = sha256(content)
            self.images[name], members[name] = image, content
            sample = Sample(name, SIDE + number, SIDE, f"group{number}", "", "train" if place % 3 else "holdout", name)
            rows.append(
                Row(sample, Annotation(name, (Box(1, 2, 3, 4, "open"),), "", ""), number, number, template_shard=number)
            )
        write_manifest(self.folder / f"{number}m", [*rows, *(relabelled or [])])
        write_archive(self.folder / f"{number}s", members.items())
        return Part(number, Blob(f"{number}m", f"{number}m", 0), Blob(f"{number}s", f"{number}s", 0)), rows

    def fetch(self, blob: Blob) -> Path:
        self.fetched.append(blob.md5)
        return self.folder / blob.md5


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def version(*parts: Part) -> DatasetVersion:
    return DatasetVersion("pcb", f"d{len(parts)}", f"d{len(parts) - 1}" if len(parts) > 1 else None, 0, 0, parts)


def test_nothing_is_fetched_before_it_is_needed(files: Files) -> None:
    dataset = Dataset(version(files.part(1, 6)[0], files.part(2, 6)[0]), files.fetch)
    assert files.fetched == []
    examples = dataset.examples("train")
    assert (len(examples), len(dataset.examples("holdout"))) == (8, 4)
    assert sorted(files.fetched) == ["1m", "2m"]
    shard = examples[0].domain.removeprefix("group")
    assert files.fetched[2:] == [f"{shard}s"]
    assert len(list(examples)) == 8
    assert sorted(files.fetched[2:]) == ["1s", "2s"]


def test_examples_are_a_sequence(files: Files) -> None:
    examples = Dataset(version(files.part(1, 12)[0]), files.fetch).examples("train")
    ids = [example.sample_id for example in examples]
    assert ids == sorted(ids)
    for place, example in enumerate(examples):
        np.testing.assert_array_equal(example.image, files.images[ids[place]])
        np.testing.assert_array_equal(example.template, files.images[ids[place]])
        assert example.boxes == (Box(1, 2, 3, 4, "open"),)
    assert examples[-1].sample_id == examples[np.int64(len(examples) - 1)].sample_id == ids[-1]
    for part in (slice(2, 5), slice(None, None, -2), slice(5, 2)):
        assert [example.sample_id for example in examples[part]] == ids[part]
    for place in (len(examples), -len(examples) - 1):
        with pytest.raises(IndexError, match=f"example {place} of 8"):
            examples[place]


def test_what_changed_since_an_earlier_version(files: Files) -> None:
    first, old = files.part(1, 3)
    again = Row(old[0].sample, Annotation(old[0].sample.id, (), "", ""), part=2, shard=1, template_shard=1)
    second, new = files.part(2, 2, relabelled=[again])
    third, newest = files.part(3, 1)
    dataset = Dataset(version(first, second, third), files.fetch)
    ids = [{row.sample.id for row in rows} for rows in (old, [*new, again], newest)]
    assert dataset.added == dataset.changed_since("d2") == ids[2]
    assert dataset.changed_since("d1") == ids[1] | ids[2]
    assert dataset.changed_since(None) == ids[0] | ids[1] | ids[2]


def test_an_example_knows_which_classes_it_is_labelled_for(files: Files) -> None:
    first, old = files.part(1, 2)
    of_two = Annotation(old[1].sample.id, (), "", "", classes=("open", "short"))
    second, _ = files.part(2, 2, relabelled=[Row(old[1].sample, of_two, part=2, shard=1, template_shard=1)])
    examples = Dataset(version(first, second), files.fetch).examples("train")
    classes = {example.sample_id: example.classes for example in examples}
    assert classes.pop(old[1].sample.id) == frozenset({"open", "short"})
    assert set(classes.values()) == {None}


def test_description_comes_back_from_json(files: Files) -> None:
    one = version(files.part(1, 1)[0], Part(2, Blob("m", "s", 3), None))
    record = one.to_json()
    assert DatasetVersion.from_json(record) == one
    assert record["hash"] == one.hash != version(one.parts[0]).hash
    assert Blob("abcdef", "", 0).key == "dvc/files/md5/ab/cdef"


def test_only_some_examples_are_read_and_no_other_shard_is_fetched(files: Files) -> None:
    (first, old), (second, new) = files.part(1, 6), files.part(2, 6)
    dataset = Dataset(version(first, second), files.fetch)
    wanted = {row.sample.id for row in new if row.sample.split == "train"}
    elsewhere = {row.sample.id for row in old if row.sample.split == "holdout"}

    examples = dataset.examples("train", only=wanted | elsewhere | {"unknown"})

    assert [example.sample_id for example in examples] == sorted(wanted)
    assert files.fetched == ["1m", "2m", "2s"]
    assert len(dataset.examples("train", only=())) == 0
