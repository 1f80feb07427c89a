"""The steps of a job by name: what an Airflow task, the command line and a test all call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any, Literal

from data.ledger import Request, TrainingActive
from data.registry import Overtaken, UnknownVersion
from pipelines import approval, facts, label, request
from pipelines import collect as collecting
from pipelines import deploy as deploying
from pipelines.approval import Answer
from pipelines.curate import curate
from pipelines.evaluate import Comparison, evaluate
from pipelines.gates.conditions import Verdict
from pipelines.gates.gate import check, check_live
from pipelines.job import Job
from pipelines.promote import Judgement, PromotionRefused, decide, promote, rollback, withhold
from pipelines.request import NothingToDo, RequestRefused
from pipelines.train import train
from pipelines.workspace import Workspace

Gate = Literal["train", "evaluate", "promote"]
# What a step refuses for good: asked again it would say the same.
REFUSALS = (NothingToDo, PromotionRefused, RequestRefused, UnknownVersion)


@dataclass(frozen=True)
class Call:
    """One step of one run: the opened deployment, the job, the run, and what a person asked for."""

    workspace: Workspace
    job: Job
    run_id: str
    params: Mapping[str, Any]

    @property
    def actor(self) -> str:
        return str(self.params.get("actor") or "schedule")

    @property
    def reason(self) -> str:
        return str(self.params.get("reason") or "")

    def bypasses(self, gate: Gate) -> bool:
        """Whether a person wants this run to pass the gate whatever it says."""
        return gate in (self.params.get("bypass") or ())

    @property
    def candidate(self) -> str:
        """The model version this run is about: the one asked for, the one this run trained, or the newest."""
        asked = self._asked("model_version")
        if asked:
            return str(asked)
        training = self.workspace.ledger.training(self.job.name, self.run_id)
        if training is not None and training.candidate:
            return training.candidate
        models = self.workspace.registry.models(self.job.name)
        if not models:
            raise NothingToDo(f"{self.job.name} has no model version yet; train one first")
        return models[-1].version

    @property
    def dataset_version(self) -> str:
        """The dataset version this run is about: the one asked for, the one this run wrote, or the newest."""
        asked = self._asked("dataset_version")
        if asked:
            return str(asked)
        training = self.workspace.ledger.training(self.job.name, self.run_id)
        if training is not None and training.dataset_version:
            return training.dataset_version
        datasets = self.workspace.registry.datasets(self.job.name)
        if not datasets:
            raise NothingToDo(f"{self.job.name} has no dataset version yet; label some images and train first")
        return datasets[-1].version

    def _asked(self, name: str) -> Any:
        """What a person asked for, or what was the newest when they did."""
        if self.params.get(name):
            return self.params[name]
        asked = request.of_run(self.workspace, self.job.name, self.run_id)
        return asked.parameters.get(name) if asked else None


@cache
def deployment() -> Workspace:
    """The deployment this process is configured for, opened once."""
    return Workspace.open()


def run(step: str, job: str, run_id: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Run one step of a job; the same step of the same run twice is the same as once. Returns a JSON object."""
    return STEPS[step](_call(job, run_id, params))


def check_gate(gate: Gate, job: str, run_id: str, params: Mapping[str, Any] | None = None) -> Verdict:
    """What a gate says now, from stored state alone; one that a person bypasses is open.

    The gate before train opens for one run at a time, which claims the labels; without a `run_id` it only tells.
    The gates before evaluate and promote judge data that is frozen, so that what these say is final; what labels and
    time decide is waited for.
    """
    call = _call(job, run_id, params)
    if gate in (call.params.get("bypass") or ()):
        return Verdict(True, f"bypassed by {call.actor}: {call.params.get('reason') or 'no reason given'}")
    return GATES[gate](call)


def give_up(job: str, run_id: str, reason: str) -> None:
    """Let others have what the training of a run claimed, if it has one that has not finished."""
    ledger = deployment().ledger
    if ledger.training(job, run_id) is not None:
        ledger.fail_training(job, run_id, reason)


def images_waiting(job: str) -> int:
    """How many images lie in the job's inbox, ready to be collected."""
    return collecting.images_waiting(deployment(), deployment().job(job))


def annotations_waiting(job: str) -> int:
    """How many Label Studio tasks changed since they were last synchronised."""
    return label.changed(deployment(), deployment().job(job))


def labels_waiting(job: str) -> int:
    """How many labels wait for a training that could start now; none while its gate is closed."""
    waiting = deployment().ledger.pending(job)
    return waiting if waiting and check_gate("train", job, run_id="").met else 0


def _call(job: str, run_id: str, params: Mapping[str, Any] | None) -> Call:
    return Call(deployment(), deployment().job(job), run_id, params or {})


def _train_gate(call: Call) -> Verdict:
    """What the gate says; a run that it opens for has claimed the labels in the same moment, so that no other has.

    A run on a dataset version that exists claims none: it would count labels as used that its version lacks.
    """
    ledger = call.workspace.ledger
    training = ledger.training(call.job.name, call.run_id)
    if training is not None:
        return Verdict(True, f"this run has claimed {training.samples} labels")
    active = ledger.active_training(call.job.name)
    if active is not None:
        return Verdict(False, f"run {active.run_id} is training now; the next one starts when it has finished")
    trigger, now = call.job.train_spec.trigger, datetime.now(UTC)
    known = facts.gather(call.workspace, call.job, trigger, now)
    verdict = check(trigger, known, now)
    if not verdict.met or not call.run_id or call.params.get("dataset_version"):
        return verdict
    try:
        claim = ledger.claim_training(call.job.name, call.run_id)
    except TrainingActive as refusal:
        return Verdict(False, str(refusal))
    claimed = facts.live_metrics(call.workspace, call.job, trigger, now, claim)
    verdict = check(trigger, replace(known, metrics={**known.metrics, **claimed}), now)
    if not verdict.met:
        ledger.fail_training(call.job.name, call.run_id, "another run took the labels before this one claimed them")
    return verdict


def _evaluate_gate(call: Call) -> Verdict:
    specification, now = call.job.eval_spec, datetime.now(UTC)
    support = _holdout_support(call.workspace, call.job.name, call.dataset_version)
    known = replace(
        facts.gather(call.workspace, call.job, specification.trigger, now),
        holdout_support={name: support[name] for name in call.job.classes},
        min_support=specification.min_support,
    )
    return check(specification.trigger, known, now)


def _promote_gate(call: Call) -> Verdict:
    """What the comparison says, which is final; if that is yes, what labels and time still keep the gate closed."""
    decided = call.workspace.ledger.decision(call.job.name, call.run_id)
    if decided is not None and decided.verdict == "promoted":
        # By now the candidate would be compared with itself.
        return Verdict(True, "; ".join(decided.reasons), final=True, progress=1.0)
    comparison = _comparison(call)
    judgement = decide(call.workspace, call.job, call.run_id, comparison, call.actor)
    if judgement.promoted is not True:
        return Verdict(False, str(judgement), final=True)
    trigger, now = call.job.deploy_spec.trigger, datetime.now(UTC)
    verdict = check_live(trigger, facts.gather(call.workspace, call.job, trigger, now, comparison), now)
    return replace(verdict, sentence="; ".join([*judgement.reasons, *([verdict.sentence] if verdict.sentence else [])]))


@lru_cache(maxsize=64)
def _holdout_support(workspace: Workspace, job: str, dataset_version: str) -> Counter[str]:
    """How many boxes of each class the holdout of a dataset version has; read once, for a version never changes."""
    rows = workspace.registry.dataset(job, dataset_version).rows("holdout")
    return Counter(box.label for row in rows for box in row.annotation.boxes)


def _comparison(call: Call) -> Comparison:
    return evaluate(call.workspace, call.job, call.candidate, call.dataset_version)


def _start(call: Call) -> dict[str, Any]:
    asked = request.accept(call.workspace, call.job, call.run_id, call.params)
    return {"start_at": asked.verb, **asked.parameters}


def _collect(call: Call) -> dict[str, Any]:
    return collecting.collect(call.workspace, call.job)


def _push(call: Call) -> dict[str, Any]:
    return asdict(label.push(call.workspace, call.job))


def _sync(call: Call) -> dict[str, Any]:
    pulled = asdict(label.pull(call.workspace, call.job))
    return pulled if pulled["tasks"] else {**pulled, "skip": "no annotation changed since the last synchronisation"}


def _curate(call: Call) -> dict[str, Any]:
    if call.params.get("dataset_version"):
        return {"dataset_version": call.dataset_version}
    try:
        return {"dataset_version": curate(call.workspace, call.job, call.run_id).version}
    except TrainingActive as refusal:
        return {"skip": str(refusal)}


def _train(call: Call) -> dict[str, Any]:
    try:
        model = train(
            call.workspace,
            call.job,
            call.run_id,
            dataset_version=call.dataset_version,
            parent=call.params.get("parent"),
            parameters=call.params.get("parameters"),
        )
    except TrainingActive as refusal:
        return {"skip": str(refusal)}
    return {"model_version": model.version}


def _evaluate(call: Call) -> dict[str, Any]:
    return {"model_version": call.candidate, **_comparison(call).summary()}


def _ask(call: Call) -> dict[str, Any]:
    """What to show to the person who is asked for approval; the answer, where the one who started the run gave it."""
    if call.bypasses("promote"):
        return {"answer": Answer.said(True, call.actor, call.reason).to_json()}
    comparison = _comparison(call)
    judgement = decide(call.workspace, call.job, call.run_id, comparison, call.actor)
    if judgement.promoted is not True:
        return {"skip": str(judgement)}
    return asdict(approval.ask(call.workspace, call.job, call.run_id, comparison, judgement))


def _void(call: Call) -> dict[str, Any]:
    return {"void": approval.void(call.workspace, call.job, call.run_id, call.candidate)}


def _promote(call: Call) -> dict[str, Any]:
    """A promotion that may not be is this run's decision with its reasons, and nothing that a repetition would mend."""
    comparison, actor, reason, forced = _comparison(call), call.actor, call.reason, call.bypasses("promote")
    if call.job.deploy_spec.approval.by == "human" and not forced:
        answer = Answer.from_json(call.params.get("answer"))
        actor, reason = answer.by or actor, answer.words
        if not answer.approved:
            return {"skip": str(withhold(call.workspace, call.job, call.run_id, comparison, answer.judgement, actor))}
    try:
        promotion = promote(call.workspace, call.job, call.run_id, comparison, actor, reason=reason, forced=forced)
    except Overtaken as refusal:
        overtaken = Judgement(False, [str(refusal)])
        return {"skip": str(withhold(call.workspace, call.job, call.run_id, comparison, overtaken, actor))}
    except PromotionRefused as refusal:
        return {"skip": str(refusal)}
    return {"model_version": promotion.version, "promotion": promotion.number}


def _deploy(call: Call) -> dict[str, Any]:
    pointer = deploying.deploy(call.workspace, call.job)
    served = deploying.confirm(call.workspace, call.job, pointer["promotion"])
    return {"model_version": served["model_version"], "promotion": served["promotion"]}


def _rollback(call: Call) -> dict[str, Any]:
    version = str(call.params["version"])
    if call.params.get("actor"):
        asked = Request(call.run_id, call.actor, "rollback", reason=call.reason, parameters={"version": version})
        call.workspace.ledger.record_request(call.job.name, asked)
    promotion = rollback(call.workspace, call.job, call.run_id, version, call.actor, call.reason)
    return {"model_version": promotion.version, "promotion": promotion.number}


STEPS: dict[str, Callable[[Call], dict[str, Any]]] = {
    "start": _start,
    "collect": _collect,
    "push": _push,
    "sync": _sync,
    "curate": _curate,
    "train": _train,
    "evaluate": _evaluate,
    "ask": _ask,
    "void": _void,
    "promote": _promote,
    "deploy": _deploy,
    "rollback": _rollback,
}

GATES: dict[Gate, Callable[[Call], Verdict]] = {
    "train": _train_gate,
    "evaluate": _evaluate_gate,
    "promote": _promote_gate,
}
