"""What the network should say at each point: centre sampling of anchor-free detectors (FCOS, arXiv 1904.01355)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.fpn.grid import strides

RADIUS = 1.5
LARGEST_SIDE = 8


@dataclass(frozen=True)
class Targets:
    """Per point: the class index, or `BACKGROUND` or `IGNORED` (int32 [points]); its box, float32 [points, 4]."""

    classes: np.ndarray
    boxes: np.ndarray


BACKGROUND = -1
IGNORED = -2


def assign(side: int, levels: int, boxes: np.ndarray, classes: np.ndarray, ignored: np.ndarray) -> Targets:
    """Give each box the points within 1.5 strides of its centre, on the level that fits its longer side.

    A level takes boxes up to 8 of its strides long, the coarsest all that are longer. Each box gets at least the
    point nearest its centre; where boxes compete, the smaller wins. Points in `ignored` boxes teach nothing.

    `side` is that of the square sample, a multiple of the coarsest stride;
    `boxes` [n, 4] and `ignored` [m, 4] are pixel corners, `classes` [n] indices.
    """
    longer = np.max(boxes[:, 2:] - boxes[:, :2], axis=1)
    class_maps, box_maps = [], []
    lower = 0.0
    for level, stride in enumerate(strides(levels)):
        count = side // stride
        class_map = np.full((count, count), BACKGROUND, np.int32)
        box_map = np.zeros((count, count, 4), np.float32)
        for box in ignored:
            class_map[_slices(box, stride)] = IGNORED
        upper = LARGEST_SIDE * stride if level < levels - 1 else np.inf
        for index in np.argsort(-longer, kind="stable"):
            if lower < longer[index] <= upper:
                area = _slices(_centre_region(boxes[index], stride), stride, nearest_below=count)
                class_map[area] = classes[index]
                box_map[area] = boxes[index]
        lower = upper
        class_maps.append(class_map.reshape(-1))
        box_maps.append(box_map.reshape(-1, 4))
    return Targets(np.concatenate(class_maps), np.concatenate(box_maps))


def _centre_region(box: np.ndarray, stride: int) -> np.ndarray:
    centre = (box[:2] + box[2:]) / 2
    return np.concatenate(
        [np.maximum(box[:2], centre - RADIUS * stride), np.minimum(box[2:], centre + RADIUS * stride)]
    )


def _slices(region: np.ndarray, stride: int, nearest_below: int | None = None) -> tuple[slice, slice]:
    """The grid points whose centres lie in `region`; if there are none, with a limit the nearest to its centre."""
    first = np.maximum(np.ceil(region[:2] / stride - 0.5), 0).astype(int)
    stop = np.maximum(np.floor(region[2:] / stride - 0.5).astype(int) + 1, 0)
    if nearest_below is not None:
        nearest = np.clip((region[:2] + region[2:]) / 2 // stride, 0, nearest_below - 1).astype(int)
        empty = stop <= first
        first, stop = np.where(empty, nearest, first), np.where(empty, nearest + 1, stop)
    return slice(first[1], stop[1]), slice(first[0], stop[0])
