"""The benchmark reads and keeps what it says; what it reaches, only a run of it can say."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from rich.console import Console

from benchmarks.boards import drawn
from benchmarks.synthetic_to_real import goals, record, table
from data.boards import FAMILIES, LABELS
from data.sample import Example
from models.metrics import EvaluationReport, evaluate

FACTS = {"drawn_boards": 8, "real_boards": 1, "seed": 3, "cpu_seconds": {"drawing": 1, "training": 2, "judging": 3}}
COMMAND = ["python", "-m", "benchmarks.synthetic_to_real", "a folder", "--seed", "3"]


@pytest.fixture(scope="module")
def boards() -> list[Example]:
    return drawn(1)


@pytest.fixture
def report(boards: list[Example]) -> EvaluationReport:
    """What a model gets that finds every pin-hole and nothing else."""
    truth = {board.sample_id: board.boxes for board in boards}
    found = {
        name: [replace(box, score=0.9) for box in boxes if box.label == "pin-hole"] for name, boxes in truth.items()
    }
    return evaluate(truth, found, {board.sample_id: board.domain for board in boards}, LABELS, 0.5)


def test_the_command_and_every_metric_are_kept(report: EvaluationReport) -> None:
    kept = json.loads(json.dumps(record(COMMAND, FACTS, report)))
    assert kept["command"] == "python -m benchmarks.synthetic_to_real 'a folder' --seed 3"
    assert kept["cpu_seconds"]["training"] == 2
    assert kept["metrics"].keys() == {"ap", "precision", "recall", "f1", "ap50"}
    assert (kept["per_class"]["ap"]["pin-hole"], kept["per_class"]["ap"]["open"]) == (1, 0)
    assert kept["per_domain"].keys() == set(FAMILIES)
    (goal,) = goals(kept)
    assert (goal.goal, goal.met) == ("-", None)
    assert f"F {report.metrics['f1']:.3f}" in goal.reached


def test_the_table_shows_every_class(report: EvaluationReport) -> None:
    console = Console(width=120)
    with console.capture() as shown:
        console.print(table(FACTS, report))
    for word in (*LABELS, "all", "8 drawn boards", "seed 3", "training 2 CPU s", "COCO AP50"):
        assert word in shown.get()
