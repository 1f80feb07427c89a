r"""What five updates cost and reach beside retraining on everything, and beside the predecessors' single-task learning.

DeepPCB's real boards arrive in an order of the seed's own; every fifth is held out. A first model learns 400 labelled
boards. Then, five times, 80 boards arrive; the served model predicts them, the miner asks people about 40, a tenth
of what the first model learnt from; and the served model learns on by `replay`, with 6.7 % of the steps of a training
from scratch, and is then set half-way between what it was and what it became (`inherited`). Beside it, on the same
held-out boards: `joint`, a retraining on all that is labelled by then, after the first, third and fifth update; and
after the fifth the single-task learning of Ianvs, all that arrived, labelled, in one training.

Goals: each update at most 10 % of the CPU seconds of the retraining beside it, and at most 0.5 points of AP below it.
AP and F are DeepPCB's (IoU > 0.33); F1 and samples_transfer_ratio are those of Ianvs's PCB-AoI benchmark, as its code
has them and mended (`benchmarks/ianvs.py`).

Each training computes in one thread; `--processes` of the seeds run side by side. `--short` turns one small stream and
keeps its figures under .cache alone.

Command to run:

    .venv/bin/python -m benchmarks.updates ../shared/datasets/deeppcb
"""

from __future__ import annotations

import logging
import os
import shlex
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.boards import DEEPPCB, listed, real
from benchmarks.goals import Goal, decided, keep, seeds, with_earlier
from benchmarks.ianvs import Transferred, f1_score, labelled_share, samples_transfer_ratio
from benchmarks.side_by_side import side_by_side
from benchmarks.turned_loops import chosen_of
from data.boards import LABELS
from data.formats import FormatRefused
from data.sample import Example, Prediction
from models.memory import remember
from pipelines.job import HardExampleMining
from pipelines.miners import create_miner
from pipelines.train import code_version

if TYPE_CHECKING:
    from models.fpn.detector import FPN

HELD_OUT = 5
ROUNDS = 5
SEEDS = 3
RETRAINED = (1, 3, 5)
LARGEST_SHARE = 0.1
LARGEST_LOSS = 0.5
MINER = "Informative"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Size:
    """How many boards the first model learns from, arrive and are asked about in a round; the memory; the recipes."""

    first_boards: int
    arriving: int
    budget: int
    memory: int
    first: dict[str, Any]
    update: dict[str, Any]
    every: int = 1


FULL = Size(
    first_boards=400,
    arriving=80,
    budget=40,
    memory=200,
    first={"steps": 6000, "crop": 128},
    update={"steps": 400, "crop": 128, "inherited": 0.5, "learning_rate": 1.5e-3},
)
SHORT = Size(
    first_boards=24,
    arriving=8,
    budget=4,
    memory=12,
    first={"steps": 60, "crop": 128},
    update={"steps": 6, "crop": 128, "inherited": 0.5, "learning_rate": 1.5e-3},
    every=8,
)


@dataclass(frozen=True)
class Outcome:
    """What one training reached on the held-out boards, and what it cost.

    `kind` is `first`, `update`, `joint` or `single-task`; `labelled` boards and those that `arrived` are counted until
    then.
    """

    seed: int
    kind: str
    after: int
    metrics: dict[str, float | None]
    f1_ianvs: float
    f1_mended: float
    cpu_seconds: float
    labelled: int
    arrived: int
    transfer_ratio_ianvs: float
    labelled_share: float


def turn(folder: Path, seed: int, size: Size) -> list[Outcome]:
    """Let the boards of one seed arrive, and learn from them in each way."""
    from models.fpn.detector import FPN

    boards = real(folder, size.every)
    held_out = boards[::HELD_OUT]
    others = [board for number, board in enumerate(boards) if number % HELD_OUT]
    others = [others[index] for index in np.random.default_rng(seed).permutation(len(others))]
    labelled, waiting = others[: size.first_boards], others[size.first_boards :]
    mining = HardExampleMining(name=MINER, budget=size.budget)
    outcomes: list[Outcome] = []
    rounds: list[Transferred] = []

    def judge(model: FPN, kind: str, after: int, cpu: float, taught: int) -> None:
        found = model.predict(held_out)
        pairs = [(board.boxes, boxes) for board, boxes in zip(held_out, found, strict=True)]
        arrived = size.first_boards + after * size.arriving
        judged = create_miner(MINER, {})
        verdicts = [
            judged.judge(Prediction(board.sample_id, "candidate", boxes))
            for board, boxes in zip(held_out, found, strict=True)
        ]
        test = Transferred(len(held_out), sum(verdict is None or verdict.hard for verdict in verdicts))
        outcome = Outcome(
            seed=seed,
            kind=kind,
            after=after,
            metrics={name: model.evaluate(held_out).metrics[name] for name in ("ap", "f1", "ap50")},
            f1_ianvs=f1_score(pairs, LABELS, all_images=False),
            f1_mended=f1_score(pairs, LABELS),
            cpu_seconds=round(cpu, 1),
            labelled=taught,
            arrived=arrived,
            transfer_ratio_ianvs=samples_transfer_ratio([*rounds, test]) if kind in ("first", "update") else 1.0,
            labelled_share=labelled_share(taught, arrived),
        )
        outcomes.append(outcome)
        logger.info("seed %d, %s after %d: AP %.4f, %.0f CPU s", seed, kind, after, outcome.metrics["ap"] or 0, cpu)

    def scratch(kind: str, after: int, taught: Sequence[Example]) -> FPN:
        began = time.process_time()
        model = FPN(LABELS)
        model.train(taught, seed=seed, **size.first)
        judge(model, kind, after, time.process_time() - began, len(taught))
        return model

    served = scratch("first", 0, labelled)
    for after in range(1, ROUNDS + 1):
        arrived, waiting = waiting[: size.arriving], waiting[size.arriving :]
        chosen = chosen_of(arrived, labelled, served, mining)
        fresh = [board for board in arrived if board.sample_id in chosen]
        rounds.append(Transferred(len(arrived), len(fresh)))
        began = time.process_time()
        served.train(
            [*fresh, *_remembered(labelled, size.memory)],
            seed=seed,
            fresh_ids=[board.sample_id for board in fresh],
            **size.update,
        )
        labelled = [*labelled, *fresh]
        judge(served, "update", after, time.process_time() - began, len(labelled))
        if after in RETRAINED:
            scratch("joint", after, labelled)
    scratch("single-task", ROUNDS, others[: size.first_boards + ROUNDS * size.arriving])
    return outcomes


def summary(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """One row for each kind of training and round, the mean over the seeds; beside `joint`, where there is one."""
    joint = {(each.seed, each.after): each for each in outcomes if each.kind == "joint"}
    rows = []
    for kind, after in sorted(
        {(each.kind, each.after) for each in outcomes}, key=lambda key: (key[1], key[0] != "first")
    ):
        same = [each for each in outcomes if (each.kind, each.after) == (kind, after)]
        row: dict[str, Any] = {"kind": kind, "after": after, "seeds": len(same)}
        for name in ("ap", "f1", "ap50"):
            row[name] = round(statistics.mean(each.metrics[name] or 0.0 for each in same), 4)
        for name in ("f1_ianvs", "f1_mended", "transfer_ratio_ianvs", "labelled_share"):
            row[name] = round(statistics.mean(getattr(each, name) for each in same), 4)
        row["cpu_seconds"] = round(statistics.mean(each.cpu_seconds for each in same), 1)
        beside = [(each, joint[each.seed, after]) for each in same if (each.seed, after) in joint]
        if kind == "update" and beside:
            points = [100 * ((each.metrics["ap"] or 0) - (other.metrics["ap"] or 0)) for each, other in beside]
            row["points_beside_joint"] = round(statistics.mean(points), 2)
            row["worst_seed"] = round(min(points), 2)
            row["cpu_share_of_joint"] = round(
                statistics.mean(each.cpu_seconds / other.cpu_seconds for each, other in beside), 3
            )
        rows.append(row)
    return rows


def tables(rows: Sequence[dict[str, Any]]) -> Iterator[Table]:
    """The updates beside retraining, then incremental beside single-task learning after the last round."""
    cost = Table("", "after", "AP", "F", "CPU s", "beside joint", "CPU of joint", title="Updates and retrainings")
    for row in rows:
        points, share = row.get("points_beside_joint"), row.get("cpu_share_of_joint")
        cost.add_row(
            row["kind"], str(row["after"]), f"{row['ap']:.4f}", f"{row['f1']:.4f}", f"{row['cpu_seconds']:.0f}",
            "" if points is None else f"{points:+.2f}", "" if share is None else f"{share:.1%}",
        )  # fmt: skip
    cost.add_section()
    cost.add_row("goal", "", "", "", "", f"≥ -{LARGEST_LOSS:.2f}", f"≤ {LARGEST_SHARE:.0%}")
    yield cost
    ianvs = Table(
        "", "F1 of Ianvs", "F1 mended", "samples_transfer_ratio of Ianvs", "labelled of arrived",
        title="Incremental beside single-task learning, by Ianvs's metrics",
    )  # fmt: skip
    for row in rows:
        if row["after"] == ROUNDS and row["kind"] in ("update", "single-task"):
            ianvs.add_row(
                "incremental" if row["kind"] == "update" else row["kind"],
                f"{row['f1_ianvs']:.4f}", f"{row['f1_mended']:.4f}",
                f"{row['transfer_ratio_ianvs']:.4f}", f"{row['labelled_share']:.4f}",
            )  # fmt: skip
    yield ianvs


def goals(record: Mapping[str, Any]) -> list[Goal]:
    """The worst of the updates that have a retraining beside them, each the mean over the seeds."""
    beside = [row for row in record["summary"] if "cpu_share_of_joint" in row]
    share = max(row["cpu_share_of_joint"] for row in beside)
    points = min(row["points_beside_joint"] for row in beside)
    measured = beside[0]["seeds"]
    return [
        Goal(
            "CPU time of the dearest update",
            f"at most {100 * LARGEST_SHARE:g} % of a retraining's",
            f"{100 * share:.1f} % ({seeds(measured, SEEDS)})",
            decided(share <= LARGEST_SHARE, measured, SEEDS),
        ),
        Goal(
            "AP after the worst update",
            f"at most {LARGEST_LOSS:g} points below a retraining",
            f"{points:+.2f} points ({seeds(measured, SEEDS)})",
            decided(points >= -LARGEST_LOSS, measured, SEEDS),
        ),
    ]


def run(
    folder: Annotated[Path, typer.Argument(metavar="DEEPPCB", help="A clone of DeepPCB.")] = DEEPPCB,
    seed: Annotated[int | None, typer.Option(help="One alone, instead of 0, 1 and 2.")] = None,
    processes: Annotated[int, typer.Option(help="Seeds side by side, one thread each.")] = 2,
    short: Annotated[bool, typer.Option("--short", help="Less than two minutes; kept under .cache alone.")] = False,
) -> None:
    """Let boards arrive, learn from them in each way, and keep the result."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    seeds = [seed or 0] if seed is not None or short else list(range(SEEDS))
    size = SHORT if short else FULL
    try:
        next(listed(folder))
    except (FileNotFoundError, FormatRefused) as error:
        sys.exit(str(error))
    with side_by_side(processes) as pool:
        turned = pool.map(turn, [folder] * len(seeds), seeds, [size] * len(seeds))
        outcomes = [outcome for each in turned for outcome in each]
    if not short:
        outcomes = with_earlier("updates", asdict(size), outcomes, lambda outcome: outcome.seed)
    rows = summary(outcomes)
    for shown in tables(rows):
        Console().print(shown)
    facts = {
        "command": shlex.join([".venv/bin/python", "-m", "benchmarks.updates", str(folder)]),
        "size": asdict(size),
        "goals": {"cpu_share_of_joint": LARGEST_SHARE, "points_beside_joint": -LARGEST_LOSS},
        "cores": os.cpu_count(),
        "code_version": code_version(),
    }
    record = {**facts, "summary": rows, "outcomes": [asdict(outcome) for outcome in outcomes]}
    keep("updates", record, short=short)


def _remembered(boards: Sequence[Example], size: int) -> list[Example]:
    """The boards of the memory."""
    labels = {board.sample_id: {box.label for box in board.boxes} for board in boards}
    kept = set(remember(labels, {board.sample_id: board.domain for board in boards}, size))
    return [board for board in boards if board.sample_id in kept]


if __name__ == "__main__":
    typer.run(run)
