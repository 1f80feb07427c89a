"""The report of a turned loop: its rounds as a table and as a picture, and three boards before and after."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.sample import Box, Example
from pipelines.evaluate import evaluate_version
from pipelines.evidence import COLOURS, INK, found_in, most_changed
from pipelines.history import Round
from pipelines.job import Job
from pipelines.workspace import Workspace

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOOKS = (("promoted", "#2a9d5c", "^"), ("rejected", "#c8452f", "v"), ("undecided", "#d9a400", "D"))


def draw_rounds(rounds: Sequence[Round], path: Path, metric: str = "ap") -> None:
    """The metric of each round's candidate and of the model it was compared with; a step up is a promotion."""
    figure, axes = _figure(8, 4.2)
    for turn in rounds:
        before, after = turn.served.get(metric), turn.candidate.get(metric)
        if before is not None and after is not None:
            axes.plot([turn.number] * 2, [before, after], color="#bbbbbb", linewidth=2, zorder=1)
            axes.scatter(turn.number, before, color="#888888", marker="_", s=260, linewidths=2.5, zorder=2)
            label = f"{turn.decision.served}  {before:.3f}"
            offset = -12 if before < after else 4
            axes.annotate(label, (turn.number, before), (14, offset), textcoords="offset points", color="#777777")
    axes.scatter([], [], color="#888888", marker="_", s=260, linewidths=2.5, label="served then, on the same holdout")
    for verdict, colour, marker in LOOKS:
        chosen = [
            turn for turn in rounds if turn.decision.verdict == verdict and turn.candidate.get(metric) is not None
        ]
        if not chosen:
            continue
        axes.scatter(
            [turn.number for turn in chosen],
            [turn.candidate[metric] for turn in chosen],
            color=colour,
            marker=marker,
            s=110,
            zorder=3,
            label=f"candidate, {verdict}",
        )
        for turn in chosen:
            label = f"{turn.decision.candidate}  {turn.candidate[metric]:.3f}"
            place = (turn.number, turn.candidate[metric])
            offset = -10 if turn.candidate[metric] < (turn.served.get(metric) or 0) else 2
            axes.annotate(label, place, (14, offset), textcoords="offset points", color=INK, weight="bold")
    axes.set_xticks([turn.number for turn in rounds])
    axes.set_xlim(-0.3, len(rounds) - 0.3)
    axes.margins(y=0.1)
    axes.set_xlabel("round")
    axes.set_ylabel(f"{metric.upper()} at IoU 0.33 on that round's holdout")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.14), ncols=4)
    figure.savefig(path, dpi=130, bbox_inches="tight")


def draw_boards(workspace: Workspace, job: Job, first: str, last: str, path: Path, count: int = 3) -> None:
    """The holdout boards on which `last` gained most over `first`: what each of them finds, beside the truth."""
    dataset = workspace.registry.dataset(job.name, workspace.registry.datasets(job.name)[-1].version)
    reports = [evaluate_version(workspace, job, version, dataset) for version in (first, last)]
    chosen = [image.sample_id for image in most_changed(reports[0], reports[1], count, gains=True)]
    holdout = dataset.examples("holdout")
    examples = [holdout[place] for place, row in enumerate(dataset.rows("holdout")) if row.sample.id in chosen]
    columns: list[tuple[str, list[tuple[Box, ...]]]] = [("labelled", [example.boxes for example in examples])]
    for version, title in ((first, f"before: {first} finds"), (last, f"after: {last} finds")):
        columns.append((title, found_in(workspace, job.name, version, examples)))
    figure, grid = _figure(4.2 * len(columns), 4.3 * len(examples), len(examples), len(columns))
    for row, example in enumerate(examples):
        for column, (title, boxes) in enumerate(columns):
            axes = grid[row][column]
            _draw_board(axes, example, boxes[row], job.classes)
            axes.set_title(f"{title} ({len(boxes[row])})", fontsize=11, color=INK)
            if column == 0:
                axes.set_ylabel(example.domain, fontsize=11, color=INK)
    figure.tight_layout()
    figure.savefig(path, dpi=80)


def _draw_board(axes: Axes, example: Example, boxes: Sequence[Box], classes: Sequence[str]) -> None:
    from matplotlib.patches import Rectangle

    axes.imshow(example.image, cmap="gray", vmin=-160, vmax=255)
    for box in boxes:
        colour = COLOURS[list(classes).index(box.label) % len(COLOURS)]
        axes.add_patch(Rectangle((box.x1, box.y1), box.width, box.height, fill=False, edgecolor=colour, linewidth=2))
        axes.text(
            box.x1,
            box.y1 - 4,
            box.label if box.score is None else f"{box.label} {box.score:.2f}",
            color="white",
            fontsize=7,
            bbox={"facecolor": colour, "edgecolor": "none", "pad": 1.2},
        )
    axes.set_xticks([])
    axes.set_yticks([])


def _figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    return figure, figure.subplots(rows, columns, squeeze=rows * columns == 1)
