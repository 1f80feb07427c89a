"""Laying a template over its image: the shift and the stretch along each axis at which the two differ least."""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np

REACH = 6
# How far a part may move beyond the whole, and how much longer or shorter the template may be, in pixels.
PART_REACH = 4
STRETCH = 8
PART = 64
# How many more pixels must agree for each pixel of stretch.
RELUCTANCE = 30


def register(image: np.ndarray, template: np.ndarray, reach: int = REACH) -> np.ndarray:
    """The template moved and stretched to fit the image, its edge repeated; uint8 [h, w].

    First all of it is moved, by up to `reach` pixels each way; then each axis is stretched, by up to 8 pixels from end
    to end: a line camera and the board under it are never quite as fast as each other. Both images are made black and
    white at their own mean, packed to bits, and compared by XOR; of equally good places that nearest by is taken.
    Images too small to compare are left alone.
    """
    fixed, moving = bright(image), bright(template)
    down, right = best_shift(fixed, moving, reach)
    height, width = image.shape
    rows, columns = np.arange(height) - down, np.arange(width) - right
    if min(height, width) >= 2 * PART:
        by_rows, by_columns = _unlike_by_part(fixed, moving, down, right)
        rows, columns = rows - _stretch(by_rows, height), columns - _stretch(by_columns, width)
    fitted: np.ndarray = template.take(rows, axis=0, mode="clip").take(columns, axis=1, mode="clip")
    return fitted


def bright(pixels: np.ndarray) -> np.ndarray:
    """Which of uint8 pixels [h, w] are above their mean; against its whole part, which says the same: bool [h, w]."""
    total = pixels.sum(axis=1, dtype=np.uint32).sum(dtype=np.uint64)
    above: np.ndarray = pixels > int(total) // pixels.size
    return above


def best_shift(image: np.ndarray, template: np.ndarray, reach: int = REACH) -> tuple[int, int]:
    """How many pixels (down, right) the template must move to differ least from the image, both as `bright` has them.

    Every other shift is tried, then those beside the best of them: a trace is wider than a pixel.
    """
    height, width = image.shape
    if min(height, width) <= 2 * reach:
        return 0, 0
    middle = _packed(image[reach : height - reach, reach : width - reach])
    unlike, counts = np.empty_like(middle), np.empty(middle.shape, np.uint8)

    @cache
    def strip(right: int) -> np.ndarray:
        return _packed(template[:, reach - right : width - reach - right])

    @cache
    def order(down: int, right: int) -> tuple[int, int, int, int]:
        moved = strip(right)[reach - down : height - reach - down]
        np.bitwise_count(np.bitwise_xor(middle, moved, out=unlike), out=counts)
        return int(counts.sum(dtype=np.uint32)), down**2 + right**2, down, right

    every_other = range(-reach, reach + 1, 2)
    *_, near_down, near_right = min(order(down, right) for right in every_other for down in every_other)
    downs, rights = (range(max(near - 1, -reach), min(near + 1, reach) + 1) for near in (near_down, near_right))
    *_, down, right = min(order(down, right) for right in rights for down in downs)
    return down, right


def _unlike_by_part(image: np.ndarray, template: np.ndarray, down: int, right: int) -> tuple[np.ndarray, np.ndarray]:
    """In how many pixels they differ once the template moved, by how far it moves more and by part of each axis."""
    height, width = image.shape
    border = max(abs(down), abs(right)) + PART_REACH
    fixed, moving = _packed(image), np.pad(template, border, mode="edge")
    y, x = border - down, border - right
    steps = range(-PART_REACH, PART_REACH + 1)
    strip = _packed(moving[:, x : x + width])
    parts = np.arange(0, height, PART)
    by_rows = [
        np.bitwise_count(fixed ^ strip[y - step : y - step + height]).sum(axis=1, dtype=np.uint32) for step in steps
    ]
    # Every other row says enough about columns.
    band = moving[y : y + height : 2]
    by_columns = [
        np.bitwise_count(fixed[::2] ^ _packed(band[:, x - step : x - step + width])).sum(axis=0, dtype=np.uint32)
        for step in steps
    ]
    return np.add.reduceat(by_rows, parts, axis=1), 2 * np.stack(by_columns)


def _stretch(unlike: np.ndarray, length: int) -> np.ndarray:
    """How far each of `length` pixels must move, on a straight line, to differ least; int [length]."""
    parts = unlike.shape[1]
    lines, places = _lines(parts)
    total = unlike[places + PART_REACH, np.arange(parts)].sum(axis=1) + RELUCTANCE * np.abs(lines[:, 1])
    offset, stretch = lines[int(total.argmin())]
    moves: np.ndarray = np.rint(offset + stretch * ((np.arange(length) + 0.5) / length - 0.5)).astype(int)
    return moves


@cache
def _lines(parts: int) -> tuple[np.ndarray, np.ndarray]:
    """The lines to choose from, least first: offset and stretch [n, 2], and how far each part moves, int [n, parts]."""
    middles = (np.arange(parts) + 0.5) / parts - 0.5
    lines = np.array(
        sorted(
            product(np.arange(-2, 2.5, 0.5), range(-STRETCH, STRETCH + 1)),
            key=lambda line: (abs(line[1]), abs(line[0])),
        )
    )
    places = np.rint(lines[:, :1] + lines[:, 1:] * middles).astype(int)
    near = (np.abs(places) <= PART_REACH).all(axis=1)
    return lines[near], places[near]


def _packed(pixels: np.ndarray) -> np.ndarray:
    """Rows of 64-bit words, the last one filled up with zeros."""
    bits = np.packbits(pixels, axis=1)
    words = np.zeros((len(bits), -(-bits.shape[1] // 8)), np.uint64)
    words.view(np.uint8)[:, : bits.shape[1]] = bits
    return words
