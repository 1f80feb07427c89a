"""Training samples cut from boards: windows around defects, mosaics of four, zooms, flips, templates a little off.

Mosaic: Bochkovskiy et al., arXiv 2004.10934, here of windows centred near objects, image and template pasted alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from models.fpn.prepared import Outline, PreparedExamples

MOSAIC_SHARE = 0.6
NEAR_OBJECT_SHARE = 0.75
TEMPLATE_REACH = 2
ZOOM_SHARE = 0.5


@dataclass(frozen=True)
class TrainingSample:
    """Pixels uint8 [side, side, channels]; whole boxes [n, 4], their classes [n]; cut boxes, to be ignored [m, 4].

    `labelled` says which classes each quarter is labelled for, row by row, bool [4, classes].
    """

    pixels: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    ignored: np.ndarray
    labelled: np.ndarray


class Sampler:
    """Draws training samples of `side` pixels; those of the `fresh` examples make up half of what is drawn, if any are.

    `side` must be even and no longer than any image's shortest side. Half of the windows are shown larger or smaller,
    by up to the factor `zoom`. Windows near objects come from the examples that have some, as often as those are drawn:
    objects are taught as well where most images have none.
    """

    def __init__(
        self, examples: PreparedExamples, side: int, *, zoom: float = 1.0, fresh: frozenset[str] = frozenset()
    ):
        self.examples = examples
        self.side = side
        self.zoom = zoom
        is_fresh = np.array([outline.sample_id in fresh for outline in examples.outlines], bool)
        self.groups = _filled(is_fresh, ~is_fresh)
        has_objects = np.array([len(outline.boxes) > 0 for outline in examples.outlines], bool)
        self.groups_with_objects = _filled(is_fresh & has_objects, ~is_fresh & has_objects) or self.groups

    def draw(self, random: np.random.Generator) -> TrainingSample:
        """One sample: a mosaic of four windows, or one window."""
        if random.random() >= MOSAIC_SHARE:
            return self._window(random, self.side, random.random() < NEAR_OBJECT_SHARE)
        half = self.side // 2
        tiles = [self._window(random, half, near_object=True) for _ in range(4)]
        rows = [np.concatenate([tiles[row].pixels, tiles[row + 1].pixels], axis=1) for row in (0, 2)]
        offsets = [np.array([x, y, x, y]) for y in (0, half) for x in (0, half)]
        return TrainingSample(
            np.concatenate(rows, axis=0),
            np.concatenate([tile.boxes + offset for tile, offset in zip(tiles, offsets, strict=True)]),
            np.concatenate([tile.classes for tile in tiles]),
            np.concatenate([tile.ignored + offset for tile, offset in zip(tiles, offsets, strict=True)]),
            np.stack([tile.labelled[0] for tile in tiles]),
        )

    def _window(self, random: np.random.Generator, side: int, near_object: bool) -> TrainingSample:
        """A square window of one example, flipped and turned at random."""
        groups = self.groups_with_objects if near_object else self.groups
        index = int(random.choice(groups[random.integers(len(groups))]))
        outline = self.examples.outlines[index]
        shown_side, side = side, self._side_to_cut(random, outline, side)
        space = np.array([outline.width - side, outline.height - side])
        corner = random.integers(0, space + 1)
        if near_object and len(outline.boxes):
            box = outline.boxes[random.integers(len(outline.boxes))]
            # Uniform among the windows that hold the whole box; about its centre if it is longer than the window.
            slack = np.maximum(side - (box[2:] - box[:2]), 0) / 2
            centre = (box[:2] + box[2:]) / 2 + random.uniform(-slack, slack)
            corner = np.clip(np.round(centre - side / 2).astype(int), 0, space)
        window = self._cut(random, self.examples.pixels(index), corner, side)
        boxes = outline.boxes - np.tile(corner, 2)
        whole = (boxes >= 0).all(axis=1) & (boxes <= side).all(axis=1)
        clipped = np.clip(boxes, 0, side)
        touched = ((clipped[:, 2:] - clipped[:, :2]) > 0).all(axis=1)
        zoom = shown_side / side
        shown, ignored = boxes[whole] * zoom, clipped[touched & ~whole] * zoom
        window = resized(window, shown_side)
        window, (shown, ignored) = turn(window, [shown, ignored], int(random.integers(8)))
        return TrainingSample(window, shown, outline.classes[whole], ignored, np.tile(outline.labelled, (4, 1)))

    def _side_to_cut(self, random: np.random.Generator, outline: Outline, side: int) -> int:
        """The side of the square that becomes a window of `side` pixels."""
        if self.zoom == 1 or random.random() >= ZOOM_SHARE:
            return side
        factor: float = self.zoom ** random.uniform(-1, 1)
        return min(round(side * factor), outline.width, outline.height)

    @staticmethod
    def _cut(random: np.random.Generator, pixels: np.ndarray, corner: np.ndarray, side: int) -> np.ndarray:
        """The window at `corner` (x, y), its template up to two pixels off in half of the draws."""
        x, y = corner
        window = pixels[y : y + side, x : x + side]
        if pixels.shape[-1] == 1 or random.random() < 0.5:
            return window
        height, width = pixels.shape[:2]
        shift = random.integers(-TEMPLATE_REACH, TEMPLATE_REACH + 1, 2)
        left, top = np.clip(corner + shift, 0, [width - side, height - side])
        return np.stack([window[..., 0], pixels[top : top + side, left : left + side, 1]], axis=-1)


def _filled(*chosen: np.ndarray) -> list[np.ndarray]:
    """The indices at which each is true; of those that are true somewhere."""
    return [np.flatnonzero(each) for each in chosen if each.any()]


def resized(window: np.ndarray, side: int) -> np.ndarray:
    """A square window, uint8 [any, any, channels], shown as uint8 [side, side, channels]."""
    if len(window) == side:
        return window
    channels = (Image.fromarray(window[..., channel]) for channel in range(window.shape[-1]))
    return np.stack([np.asarray(each.resize((side, side), Image.Resampling.BILINEAR)) for each in channels], axis=-1)


def turn(pixels: np.ndarray, boxes: list[np.ndarray], symmetry: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """One of the square's eight symmetries: bit 0 mirrors left-right, bit 1 top-bottom, bit 2 across the diagonal."""
    side = pixels.shape[0]
    if symmetry & 1:
        pixels = pixels[:, ::-1]
        boxes = [np.stack([side - b[:, 2], b[:, 1], side - b[:, 0], b[:, 3]], axis=1) for b in boxes]
    if symmetry & 2:
        pixels = pixels[::-1]
        boxes = [np.stack([b[:, 0], side - b[:, 3], b[:, 2], side - b[:, 1]], axis=1) for b in boxes]
    if symmetry & 4:
        pixels = pixels.transpose(1, 0, 2)
        boxes = [b[:, [1, 0, 3, 2]] for b in boxes]
    return pixels, boxes
