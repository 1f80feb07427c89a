"""Laying a template over its image: the one shift by whole pixels at which the two differ least."""

from __future__ import annotations

import numpy as np

REACH = 6


def register(image: np.ndarray, template: np.ndarray, reach: int = REACH) -> np.ndarray:
    """The template shifted by up to `reach` pixels each way to fit the image, its edge repeated; uint8 [h, w].

    Both are made black and white at their own mean, packed to bits, and compared by XOR at every shift; of equally
    good shifts the smallest is taken. Images too small to compare are left alone.
    """
    down, right = best_shift(image, template, reach)
    if down == 0 and right == 0:
        return template
    height, width = template.shape
    rows = np.clip(np.arange(height) - down, 0, height - 1)
    columns = np.clip(np.arange(width) - right, 0, width - 1)
    shifted: np.ndarray = template[rows[:, None], columns]
    return shifted


def best_shift(image: np.ndarray, template: np.ndarray, reach: int = REACH) -> tuple[int, int]:
    """How many pixels (down, right) the template must move to differ least from the image."""
    height, width = image.shape
    if min(height, width) <= 2 * reach:
        return 0, 0
    middle = _packed(_bright(image)[reach : height - reach, reach : width - reach])
    bright = _bright(template)
    unlike, counts = np.empty_like(middle), np.empty(middle.shape, np.uint8)
    differences = {}
    for right in range(-reach, reach + 1):
        strip = _packed(bright[:, reach - right : width - reach - right])
        for down in range(-reach, reach + 1):
            moved = strip[reach - down : height - reach - down]
            np.bitwise_count(np.bitwise_xor(middle, moved, out=unlike), out=counts)
            differences[down, right] = int(counts.sum(dtype=np.uint32))
    return min(differences, key=lambda shift: (differences[shift], shift[0] ** 2 + shift[1] ** 2, shift))


def _bright(pixels: np.ndarray) -> np.ndarray:
    """Which pixels are above their mean; against its whole part, which says the same and is compared as bytes."""
    bright: np.ndarray = pixels > int(pixels.sum(dtype=np.uint64)) // pixels.size
    return bright


def _packed(pixels: np.ndarray) -> np.ndarray:
    """Rows of 64-bit words, the last one filled up with zeros."""
    bits = np.packbits(pixels, axis=1)
    words = np.zeros((len(bits), -(-bits.shape[1] // 8)), np.uint64)
    words.view(np.uint8)[:, : bits.shape[1]] = bits
    return words
