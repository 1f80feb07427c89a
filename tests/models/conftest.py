"""What the tests of models share: simple boards that a detector learns in seconds, and DeepPCB's golden results."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data.sample import Box, Example

CLASSES = ["hole", "spot"]
DEEPPCB_CLASSES = ["open", "short", "mousebite", "spur", "copper", "pin-hole"]
PITCH = 32
MARGIN = 4


def simple_board(seed: int, size: int = 128) -> Example:
    """Black bars on white, with two holes in bars and two spots between them."""
    random = np.random.default_rng([seed, size])
    template = np.full((size, size), 255, np.uint8)
    for start in range(8, size, PITCH):
        template[:, start : start + 16] = 0
    image, boxes = template.copy(), []
    places = random.permutation((size // PITCH) ** 2)[:4]
    for index, place in enumerate(places):
        row, column = divmod(int(place), size // PITCH)
        radius = int(random.integers(4, 7))
        x = column * PITCH + (16 if index % 2 == 0 else 32 - radius)
        y = row * PITCH + int(random.integers(10, 22))
        rows, columns = np.ogrid[:size, :size]
        image[(rows - y) ** 2 + (columns - x) ** 2 < radius**2] = 255 if index % 2 == 0 else 0
        reach = radius + MARGIN
        x1, y1, x2, y2 = (float(side) for side in np.clip([x - reach, y - reach, x + reach, y + reach], 0, size))
        boxes.append(Box(x1, y1, x2, y2, CLASSES[index % 2]))
    return Example(f"bars-{size}-{seed}", image, template, tuple(boxes), "bars")


def written_box(corners: list[str], label: str, score: float | None = None) -> Box:
    """A box from its four corners as a file has them."""
    x1, y1, x2, y2 = map(float, corners)
    return Box(x1, y1, x2, y2, label, score)


@pytest.fixture(scope="session")
def boards() -> Callable[..., list[Example]]:
    """`boards(first, count, size=128)`: simple boards, each always the same."""

    def make(first: int, count: int, size: int = 128) -> list[Example]:
        return [simple_board(seed, size) for seed in range(first, first + count)]

    return make


@pytest.fixture(scope="session")
def golden(deeppcb: Path) -> tuple[dict, dict[str, tuple[list[Box], list[Box]]]]:
    """The expected figures, and (truth, predictions) of each golden board."""
    folder = deeppcb / "golden"
    images = {}
    with zipfile.ZipFile(folder / "results.zip") as results:
        for line in (folder / "boards.txt").read_text().splitlines():
            name, annotation = line.split()
            truth = (line.split() for line in (deeppcb / "PCBData" / annotation).read_text().splitlines())
            found = (line.split(",") for line in results.read(f"{Path(name).stem}.txt").decode().split())
            images[name] = (
                [written_box(corners, DEEPPCB_CLASSES[int(kind) - 1]) for *corners, kind in truth],
                [written_box(corners, label, float(score)) for *corners, score, label in found],
            )
    return json.loads((folder / "expected.json").read_text()), images
