"""Decisions, requests and marks."""

from __future__ import annotations

import math

from data.ledger import Decision, Ledger, Request


def decision(run_id: str, verdict: str = "rejected") -> Decision:
    return Decision("promote", run_id, verdict, ["ap fell"], "schedule", "v2", "v1", "d3", {"ap": 0.5, "spur": None})


def test_a_run_decides_once_of_each_kind(ledger: Ledger, job: str) -> None:
    assert ledger.record_decision(job, decision("one")) is True
    assert ledger.record_decision(job, decision("one", "promoted")) is False
    assert ledger.record_decision(job, Decision("rollback", "one", "promoted", [], "ann")) is True
    assert [(found.kind, found.verdict) for found in ledger.decisions(job)] == [
        ("promote", "rejected"),
        ("rollback", "promoted"),
    ]


def test_decisions_are_given_back_whole_newest_last(ledger: Ledger, job: str) -> None:
    made = [decision(run_id) for run_id in ("one", "two", "three")]
    for each in made:
        ledger.record_decision(job, each)
    assert ledger.decisions(job) == made
    assert ledger.decisions(job, limit=2) == made[1:]
    assert ledger.decisions("another") == []


def test_what_a_run_decided_is_found_by_its_name(ledger: Ledger, job: str) -> None:
    for run_id in ("one", "two"):
        ledger.record_decision(job, decision(run_id))
    assert ledger.decision(job, "two") == ledger.decisions(job)[1]
    assert ledger.decision(job, "two", kind="rollback") is None
    assert ledger.decision(job, "three") is None
    assert ledger.decision("another", "two") is None


def test_requests_are_given_back_whole_newest_last_and_the_first_of_a_run_and_verb_stands(
    ledger: Ledger, job: str
) -> None:
    made = [
        Request("one", "ada", "learn", ["train"], "a new camera", {"steps": 3}, "2026-01-01T00:00:00+00:00"),
        Request("one", "ben", "approve"),
        Request("two", "ada", "learn"),
    ]
    assert [ledger.record_request(job, each) for each in made] == [True] * 3
    assert ledger.record_request(job, Request("one", "eve", "approve", reason="me too")) is False
    assert ledger.requests(job) == made
    assert ledger.requests(job, limit=1) == made[2:]
    assert ledger.requests("another") == []


def test_a_measure_that_is_no_number_is_kept(ledger: Ledger, job: str) -> None:
    ledger.record_decision(job, Decision("evaluate", "one", "undecided", [], "ann", metrics={"ap": math.nan}))
    assert math.isnan(ledger.decisions(job)[0].metrics["ap"])


def test_a_mark_is_what_was_set_last(ledger: Ledger, job: str) -> None:
    assert ledger.mark(job, "pulled") is None
    ledger.set_mark(job, "pulled", "monday")
    ledger.set_mark(job, "pulled", "tuesday")
    ledger.set_mark(job, "listed", "wednesday")
    assert ledger.mark(job, "pulled") == "tuesday"
    assert ledger.mark("another", "pulled") is None
