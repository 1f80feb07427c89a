"""History: what happened between one decision and the next, and who served then."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from data.ledger import Decision
from data.registry import Promotion
from pipelines.history import Reign, reigns, rounds, serving
from pipelines.job import Job
from pipelines.workspace import Workspace


def decided(run_id: str, verdict: str, version: str, before: str | None, **metrics: Any) -> Decision:
    return Decision("promote", run_id, verdict, ["because"], "ada", version, before, "d1", metrics)


def test_a_round_is_what_happened_since_the_decision_before(offline: Workspace, job: Job) -> None:
    ledger = offline.ledger
    counts = {"labelled": 20}
    ledger.record_decision(job.name, decided("1", "promoted", "v1", None, candidate={"ap": 0.5}, counts=counts))
    counts = {"passed": 50, "labelled": 45, "quarantined": 5, "mined": 30}
    delta = {"candidate": {"ap": 0.4}, "served": {"ap": 0.5}, "delta": {"ap": -0.1}}
    ledger.record_decision(job.name, decided("2", "rejected", "v2", "v1", **delta, counts=counts))
    ledger.record_decision(job.name, decided("3", "undecided", "v3", "v1", candidate={"ap": None}, counts=counts))
    ledger.record_decision(job.name, decided("4", "promoted", "v4", "v1", candidate={"ap": 0.6}, counts=counts))
    ledger.record_decision(job.name, Decision("rollback", "5", "promoted", ["it drifts"], "ben", "v1", "v4"))

    found = rounds(offline, job)

    assert [(turn.number, turn.verdict, turn.serving) for turn in found] == [
        (0, "promoted", "v1"),
        (1, "rejected", "v1"),
        (2, "undecided", "v1"),
        (3, "promoted", "v4"),
        (4, "rolled back", "v1"),
    ]
    assert [(turn.seen, turn.mined, turn.labelled, turn.quarantined) for turn in found] == [
        (20, 0, 20, 0),
        (80, 30, 25, 5),
        (0, 0, 0, 0),
        (0, 0, 0, 0),
        (0, 0, 0, 0),
    ]
    assert (found[1].candidate, found[1].served, found[1].deltas) == ({"ap": 0.4}, {"ap": 0.5}, {"ap": -0.1})
    assert (found[0].served, found[4].candidate) == ({}, {})


def test_without_a_decision_there_is_no_round(offline: Workspace, job: Job) -> None:
    assert rounds(offline, job) == []


def test_who_served_at_an_instant_is_known_from_the_promotions(offline: Workspace, job: Job) -> None:
    made = [
        Promotion(job.name, number, version, f"2026-01-31T{hour}:00:00+00:00", "ada", why, {})
        for number, version, hour, why in ((1, "v1", 10, "first"), (2, "v2", 12, "better"), (3, "v1", 14, "it drifts"))
    ]
    vars(offline)["registry"] = SimpleNamespace(promotions=lambda _: made)
    found = reigns(offline, job.name)
    assert [(reign.version, reign.since[11:13], (reign.until or "now")[11:13]) for reign in found] == [
        ("v1", "10", "12"),
        ("v2", "12", "14"),
        ("v1", "14", ""),
    ]
    assert found[1] == Reign("v2", 2, made[1].at, made[2].at, "ada", "better")

    def at(hour: int, minute: int = 0) -> Reign | None:
        return serving(offline, job.name, datetime(2026, 1, 31, hour, minute, tzinfo=UTC))

    assert at(9, 59) is None
    assert (at(10), at(11, 59), at(12), at(23)) == (found[0], found[0], found[1], found[2])
    made.clear()
    assert (reigns(offline, job.name), at(12)) == ([], None)
