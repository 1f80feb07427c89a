r"""The detector, trained on drawn boards alone, judged on real ones that it has never seen: DeepPCB, arXiv 1902.06197.

528 boards of `data/boards`, 66 of each family, 8,000 steps; then every fifth board of DeepPCB's
trainval list, 200 boards. The weights of the last step are judged, at a threshold chosen on drawn boards. No real board
teaches or chooses, but what earlier models missed on such boards has shaped how defects are drawn.

`--short` learns from fewer boards in 600 steps: it shows that everything works, and keeps its figures under .cache
alone.

Command to run:

    .venv/bin/python -m benchmarks.synthetic_to_real ../shared/datasets/deeppcb --seed 0
"""

from __future__ import annotations

import logging
import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.boards import DEEPPCB, drawn, real
from benchmarks.goals import NO_GOAL, Goal, keep
from data.boards import LABELS
from data.formats import FormatRefused
from models.metrics import EvaluationReport
from pipelines.train import code_version

METRICS = {"ap": "AP@0.33", "precision": "precision", "recall": "recall", "f1": "F", "ap50": "COCO AP50"}


@dataclass(frozen=True)
class Size:
    """How much is drawn, trained and judged: boards of each family, the recipe, and every how many-th real board."""

    boards: int
    recipe: dict[str, Any]
    every: int


FULL = Size(boards=66, recipe={"steps": 8000, "crop": 128, "zoom": 1.4}, every=5)
SHORT = Size(boards=12, recipe={"steps": 600, "crop": 128}, every=25)


def measure(folder: Path, size: Size, seed: int) -> tuple[dict[str, Any], EvaluationReport]:
    """What was trained and judged, at which cost in CPU seconds of this process, and the judgement.

    Raises:
        FileNotFoundError, FormatRefused: as `real`.
    """
    from models.fpn.detector import FPN

    boards = real(folder, size.every)
    started = time.process_time()
    examples = drawn(size.boards)
    was_drawn = time.process_time()
    model = FPN(LABELS)
    training = model.train(examples, seed=seed, **size.recipe)
    was_trained = time.process_time()
    report = model.evaluate(boards)
    facts = {
        "drawn_boards": len(examples),
        "real_boards": len(boards),
        "recipe": size.recipe,
        "seed": seed,
        "cpu_seconds": {
            "drawing": round(was_drawn - started),
            "training": round(was_trained - was_drawn),
            "judging": round(time.process_time() - was_trained),
        },
        "training_wall_seconds": round(training.seconds),
        "cores": os.cpu_count(),
        "code_version": code_version(),
    }
    return facts, report


def table(facts: dict[str, Any], report: EvaluationReport) -> Table:
    """The metrics of each class and of all of them."""
    shown = Table(
        "",
        *(f"[bold]{title}[/]" for title in METRICS.values()),
        "boxes",
        title=f"{facts['drawn_boards']} drawn boards → {facts['real_boards']} real ones, seed {facts['seed']}",
        caption=", ".join(f"{what} {seconds} CPU s" for what, seconds in facts["cpu_seconds"].items()),
    )
    for label, support in report.support.items():
        shown.add_row(label, *(_share(report.per_class[metric][label]) for metric in METRICS), str(support))
    shown.add_section()
    shown.add_row("all", *(_share(report.metrics[metric]) for metric in METRICS), str(sum(report.support.values())))
    return shown


def record(command: Sequence[str], facts: dict[str, Any], report: EvaluationReport) -> dict[str, Any]:
    """What is kept of a run: the command, the facts, and every metric, rounded to four digits."""
    return {
        "command": shlex.join(command),
        **facts,
        "threshold": round(report.threshold, 4),
        "metrics": _rounded(report.metrics),
        "per_class": {metric: _rounded(values) for metric, values in report.per_class.items()},
        "per_domain": {domain: _rounded(values) for domain, values in report.per_domain.items()},
        "support": report.support,
    }


def goals(record: Mapping[str, Any]) -> list[Goal]:
    """What a run has reached; there is no goal."""
    reached = ", ".join(f"{METRICS[name]} {_share(record['metrics'][name])}" for name in ("ap", "f1", "ap50"))
    return [Goal("Real boards, after drawn ones alone", NO_GOAL, reached)]


def run(
    deeppcb: Annotated[Path, typer.Argument(help="A clone of DeepPCB.")] = DEEPPCB,
    seed: Annotated[int, typer.Option(help="Of the first weights and of everything drawn in training.")] = 0,
    short: Annotated[bool, typer.Option("--short", help="Less than three minutes; kept under .cache alone.")] = False,
) -> None:
    """Train on drawn boards alone, judge on real ones, and keep the result."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        facts, report = measure(deeppcb, SHORT if short else FULL, seed)
    except (FileNotFoundError, FormatRefused) as error:
        sys.exit(str(error))
    Console().print(table(facts, report))
    command = [".venv/bin/python", "-m", "benchmarks.synthetic_to_real", str(deeppcb), "--seed", str(seed)]
    command += ["--short"] if short else []
    keep("synthetic_to_real", record(command, facts, report), short=short)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _rounded(values: dict[str, float | None]) -> dict[str, float | None]:
    return {name: None if value is None else round(value, 4) for name, value in values.items()}


if __name__ == "__main__":
    typer.run(run)
