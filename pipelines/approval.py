"""Approval: a person's word on a promotion, asked for once the job's rule has said yes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipelines.evaluate import Comparison
from pipelines.evidence import Evidence, gather
from pipelines.job import Job
from pipelines.promote import Judgement
from pipelines.workspace import Workspace

QUESTION = "approval"


def ask(workspace: Workspace, job: Job, run_id: str, comparison: Comparison, judgement: Judgement) -> Evidence:
    """What to show to the person who is asked; from now on this is the job's question, every earlier one is void."""
    evidence = gather(workspace, job, run_id, comparison, judgement.reasons)
    question = {"run_id": run_id, "candidate": comparison.candidate_version}
    workspace.ledger.set_mark(job.name, QUESTION, json.dumps(question))
    return evidence


def void(workspace: Workspace, job: Job, run_id: str, candidate: str) -> str | None:
    """Why nobody need answer a run's question any more; None while it stands."""
    served = workspace.served(job.name)
    serving = served.version if served else None
    parent = workspace.registry.model(job.name, candidate).metadata["parent"]
    if serving != parent:
        return f"{candidate} was trained from {parent or 'nothing'}, but {serving or 'nothing'} serves by now"
    asked = workspace.ledger.mark(job.name, QUESTION)
    newest = json.loads(asked) if asked else {"run_id": run_id}
    if newest["run_id"] != run_id:
        return f"the run {newest['run_id']} asks about {newest['candidate']} by now, which comes in its place"
    return None


@dataclass(frozen=True)
class Answer:
    """What was answered: yes, no, or None where nobody did; by whom, and why in words."""

    approved: bool | None
    words: str
    by: str = ""

    @classmethod
    def said(cls, approved: bool, by: str, comment: str | None = None) -> Answer:
        """A person's answer."""
        said = f"{by} {'approves' if approved else 'does not approve'} it"
        return cls(approved, f"{said}: {comment.strip()}" if comment and comment.strip() else said, by)

    @property
    def judgement(self) -> Judgement:
        """What it means for the candidate."""
        return Judgement(self.approved, [self.words])

    def to_json(self) -> dict[str, Any]:
        """A JSON object with every field."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any] | None) -> Answer:
        """The inverse of `to_json`; without a record, that nobody was asked."""
        if record is None:
            return cls(None, "it needs a person's approval, and nobody was asked; start a run at promote")
        return cls(**record)
