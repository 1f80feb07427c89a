"""A shifted or stretched template is brought back."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.boards import real
from models.fpn.registration import PART, REACH, best_shift, bright, register

shifts = st.integers(-REACH, REACH)


def scene(seed: int, height: int, width: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).random((height // 8 + 2, width // 8 + 2)) > 0.5
    return np.where(np.kron(coarse, np.ones((8, 8), bool))[:height, :width], 255, 0).astype(np.uint8)


@given(shifts, shifts, st.integers(60, 150), st.integers(60, 150), st.integers(0, 99))
def test_every_shift_within_reach_is_found(down, right, height, width, seed):
    large = scene(seed, height + 2 * REACH, width + 2 * REACH)
    image = large[REACH : REACH + height, REACH : REACH + width]
    template = large[REACH + down : REACH + down + height, REACH + right : REACH + right + width]
    assert best_shift(bright(image), bright(template)) == (down, right)
    inner = np.s_[REACH:-REACH, REACH:-REACH]
    assert np.array_equal(register(image, template)[inner], image[inner])


def stretched(image: np.ndarray, down: float, right: float) -> np.ndarray:
    """The image, longer by so many pixels about its middle."""
    rows, columns = (
        np.rint(np.arange(length) - more * ((np.arange(length) + 0.5) / length - 0.5)).astype(int).clip(0, length - 1)
        for length, more in zip(image.shape, (down, right), strict=True)
    )
    longer: np.ndarray = image[rows[:, None], columns]
    return longer


@given(st.integers(-2, 2), st.integers(-2, 2), st.integers(-6, 6), st.integers(-6, 6), st.integers(0, 99))
def test_a_shift_and_a_stretch_along_each_axis_are_found(down, right, longer, wider, seed):
    image = scene(seed, 320, 448)
    template = stretched(np.roll(image, (down, right), axis=(0, 1)), longer, wider)
    inner = np.s_[12:-12, 12:-12]
    unlike = (register(image, template)[inner] != image[inner]).mean()
    # A line of whole pixels may break a pixel early or late.
    assert unlike < 0.05
    if longer == wider == 0:
        assert unlike == 0


def test_a_small_image_is_not_stretched():
    image = scene(3, 2 * PART - 1, 2 * PART + 40)
    template = stretched(image, 6, 6)
    down, right = best_shift(bright(image), bright(template))
    inner = np.s_[REACH:-REACH, REACH:-REACH]
    assert np.array_equal(register(image, template)[inner], np.roll(template, (down, right), axis=(0, 1))[inner])


@pytest.mark.slow
def test_real_templates_fit_better_once_they_are_stretched(deeppcb: Path):
    unlike = defaultdict(list)
    for board in real(deeppcb, 10):
        assert board.template is not None
        moved = np.roll(board.template, best_shift(bright(board.image), bright(board.template)), axis=(0, 1))
        fitted = register(board.image, board.template)
        unlike[board.domain].append([((each > 127) != (board.image > 127)).sum() for each in (moved, fitted)])
    for counts in unlike.values():
        moved, fitted = np.mean(counts, axis=0)
        assert fitted < 1.01 * moved
    assert np.sum([np.sum(counts, axis=0) for counts in unlike.values()], axis=0) @ (0.8, -1) > 0


@given(st.integers(0, 99))
def test_brightness_does_not_matter(seed):
    image = scene(seed, 90, 110)
    template = (np.roll(image, (2, -3), axis=(0, 1)) // 4 + 90).astype(np.uint8)
    assert best_shift(bright(image), bright(template)) == (-2, 3)


def test_where_every_shift_is_equal_nothing_moves():
    plain = np.full((64, 64), 200, np.uint8)
    assert best_shift(bright(plain), bright(plain)) == (0, 0)
    assert np.array_equal(register(plain, plain), plain)
    wide = np.full((3 * PART, 4 * PART), 200, np.uint8)
    assert np.array_equal(register(wide, wide), wide)
    lines = np.where(np.arange(4 * PART) % 9 < 4, wide, 0).astype(np.uint8)
    assert np.array_equal(register(lines, lines), lines)


def test_a_tiny_image_is_left_alone():
    tiny = scene(0, 10, 10)
    assert best_shift(bright(tiny), bright(tiny.T)) == (0, 0)
