"""The dice: the promised stream, and numbers where they should lie."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data.boards.dice import Dice


def test_the_stream_is_that_of_pcg64() -> None:
    dice = Dice(101, 7)
    assert [dice.integer(0, 999) for _ in range(6)] == [525, 472, 437, 568, 256, 37]
    assert Dice(101, 7).noise(2, 3).tolist() == [[75, -68, 7], [-53, -96, 21]]


@given(st.integers(0, 2**32), st.integers(-100, 100), st.integers(0, 50))
def test_numbers_lie_where_they_should(seed: int, low: int, span: int) -> None:
    dice = Dice(seed)
    assert 0 <= dice.unit() < 1
    assert low <= dice.uniform(low, low + span) <= low + span
    assert low <= dice.integer(low, low + span) <= low + span
    assert dice.choice("abc") in "abc"
    assert dice.sign() in (-1, 1)
    assert dice.chance(1)
    assert not dice.chance(0)


def test_noise_is_centred_and_even() -> None:
    noise = Dice(3).noise(200, 201)
    assert noise.shape == (200, 201)
    assert (noise.min(), noise.max()) == (-128, 127)
    assert abs(noise.mean()) < 2
    assert np.bincount((noise + 128).ravel() // 64).min() > 9500
