"""Loops turned as the loop itself turns, on frames of a few boards: predict, choose, label, train, judge.

Each board is seen in 1 to 5 frames: moved by up to 2 px, lighter or darker, noisy, compressed as JPEG. The truth is
what people say, and every candidate serves: what is measured is what the labels are worth. The model that serves first
has learnt some boards with defects of the commonest family, as an imported set teaches one; these count as no labels.
"""

from __future__ import annotations

import hashlib
import io
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from benchmarks.boards import real
from data.boards import FAMILIES, LABELS, draw_board
from data.boards.board import SMALLEST
from data.frames import same_frame
from data.images import difference_hash
from data.ledger import Look
from data.sample import Box, Example, Prediction
from pipelines.informative import Surroundings
from pipelines.job import EstimatorSpecification, HardExampleMining, Job
from pipelines.mine import choose

SHARES = (40, 20, 15, 10, 5, 4, 3, 3)
# Of so many boards that are drawn for a pool one has defects.
FLAWED_OF = 4
# Drawn boards have numbers below it in the pool, from it on among those to judge by.
UNSEEN = 1_000_000
MOST_FRAMES = 5
REACH, LIGHT, NOISE = 2, 6, 2.0

Protocol = Literal["stream", "pool"]
Curve = list[tuple[int, float]]
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Size:
    """How much is drawn, asked, trained and judged.

    Attributes:
        boards: in the pool, before they are seen in frames; test: of each family, to judge by; first: of the pool, to
            begin with.
        rounds, budget: how often people are asked, and about how many frames each time.
        recipe: of each training.
    """

    boards: int
    test: int
    first: int
    rounds: int
    budget: int
    recipe: dict[str, Any]


@dataclass(frozen=True)
class Turn:
    """One loop to turn: with whose choice, from which seed, on drawn boards or those of DeepPCB in `data`."""

    miner: str
    mining: HardExampleMining
    protocol: Protocol
    seed: int
    size: Size
    data: Path | None = None


@dataclass(frozen=True)
class Turned:
    """What a loop reached: the average precision after so many labels, 0 at first, and what was chosen until then."""

    miner: str
    protocol: Protocol
    seed: int
    curve: Curve
    boards: int
    domains: dict[str, int]
    cpu_seconds: float


def shot(board: Example, random: np.random.Generator) -> Example:
    """A frame of a board: moved, lighter or darker, noisy, through JPEG; its id is the hash of the file."""
    down, across = (int(each) for each in random.integers(-REACH, REACH + 1, 2))
    height, width = board.image.shape
    wide = np.pad(board.image, REACH, mode="edge")
    moved = wide[REACH - down : REACH - down + height, REACH - across : REACH - across + width].astype(float)
    pixels = moved + random.integers(-LIGHT, LIGHT + 1) + random.normal(0, NOISE, moved.shape)
    file = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=int(random.integers(80, 96)))
    return replace(
        board,
        sample_id=hashlib.sha256(file.getvalue()).hexdigest(),
        image=np.asarray(Image.open(file)),
        boxes=tuple(_moved(box, across, down, width, height) for box in board.boxes),
    )


def boards_by_share(count: int, seed: int) -> list[Example]:
    """`count` drawn boards, of each family its share, a quarter with defects; those of one seed unlike another's."""
    bounds = np.rint(np.cumsum([0, *SHARES]) / sum(SHARES) * count).astype(int)
    numbers = zip(FAMILIES, np.diff(bounds), strict=True)
    return [
        _drawn(family, seed * 10_000 + index, flawless=index % FLAWED_OF > 0)
        for family, many in numbers
        for index in range(many)
    ]


def unseen_boards(each: int) -> list[Example]:
    """So many drawn boards of each family, which are in no pool."""
    return [_drawn(family, UNSEEN + index) for family in FAMILIES for index in range(each)]


def real_boards(folder: Path, each: int) -> tuple[list[Example], list[Example]]:
    """The boards of DeepPCB's trainval list: those of the pool, and so many of each group to judge by.

    Raises:
        FileNotFoundError, FormatRefused: as `real` of `benchmarks.boards`.
    """
    groups: dict[str, list[Example]] = defaultdict(list)
    for board in real(folder, 1):
        groups[board.domain].append(board)
    pool: list[Example] = []
    test: list[Example] = []
    for boards in groups.values():
        judged = {int(index) for index in np.linspace(0, len(boards) - 1, each)}
        for index, board in enumerate(boards):
            (test if index in judged else pool).append(board)
    return pool, test


def first_boards(boards: Sequence[Example], count: int) -> tuple[list[Example], list[Example]]:
    """Up to `count` boards with defects of the commonest family, and all the others."""
    ((commonest, _),) = Counter(board.domain for board in boards).most_common(1)
    first = [board for board in boards if board.domain == commonest and board.boxes][:count]
    taken = {board.sample_id for board in first}
    return first, [board for board in boards if board.sample_id not in taken]


def frames_of(boards: Sequence[Example], seed: int) -> list[list[Example]]:
    """Each board's frames, 1 to 5 of them, the boards in an order of the seed's own."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(boards))
    return [[shot(boards[index], random) for _ in range(random.integers(1, MOST_FRAMES + 1))] for index in order]


def turn(task: Turn) -> Turned:
    """Turn the loop once: predict, choose, label, train, judge, in every round."""
    from models.fpn.detector import FPN

    started = time.process_time()
    size = task.size
    if task.data is None:
        boards, test = boards_by_share(size.boards, task.seed), unseen_boards(size.test)
    else:
        boards, test = real_boards(task.data, size.test)
        boards = [boards[index] for index in np.random.default_rng(task.seed).permutation(len(boards))[: size.boards]]
    first, boards = first_boards(boards, size.first)
    shown = frames_of(boards, task.seed)
    arriving = [[frame for frames in shown[number :: size.rounds] for frame in frames] for number in range(size.rounds)]
    if task.protocol == "pool":
        arriving = [[frame for frames in shown for frame in frames], *([] for _ in arriving[1:])]
    mining = task.mining.model_copy(update={"budget": size.budget})
    labelled = first
    waiting: list[Example] = []
    curve: Curve = []

    def trained() -> FPN:
        # From scratch, as long as before: what a model reaches then rests on its labels alone, not on its age.
        model = FPN(LABELS)
        model.train(labelled, seed=task.seed, **size.recipe)
        curve.append((len(labelled) - len(first), model.evaluate(test).metrics["ap"] or 0.0))
        logger.info("%s, %s, seed %d: %d labels, AP %.3f", task.miner, task.protocol, task.seed, *curve[-1])
        return model

    model = trained()
    for arrived in arriving:
        waiting = [*waiting, *arrived] if task.protocol == "pool" else arrived
        chosen = chosen_of(waiting, labelled, model, mining)
        fresh = [frame for frame in waiting if frame.sample_id in chosen]
        waiting = [frame for frame in waiting if frame.sample_id not in chosen]
        labelled = [*labelled, *fresh]
        model = trained()
    asked = labelled[len(first) :]
    board_of = {frame.sample_id: number for number, frames in enumerate(shown) for frame in frames}
    return Turned(
        miner=task.miner,
        protocol=task.protocol,
        seed=task.seed,
        curve=curve,
        boards=len({board_of[frame.sample_id] for frame in asked}),
        domains=dict(Counter(frame.domain for frame in asked)),
        cpu_seconds=time.process_time() - started,
    )


def chosen_of(
    waiting: Sequence[Example], labelled: Sequence[Example], model: Any | None, mining: HardExampleMining
) -> set[str]:
    """The ids of the frames that people are asked about, as `collect` chooses them."""
    job = Job(
        name="label_cost",
        classes=list(LABELS),
        estimator=EstimatorSpecification(name="FPN"),
        hard_example_mining=mining,
    )
    found: Sequence[tuple[Box, ...]] = [()] * len(waiting) if model is None else model.predict(waiting)
    images = {frame.sample_id: frame.image for frame in (*waiting, *labelled)}
    surroundings = Surroundings(
        looks={frame.sample_id: _look(frame) for frame in waiting},
        asked=[_look(frame) for frame in reversed(labelled)],
        support=Counter(box.label for frame in labelled for box in frame.boxes),
        same_frame=lambda first, second: same_frame(images[first], images[second]),
    )
    choices = choose(
        job,
        [Prediction(frame.sample_id, "served", boxes) for frame, boxes in zip(waiting, found, strict=True)],
        {frame.sample_id: "train" for frame in waiting},
        surroundings,
        minimum_score=0.0 if model is None else model.threshold / 2,
    )
    return {choice.sample_id for choice in choices if choice.chosen}


def _drawn(family: str, index: int, flawless: bool = False) -> Example:
    board = draw_board(FAMILIES[family], index, SMALLEST, flawless)
    return Example(board.name, board.image, board.template, board.boxes, family)


def _moved(box: Box, across: int, down: int, width: int, height: int) -> Box:
    (x1, x2), (y1, y2) = (
        (min(max(low + by, 0), most - 1), min(max(high + by, 1), most))
        for low, high, by, most in ((box.x1, box.x2, across, width), (box.y1, box.y2, down, height))
    )
    return replace(box, x1=x1, y1=y1, x2=x2, y2=y2)


def _look(frame: Example) -> Look:
    return Look(frame.sample_id, frame.domain, difference_hash(frame.image))
