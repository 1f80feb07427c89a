"""Manifests: what was said last of a sample holds, and the same rows are the same bytes."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as some
from pyarrow import parquet

from data.manifest import Row, find_bytes, find_rows, read_manifests, write_manifest
from data.sample import Annotation, Box, Sample, sha256

IDS = [sha256(str(number).encode()) for number in range(6)]
TEMPLATES = [sha256(b"template %d" % number) for number in range(2)]
corners = some.floats(0, 100) | some.integers(0, 100)
boxes = some.builds(Box, corners, corners, corners, corners, some.sampled_from(["open", "Mäusebiss"]))
words = some.text(max_size=5)


@some.composite
def rows(draw: some.DrawFn, sample_id: str, part: int) -> Row:
    template = draw(some.sampled_from([None, *TEMPLATES]))
    number = some.integers(1, part)
    sample = Sample(
        id=sample_id,
        width=draw(some.integers(1, 10_000)),
        height=draw(some.integers(1, 10_000)),
        domain=draw(words),
        source=draw(words),
        split=draw(some.sampled_from(["train", "holdout"])),
        template_id=template,
    )
    asked = draw(some.none() | some.sets(words).map(sorted).map(tuple))
    annotation = Annotation(
        sample_id, tuple(draw(some.lists(boxes, max_size=3))), draw(words), draw(words), classes=asked
    )
    return Row(
        sample, annotation, part, draw(number), None if template is None else draw(number), draw(some.booleans())
    )


@some.composite
def manifests(draw: some.DrawFn) -> list[list[Row]]:
    chosen = draw(some.lists(some.sets(some.sampled_from(IDS)), min_size=1, max_size=4))
    return [[draw(rows(name, part)) for name in sorted(ids)] for part, ids in enumerate(chosen, start=1)]


def same(row: Row) -> Row:
    """The row as a manifest gives it back: its boxes as floats in their order."""
    ordered = [Box.from_json(box) for box in row.to_json()["boxes"]]
    return replace(row, annotation=replace(row.annotation, boxes=tuple(ordered)))


def write(folder: str, parts: list[list[Row]]) -> list[Path]:
    paths = [Path(folder) / f"{number}.parquet" for number in range(len(parts))]
    for path, part in zip(paths, parts, strict=True):
        write_manifest(path, part)
    return paths


@settings(max_examples=50, deadline=None)
@given(manifests(), some.randoms())
def test_the_last_word_holds(parts: list[list[Row]], random: object) -> None:
    last = {row.sample.id: same(row) for part in parts for row in part}
    with tempfile.TemporaryDirectory() as folder:
        paths = write(folder, parts)
        random.shuffle(paths)  # type: ignore[attr-defined]
        read = [Row.from_json(record) for record in read_manifests(paths).to_pylist()]
        assert read == [last[name] for name in sorted(last) if not last[name].removed]
        assert find_rows(paths, IDS[:3]) == {name: row for name, row in last.items() if name in IDS[:3]}
        assert find_rows(paths, []) == find_rows([], IDS) == {}


@settings(max_examples=50, deadline=None)
@given(manifests())
def test_an_annotation_keeps_its_id(parts: list[list[Row]]) -> None:
    for row in (row for part in parts for row in part):
        record = row.to_json()
        assert Row.from_json(record).annotation.id == row.annotation.id == record["annotation_id"]


@settings(max_examples=25, deadline=None)
@given(manifests(), some.randoms())
def test_the_same_rows_are_the_same_bytes(parts: list[list[Row]], random: object) -> None:
    with tempfile.TemporaryDirectory() as folder:
        [before, *_] = [path.read_bytes() for path in write(folder, parts)]
        random.shuffle(parts[0])  # type: ignore[attr-defined]
        assert write(folder, parts)[0].read_bytes() == before


def test_bytes_are_found_by_sample_or_template(tmp_path: Path) -> None:
    sample = Sample(IDS[0], 40, 32, "", "", "train", TEMPLATES[0])
    row = Row(sample, Annotation(IDS[0], (), "", ""), part=3, shard=2, template_shard=1)
    paths = write(str(tmp_path), [[row]])
    assert find_bytes(paths, [*IDS, *TEMPLATES]) == {IDS[0]: 2, TEMPLATES[0]: 1}
    assert find_bytes(paths, []) == find_bytes([], IDS) == {}


def test_a_manifest_from_before_classes_were_kept_is_of_all_classes(tmp_path: Path) -> None:
    samples = [Sample(name, 40, 32, "", "", "train") for name in IDS[:2]]
    rows = [Row(sample, Annotation(sample.id, (), "", "", classes=("open",)), part=1, shard=1) for sample in samples]
    before, after = write(str(tmp_path), [rows[:1], rows[1:]])
    parquet.write_table(parquet.read_table(before).drop_columns("classes"), before)
    assert {name: row.annotation.classes for name, row in find_rows([before, after], IDS).items()} == {
        IDS[0]: None,
        IDS[1]: ("open",),
    }
    assert read_manifests([before, after])["classes"].to_pylist() == [None, ["open"]]
