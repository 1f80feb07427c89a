"""Random numbers that are the same on every machine and with every version of NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


class Dice:
    """Draws from the raw 64-bit stream of PCG64.

    NumPy promises the streams of its bit generators for ever, those of `Generator`'s methods not (NEP 19).
    """

    def __init__(self, *seed: int):
        self._bits = np.random.PCG64(np.random.SeedSequence(seed))

    def unit(self) -> float:
        """A number in [0, 1)."""
        return (int(self._bits.random_raw()) >> 11) * 2.0**-53

    def uniform(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * self.unit()

    def integer(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return low + int(self.unit() * (high - low + 1))

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.unit() < probability

    def choice(self, options: Sequence[T]) -> T:
        """One of `options`."""
        return options[self.integer(0, len(options) - 1)]

    def sign(self) -> int:
        """-1 or 1."""
        return 1 if self.chance(0.5) else -1

    def noise(self, height: int, width: int) -> np.ndarray:
        """Independent int32 values from -128 to 127 [height, width]."""
        count = height * width
        raw = self._bits.random_raw(-(-count // 8)).astype("<u8").view(np.uint8)
        return raw[:count].reshape(height, width).astype(np.int32) - 128
