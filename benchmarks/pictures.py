"""The pictures of docs/learning.md, drawn from the results that the benchmarks keep.

Command to run:

    .venv/bin/python -m benchmarks.pictures
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.accuracy import GOALS, MINUTES
from benchmarks.forgetting import BEFORE, REFERENCE
from benchmarks.goals import RESULTS
from benchmarks.updates import LARGEST_LOSS
from pipelines.settings import ROOT

PICTURES = ROOT / "docs" / "pictures"
GREY, GREEN, YELLOW, BLUE = "#888888", "#2a9d5c", "#d9a400", "#3b6fb6"
MINERS = {"Random": GREY, "IBT": YELLOW, "Informative": GREEN}
TASKS = {"classes": "two classes arrive", "families": "new families arrive, no template"}


def accuracy(record: Mapping[str, Any]) -> Figure:
    """Average precision on each family that was not trained on, by the minutes of training, beside the goal."""
    figure = Figure(figsize=(10.8, 4))
    axes = figure.subplots()
    families: dict[str, int] = {}
    for offset, budget, colour in ((-0.12, "middle", GREY), (0.12, "long", GREEN)):
        runs = record.get(budget, {}).get("runs", [])
        reached = [(family, values["ap"]) for run in runs for family, values in run["per_family"].items()]
        places = [families.setdefault(family, len(families)) + offset for family, _ in reached]
        minutes = f"{MINUTES[budget]} minutes on two cores"
        points = axes.scatter(places, [ap for _, ap in reached], color=colour, s=36, label=minutes, zorder=2)
        for place, (_, ap) in zip(places, reached, strict=True):
            axes.annotate(f"{ap:.3f}", (place, ap), (0, 6), textcoords="offset points", ha="center", fontsize=8)
        points.set_clip_on(False)
    axes.axhline(GOALS["long"]["ap"], color="black", lw=0.8, ls=":", zorder=1, label="goal of the mean, 40 minutes")
    axes.set_xticks(range(len(families)), list(families))
    axes.set_xlim(-0.5, max(len(families), 1) - 0.5)
    axes.set_ylabel("AP at IoU 0.33")
    axes.legend(frameon=False, loc="lower right")
    return figure


def label_cost(record: Mapping[str, Any]) -> Figure:
    """Average precision over labels, with one standard deviation of the seeds, for each protocol."""
    kept = record["summary"]
    figure = Figure(figsize=(5.4 * len(kept), 4))
    grid = figure.subplots(1, len(kept), sharey=True, squeeze=False)
    for axes, (protocol, miners) in zip(grid[0], kept.items(), strict=True):
        for miner, values in miners.items():
            labels, means = (np.array(each) for each in zip(*values["mean_ap"], strict=True))
            deviation = np.array(values["deviation_of_ap"])
            (line,) = axes.plot(labels, means, color=MINERS.get(miner), marker="o", markersize=4, label=miner)
            axes.fill_between(labels, means - deviation, means + deviation, color=line.get_color(), alpha=0.15, lw=0)
        axes.set_title(protocol)
        axes.set_xlabel("labelled frames")
    grid[0][0].set_ylabel("AP at IoU 0.33, all families alike")
    grid[0][0].legend(frameon=False, loc="lower right")
    return figure


def updates(record: Mapping[str, Any]) -> Figure:
    """What updates reach and cost, round by round, beside retraining on everything."""
    figure = Figure(figsize=(10.8, 4))
    reached, cost = figure.subplots(1, 2)
    for kinds, colour, label in (
        (("first", "update"), GREEN, "updates"),
        (("joint",), GREY, "retraining on all labels"),
        (("single-task",), YELLOW, "single-task: all images labelled"),
    ):
        rows = [row for row in record["summary"] if row["kind"] in kinds]
        rounds = [row["after"] for row in rows]
        reached.plot(rounds, [row["ap"] for row in rows], color=colour, marker="o", markersize=4, label=label)
        cost.plot(rounds, [row["cpu_seconds"] for row in rows], color=colour, marker="o", markersize=4, label=label)
    retrained = [row for row in record["summary"] if row["kind"] == "joint"]
    if retrained:
        highest = np.array([row["ap"] for row in retrained])
        within = "the goal: at most half a point below that"
        reached.fill_between(
            [row["after"] for row in retrained],
            highest - LARGEST_LOSS / 100,
            highest,
            color=GREY,
            alpha=0.15,
            label=within,
        )
    reached.set_ylabel("AP at IoU 0.33")
    cost.set_ylabel("CPU seconds of the training")
    cost.set_ylim(bottom=0)
    for axes in (reached, cost):
        axes.set_xlabel("updates so far, 40 labels each")
    reached.legend(frameon=False, loc="lower left")
    return figure


def forgetting(record: Mapping[str, Any]) -> Figure:
    """Points of average precision beside joint training, of what was old and what is new, by method."""
    kept = record["summary"]
    figure = Figure(figsize=(5.4 * len(kept), 4))
    grid = figure.subplots(1, len(kept), squeeze=False)
    for axes, (name, methods) in zip(grid[0], kept.items(), strict=True):
        shown = [method for method in methods if method not in ("joint", REFERENCE, BEFORE)]
        for offset, part, colour in ((-0.2, "old", BLUE), (0.2, "new", GREEN)):
            points = [methods[method]["points_beside_joint"][part] for method in shown]
            bars = axes.bar(np.arange(len(shown)) + offset, points, 0.36, color=colour, label=part)
            axes.bar_label(bars, fmt="%+.1f", fontsize=8, padding=2)
        axes.axhline(0, color="black", lw=0.8)
        axes.set_xticks(range(len(shown)), shown)
        axes.set_title(TASKS[name])
        axes.margins(y=0.15)
    grid[0][0].set_ylabel("points of AP beside joint training\nwith every label")
    grid[0][0].legend(frameon=False)
    return figure


DRAWN: dict[str, Callable[[Mapping[str, Any]], Figure]] = {
    "accuracy": accuracy,
    "label_cost": label_cost,
    "updates": updates,
    "forgetting": forgetting,
}


def draw(name: str, results: Path, pictures: Path) -> Path | None:
    """Draw the picture of one benchmark, if there is a result of it; where it lies."""
    source = results / f"{name}.json"
    if not source.exists():
        return None
    figure = DRAWN[name](json.loads(source.read_text()))
    _plain(figure.axes)
    path = pictures / f"{name.replace('_', '-')}.png"
    figure.savefig(path, bbox_inches="tight", dpi=130)
    return path


def _plain(grid: Sequence[Axes]) -> None:
    for axes in grid:
        axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    for each in DRAWN:
        print(draw(each, RESULTS, PICTURES) or f"{each} is not measured yet")
