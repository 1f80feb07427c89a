"""Whole boards: the same everywhere, in the manner of DeepPCB, each family told from the others."""

from __future__ import annotations

import hashlib
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.boards import FAMILIES, LABELS, Family, SyntheticBoard, draw_board, write_boards
from data.formats import deeppcb as deeppcb_format
from data.sample import box_problems

GOLDEN = {
    "signal": ("2fc3a3f120bdd3b9", "63da8b1e966cb752"),
    "mixed": ("8cdc4e68e6c108b8", "e52afb93e2eead0a"),
    "dense": ("8e86be22cfa0d648", "a69d6269f39b9569"),
    "power": ("83fb00d3d1ac6f6e", "99db50d34929a739"),
    "ground": ("c7469cb220fa3ff8", "918fbb5ed8ee484d"),
    "edge": ("0d17ca6b5f31838f", "3d6e71df2167d268"),
    "round": ("5243109b3dd1003e", "268a3997afc627f2"),
    "flex": ("fd5c86a5ef525089", "a506ff4eb7bf4194"),
}


def fingerprint(board: SyntheticBoard) -> str:
    content = board.image.tobytes() + board.template.tobytes() + repr(board.boxes).encode()
    return hashlib.sha256(content).hexdigest()[:16]


def boards_of(family: Family, count: int = 6) -> list[SyntheticBoard]:
    return [draw_board(family, index) for index in range(count)]


families = pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)


@families
def test_a_board_is_the_same_on_every_machine(family: Family) -> None:
    assert (fingerprint(draw_board(family, 0)), fingerprint(draw_board(family, 7, size=320))) == GOLDEN[family.name]


@families
def test_a_board_has_3_to_12_labelled_defects_inside_its_frame(family: Family) -> None:
    for board in [*boards_of(family), draw_board(family, 3, 320), draw_board(family, 4, 417)]:
        size = board.image.shape[0]
        assert board.image.shape == board.template.shape == (size, size)
        assert board.image.dtype == board.template.dtype == np.uint8
        assert set(np.unique(board.image)) == {0, 255}
        assert 3 <= len(board.boxes) <= 12
        for box in board.boxes:
            assert box_problems(box, size, size, LABELS) == []
            assert min(box.width, box.height) >= 20


@families
def test_boxes_share_no_more_than_a_seam(family: Family) -> None:
    for board in boards_of(family):
        for i, a in enumerate(board.boxes):
            for b in board.boxes[:i]:
                shared = min(a.x2, b.x2) - max(a.x1, b.x1), min(a.y2, b.y2) - max(a.y1, b.y1)
                assert min(shared) <= 2


@families
def test_board_and_template_differ_at_the_defects_and_a_little_along_the_edges(family: Family) -> None:
    for board in boards_of(family):
        differs = board.image != board.template
        outside = differs.copy()
        for box in board.boxes:
            inside = differs[int(box.y1) : int(box.y2), int(box.x1) : int(box.x2)]
            assert inside.sum() >= 10
            outside[int(box.y1) : int(box.y2), int(box.x1) : int(box.x2)] = False
        assert 0.001 < outside.mean() < 0.12


@pytest.mark.slow
def test_some_templates_lie_a_pixel_or_two_off() -> None:
    def off(board: SyntheticBoard) -> bool:
        frame = (slice(4, -4), slice(4, -4))
        moves = [(down, across) for down in range(-2, 3) for across in range(-2, 3)]
        best = min(moves, key=lambda m: (board.image[frame] != np.roll(board.template, m, (0, 1))[frame]).sum())
        return best != (0, 0)

    share = np.mean([off(draw_board(family, index)) for family in FAMILIES.values() for index in range(8)])
    assert 0.1 < share < 0.5


@pytest.mark.slow
def test_the_kinds_of_defects_are_about_equally_frequent() -> None:
    labels = [box.label for family in FAMILIES.values() for board in boards_of(family, 10) for box in board.boxes]
    counts = {label: labels.count(label) for label in LABELS}
    assert max(counts.values()) < 1.6 * min(counts.values())
    assert 6 < len(labels) / 80 < 8


@pytest.mark.slow
def test_families_differ_in_how_much_copper_and_how_many_edges_they_have() -> None:
    def look(family: Family) -> tuple[float, float]:
        copper = np.stack([board.template < 128 for board in boards_of(family)])
        return float(copper.mean()), float((copper[:, :, 1:] != copper[:, :, :-1]).mean())

    looks = {family.name: look(family) for family in FAMILIES.values()}
    assert looks["signal"][0] < 0.2
    assert looks["ground"][0] > 0.6
    assert looks["power"][0] > 0.35
    assert looks["dense"][1] > 2 * looks["round"][1]


def test_an_index_decides_the_board() -> None:
    family = FAMILIES["mixed"]
    assert fingerprint(draw_board(family, 5)) == fingerprint(draw_board(family, 5))
    assert fingerprint(draw_board(family, 5)) != fingerprint(draw_board(family, 6))


@pytest.mark.parametrize(("index", "size"), [(0, 319), (0, 641), (-1, 640)])
def test_what_cannot_be_drawn_is_refused(index: int, size: int) -> None:
    with pytest.raises(ValueError, match=f"size {size}, index {index}: choose a size of 320 to 640"):
        draw_board(FAMILIES["signal"], index, size)


def test_a_board_takes_less_than_150_milliseconds_of_one_core() -> None:
    seconds = []
    for family in FAMILIES.values():
        start = time.process_time()
        draw_board(family, 1)
        seconds.append(time.process_time() - start)
    assert np.median(seconds) < 0.15


def test_boards_are_written_as_deeppcb_names_them(tmp_path: Path) -> None:
    family = FAMILIES["round"]
    paths = write_boards(tmp_path / "new", family, [3, 12], size=320)
    assert [path.name for path in paths] == ["round00003_test.png", "round00012_test.png"]
    board = draw_board(family, 12, 320)
    assert np.array_equal(np.asarray(Image.open(paths[1])), board.image)
    assert np.array_equal(np.asarray(Image.open(str(paths[1]).replace("_test", "_temp"))), board.template)
    _, second = deeppcb_format.read(tmp_path / "new")
    assert (second.domain, second.boxes) == ("round", board.boxes)


def test_labels_are_numbered_as_deeppcb_numbers_its_types() -> None:
    assert LABELS == deeppcb_format.CLASSES


@pytest.mark.slow
def test_boxes_copper_and_traces_are_as_large_as_on_real_boards(deeppcb: Path) -> None:
    def copper_runs(template: np.ndarray) -> list[int]:
        copper = template[::16] < 128
        edges = [np.flatnonzero(np.diff(row.astype(np.int8))) for row in copper]
        return [int(b - a) for row, e in zip(copper, edges, strict=True) for a, b in pairwise(e) if row[b]]

    real_sides, real_runs, real_copper = [], [], []
    for line in (deeppcb / "PCBData" / "trainval.txt").read_text().splitlines()[::5]:
        image, annotation = (deeppcb / "PCBData" / name for name in line.split())
        for row in annotation.read_text().split("\n"):
            if row.strip():
                x1, y1, x2, y2, _ = map(int, row.split())
                real_sides.append(((x2 - x1) * (y2 - y1)) ** 0.5)
        template = np.asarray(Image.open(image.with_name(f"{image.stem}_temp.jpg")).convert("L"))
        real_runs += copper_runs(template)
        real_copper.append((template < 128).mean())
    drawn = [board for family in FAMILIES.values() for board in boards_of(family, 20)]
    sides = [(box.width * box.height) ** 0.5 for board in drawn for box in board.boxes]
    runs = [run for board in drawn for run in copper_runs(board.template)]
    copper = [(board.template < 128).mean() for board in drawn]
    for ours, real, tolerance in ((sides, real_sides, 0.12), (runs, real_runs, 0.35)):
        percentiles = np.percentile(ours, (5, 25, 50, 75, 95)), np.percentile(real, (5, 25, 50, 75, 95))
        assert np.allclose(*percentiles, rtol=tolerance), percentiles
    assert np.mean(copper) == pytest.approx(np.mean(real_copper), abs=0.06)


@families
def test_a_flawless_board_differs_from_its_template_at_edges_alone(family: Family) -> None:
    def thick(board: SyntheticBoard) -> bool:
        apart = np.abs(board.image.astype(int) - board.template) > 127
        return bool(np.lib.stride_tricks.sliding_window_view(apart, (7, 7)).all(axis=(2, 3)).any())

    flawless = [draw_board(family, index, 320, flawless=True) for index in range(6)]
    assert [board.boxes for board in flawless] == [()] * 6
    assert not any(map(thick, flawless))
    assert any(thick(draw_board(family, index, 320)) for index in range(6))
