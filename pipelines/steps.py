"""The steps of a job by name: what an Airflow task, the command line and a test all call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any, Literal

from data.ledger import TrainingActive
from pipelines import collect as collecting
from pipelines import deploy as deploying
from pipelines import label
from pipelines.curate import curate
from pipelines.evaluate import Comparison, evaluate, in_production
from pipelines.gates.conditions import NUM_OF_SAMPLES, Verdict
from pipelines.gates.gate import Facts, check
from pipelines.job import Job, Trigger
from pipelines.promote import decide, promote, rollback
from pipelines.train import train
from pipelines.workspace import Workspace

Gate = Literal["train", "evaluate", "promote"]


class NothingToDo(RuntimeError):
    """A step that was asked for something that does not exist yet; the message says what must happen first."""


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
    def candidate(self) -> str:
        """The model version this run is about: the one asked for, the one this run trained, or the newest."""
        asked = self.params.get("model_version")
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
        asked = self.params.get("dataset_version")
        if asked:
            return str(asked)
        training = self.workspace.ledger.training(self.job.name, self.run_id)
        if training is not None and training.dataset_version:
            return training.dataset_version
        datasets = self.workspace.registry.datasets(self.job.name)
        if not datasets:
            raise NothingToDo(f"{self.job.name} has no dataset version yet; label some images and train first")
        return datasets[-1].version


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
    The gates before evaluate and promote judge data that is frozen, so that their no is final; None means that only a
    window is closed still.
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
    verdict = check_gate("train", job, run_id="")
    return deployment().ledger.pending(job) if verdict.met else 0


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
    trigger = call.job.train_spec.trigger
    of_metric = trigger.condition is not None and trigger.condition.metric != NUM_OF_SAMPLES
    metrics = in_production(call.workspace, call.job) if of_metric else {}

    def judged(labels: int) -> Verdict:
        return check(trigger, Facts(num_of_samples=labels, metrics=metrics), datetime.now(UTC))

    verdict = judged(ledger.pending(call.job.name))
    if not verdict.met or not call.run_id or call.params.get("dataset_version"):
        return verdict
    try:
        claimed = ledger.claim_training(call.job.name, call.run_id)
    except TrainingActive as refusal:
        return Verdict(False, str(refusal))
    verdict = judged(claimed.samples)
    if not verdict.met:
        ledger.fail_training(call.job.name, call.run_id, "another run took the labels before this one claimed them")
    return verdict


def _evaluate_gate(call: Call) -> Verdict:
    specification = call.job.eval_spec
    support = _holdout_support(call.workspace, call.job.name, call.dataset_version)
    facts = Facts(
        holdout_support={name: support[name] for name in call.job.classes}, min_support=specification.min_support
    )
    at_any_time = specification.trigger.model_copy(update={"timer": None})
    return _in_window(specification.trigger, check(at_any_time, facts, datetime.now(UTC)))


def _promote_gate(call: Call) -> Verdict:
    judgement = decide(call.workspace, call.job, call.run_id, _comparison(call), call.actor)
    sentence = "; ".join(judgement.reasons) if judgement.promoted else str(judgement)
    return _in_window(call.job.deploy_spec.trigger, Verdict(judgement.promoted, sentence))


def _in_window(trigger: Trigger, verdict: Verdict) -> Verdict:
    """A verdict that time cannot change: yes within the trigger's window, None before it, no where it is not yes."""
    if not verdict.met or trigger.timer is None:
        return Verdict(verdict.met is True, verdict.sentence)
    window = check(Trigger(timer=trigger.timer), Facts(), datetime.now(UTC))
    return Verdict(window.met or None, f"{verdict.sentence}; {window.sentence}")


@lru_cache(maxsize=64)
def _holdout_support(workspace: Workspace, job: str, dataset_version: str) -> Counter[str]:
    """How many boxes of each class the holdout of a dataset version has; read once, for a version never changes."""
    rows = workspace.registry.dataset(job, dataset_version).rows("holdout")
    return Counter(box.label for row in rows for box in row.annotation.boxes)


def _comparison(call: Call) -> Comparison:
    return evaluate(call.workspace, call.job, call.candidate, call.dataset_version)


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
    model = train(
        call.workspace,
        call.job,
        call.run_id,
        dataset_version=call.dataset_version,
        parent=call.params.get("parent"),
        parameters=call.params.get("parameters"),
    )
    return {"model_version": model.version}


def _evaluate(call: Call) -> dict[str, Any]:
    return {"model_version": call.candidate, **_comparison(call).summary()}


def _promote(call: Call) -> dict[str, Any]:
    promotion = promote(
        call.workspace,
        call.job,
        call.run_id,
        _comparison(call),
        call.actor,
        reason=str(call.params.get("reason") or ""),
        forced="promote" in (call.params.get("bypass") or ()),
    )
    return {"model_version": promotion.version, "promotion": promotion.number}


def _deploy(call: Call) -> dict[str, Any]:
    pointer = deploying.deploy(call.workspace, call.job)
    served = deploying.confirm(call.workspace, call.job, pointer["promotion"])
    return {"model_version": served["model_version"], "promotion": served["promotion"]}


def _rollback(call: Call) -> dict[str, Any]:
    promotion = rollback(
        call.workspace,
        call.job,
        call.run_id,
        str(call.params["version"]),
        call.actor,
        str(call.params.get("reason") or ""),
    )
    return {"model_version": promotion.version, "promotion": promotion.number}


STEPS: dict[str, Callable[[Call], dict[str, Any]]] = {
    "collect": _collect,
    "push": _push,
    "sync": _sync,
    "curate": _curate,
    "train": _train,
    "evaluate": _evaluate,
    "promote": _promote,
    "deploy": _deploy,
    "rollback": _rollback,
}

GATES: dict[Gate, Callable[[Call], Verdict]] = {
    "train": _train_gate,
    "evaluate": _evaluate_gate,
    "promote": _promote_gate,
}
