"""Labelled images for the tests of the formats."""

from __future__ import annotations

import functools

import numpy as np
from hypothesis import strategies as st

from data.formats import LabelledImage
from data.images import encode_png
from data.sample import Box

WIDTH, HEIGHT = 60, 40
words = st.text("abcxyz019_-äß", min_size=1, max_size=8)


@functools.cache
def picture(seed: int) -> bytes:
    return encode_png(np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8))


@st.composite
def boxes(draw: st.DrawFn, labels: st.SearchStrategy[str], whole: bool = False) -> Box:
    """A box of at least one pixel inside the picture, at whole pixels or anywhere."""

    def span(size: int) -> tuple[float, float]:
        if whole:
            first = draw(st.integers(0, size - 1))
            return float(first), float(draw(st.integers(first + 1, size)))
        start = draw(st.floats(0, size - 1))
        return start, draw(st.floats(start + 1, size)) if start + 1 < size else float(size)

    (x1, x2), (y1, y2) = span(WIDTH), span(HEIGHT)
    return Box(x1, y1, x2, y2, draw(labels))


def with_boxes(
    labels: st.SearchStrategy[str] = words,
    domains: tuple[str, ...] = ("", "line", "line/camera 1"),
    whole: bool = False,
) -> st.SearchStrategy[list[LabelledImage]]:
    """Images with boxes, no two of one place."""
    image = st.builds(
        LabelledImage,
        name=words.map(lambda word: f"{word}.png"),
        image=st.integers(0, 9).map(picture),
        boxes=st.lists(boxes(labels, whole), max_size=4).map(tuple),
        domain=st.sampled_from(domains),
    )
    return st.lists(image, min_size=1, max_size=5, unique_by=lambda image: image.place)


def with_labels() -> st.SearchStrategy[list[LabelledImage]]:
    """Images with a label of the whole image, no two of one place."""
    image = st.builds(
        LabelledImage,
        name=words.map(lambda word: f"{word}.png"),
        image=st.integers(0, 9).map(picture),
        label=words,
        domain=st.sampled_from(["", "line", "line/camera"]),
    )
    return st.lists(image, min_size=1, max_size=5, unique_by=lambda image: image.place)


def assert_same(read: list[LabelledImage], written: list[LabelledImage], tolerance: float = 0) -> None:
    """The same images with the same bytes, labels and boxes, in any order."""

    def by_place(images: list[LabelledImage]) -> list[LabelledImage]:
        return sorted(images, key=lambda image: (image.place, image.label or ""))

    assert len(read) == len(written)
    for one, other in zip(by_place(read), by_place(written), strict=True):
        assert (one.place, one.label, one.read(), one.read_template()) == (
            other.place,
            other.label,
            other.read(),
            other.read_template(),
        )
        assert [box.label for box in one.boxes] == [box.label for box in other.boxes]
        ours = np.array([(box.x1, box.y1, box.x2, box.y2) for box in one.boxes])
        theirs = np.array([(box.x1, box.y1, box.x2, box.y2) for box in other.boxes])
        assert np.allclose(ours, theirs, rtol=0, atol=tolerance)
        assert all(type(corner) is float for box in one.boxes for corner in (box.x1, box.y1, box.x2, box.y2))
