"""The benchmark keeps families apart and sums up what its runs reached; what that is, only a run of it can say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks import accuracy
from benchmarks.accuracy import METRICS, SPLITS, goals, record, split, summary, table
from benchmarks.boards import drawn
from benchmarks.goals import NOT_MEASURED
from data.boards import LABELS
from data.sample import Example
from models.metrics import EvaluationReport, evaluate

FAMILIES = {"group00041", "group13000", "group20085", "group44000", "group50600", "group77000", "group92000"}


@pytest.fixture(scope="module")
def boards() -> list[Example]:
    return [replace(board, domain=family) for board, family in zip(drawn(1), sorted(FAMILIES), strict=False)]


@pytest.fixture
def report(boards: list[Example]) -> EvaluationReport:
    """What a model gets that finds everything, and every open at another place too."""
    truth = {board.sample_id: board.boxes for board in boards}
    found = {name: [replace(box, score=0.9) for box in boxes] for name, boxes in truth.items()}
    return evaluate(truth, found, {board.sample_id: board.domain for board in boards}, LABELS, 0.5)


def run(report: EvaluationReport, seed: int, ap: float) -> dict[str, Any]:
    facts = {"seed": seed, "families": {"judge": ["group77000"]}, "cpu_seconds": 100 * (seed + 1)}
    kept = record(facts, report)
    return {**kept, "metrics": {**kept["metrics"], "ap": ap}}


def test_no_family_plays_two_parts(boards: list[Example]) -> None:
    for families in SPLITS:
        assert families.choose | families.judge < FAMILIES
        assert not families.choose & families.judge
        parts = [{board.domain for board in part} for part in split(boards, families)]
        assert parts == [FAMILIES - families.choose - families.judge, families.choose, families.judge]
    assert not frozenset.intersection(*(families.judge for families in SPLITS))


def test_seeds_are_summed_up_beside_the_goals(report: EvaluationReport) -> None:
    runs = [run(report, seed, ap) for seed, ap in ((0, 0.99), (1, 0.98), (2, 1.0))]
    summed = json.loads(json.dumps(summary("long", runs)))
    assert summed["mean"]["ap"] == pytest.approx(0.99)
    assert summed["spread"]["ap"] == pytest.approx(0.01)
    assert (summed["seeds"], summed["cpu_seconds"], summed["goals"]["ap"]) == (3, 200, 0.992)
    assert "spread" in summary("long", runs[:1])

    console = Console(width=140, record=True)
    console.print(table(runs, summed))
    lines = console.export_text().splitlines()
    assert all(any(title in line for line in lines) for title in METRICS.values())
    assert any("mean" in line and "0.9900" in line for line in lines)
    assert any("goal" in line and "0.9920" in line for line in lines)


def test_a_run_is_kept_by_class_and_family(report: EvaluationReport) -> None:
    kept = json.loads(json.dumps(run(report, 0, 0.9)))
    assert kept["per_class"]["ap"]["open"] == 1
    assert kept["per_family"].keys() == FAMILIES


def test_goals_are_decided_by_all_seeds(report: EvaluationReport) -> None:
    runs = [run(report, seed, ap) for seed, ap in ((0, 0.990), (1, 0.992), (2, 0.993))]
    found = goals({"long": {"summary": summary("long", runs)}})
    assert [goal.goal for goal in found] == ["at least 0.992", "at least 0.985", "at least 0.988", "at least 0.97"]
    assert found[0].reached == "0.9917 (3 of 3 seeds, 200 CPU s)"
    assert [goal.met for goal in found[:2]] == [False, True]
    assert (found[3].reached, found[3].met) == (NOT_MEASURED, None)
    assert {goal.met for goal in goals({"long": {"summary": summary("long", runs[:2])}})} == {None}
    short = goals({"short": {"summary": summary("short", runs[:1])}})
    assert [goal.what for goal in short] == [goal.what for goal in found]
    assert short[3].reached == "0.9900 (1 of 3 seeds, 100 CPU s)"


def test_a_model_is_judged_again_only_for_a_training_on_record(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="none of seed 99"):
        accuracy.run(tmp_path, seed=99, trained=tmp_path)
    with pytest.raises(SystemExit, match="by its own recipe"):
        accuracy.run(tmp_path, seed=0, recipe={"steps": 1}, trained=tmp_path)
