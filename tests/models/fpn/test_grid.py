"""Every point of a sample lies in one of its quarters."""

from __future__ import annotations

import pytest

from models.fpn.grid import points, quarters


@pytest.mark.parametrize(("side", "levels"), [(64, 1), (96, 2), (320, 3)])
def test_quarters_are_the_halves_of_both_sides(side, levels):
    numbers = quarters(side, levels)
    for (x, y, _), number in zip(points(side, side, levels), numbers, strict=True):
        assert number == (x >= side / 2) + 2 * (y >= side / 2)
    assert set(numbers) == {0, 1, 2, 3}
