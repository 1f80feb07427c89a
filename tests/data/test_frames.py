"""Two shots of one board are one frame, two boards or a new defect are not."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data.boards import FAMILIES, SyntheticBoard, draw_board
from data.frames import same_frame


@pytest.fixture(scope="module")
def board() -> SyntheticBoard:
    return draw_board(FAMILIES["signal"], 3, 320)


def shot(image: np.ndarray, down: int, across: int, light: int, seed: int = 0) -> np.ndarray:
    """The image moved by some pixels, lighter, noisy, and compressed as JPEG."""
    wide = np.pad(image, 4, mode="edge").astype(np.int16)
    moved = wide[4 + down : 4 + down + image.shape[0], 4 + across : 4 + across + image.shape[1]]
    noisy = moved + light + np.random.default_rng(seed).normal(0, 2, image.shape)
    file = io.BytesIO()
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=85)
    return np.asarray(Image.open(file))


@settings(max_examples=25)
@given(
    st.integers(-4, 4), st.integers(-4, 4), st.integers(-6, 6), st.sampled_from(["signal", "dense", "ground", "flex"])
)
def test_another_shot_of_a_board_is_the_same_frame(down: int, across: int, light: int, family: str) -> None:
    image = draw_board(FAMILIES[family], 1, 320).image
    assert same_frame(image, shot(image, down, across, light))
    assert same_frame(shot(image, down, across, light), image)


def test_a_defect_makes_another_frame(board: SyntheticBoard) -> None:
    for box in board.boxes:
        mended = board.image.copy()
        area = slice(int(box.y1), int(box.y2)), slice(int(box.x1), int(box.x2))
        mended[area] = board.template[area]
        assert not same_frame(board.image, shot(mended, 1, -2, 4))


def test_other_boards_and_other_sizes_are_other_frames(board: SyntheticBoard) -> None:
    assert not same_frame(board.image, draw_board(FAMILIES["signal"], 4, 320).image)
    assert not same_frame(board.image, board.image[:, :-1])
    assert not same_frame(board.image[:4, :4], board.image[:4, :4]), "too small to tell"
