"""Facts: what the rule of a gate asks for, read from the deployment; what it does not ask for is not read."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from datetime import datetime

from data.ledger import Training
from pipelines import production
from pipelines.evaluate import Comparison, measured
from pipelines.gates.gate import Facts
from pipelines.gates.rule import NUM_OF_SAMPLES, SECONDS_OF, Condition, Metric, Rule
from pipelines.job import Job
from pipelines.workspace import Workspace

NOT_IN_PRODUCTION = (
    "production has no such number yet; it needs a served model, and two images or more that were drawn by lot while "
    "it serves and are labelled"
)


def gather(workspace: Workspace, job: Job, rule: Rule, now: datetime, comparison: Comparison | None = None) -> Facts:
    """What the rule asks for: of the evaluation where there is one to judge, else of the served model in production."""
    live = live_metrics(workspace, job, rule, now)
    if comparison is not None:
        served = None if comparison.served is None else measured(comparison.served)
        return Facts({**measured(comparison.candidate), **live}, served, job.classes, frozen=True)
    asked = [metric for metric in _asked(rule) if not metric.is_live]
    estimates = production.estimate(workspace, job) if asked else {}
    before = production.baseline(workspace, job) if any(metric.is_delta for metric in asked) else {}
    return Facts({**estimates, **live}, before, job.classes, absent=NOT_IN_PRODUCTION)


def live_metrics(
    workspace: Workspace, job: Job, rule: Rule, now: datetime, claim: Training | None = None
) -> dict[str, float]:
    """What labels and time decide of the rule, by metric: of the labels that wait, or of those that `claim` holds."""
    asked = _asked(rule)
    metrics: dict[str, float] = {}
    if Metric(NUM_OF_SAMPLES, None, is_delta=False) in asked:
        metrics[NUM_OF_SAMPLES] = claim.samples if claim else workspace.ledger.pending(job.name)
    if any(metric.name == NUM_OF_SAMPLES and metric.part is not None for metric in asked):
        by_class = _claimed_by_class(workspace, claim) if claim else workspace.ledger.pending_by_class(job.name)
        metrics.update({f"{NUM_OF_SAMPLES}[{name}]": by_class.get(name, 0) for name in job.classes})
    if any(metric.name in SECONDS_OF for metric in asked):
        last = workspace.ledger.last_training(job.name)
        passed = (now - datetime.fromisoformat(last.ended_at)).total_seconds() if last and last.ended_at else math.inf
        metrics.update({name: max(0.0, passed / seconds) for name, seconds in SECONDS_OF.items()})
    return metrics


def _asked(rule: Rule) -> set[Metric]:
    return {part.asked for part in rule.parts() if isinstance(part, Condition)}


def _claimed_by_class(workspace: Workspace, claim: Training) -> Mapping[str, int]:
    """How many samples of a claim show each class."""
    claimed = workspace.ledger.claimed(claim.job, claim.run_id)
    return Counter(label for _, annotation in claimed for label in {box.label for box in annotation.boxes})
