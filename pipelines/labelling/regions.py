"""Boxes in pixels and Label Studio's regions in per cent, there and back, with everything that is wrong in between."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from data.sample import Box, box_problems

CONTROL = "label"
IMAGE = "image"
REGION = "rectanglelabels"
# Per cent as text and back costs less than this; what the ledger hashes must not depend on it.
DECIMALS = 3


def regions_of(boxes: Iterable[Box], width: int, height: int) -> list[dict[str, Any]]:
    """`boxes` of an image of `width` x `height` pixels as the result of a prediction or an annotation."""
    return [_region(number, box, width, height) for number, box in enumerate(boxes)]


def boxes_of(
    result: Sequence[Any], width: int, height: int, classes: Sequence[str]
) -> tuple[tuple[Box, ...], list[str]]:
    """The boxes of an annotation's `result`, and everything that is wrong with it, in words.

    Corners up to half a pixel outside the image are moved to its edge; what cannot be read as a box is left out.
    """
    boxes: list[Box] = []
    problems: list[str] = []
    for number, region in enumerate(result, start=1):
        misfits = _misfits(region)
        if misfits:
            problems += [f"region {number}: {misfit}" for misfit in misfits]
            continue
        box = _box(region, width, height)
        problems += [f"region {number}: {problem}" for problem in box_problems(box, width, height, classes)]
        box = _inside(box, width, height)
        if any(_is_double(box, other) for other in boxes):
            problems.append(f"region {number}: the same {box.label!r} box is there twice; delete one of them")
        boxes.append(box)
    return tuple(boxes), problems


def _region(number: int, box: Box, width: int, height: int) -> dict[str, Any]:
    region: dict[str, Any] = {
        "id": f"box{number}",
        "type": REGION,
        "from_name": CONTROL,
        "to_name": IMAGE,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {
            "x": 100 * box.x1 / width,
            "y": 100 * box.y1 / height,
            "width": 100 * box.width / width,
            "height": 100 * box.height / height,
            "rotation": 0,
            REGION: [box.label],
        },
    }
    return region if box.score is None else {**region, "score": box.score}


def _misfits(region: Any) -> list[str]:
    """Why `region` is not one labelled, upright rectangle of this project's control."""
    if not isinstance(region, dict) or region.get("type") != REGION:
        kind = region.get("type") if isinstance(region, dict) else type(region).__name__
        return [f"it is a {kind}; only {REGION} are boxes"]
    misfits = []
    if region.get("from_name") != CONTROL or region.get("to_name") != IMAGE:
        misfits.append(
            f"it goes from {region.get('from_name')!r} to {region.get('to_name')!r}; "
            f"this project's go from {CONTROL!r} to {IMAGE!r}"
        )
    value = region.get("value")
    if not isinstance(value, dict):
        return [*misfits, "it has no value"]
    unread = [side for side in ("x", "y", "width", "height") if not _is_number(value.get(side))]
    if unread:
        misfits.append(f"{', '.join(unread)} must be a number")
    labels = value.get(REGION)
    if not isinstance(labels, list) or len(labels) != 1 or not isinstance(labels[0], str):
        misfits.append(f"its labels are {labels!r}; a box has exactly one")
    angles = filter(None, (value.get("rotation"), region.get("image_rotation")))
    return misfits + [f"it is turned by {angle} degrees; boxes are upright" for angle in angles]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _box(region: dict[str, Any], width: int, height: int) -> Box:
    value = region["value"]
    x, y = value["x"] * width / 100, value["y"] * height / 100
    right, bottom = x + value["width"] * width / 100, y + value["height"] * height / 100
    left, top, right, bottom = (round(corner, DECIMALS) for corner in (x, y, right, bottom))
    return Box(left, top, right, bottom, value[REGION][0])


def _is_double(box: Box, other: Box) -> bool:
    """Whether the boxes have one class and no corner of one is more than a pixel from the other's."""
    corners = zip((box.x1, box.y1, box.x2, box.y2), (other.x1, other.y1, other.x2, other.y2), strict=True)
    return box.label == other.label and all(abs(mine - theirs) <= 1 for mine, theirs in corners)


def _inside(box: Box, width: int, height: int) -> Box:
    """`box` with corners that are less than half a pixel outside moved to the edge."""
    x1, x2 = (_to_edge(corner, width) for corner in (box.x1, box.x2))
    y1, y2 = (_to_edge(corner, height) for corner in (box.y1, box.y2))
    return Box(x1, y1, x2, y2, box.label)


def _to_edge(corner: float, end: int) -> float:
    return min(max(corner, 0.0), float(end)) if -0.5 <= corner <= end + 0.5 else corner
