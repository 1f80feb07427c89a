"""Boards are drawn and read as they are said to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.boards import drawn, real
from data.boards import FAMILIES, LABELS


def test_every_family_is_drawn() -> None:
    assert [board.domain for board in drawn(1)] == list(FAMILIES)


def test_real_boards_are_read_evenly_spread(deeppcb: Path) -> None:
    boards = real(deeppcb, 100)
    assert len(boards) == 10
    assert all(board.image.shape == (640, 640) and board.template is not None and board.boxes for board in boards)
    assert {box.label for board in boards for box in board.boxes} == set(LABELS)


def test_missing_boards_are_said_with_where_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"trainval\.txt does not exist; clone https://github\.com/"):
        real(tmp_path, 5)
