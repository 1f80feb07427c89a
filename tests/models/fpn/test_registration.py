"""A shifted template is brought back."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.fpn.registration import REACH, best_shift, register

shifts = st.integers(-REACH, REACH)


def scene(seed: int, height: int, width: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).random((height // 8 + 2, width // 8 + 2)) > 0.5
    return np.where(np.kron(coarse, np.ones((8, 8), bool))[:height, :width], 255, 0).astype(np.uint8)


@given(shifts, shifts, st.integers(60, 150), st.integers(60, 150), st.integers(0, 99))
def test_every_shift_within_reach_is_found(down, right, height, width, seed):
    large = scene(seed, height + 2 * REACH, width + 2 * REACH)
    image = large[REACH : REACH + height, REACH : REACH + width]
    template = large[REACH + down : REACH + down + height, REACH + right : REACH + right + width]
    assert best_shift(image, template) == (down, right)
    inner = np.s_[REACH:-REACH, REACH:-REACH]
    assert np.array_equal(register(image, template)[inner], image[inner])


@given(st.integers(0, 99))
def test_brightness_does_not_matter(seed):
    image = scene(seed, 90, 110)
    template = (np.roll(image, (2, -3), axis=(0, 1)) // 4 + 90).astype(np.uint8)
    assert best_shift(image, template) == (-2, 3)


def test_where_every_shift_is_equal_nothing_moves():
    plain = np.full((64, 64), 200, np.uint8)
    assert best_shift(plain, plain) == (0, 0)
    assert register(plain, plain) is plain


def test_a_tiny_image_is_left_alone():
    tiny = scene(0, 10, 10)
    assert best_shift(tiny, tiny.T) == (0, 0)
