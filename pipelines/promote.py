"""Promote: judge a candidate against the served model, and record who serves from now on."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from data.ledger import Decision
from data.registry import Promotion
from pipelines.evaluate import Comparison, measured
from pipelines.gates.conditions import evaluate as evaluate_condition
from pipelines.job import Floors, Job
from pipelines.workspace import Workspace

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Judgement:
    """Whether a candidate may serve, and every reason for or against it in words; None where it cannot be decided."""

    promoted: bool | None
    reasons: list[str]

    @property
    def verdict(self) -> Literal["promoted", "rejected", "undecided"]:
        return {True: "promoted", False: "rejected", None: "undecided"}[self.promoted]  # type: ignore[return-value]


class PromotionRefused(RuntimeError):
    """A promotion that would break a promise; the message says which and what to do instead."""


def judge(job: Job, comparison: Comparison) -> Judgement:
    """Apply the job's rule: its condition holds, and nothing that has enough support falls below its floor."""
    if comparison.candidate_version == comparison.served_version:
        return Judgement(False, [f"{comparison.candidate_version} serves already"])
    reasons: list[str] = []
    answers: list[bool | None] = []
    condition = job.deploy_spec.trigger.condition
    if condition is not None:
        verdict = evaluate_condition(
            condition, measured(comparison.candidate), measured(comparison.served) if comparison.served else None
        )
        answers.append(verdict.met)
        reasons.append(verdict.sentence)
    if comparison.served is not None:
        fallen = fallen_below(job.deploy_spec.floors, comparison)
        answers.append(not fallen)
        reasons += fallen or [f"nothing fell below its floor in {job.deploy_spec.floors.metric}"]
    promoted = False if False in answers else None if None in answers else True
    return Judgement(promoted, reasons)


def fallen_below(floors: Floors, comparison: Comparison) -> list[str]:
    """Everything that has enough support and fell by more than its floor, in words."""
    return [
        f"{floors.metric} {part.where} fell from {part.before:.3f} to "
        f"{'nothing' if part.after is None else f'{part.after:.3f}'}, by more than {part.floor:g}"
        for part in _parts(floors, comparison)
        if part.before is not None
        and part.support >= floors.min_support
        and (part.after is None or part.before - part.after > part.floor)
    ]


@dataclass(frozen=True)
class _Part:
    """A part of the truth with its own floor: the served model's metric there, the candidate's, and how many boxes."""

    where: str
    before: float | None
    after: float | None
    support: int
    floor: float


def _parts(floors: Floors, comparison: Comparison) -> Iterator[_Part]:
    new, old = comparison.candidate, comparison.served
    if old is None:
        return
    classes, metric = new.per_class.get(floors.metric, {}), floors.metric
    for name, before in old.per_class.get(metric, {}).items():
        yield _Part(f"of class {name}", before, classes.get(name), new.support.get(name, 0), floors.classes)
    for name, metrics in old.per_domain.items():
        after = new.per_domain.get(name, {}).get(metric)
        yield _Part(f"of domain {name}", metrics.get(metric), after, new.domain_support.get(name, 0), floors.domains)
    known = comparison.known
    if known is not None and known.served is not None:
        where = f"on the holdout that taught {known.served_version} ({known.dataset_version})"
        before, after = known.served.metrics.get(metric), known.candidate.metrics.get(metric)
        yield _Part(where, before, after, sum(known.candidate.support.values()), floors.known)


def decide(workspace: Workspace, job: Job, run_id: str, comparison: Comparison, actor: str) -> Judgement:
    """Judge the comparison; a definite answer is remembered as the decision of this run."""
    judgement = judge(job, comparison)
    if judgement.promoted is False:
        record(workspace, job, run_id, "promote", comparison, judgement, actor)
    return judgement


def promote(
    workspace: Workspace,
    job: Job,
    run_id: str,
    comparison: Comparison,
    actor: str,
    reason: str = "",
    forced: bool = False,
) -> Promotion:
    """Record that the candidate serves from now on; the same run promotes once.

    Raises:
        PromotionRefused: the job's rule says no, or the candidate did not start from the served model; if not `forced`.
    """
    standing = workspace.served(job.name)
    if standing is not None and standing.decision.get("run_id") == run_id:
        return standing
    judgement = judge(job, comparison)
    if judgement.promoted is not True and not forced:
        raise PromotionRefused(
            f"{comparison.candidate_version} is {judgement.verdict}: {'; '.join(judgement.reasons)}. "
            "Train a better candidate, or promote it by hand with the promote gate bypassed and a reason"
        )
    parent = workspace.registry.model(job.name, comparison.candidate_version).metadata["parent"]
    serving = standing.version if standing else None
    if parent != serving and not forced:
        raise PromotionRefused(
            f"{comparison.candidate_version} started from {parent or 'nothing'}, but {serving or 'nothing'} serves "
            "now; train again from what serves"
        )
    reasons = [*judgement.reasons, *([f"by hand: {reason}"] if forced else [])]
    judgement = Judgement(True, reasons)
    promotion = workspace.registry.promote(
        job.name,
        comparison.candidate_version,
        actor=actor,
        reason="; ".join(reasons),
        decision={"run_id": run_id, **comparison.summary(), "dataset_version": comparison.dataset_version},
    )
    record(workspace, job, run_id, "promote", comparison, judgement, actor)
    return promotion


def rollback(workspace: Workspace, job: Job, run_id: str, version: str, actor: str, reason: str) -> Promotion:
    """Let an earlier version serve again, as a promotion of its own; the same run does it once.

    Raises:
        PromotionRefused: the version never served, or serves now.
    """
    promotions = workspace.registry.promotions(job.name)
    if promotions and promotions[-1].decision.get("run_id") == run_id:
        return promotions[-1]
    earlier = sorted({promotion.version for promotion in promotions} - {promotions[-1].version if promotions else ""})
    if version not in earlier:
        raise PromotionRefused(f"{job.name} cannot go back to {version}: {', '.join(earlier) or 'none'} served before")
    served = promotions[-1].version
    promotion = workspace.registry.promote(
        job.name, version, actor=actor, reason=reason or "rolled back", decision={"run_id": run_id, "rollback": True}
    )
    workspace.ledger.record_decision(
        job.name,
        Decision(
            kind="rollback",
            run_id=run_id,
            candidate=version,
            served=served,
            dataset_version=None,
            verdict="promoted",
            reasons=[reason or "rolled back"],
            metrics={},
            actor=actor,
        ),
    )
    return promotion


def record(
    workspace: Workspace,
    job: Job,
    run_id: str,
    kind: Literal["promote"],
    comparison: Comparison,
    judgement: Judgement,
    actor: str,
) -> None:
    """Remember a decision with what it was based on: in the ledger, and whole in the store."""
    counts = {**workspace.ledger.counts(job.name), "mined": workspace.ledger.mined(job.name)}
    decision = Decision(
        kind=kind,
        run_id=run_id,
        candidate=comparison.candidate_version,
        served=comparison.served_version,
        dataset_version=comparison.dataset_version,
        verdict=judgement.verdict,
        reasons=judgement.reasons,
        metrics={**comparison.summary(), "counts": counts},
        actor=actor,
    )
    workspace.ledger.record_decision(job.name, decision)
