"""History: the rounds of a job, each with what it saw, learnt and decided."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from data.ledger import Decision
from pipelines.job import Job
from pipelines.workspace import Workspace


@dataclass(frozen=True)
class Round:
    """One decision about one candidate and what had happened since the decision before it."""

    number: int
    decision: Decision
    seen: int
    mined: int
    labelled: int
    quarantined: int
    serving: str | None
    deltas: dict[str, float] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """The verdict in one word or two, `rolled back` for a promotion that goes back to an earlier version."""
        return "rolled back" if self.decision.kind == "rollback" else self.decision.verdict

    @property
    def candidate(self) -> dict[str, Any]:
        """The candidate's scalar metrics."""
        return self.decision.metrics.get("candidate") or {}

    @property
    def served(self) -> dict[str, Any]:
        """The scalar metrics of the model that served when it was decided; empty where none did."""
        return self.decision.metrics.get("served") or {}


def rounds(workspace: Workspace, job: Job) -> list[Round]:
    """Every decision of the job, the oldest first."""
    found: list[Round] = []
    before: dict[str, int] = {}
    serving: str | None = None
    for number, decision in enumerate(workspace.ledger.decisions(job.name)):
        counts = decision.metrics.get("counts") or before
        if decision.verdict == "promoted":
            serving = decision.candidate
        found.append(
            Round(
                number=number,
                decision=decision,
                seen=_seen(counts) - _seen(before),
                mined=counts.get("mined", 0) - before.get("mined", 0),
                labelled=counts.get("labelled", 0) - before.get("labelled", 0),
                quarantined=counts.get("quarantined", 0) - before.get("quarantined", 0),
                serving=serving,
                deltas=decision.metrics.get("delta") or {},
            )
        )
        before = counts
    return found


def _seen(counts: dict[str, int]) -> int:
    return sum(count for state, count in counts.items() if state != "mined")


@dataclass(frozen=True)
class Reign:
    """The time in which one promotion's version served; times are ISO 8601 in UTC, `until` is None for the last."""

    version: str
    promotion: int
    since: str
    until: str | None
    actor: str
    reason: str


def reigns(workspace: Workspace, job: str) -> list[Reign]:
    """Who served when, by whose word and why, the earliest first."""
    promotions = workspace.registry.promotions(job)
    ends = [*(promotion.at for promotion in promotions[1:]), None]
    return [
        Reign(made.version, made.number, made.at, until, made.actor, made.reason)
        for made, until in zip(promotions, ends, strict=False)
    ]


def serving(workspace: Workspace, job: str, instant: datetime) -> Reign | None:
    """Who served at an instant, given with its offset from UTC; None if nothing did."""
    before = [reign for reign in reigns(workspace, job) if datetime.fromisoformat(reign.since) <= instant]
    return before[-1] if before else None
