"""The rows of the benchmark are right; what updates cost and reach, only a run of it can say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rich.console import Console

from benchmarks.updates import ROUNDS, Outcome, goals, summary, tables


def outcome(seed: int, kind: str, after: int, ap: float, cpu: float, **others: Any) -> Outcome:
    facts: dict[str, Any] = {
        "metrics": {"ap": ap, "f1": ap - 0.02, "ap50": None},
        "f1_ianvs": 0.9,
        "f1_mended": 0.8,
        "labelled": 40,
        "arrived": 80,
        "transfer_ratio_ianvs": 0.3,
        "labelled_share": 0.5,
        **others,
    }
    return Outcome(seed=seed, kind=kind, after=after, cpu_seconds=cpu, **facts)


OUTCOMES = [
    outcome(0, "first", 0, 0.95, 300.0),
    outcome(0, "update", ROUNDS, 0.960, 30.0),
    outcome(0, "joint", ROUNDS, 0.965, 300.0),
    outcome(0, "single-task", ROUNDS, 0.970, 330.0, transfer_ratio_ianvs=1.0, labelled_share=1.0),
    outcome(1, "update", ROUNDS, 0.970, 20.0),
    outcome(1, "joint", ROUNDS, 0.969, 400.0),
]


def test_an_update_is_set_beside_the_retraining_of_its_seed() -> None:
    rows = {row["kind"]: row for row in summary(OUTCOMES)}
    update = rows["update"]
    assert (update["seeds"], update["ap"], update["cpu_seconds"]) == (2, 0.965, 25.0)
    assert (update["points_beside_joint"], update["worst_seed"], update["cpu_share_of_joint"]) == (-0.2, -0.5, 0.075)
    assert "points_beside_joint" not in rows["joint"]
    assert next(row["kind"] for row in summary(OUTCOMES)) == "first"


def test_both_tables_are_shown() -> None:
    console = Console(width=160)
    with console.capture() as shown:
        for each in tables(summary(OUTCOMES)):
            console.print(each)
    for word in ("update", "-0.20", "7.5%", "≤ 10%", "incremental", "single-task", "0.3000", "1.0000", "0.8000"):
        assert word in shown.get()


def test_the_worst_update_meets_the_goals_or_does_not() -> None:
    again = [replace(each, seed=2) for each in OUTCOMES if each.seed == 1]
    cost, loss = goals({"summary": summary([*OUTCOMES, *again])})
    assert (cost.reached, cost.met) == ("6.7 % (3 of 3 seeds)", True)
    assert (loss.reached, loss.met) == ("-0.10 points (3 of 3 seeds)", True)
    assert [goal.met for goal in goals({"summary": summary(OUTCOMES)})] == [None, None]
    dearer = [
        outcome(seed, *rest) for seed in range(3) for rest in (("update", 1, 0.95, 50.0), ("joint", 1, 0.96, 300.0))
    ]
    cost, loss = goals({"summary": summary([*OUTCOMES, *again, *dearer])})
    assert (cost.reached.split(" (")[0], cost.met) == ("16.7 %", False)
    assert (loss.reached.split(" (")[0], loss.met) == ("-1.00 points", False)
