"""History: the rounds of a job, each with what it saw, learnt and decided."""

from __future__ import annotations

from dataclasses import dataclass, field
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
