"""The boards that the benchmarks learn from and judge on: drawn ones, and DeepPCB's real ones, arXiv 1902.06197."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from data.boards import FAMILIES, draw_board
from data.formats import LabelledImage
from data.formats.deeppcb import read
from data.images import decode
from data.sample import Example

DEEPPCB = Path("../shared/datasets/deeppcb")


def drawn(count: int) -> list[Example]:
    """The first `count` boards of each family."""
    boards = ((family.name, draw_board(family, index)) for family in FAMILIES.values() for index in range(count))
    return [Example(board.name, board.image, board.template, board.boxes, family) for family, board in boards]


def listed(folder: Path) -> Iterator[LabelledImage]:
    """The boards of the trainval list in DeepPCB's `folder`.

    Raises:
        FileNotFoundError: the list is not there; the message says where to get the boards.
        FormatRefused: some board, template or annotation of the list cannot be read.
    """
    path = folder / "PCBData" / "trainval.txt"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist; clone https://github.com/tangsanli5201/DeepPCB and give its path to this command"
        )
    yield from read(path)


def real(folder: Path, every: int = 1) -> list[Example]:
    """Every `every`-th board of that list, decoded; errors as those of `listed`."""
    return [_example(board) for board in list(listed(folder))[::every]]


def _example(board: LabelledImage) -> Example:
    template = board.read_template()
    return Example(
        board.place, decode(board.read()), None if template is None else decode(template), board.boxes, board.domain
    )
