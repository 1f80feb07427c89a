"""What arrives when: a small labelled set to begin with, then nights of boards, one of them badly labelled."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from data.boards import FAMILIES, write_boards
from data.formats import LabelledImage
from data.formats.deeppcb import read
from data.sample import Box, sha256
from demo.annotator import Mood


@dataclass(frozen=True)
class Night:
    """One night: the boards that arrive, what is new about them, and how carefully they are labelled."""

    title: str
    boards: Sequence[LabelledImage]
    mood: Mood = "careful"

    def truth(self) -> dict[str, tuple[Box, ...]]:
        """The true boxes of every board that arrives, by the hash of its bytes."""
        return {sha256(board.read()): board.boxes for board in self.boards}


@dataclass(frozen=True)
class Scenario:
    """The boards a job begins with, the nights that follow, and boards left for a person to label."""

    initial: Sequence[LabelledImage]
    nights: Sequence[Night]
    left: Sequence[LabelledImage] = ()


def synthetic(
    folder: Path,
    known: Sequence[str],
    arriving: Sequence[str],
    initial: int,
    night: int,
    left: int = 0,
    size: int = 640,
) -> Scenario:
    """Drawn boards: `initial` of the `known` families; each night `night`, most of one of the `arriving` families."""
    drawn: dict[str, int] = dict.fromkeys([*known, *arriving], 0)

    def draw(family: str, count: int) -> list[LabelledImage]:
        if count == 0:
            return []
        first = drawn[family]
        drawn[family] += count
        place = folder / family / str(first)
        write_boards(place, FAMILIES[family], range(first, first + count), size)
        return list(read(place))

    def spread(families: Sequence[str], count: int) -> list[LabelledImage]:
        shares = [count // len(families) + (index < count % len(families)) for index in range(len(families))]
        return [board for family, share in zip(families, shares, strict=True) for board in draw(family, share)]

    beginning = spread(known, initial)
    nights = [
        Night(f"{family}, a family never seen before", [*draw(family, night - night // 4), *spread(known, night // 4)])
        for family in arriving
    ]
    nights.append(Night("a night of bad labels", spread([*known, *arriving], night), mood="bad"))
    return Scenario(beginning, nights, left=spread(known, left))


def deeppcb(
    folder: Path,
    known: Mapping[str, int],
    arriving: Sequence[Mapping[str, int]],
    bad: Mapping[str, int],
    left: Mapping[str, int],
) -> Scenario:
    """Real DeepPCB boards below `folder`: so many of each family to begin with, so many each night."""
    by_family: dict[str, list[LabelledImage]] = {}
    inside = folder / "PCBData"
    for board in read(inside if inside.is_dir() else folder):
        by_family.setdefault(board.domain, []).append(board)
    for family in sorted(by_family):
        random.Random(family).shuffle(by_family[family])
    remaining = {family: iter(boards) for family, boards in by_family.items()}

    def take(counts: Mapping[str, int]) -> list[LabelledImage]:
        return [board for family, count in counts.items() for board in islice(remaining[family], count)]

    beginning = take(known)
    nights = [
        Night(f"{', '.join(name for name in counts if name not in known)}, never seen before", take(counts))
        for counts in arriving
    ]
    nights.append(Night("a night of bad labels", take(bad), mood="bad"))
    return Scenario(beginning, nights, left=take(left))
