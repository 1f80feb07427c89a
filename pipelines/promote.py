"""Promote: judge a candidate against the served model, and record who serves from now on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from data.failpoint import failpoint
from data.ledger import Decision
from data.registry import Promotion
from pipelines.evaluate import Comparison, measured
from pipelines.gates.conditions import Verdict, as_written
from pipelines.gates.conditions import evaluate as evaluate_condition
from pipelines.job import Floors, Job
from pipelines.workspace import Workspace

ANSWERS: dict[str, bool | None] = {"promoted": True, "rejected": False, "undecided": None}


@dataclass(frozen=True)
class Judgement:
    """Whether a candidate may serve, and every reason for or against it in words; None where it cannot be decided."""

    promoted: bool | None
    reasons: list[str]

    @property
    def verdict(self) -> str:
        return next(verdict for verdict, answer in ANSWERS.items() if answer is self.promoted)

    def __str__(self) -> str:
        return f"{self.verdict}: {'; '.join(self.reasons)}"


class PromotionRefused(RuntimeError):
    """A promotion that would break a promise; the message says which and what to do instead."""


def judge(job: Job, comparison: Comparison) -> Judgement:
    """Apply the job's rule: its condition holds, and nothing that has enough support falls below its floor.

    Whatever the rule, a candidate must have started from what serves.
    """
    candidate, parent, serving = comparison.candidate_version, comparison.parent_version, comparison.served_version
    if candidate == serving:
        return Judgement(False, [f"{candidate} serves already"])
    if parent != serving:
        started = f"{candidate} started from {parent or 'nothing'}, but {serving or 'nothing'} serves now"
        return Judgement(False, [f"{started}; train again from what serves"])
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
        verdict = _floors(job.deploy_spec.floors, comparison)
        answers.append(verdict.met)
        reasons.append(verdict.sentence)
    return Judgement(False if False in answers else None if None in answers else True, reasons)


def _floors(floors: Floors, comparison: Comparison) -> Verdict:
    """Whether nothing that has enough support fell by more than its floor."""
    known = comparison.candidate.metrics
    if floors.metric not in known:
        return Verdict(None, f"floors.metric is {floors.metric}, which is not measured; there are {', '.join(known)}")
    fallen = [
        f"{floors.metric} {part.where} fell from {part.before:.3f} to "
        f"{'nothing' if part.after is None else f'{part.after:.3f}'}, by more than {part.floor:g}"
        for part in _parts(floors, comparison)
        if part.before is not None
        and part.support >= floors.min_support
        and (part.after is None or as_written(part.before) - as_written(part.after) > as_written(part.floor))
    ]
    return Verdict(not fallen, "; ".join(fallen) or f"nothing fell below its floor in {floors.metric}")


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
        where = f"on the holdout of {known.dataset_version}, from which {known.served_version} learnt,"
        before, after = known.served.metrics.get(metric), known.candidate.metrics.get(metric)
        yield _Part(where, before, after, sum(known.candidate.support.values()), floors.known)


def decide(workspace: Workspace, job: Job, run_id: str, comparison: Comparison, actor: str) -> Judgement:
    """Judge the comparison, once a run: anything but a promotion is remembered, and is this run's answer for ever."""
    decided = _decided(workspace, job, run_id)
    if decided is not None:
        return Judgement(ANSWERS[decided.verdict], decided.reasons)
    judgement = judge(job, comparison)
    if judgement.promoted is not True:
        decision = Decision(
            kind="promote",
            run_id=run_id,
            candidate=comparison.candidate_version,
            served=comparison.served_version,
            dataset_version=comparison.dataset_version,
            verdict=judgement.verdict,
            reasons=judgement.reasons,
            metrics=_with_counts(workspace, job, comparison.summary()),
            actor=actor,
        )
        workspace.ledger.record_decision(job.name, decision)
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

    `forced` is a person's word against the job's rule.

    Raises:
        PromotionRefused: the job's rule says no, which is remembered as this run's decision; `forced`, the run has
            decided otherwise before.
        Overtaken: another model serves by now than the candidate was compared with.
    """
    promotion = _made_by(run_id, workspace.registry.promotions(job.name))
    if promotion is None:
        if forced and _decided(workspace, job, run_id):
            raise PromotionRefused(f"the run {run_id} has decided already; promote by hand in a run of its own")
        judgement = judge(job, comparison) if forced else decide(workspace, job, run_id, comparison, actor)
        if judgement.promoted is not True and not forced:
            raise PromotionRefused(
                f"{comparison.candidate_version} is {judgement}. Train a better candidate, or let a new run promote it "
                "by hand, with the promote gate bypassed and a reason"
            )
        reasons = [*judgement.reasons, *([f"by hand: {reason or 'no reason given'}"] if forced else [])]
        promotion = workspace.registry.promote(
            job.name,
            comparison.candidate_version,
            instead_of=comparison.served_version,
            actor=actor,
            reason="; ".join(reasons),
            decision={
                "run_id": run_id,
                "kind": "promote",
                "served": comparison.served_version,
                "dataset_version": comparison.dataset_version,
                "reasons": reasons,
                "metrics": comparison.summary(),
            },
        )
        failpoint("promote.promoted")
    _remember(workspace, job, promotion)
    return promotion


def rollback(workspace: Workspace, job: Job, run_id: str, version: str, actor: str, reason: str) -> Promotion:
    """Let an earlier version serve again, as a promotion of its own; the same run does it once.

    Raises:
        PromotionRefused: the version never served, or serves now.
        Overtaken: another promotion came in between.
    """
    promotions = workspace.registry.promotions(job.name)
    promotion = _made_by(run_id, promotions)
    if promotion is None:
        serving = promotions[-1].version if promotions else None
        earlier = [each for each in dict.fromkeys(made.version for made in promotions) if each != serving]
        if version not in earlier:
            why = "serves now" if version == serving else "never served"
            raise PromotionRefused(
                f"{job.name} cannot go back to {version}, which {why}; {', '.join(earlier) or 'nothing'} served before"
            )
        reason = reason or "rolled back"
        promotion = workspace.registry.promote(
            job.name,
            version,
            instead_of=serving,
            actor=actor,
            reason=reason,
            decision={"run_id": run_id, "kind": "rollback", "served": serving, "reasons": [reason], "metrics": {}},
        )
    _remember(workspace, job, promotion)
    return promotion


def _decided(workspace: Workspace, job: Job, run_id: str) -> Decision | None:
    """What the run has decided about its candidate, if it has."""
    decisions = workspace.ledger.decisions(job.name)
    return next((each for each in decisions if (each.kind, each.run_id) == ("promote", run_id)), None)


def _made_by(run_id: str, promotions: Sequence[Promotion]) -> Promotion | None:
    return next((promotion for promotion in promotions if promotion.decision["run_id"] == run_id), None)


def _remember(workspace: Workspace, job: Job, promotion: Promotion) -> None:
    """Enter the decision of a promotion in the ledger, if a run that was killed did not come to that."""
    made = promotion.decision
    metrics = _with_counts(workspace, job, made["metrics"]) if made["kind"] == "promote" else {}
    decision = Decision(
        kind=made["kind"],
        run_id=made["run_id"],
        candidate=promotion.version,
        served=made["served"],
        dataset_version=made.get("dataset_version"),
        verdict="promoted",
        reasons=made["reasons"],
        metrics=metrics,
        actor=promotion.actor,
    )
    workspace.ledger.record_decision(job.name, decision)


def _with_counts(workspace: Workspace, job: Job, metrics: dict[str, Any]) -> dict[str, Any]:
    """The metrics a decision rests on, and how many samples were where at that time."""
    counts = {**workspace.ledger.counts(job.name), "mined": workspace.ledger.mined(job.name)}
    return {**metrics, "counts": counts}
