"""What benchmarks are to reach, and where what they have reached is kept: full runs here, short ones under .cache."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pipelines.settings import ROOT

RESULTS = ROOT / "benchmarks" / "results"
SHORT_RESULTS = ROOT / ".cache" / "benchmarks" / "short"
NO_GOAL = "-"
NOT_MEASURED = "not measured yet"
Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class Goal:
    """One goal beside what a run has reached; `met` is None where there is no goal, or too little to decide by."""

    what: str
    goal: str
    reached: str
    met: bool | None = None


def seeds(count: int, wanted: int) -> str:
    """How many seeds of those wanted, in words."""
    return f"{count} of {wanted} seeds"


def decided(met: bool, count: int, wanted: int) -> bool | None:
    """Whether a goal is met, once all the seeds that it is for are measured; None before."""
    return met if count >= wanted else None


def keep(name: str, record: Mapping[str, Any], *, short: bool) -> None:
    """Write the record of a run as JSON: in benchmarks/results, which is committed, or under .cache if it was short."""
    path = _path(name, short)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=2) + "\n")


def recorded(name: str, *, short: bool = False) -> dict[str, Any]:
    """The record that `keep` wrote last; empty where there is none."""
    path = _path(name, short)
    record: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return record


def with_earlier(
    name: str, size: Mapping[str, Any], outcomes: Sequence[Outcome], run_of: Callable[[Outcome], Any]
) -> list[Outcome]:
    """These outcomes (dataclasses), and those on record of other runs of the same size; in the order of their runs."""
    record = recorded(name)
    kept = record["outcomes"] if record.get("size") == size else []
    measured = {run_of(outcome) for outcome in outcomes}
    earlier = [type(outcomes[0])(**each) for each in kept]
    return sorted([*(each for each in earlier if run_of(each) not in measured), *outcomes], key=run_of)


def _path(name: str, short: bool) -> Path:
    return (SHORT_RESULTS if short else RESULTS) / f"{name}.json"
