"""Models of any quality between those of a few detectors: each board is answered as one of them answers it.

Three detectors, each trained on from the one before it (400, 150 and 150 steps on 528 drawn boards), predict the 1,000
boards of DeepPCB's trainval list and their mirror images: 2,000 boards that taught none of them. A mixture answers
every board as one of the three does, some by what it found in the board's mirror image.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.boards import drawn, listed
from data.boards import LABELS
from data.images import decode
from data.sample import Box, Example
from models.metrics import EvaluationReport, evaluate
from models.paired import Metric, Results
from models.pooled import average_precision

MODELS = ("first", "second", "third")
MIRRORED = " mirrored"
CLOSE_ENOUGH = 1e-4
MOST_DRAWS = 50

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Training:
    """Boards of each family that are drawn, the steps of each model, their recipe, every how many-th real board."""

    boards: int
    steps: tuple[int, int, int]
    recipe: dict[str, Any]
    every: int


FULL = Training(boards=66, steps=(400, 150, 150), recipe={"crop": 320, "batch_size": 16}, every=1)
SHORT = Training(boards=12, steps=(50, 40, 70), recipe={"crop": 192, "batch_size": 16}, every=10)
RATES = (3e-3, 1.5e-3, 1.5e-3)


def real_boards(folder: Path, every: int = 1) -> Iterator[Example]:
    """Every `every`-th board of the list in DeepPCB's `folder`, and its mirror image; errors as those of `listed`."""
    for board in islice(listed(folder), 0, None, every):
        image, template = decode(board.read()), decode(board.read_template() or b"")
        yield Example(board.place, image, template, board.boxes, board.domain)
        width = float(image.shape[1])
        mirrored = tuple(replace(box, x1=width - box.x2, x2=width - box.x1) for box in board.boxes)
        image, template = (np.ascontiguousarray(each[:, ::-1]) for each in (image, template))
        yield Example(board.place + MIRRORED, image, template, mirrored, board.domain)


def predict_all(folder: Path, cache: Path, training: Training = FULL) -> None:
    """Train the models that `cache` lacks, and keep there what each finds on the real boards."""
    missing = [name for name in MODELS if not (cache / f"{name}.json").exists()]
    if not missing:
        return
    from models.fpn.detector import FPN

    examples = drawn(training.boards)
    for seed, (name, steps, rate) in enumerate(zip(MODELS, training.steps, RATES, strict=True)):
        if name not in missing:
            continue
        model, place = FPN(LABELS), cache / name
        if seed:
            model.load(cache / MODELS[seed - 1])
        began = time.process_time()
        model.train(examples, seed=seed, steps=steps, learning_rate=rate, **training.recipe)
        place.mkdir(parents=True, exist_ok=True)
        model.save(place)
        truth: dict[str, list[Any]] = {}

        def noted(truth: dict[str, list[Any]] = truth) -> Iterator[Example]:
            for board in real_boards(folder, training.every):
                truth[board.sample_id] = [box.to_json() for box in board.boxes]
                yield board

        found = [[box.to_json() for box in boxes] for boxes in model.predict(noted())]
        seconds = round(time.process_time() - began)
        kept = {"threshold": model.threshold, "truth": truth, "found": dict(zip(truth, found, strict=True))}
        (cache / f"{name}.json").write_text(json.dumps({**kept, "cpu_seconds": seconds}))
        logger.info("%s is trained and has answered, %d CPU s", name, seconds)


def read_reports(cache: Path) -> list[EvaluationReport]:
    """The evaluation of each model on the real boards, from what `predict_all` kept."""
    reports = []
    for name in MODELS:
        kept = json.loads((cache / f"{name}.json").read_text())
        truth, found = (
            {board: [Box.from_json(box) for box in boxes] for board, boxes in kept[key].items()}
            for key in ("truth", "found")
        )
        reports.append(evaluate(truth, found, dict.fromkeys(truth, "real"), LABELS, kept["threshold"]))
    return reports


class Population:
    """Boards and the answers to each: those of every model, to the board itself and to its mirror image.

    `answers` and `boards` are how many; an answer `2 * m` is model m's, `2 * m + 1` its answer to the mirror image.
    """

    def __init__(self, reports: Sequence[EvaluationReport]):
        names = sorted(reports[0].per_image)
        every = [name for report in reports for name in (names, [_mirror_image(name) for name in names])]
        models = [report for report in reports for _ in range(2)]
        self.boards, self.answers = len(names), len(models)
        parts = [Results.of(report, order) for report, order in zip(models, every, strict=True)]
        self.support = parts[0].support
        self.tp, self.fp = (np.stack([getattr(part, name) for part in parts]) for name in ("tp", "fp"))
        lists = [
            (scores, hits)
            for report, order in zip(models, every, strict=True)
            for name in order
            for scores, hits in [_detections(report, name)]
        ]
        lengths = np.array([len(hits) for _, hits in lists])
        self._length = lengths.reshape(self.answers, self.boards)
        self._start = (np.cumsum(lengths) - lengths).reshape(self.answers, self.boards)
        self._right = np.concatenate([hits for _, hits in lists])
        self._score = np.concatenate([scores for scores, _ in lists])
        # Where each detection stands among all, so that sorting some of them compares whole numbers.
        order = np.lexsort((self._right, -self._score))
        self._rank = np.empty(len(order), np.int64)
        self._rank[order] = np.arange(len(order))

    def results(self, choice: np.ndarray, boards: np.ndarray) -> Results:
        """What a model that gives answer `choice[board]` gets on `boards`, any of which may occur more than once."""
        answers = choice[boards]
        places, lengths = self._gathered(answers, boards)
        order = np.argsort(self._rank[places])
        places = places[order]
        return Results(
            score=self._score[places],
            right=self._right[places],
            image=np.repeat(np.arange(len(boards)), lengths)[order],
            tp=self.tp[answers, boards],
            fp=self.fp[answers, boards],
            support=self.support[boards],
        )

    def value(self, choice: np.ndarray, boards: np.ndarray, metric: Metric) -> float:
        """The metric of such a model."""
        answers, support = choice[boards], int(self.support[boards].sum())
        if metric == "ap":
            places, _ = self._gathered(answers, boards)
            return average_precision(-self._rank[places], self._right[places], support) or 0.0
        found, false = int(self.tp[answers, boards].sum()), int(self.fp[answers, boards].sum())
        return {
            "precision": found / (found + false),
            "recall": found / support,
            "f1": 2 * found / (found + false + support),
        }[metric]

    def _gathered(self, answers: np.ndarray, boards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The places of the answers' detections, board after board, and how many each has."""
        lengths = self._length[answers, boards]
        shift = self._start[answers, boards] - (np.cumsum(lengths) - lengths)
        return np.repeat(shift, lengths) + np.arange(int(lengths.sum())), lengths


def _detections(report: EvaluationReport, name: str) -> tuple[np.ndarray, np.ndarray]:
    scores = [np.array(each) for counts in report.per_image[name].values() for each in (counts.right, counts.wrong)]
    hits = [
        np.full(len(each), hit)
        for counts in report.per_image[name].values()
        for each, hit in ((counts.right, True), (counts.wrong, False))
    ]
    return np.concatenate([np.zeros(0), *scores]), np.concatenate([np.zeros(0, bool), *hits])


def _mirror_image(name: str) -> str:
    return name.removesuffix(MIRRORED) if name.endswith(MIRRORED) else name + MIRRORED


@dataclass
class Candidates:
    """Models whose `metric` over the whole population is what it should be, drawn when they are first asked for.

    `served` is the first of them; its metric lies so that one a point worse and one two points better can be drawn.
    `close_enough` is by how much a model's metric may differ from what it should be.
    """

    population: Population
    metric: Metric
    close_enough: float = CLOSE_ENOUGH
    served: np.ndarray = field(init=False)
    level: float = field(init=False)
    _drawn: dict[float, list[np.ndarray]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        alone = [np.full(self.population.boards, answer) for answer in range(self.population.answers)]
        values = [self.value(choice) for choice in alone]
        lowest, highest = max(values[:2]), min(values[-2:])
        self.level = lowest + 0.36 * (highest - lowest)
        self.served = self._draw(self.level, np.random.default_rng(0), None)

    def value(self, choice: np.ndarray) -> float:
        """The metric over the whole population."""
        return self.population.value(choice, np.arange(self.population.boards), self.metric)

    def draw(self, delta: float, count: int) -> list[np.ndarray]:
        """`count` models that are truly `delta` better than the served one.

        Raises:
            ValueError: no shares of the models give that.
        """
        known = self._drawn.setdefault(delta, [])
        while len(known) < count:
            random = np.random.default_rng([round(1000 * (delta + 1)), len(known)])
            known.append(self._draw(self.level + delta, random, self.served))
        return known[:count]

    def _draw(self, target: float, random: np.random.Generator, other: np.ndarray | None) -> np.ndarray:
        """A model with the metric `target` that gives no board the same answer as the `other`."""
        for _ in range(MOST_DRAWS):
            place = random.random(self.population.boards)
            mirrored = random.integers(0, 2, self.population.boards)
            low, high = -12.0, 12.0
            while high - low > 1e-6:
                middle = (low + high) / 2
                choice = self._tilted(middle, place, mirrored, other)
                value = self.value(choice)
                if abs(value - target) <= self.close_enough:
                    return choice
                low, high = (middle, high) if value < target else (low, middle)
        raise ValueError(f"no mixture of the models has {self.metric} {target:.4f}; the nearest has {value:.4f}")

    def _tilted(self, tilt: float, place: np.ndarray, mirrored: np.ndarray, other: np.ndarray | None) -> np.ndarray:
        """A mixture in which each model is exp(`tilt`) times as frequent as the one before."""
        weights = np.exp(tilt * np.arange(self.population.answers // 2))
        chosen = 2 * np.searchsorted(np.cumsum(weights / weights.sum())[:-1], place, side="right") + mirrored
        return chosen if other is None else np.where(chosen == other, chosen ^ 1, chosen)
