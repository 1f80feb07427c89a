r"""The detector on real boards of families that it never saw, from scratch, beside DeepPCB's paper (arXiv 1902.06197).

The seven families of DeepPCB's trainval list are split three ways; each seed takes the next split. The boards of four
families teach, together with drawn ones (`data/boards`), which count as from scratch; those of one or two choose the
threshold, in the middle of the range in which F hardly changes; those of the others judge. AP and F are DeepPCB's:
pooled over classes and boards, IoU > 0.33; beside them COCO's AP50.

Goals, as the mean of three seeds: AP .992, F .985 and AP50 .988 within 40 minutes on two free cores; AP .97 within 15.
The paper reached AP .986 and F .982 with a GPU, on other boards: those of its test list, a third of them of families
that it had learnt.

`--budget` names how long the training may be: `long` for 40 minutes, `middle` for 15, `short` for two, which shows that
everything works and keeps its figures under .cache alone. `--recipe` tries other settings, such as '{"steps": 10500,
"crop": 192}', and prints what they reach without keeping it. With `--keep` the model stays in that folder: `ratchet
predict pcb_defects --model FOLDER --images BOARDS --out found.zip --format deeppcb` finds the boxes that were judged.
`--judge` takes the model in such a folder instead of training one, where only what comes after the network has changed;
what its training cost stays on record.

Command to run, once for each seed:

    .venv/bin/python -m benchmarks.accuracy ../shared/datasets/deeppcb --budget long --seed 0
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.boards import DEEPPCB, drawn, real
from benchmarks.goals import NOT_MEASURED, Goal, decided, keep, recorded, seeds
from data.boards import LABELS
from data.formats import FormatRefused
from data.sample import Example
from models.metrics import EvaluationReport
from models.pooled import best_threshold
from models.version import ModelRefused, load_model, save_model
from pipelines.train import code_version

if TYPE_CHECKING:
    from models.fpn.detector import FPN

METRICS = {
    "ap": "AP@0.33",
    "f1": "F",
    "precision": "precision",
    "recall": "recall",
    "ap50": "COCO AP50",
}
GOALS = {"long": {"ap": 0.992, "f1": 0.985, "ap50": 0.988}, "middle": {"ap": 0.97}, "short": {}}
MINUTES = {"long": 40, "middle": 15}
Budget = Literal["long", "middle", "short"]


@dataclass(frozen=True)
class Families:
    """Which families choose the threshold and which judge; the others teach."""

    choose: frozenset[str]
    judge: frozenset[str]


SPLITS = (
    Families(frozenset({"group92000"}), frozenset({"group44000", "group77000"})),
    Families(frozenset({"group77000"}), frozenset({"group50600", "group92000"})),
    Families(frozenset({"group50600", "group44000"}), frozenset({"group13000"})),
)


@dataclass(frozen=True)
class Size:
    """How many boards of each family are drawn, and the recipe."""

    boards: int
    recipe: dict[str, Any]


SIZES: dict[str, Size] = {
    "long": Size(60, {"steps": 60000, "crop": 128, "zoom": 1.4}),
    "middle": Size(60, {"steps": 20000, "crop": 128, "zoom": 1.4}),
    "short": Size(6, {"steps": 600, "crop": 128}),
}


def split(boards: list[Example], families: Families) -> tuple[list[Example], list[Example], list[Example]]:
    """The boards that teach, that choose the threshold, and that judge."""
    judging = [board for board in boards if board.domain in families.judge]
    choosing = [board for board in boards if board.domain in families.choose]
    teaching = [board for board in boards if board.domain not in families.judge | families.choose]
    return teaching, choosing, judging


def measure(folder: Path, size: Size, seed: int) -> tuple[FPN, dict[str, Any], EvaluationReport]:
    """The model that was trained, at which cost, and its judgement.

    Raises:
        FileNotFoundError, FormatRefused: the real boards are not there, or cannot be read.
    """
    from models.fpn.detector import FPN

    families = SPLITS[seed % len(SPLITS)]
    teaching, choosing, judging = split(real(folder), families)
    examples = teaching + drawn(size.boards)
    model = FPN(LABELS)
    started, began = time.process_time(), time.monotonic()
    training = model.train(examples, seed=seed, **size.recipe)
    cpu, wall = time.process_time() - started, time.monotonic() - began
    report = judge(model, choosing, judging)
    facts = {
        "seed": seed,
        "families": {"choose": sorted(families.choose), "judge": sorted(families.judge)},
        "boards": {
            "teach": len(teaching),
            "drawn": len(examples) - len(teaching),
            "choose": len(choosing),
            "judge": len(judging),
        },
        "recipe": size.recipe,
        "steps": training.steps,
        "cpu_seconds": round(cpu),
        "wall_seconds": round(wall),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[2], 1),
        "code_version": code_version(),
    }
    return model, facts, report


def judge(model: FPN, choosing: list[Example], judging: list[Example]) -> EvaluationReport:
    """The judgement of a model, at the threshold that the choosing boards say, which it keeps."""
    found = model.predict(choosing)
    model.threshold = best_threshold([(board.boxes, boxes) for board, boxes in zip(choosing, found, strict=True)])
    return model.evaluate(judging)


def again(folder: Path, trained: Path, earlier: Mapping[str, Any]) -> tuple[FPN, dict[str, Any], EvaluationReport]:
    """The model in `trained`, what is on record of its training, and its judgement.

    Raises:
        FileNotFoundError, FormatRefused, ModelRefused: the real boards or the model are not there, or cannot be read.
    """
    _, choosing, judging = split(real(folder), SPLITS[earlier["seed"] % len(SPLITS)])
    model = cast("FPN", load_model(trained))
    report = judge(model, choosing, judging)
    facts = {name: value for name, value in earlier.items() if name not in {"command", *record({}, report)}}
    return model, {**facts, "judged_by": code_version()}, report


def record(facts: dict[str, Any], report: EvaluationReport) -> dict[str, Any]:
    """What is kept of one seed."""
    return {
        **facts,
        "threshold": round(report.threshold, 4),
        "metrics": _rounded(report.metrics),
        "per_class": {metric: _rounded(values) for metric, values in report.per_class.items()},
        "per_family": {family: _rounded(values) for family, values in report.per_domain.items()},
        "support": report.support,
    }


def summary(budget: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and spread (standard deviation) of every metric over the seeds, beside the goals."""
    values = {name: [run["metrics"][name] for run in runs if run["metrics"].get(name) is not None] for name in METRICS}
    return {
        "seeds": len(runs),
        "mean": {name: round(statistics.mean(each), 4) for name, each in values.items() if each},
        "spread": {name: round(statistics.stdev(each), 4) for name, each in values.items() if len(each) > 1},
        "cpu_seconds": round(statistics.mean(run["cpu_seconds"] for run in runs)),
        "goals": GOALS[budget],
    }


def goals(record: Mapping[str, Any]) -> list[Goal]:
    """The goals of both long budgets, beside the mean of each; a short run stands for both."""
    return [
        _goal(METRICS[name], MINUTES[budget], least, record.get(budget, record.get("short")), name)
        for budget in MINUTES
        for name, least in GOALS[budget].items()
    ]


def _goal(title: str, minutes: int, least: float, measured: Mapping[str, Any] | None, name: str) -> Goal:
    what, goal = f"{title} on new families, {minutes} minutes of training", f"at least {least:g}"
    summed = measured["summary"] if measured else {"mean": {}}
    mean = summed["mean"].get(name)
    if mean is None:
        return Goal(what, goal, NOT_MEASURED)
    wanted = len(SPLITS)
    reached = f"{mean:.4f} ({seeds(summed['seeds'], wanted)}, {summed['cpu_seconds']:,} CPU s)"
    return Goal(what, goal, reached, decided(mean >= least, summed["seeds"], wanted))


def table(runs: list[dict[str, Any]], summed: dict[str, Any]) -> Table:
    """One line a seed, then the mean, the spread and the goals."""
    shown = Table("seed", "judged by", *METRICS.values(), "CPU s", title="Real boards of families never seen")
    for run in runs:
        judged = ", ".join(run["families"]["judge"])
        shown.add_row(str(run["seed"]), judged, *_cells(run["metrics"]), str(run["cpu_seconds"]))
    shown.add_section()
    shown.add_row("mean", "", *_cells(summed["mean"]), str(summed["cpu_seconds"]))
    shown.add_row("spread", "", *_cells(summed["spread"]), "")
    shown.add_row("goal", "", *_cells(summed["goals"]), "")
    return shown


def run(
    deeppcb: Annotated[Path, typer.Argument(help="A clone of DeepPCB.")] = DEEPPCB,
    budget: Annotated[Budget, typer.Option(help="How long the training may be.")] = "long",
    seed: Annotated[int, typer.Option(help="Of all that is drawn; also which families judge.")] = 0,
    recipe: Annotated[
        dict[str, Any] | None,
        typer.Option(parser=json.loads, metavar="JSON", help="Settings to try instead of the budget's."),
    ] = None,
    place: Annotated[Path | None, typer.Option("--keep", help="A new folder for the model.")] = None,
    trained: Annotated[Path | None, typer.Option("--judge", help="A model that `--keep` left.")] = None,
) -> None:
    """Train on some families and drawn boards, judge on others, and keep the result."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    short = budget == "short"
    kept = {} if short else recorded("accuracy")
    earlier = kept.get(budget, {}).get("runs", [])
    runs = {entry["seed"]: entry for entry in earlier if entry["recipe"] == SIZES[budget].recipe}
    if trained is not None and (recipe is not None or seed not in runs):
        sys.exit(f"--judge needs a training of this budget on record, by its own recipe; there is none of seed {seed}")
    try:
        if trained is not None:
            model, facts, report = again(deeppcb, trained, runs[seed])
        else:
            size = SIZES[budget] if recipe is None else replace(SIZES[budget], recipe=recipe)
            model, facts, report = measure(deeppcb, size, seed)
    except (FileNotFoundError, FormatRefused, ModelRefused) as error:
        sys.exit(str(error))
    if place is not None:
        save_model(model, place)
    command = [".venv/bin/python", "-m", "benchmarks.accuracy", str(deeppcb), "--budget", budget, "--seed", str(seed)]
    measured = {"command": shlex.join(command), **record(facts, report)}
    if recipe is not None:
        Console().print(table([measured], summary(budget, [measured])))
        return
    runs[seed] = measured
    ordered = [runs[number] for number in sorted(runs)]
    summed = summary(budget, ordered)
    Console().print(table(ordered, summed))
    keep("accuracy", {**kept, budget: {"summary": summed, "runs": ordered}}, short=short)


def _cells(values: dict[str, float | None]) -> list[str]:
    return ["-" if (value := values.get(name)) is None else f"{value:.4f}" for name in METRICS]


def _rounded(values: dict[str, float | None]) -> dict[str, float | None]:
    return {name: None if value is None else round(value, 4) for name, value in values.items()}


if __name__ == "__main__":
    typer.run(run)
