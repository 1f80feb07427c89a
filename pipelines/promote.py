"""Promote: judge a candidate against the served model, and record who serves from now on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from data.failpoint import failpoint
from data.ledger import Decision
from data.registry import Promotion
from models.metrics import EvaluationReport
from models.paired import Incomparable, PairedDelta, fewest_differing, paired_delta
from pipelines import holdout
from pipelines.evaluate import Comparison, evaluation_key, measured
from pipelines.gates.conditions import Verdict, as_written
from pipelines.gates.gate import judge_frozen
from pipelines.holdout import Claim
from pipelines.job import Floors, Job, PromotionRule
from pipelines.workspace import Workspace

ANSWERS: dict[str, bool | None] = {"promoted": True, "rejected": False, "undecided": None}


@dataclass(frozen=True)
class Judgement:
    """Whether a candidate may serve, and every reason for or against it in words; None where it cannot be decided.

    `metrics`: a JSON object of the rule, the holdout, the numbers and the stored evaluations that it rests on.
    """

    promoted: bool | None
    reasons: list[str]
    metrics: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def verdict(self) -> str:
        return next(verdict for verdict, answer in ANSWERS.items() if answer is self.promoted)

    def __str__(self) -> str:
        return f"{self.verdict}: {'; '.join(self.reasons)}"


class PromotionRefused(RuntimeError):
    """A promotion that would break a promise; the message says which and what to do instead."""


def judge(job: Job, comparison: Comparison, claim: Claim | None = None) -> Judgement:
    """Apply the job's rule: its condition holds, the bound too, and nothing with enough support falls below its floor.

    Whatever the rule, a candidate must have started from what serves. `claim` is what the bound may be asked with;
    without it a job whose rule is `bound` leaves every candidate but its first undecided.
    """
    refusal = _refusal(comparison)
    if refusal is not None:
        return Judgement(False, [refusal], _grounds(job, comparison))
    candidate, served = comparison.candidate, comparison.served
    trigger = job.deploy_spec.trigger
    verdicts = []
    if next(trigger.parts(), None) is not None:
        verdicts.append(judge_frozen(trigger, measured(candidate), measured(served) if served else None, job.classes))
    grounds = _grounds(job, comparison)
    if served is not None:
        if job.deploy_spec.rule.name == "bound":
            verdict, numbers = _bound(job.deploy_spec.rule, candidate, served, claim)
            verdicts.append(verdict)
            grounds["rule"] |= numbers
        verdicts.append(_floors(job.deploy_spec.floors, comparison))
    answers = [verdict.met for verdict in verdicts]
    promoted = False if False in answers else None if None in answers else True
    return Judgement(promoted, [verdict.sentence for verdict in verdicts], grounds)


def _refusal(comparison: Comparison) -> str | None:
    """Why a candidate cannot be judged against what serves, whatever it was measured."""
    candidate, parent, serving = comparison.candidate_version, comparison.parent_version, comparison.served_version
    if candidate == serving:
        return f"{candidate} serves already"
    if parent != serving:
        started = f"{candidate} started from {parent or 'nothing'}, but {serving or 'nothing'} serves now"
        return f"{started}; train again from what serves"
    return None


def _bound(
    rule: PromotionRule, candidate: EvaluationReport, served: EvaluationReport, claim: Claim | None
) -> tuple[Verdict, dict[str, Any]]:
    """Whether the candidate is better by more than the margin with the confidence claimed, and by which numbers."""
    if claim is None:
        return Verdict(
            None, "how sure the difference is was not asked, for no part of the error budget was claimed"
        ), {}
    numbers: dict[str, Any] = {"alpha": claim.alpha, "holdout": claim.state.to_json()}
    images = len(claim.images)
    if images < 2:
        since = f"since {claim.state.since}" if claim.state.since else "yet"
        found = f"{images} image{'' if images == 1 else 's'} {'is' if images == 1 else 'are'} held out {since}"
        return Verdict(None, f"{found}; it takes at least 2 to say how sure a difference is"), numbers
    if not claim.alpha:
        return Verdict(None, "nothing is left of this holdout's error budget; more images must be held out"), numbers
    try:
        delta = paired_delta(candidate, served, rule.metric, claim.images)
    except Incomparable as reason:
        return Verdict(None, f"{rule.metric}_delta cannot be judged: {reason}"), numbers
    bound = delta.lower_bound(claim.alpha)
    numbers |= {
        "delta": delta.value,
        "standard_error": delta.standard_error,
        "bound": bound,
        "images": delta.images,
        "differing": delta.differing,
    }
    return _compared(rule, delta, bound, claim.alpha), numbers


def _compared(rule: PromotionRule, delta: PairedDelta, bound: float, alpha: float) -> Verdict:
    least, confidence = f"above {rule.margin:g}", f"{_percent(1 - alpha, alpha)} % confidence"
    is_said = f"{rule.metric}_delta is {delta.value:.3g} on {delta.images} images"
    if delta.value > rule.margin and delta.differing < fewest_differing(alpha):
        needed = f"{confidence} takes at least {fewest_differing(alpha)}"
        return Verdict(None, f"{is_said}, but the two differ on only {delta.differing} of them, and {needed}")
    met = bound > rule.margin
    must = f" (must be {least})" if met else f", but must be {least}"
    return Verdict(met, f"{is_said}, at least {bound:.3g} with {confidence}{must}")


def _percent(share: float, rest: float) -> str:
    """A share near 1 in percent, with two digits of what is missing."""
    return f"{100 * share:.{max(0, 1 - math.floor(math.log10(100 * rest)))}f}"


def _grounds(job: Job, comparison: Comparison) -> dict[str, Any]:
    """The rule that is applied, and where the evaluations lie that it is applied to."""
    rule = job.deploy_spec.rule
    versions = {"candidate": comparison.candidate_version, "served": comparison.served_version}
    bounds = {"metric": rule.metric, "margin": rule.margin} if rule.name == "bound" else {}
    return {
        "rule": {"name": rule.name, **bounds},
        "evaluations": {
            whose: evaluation_key(job.name, version, comparison.dataset_version) if version else None
            for whose, version in versions.items()
        },
    }


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
    """Judge the comparison, once a run: anything but a promotion is remembered, and is this run's answer for ever.

    What the bound may err with is spent before it is asked, so that a run that is killed has spent it too.
    """
    decided = _decided(workspace, job, run_id)
    if decided is not None:
        return Judgement(ANSWERS[decided.verdict], decided.reasons, decided.metrics)
    judgement = judge(job, comparison, _claim(workspace, job, comparison))
    if judgement.promoted is not True:
        _record(workspace, job, run_id, comparison, judgement, actor)
    return judgement


def _claim(workspace: Workspace, job: Job, comparison: Comparison) -> Claim | None:
    """A part of the error budget for a comparison that needs one."""
    rule = job.deploy_spec.rule
    if rule.name != "bound" or comparison.served is None or _refusal(comparison) is not None:
        return None
    asked = f"{rule.metric} of {comparison.candidate_version} against {comparison.served_version}"
    return holdout.claim(workspace, job, comparison.dataset_version, f"{asked} on {comparison.dataset_version}")


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

    `reason` is a person's, kept beside the rule's; `forced` is a person's word against the job's rule.

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
        word = f"by hand: {reason or 'no reason given'}" if forced else reason
        reasons = [*judgement.reasons, *([word] if word else [])]
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
                "metrics": {**comparison.summary(), **judgement.metrics},
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
    return workspace.ledger.decision(job.name, run_id)


def _made_by(run_id: str, promotions: Sequence[Promotion]) -> Promotion | None:
    return next((promotion for promotion in promotions if promotion.decision["run_id"] == run_id), None)


def _record(
    workspace: Workspace, job: Job, run_id: str, comparison: Comparison, judgement: Judgement, actor: str
) -> Decision:
    """Enter a run's decision against its candidate in the ledger, unless it has made one."""
    decision = Decision(
        kind="promote",
        run_id=run_id,
        candidate=comparison.candidate_version,
        served=comparison.served_version,
        dataset_version=comparison.dataset_version,
        verdict=judgement.verdict,
        reasons=judgement.reasons,
        metrics=_with_counts(workspace, job, {**comparison.summary(), **judgement.metrics}),
        actor=actor,
    )
    workspace.ledger.record_decision(job.name, decision)
    return decision


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


def withhold(
    workspace: Workspace, job: Job, run_id: str, comparison: Comparison, judgement: Judgement, actor: str
) -> Judgement:
    """Remember a judgement against the candidate that is not the rule's own, unless the run has decided already.

    Returns what the run has decided.
    """
    grounds = judge(job, comparison, _claim(workspace, job, comparison)).metrics
    decision = _record(workspace, job, run_id, comparison, replace(judgement, metrics=grounds), actor)
    decided = _decided(workspace, job, run_id) or decision
    return Judgement(ANSWERS[decided.verdict], decided.reasons)
