r"""What an update forgets, by each method of updating, on DeepPCB's real boards (arXiv 1902.06197).

Two streams of two tasks each, judged on every fifth board, which nobody learns from:

- `classes`: half of the boards, labelled for four classes; then the other half, labelled for the other two alone,
  though they show the old ones too.
- `families`: the boards of some families; then those of others, by a network that sees no template (its input is the
  image alone). Each seed takes other families for the new ones.

A model learns the first task; each method of updating goes on from its weights on the second, with a memory of 50
boards where it replays; `joint` learns both from scratch. What they are set beside is joint training as the literature
has it, from every label of every board: in `families` it is `joint` itself, in `classes` it needs labels that nobody
made. The table says DeepPCB's pooled AP (IoU > 0.33) of what was old and of what is new, in points beside it, and the
CPU seconds. Goals, for the default method `replay`: old at most 1 point below, new at most 2.

Each training computes in one thread; `--processes` of the streams run side by side. `--short` turns both once, small,
and keeps its figures under .cache alone.

Command to run:

    .venv/bin/python -m benchmarks.forgetting ../shared/datasets/deeppcb
"""

from __future__ import annotations

import logging
import os
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.accuracy import SPLITS
from benchmarks.boards import DEEPPCB, listed, real
from benchmarks.goals import Goal, decided, keep, seeds, with_earlier
from benchmarks.side_by_side import side_by_side
from data.boards import LABELS
from data.formats import FormatRefused
from data.sample import Example
from models.memory import remember
from models.metrics import judged
from models.pooled import deeppcb
from pipelines.job import DISTILLING, METHODS, REPLAYING, Method
from pipelines.train import code_version

if TYPE_CHECKING:
    from models.fpn.detector import FPN

HELD_OUT = 5
MEMORY = 50
FIRST_CLASSES = frozenset({"open", "short", "mousebite", "spur"})
BEFORE = "before the update"
DEFAULT = "replay"
REFERENCE = "joint, every label"
GOALS = {"old": -1.0, "new": -2.0}
SEEDS = 3

Name = Literal["classes", "families"]
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Size:
    """The recipes of a training from scratch and of an update, and every how many-th board is used at all."""

    first: dict[str, Any]
    update: dict[str, Any]
    every: int = 1


UPDATING = {"learning_rate": 1.5e-3}
# Without a template the network has to see more around each point, and an update wanders further.
FULL: dict[Name, Size] = {
    "classes": Size({"steps": 5000, "crop": 128}, {"steps": 1250, "crop": 128, **UPDATING}),
    "families": Size({"steps": 3000, "crop": 192}, {"steps": 1500, "crop": 192, "inherited": 0.5, **UPDATING}),
}
SHORT: dict[Name, Size] = dict.fromkeys(
    FULL, Size({"steps": 60, "crop": 128}, {"steps": 20, "crop": 128, **UPDATING}, every=10)
)


@dataclass(frozen=True)
class Stream:
    """Two tasks, one after the other, and what is held out of both.

    `classes` are those that a model is made for before and after; `complete` are the boards of both tasks with every
    label, where the tasks leave some out.
    """

    first: list[Example]
    second: list[Example]
    held_out: list[Example]
    classes: tuple[tuple[str, ...], tuple[str, ...]]
    old_classes: frozenset[str]
    old_domains: frozenset[str]
    input: Literal["pair", "image"]
    complete: list[Example] = field(default_factory=list)

    def parts(self) -> dict[str, tuple[list[Example], frozenset[str]]]:
        """The held-out boards and the classes by which the old and the new are judged."""
        if len(self.old_classes) < len(LABELS):
            return {
                "old": (self.held_out, self.old_classes),
                "new": (self.held_out, frozenset(LABELS) - self.old_classes),
            }
        old = [board for board in self.held_out if board.domain in self.old_domains]
        new = [board for board in self.held_out if board.domain not in self.old_domains]
        return {"old": (old, self.old_classes), "new": (new, self.old_classes)}


@dataclass(frozen=True)
class Outcome:
    """What one method reached in one stream: AP of the old and of the new, and the CPU seconds of its training."""

    stream: Name
    seed: int
    method: str
    ap: dict[str, float]
    cpu_seconds: float
    shown: int
    of_class: dict[str, float | None] = field(default_factory=dict)


def asked_for(board: Example, classes: frozenset[str]) -> Example:
    """The board as one labels it who is asked about these classes alone."""
    return replace(board, classes=classes, boxes=tuple(box for box in board.boxes if box.label in classes))


def stream_of(name: Name, boards: Sequence[Example], seed: int) -> Stream:
    """One of the two streams; every fifth board is held out."""
    held_out = list(boards[::HELD_OUT])
    others = [board for number, board in enumerate(boards) if number % HELD_OUT]
    everything, domains = frozenset(LABELS), frozenset(board.domain for board in boards)
    if name == "classes":
        known = tuple(label for label in LABELS if label in FIRST_CLASSES)
        halves = others[seed % 2 :: 2], others[1 - seed % 2 :: 2]
        first = [asked_for(board, FIRST_CLASSES) for board in halves[0]]
        second = [asked_for(board, everything - FIRST_CLASSES) for board in halves[1]]
        return Stream(first, second, held_out, (known, LABELS), FIRST_CLASSES, domains, "pair", others)
    new = SPLITS[seed % len(SPLITS)].judge
    first = [board for board in others if board.domain not in new]
    second = [board for board in others if board.domain in new]
    return Stream(first, second, held_out, (LABELS, LABELS), everything, domains - new, "image")


def turn(name: Name, folder: Path, seed: int, size: Size) -> list[Outcome]:
    """Learn the first task, then the second by every method."""
    from models.fpn.detector import FPN
    from models.version import load_model, save_model

    stream = stream_of(name, real(folder, size.every), seed)
    outcomes = []

    def judge(model: FPN, method: str, began: float, shown: int) -> None:
        cpu = time.process_time() - began
        ap = {}
        for part, (boards, classes) in stream.parts().items():
            found = model.predict(boards)
            pairs = [
                (judged(board.boxes, classes), judged(each, classes)) for board, each in zip(boards, found, strict=True)
            ]
            ap[part] = deeppcb(pairs, model.threshold).ap or 0.0
        of_class = model.evaluate(stream.held_out).per_class["ap"]
        outcomes.append(Outcome(name, seed, method, ap, cpu, shown, of_class))
        logger.info("%s, seed %d, %s: AP %s, %.0f CPU s", name, seed, method, ap, cpu)

    began = time.process_time()
    model = FPN(stream.classes[0], input=stream.input)
    model.train(stream.first, seed=seed, **size.first)
    judge(model, BEFORE, began, len(stream.first))
    labels = {board.sample_id: {box.label for box in board.boxes} for board in stream.first}
    memory = set(remember(labels, {board.sample_id: board.domain for board in stream.first}, MEMORY))
    remembered = [board for board in stream.first if board.sample_id in memory]
    with tempfile.TemporaryDirectory() as saved:
        save_model(model, Path(saved) / "model")
        for method in METHODS:
            began = time.process_time()
            shown = _shown(stream, method, remembered)
            if method == "joint":
                model = FPN(stream.classes[1], input=stream.input)
                model.train(shown, seed=seed, **size.first)
            else:
                model = load_model(Path(saved) / "model")  # type: ignore[assignment]
                model.extend(stream.classes[1])
                fresh = [board.sample_id for board in stream.second]
                model.train(shown, seed=seed, fresh_ids=fresh, distil=method in DISTILLING, **size.update)
            judge(model, method, began, len(shown))
    if stream.complete:
        began = time.process_time()
        model = FPN(stream.classes[1], input=stream.input)
        model.train(stream.complete, seed=seed, **size.first)
        judge(model, REFERENCE, began, len(stream.complete))
    return outcomes


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """For each stream and method the mean AP, and its points beside joint training with every label, seed by seed."""
    kept: dict[str, Any] = {}
    for name in dict.fromkeys(each.stream for each in outcomes):
        of_stream = [each for each in outcomes if each.stream == name]
        joint = {each.seed: each.ap for method in ("joint", REFERENCE) for each in of_stream if each.method == method}
        kept[name] = {}
        for method in dict.fromkeys(each.method for each in of_stream):
            same = [each for each in of_stream if each.method == method]
            beside = {part: [100 * (each.ap[part] - joint[each.seed][part]) for each in same] for part in GOALS}
            kept[name][method] = {
                "ap": {part: round(statistics.mean(each.ap[part] for each in same), 4) for part in GOALS},
                "points_beside_joint": {part: round(statistics.mean(points), 2) for part, points in beside.items()},
                "worst_seed": {part: round(min(points), 2) for part, points in beside.items()},
                "cpu_seconds": round(statistics.mean(each.cpu_seconds for each in same)),
                "seeds": len(same),
            }
    return kept


def table(kept: dict[str, Any]) -> Iterator[Table]:
    """A table for each stream, one line a method."""
    for name, methods in kept.items():
        seeds = max(values["seeds"] for values in methods.values())
        shown = Table(
            "",
            "AP old",
            "AP new",
            "old, beside joint",
            "new, beside joint",
            "CPU s",
            title=f"{name}: mean of {seeds} seed(s)",
        )
        for method, values in methods.items():
            points = [f"{value:+.1f}" for value in values["points_beside_joint"].values()]
            aps = [f"{value:.3f}" for value in values["ap"].values()]
            shown.add_row(method, *aps, *points, str(values["cpu_seconds"]))
        shown.add_section()
        shown.add_row(f"goal of {DEFAULT}", "", "", *(f"≥ {goal:+.1f}" for goal in GOALS.values()), "")
        yield shown


def goals(record: Mapping[str, Any]) -> list[Goal]:
    """What the default method forgets and learns in each stream, beside joint training with every label."""
    return [
        Goal(
            f"AP of what is {part} after an update by {DEFAULT}, new {name}",
            f"at most {-least:g} {'point' if least == -1 else 'points'} below a training on everything",
            f"{points:+.2f} points ({seeds(measured, SEEDS)})",
            decided(points >= least, measured, SEEDS),
        )
        for name, methods in record["summary"].items()
        for measured in [methods[DEFAULT]["seeds"]]
        for part, least in GOALS.items()
        for points in [methods[DEFAULT]["points_beside_joint"][part]]
    ]


def run(
    folder: Annotated[Path, typer.Argument(metavar="DEEPPCB", help="A clone of DeepPCB.")] = DEEPPCB,
    stream: Annotated[Name | None, typer.Option(help="One of the two alone.")] = None,
    seed: Annotated[int | None, typer.Option(help="One alone, instead of 0, 1 and 2.")] = None,
    processes: Annotated[int, typer.Option(help="Streams side by side, one thread each.")] = 2,
    short: Annotated[bool, typer.Option("--short", help="Two minutes; kept under .cache alone.")] = False,
) -> None:
    """Turn the streams with every method, and keep the result."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    names: list[Name] = [stream] if stream else ["classes", "families"]
    seeds = [seed or 0] if seed is not None or short else list(range(SEEDS))
    size = SHORT if short else FULL
    try:
        next(listed(folder))
    except (FileNotFoundError, FormatRefused) as error:
        sys.exit(str(error))
    turns = [(name, folder, each, size[name]) for each in seeds for name in names]
    with side_by_side(processes) as pool:
        new = [outcome for turned in pool.map(turn, *zip(*turns, strict=True)) for outcome in turned]
    sizes: dict[str, Any] = {name: asdict(each) for name, each in size.items()}
    if not short:
        new = with_earlier("forgetting", sizes, new, lambda outcome: (outcome.stream, outcome.seed))
    summed = summary(new)
    for each in table(summed):
        Console().print(each)
    facts = {
        "command": shlex.join([".venv/bin/python", "-m", "benchmarks.forgetting", str(folder)]),
        "size": sizes,
        "memory": MEMORY,
        "goals": GOALS,
        "cores": os.cpu_count(),
        "code_version": code_version(),
    }
    record = {**facts, "summary": summed, "outcomes": [asdict(outcome) for outcome in new]}
    keep("forgetting", record, short=short)


def _shown(stream: Stream, method: Method, remembered: list[Example]) -> list[Example]:
    """The boards that an update by this method learns from."""
    if method == "joint":
        return [*stream.first, *stream.second]
    return [*stream.second, *remembered] if method in REPLAYING else stream.second


if __name__ == "__main__":
    typer.run(run)
