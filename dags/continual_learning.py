"""The Airflow DAGs of every job in the jobs folder: collect, sync, learn and roll back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import (
    DAG,
    Asset,
    AssetOrTimeSchedule,
    AssetWatcher,
    CronTriggerTimetable,
    Param,
    TriggerRule,
    chain,
)
from ratchet_airflow.approval import PromotionApproval
from ratchet_airflow.jobs import read_jobs, recipe_schema
from ratchet_airflow.operators import StartOperator, StepOperator
from ratchet_airflow.sensors import gate_sensor
from ratchet_airflow.triggers import AnnotationsWaiting, ImagesWaiting, LabelsWaiting, WaitingTrigger

from pipelines.gates.rule import DAYS, Rule
from pipelines.job import Job

GATES = ("train", "evaluate", "promote")
ENTRIES = {"train": "gate_train", "evaluate": "start_at_evaluate", "promote": "start_at_promote"}
# A gate runs once what stands before it has run, or once the run starts there; not when that was skipped.
AFTER_EITHER = TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS
WATCHES: dict[str, type[WaitingTrigger]] = {
    "inbox": ImagesWaiting,
    "annotations": AnnotationsWaiting,
    "labels": LabelsWaiting,
}
TRAINING_TIMEOUT = timedelta(hours=24)

VERSION: dict[str, Any] = {"type": ["null", "string"], "pattern": "^v[1-9][0-9]*$"}
DATASET_VERSION: dict[str, Any] = {"type": ["null", "string"], "pattern": "^d[1-9][0-9]*$"}
REASON = "Kept with your name and with what comes of it."


def asset(job: Job, name: str) -> Asset:
    """Something of the job that runs produce or wait for."""
    watch = WATCHES.get(name)
    watchers = [AssetWatcher(name=name, trigger=watch(job=job.name))] if watch else []
    return Asset(f"ratchet://{job.name}/{name}", watchers=watchers)


def job_dag(job: Job, verb: str, summary: str, **options: Any) -> DAG:
    """An empty DAG `<job>.<verb>` with what all of them share."""
    return DAG(
        dag_id=f"{job.name}.{verb}",
        doc_md=f"**{job.name}**: {job.description or ', '.join(job.classes)}\n\n{summary}",
        tags=["ratchet", job.name, verb],
        catchup=False,
        default_args={
            "owner": "ratchet",
            "retries": 2,
            "retry_delay": timedelta(seconds=15),
            "execution_timeout": timedelta(hours=1),
        },
        **{"max_active_runs": 1, **options},
    )


def collect_dag(job: Job) -> DAG:
    """New images are predicted and mined, and the hard ones pushed to Label Studio."""
    summary = (
        f"Runs when images lie in `{job.inbox}` of the bucket, and by hand.\n\n"
        "- **collect** takes them in, predicts them with the served model and chooses the hard ones\n"
        "- **push** brings these to Label Studio, the predicted boxes drawn"
    )
    with job_dag(job, "collect", summary, schedule=[asset(job, "inbox")]) as dag:
        chain(StepOperator(step="collect", job=job.name), StepOperator(step="push", job=job.name))
    return dag


def sync_dag(job: Job) -> DAG:
    """Annotations that changed come back from Label Studio."""
    summary = (
        "Runs when annotations changed in Label Studio, and by hand.\n\n"
        "- **sync** checks them and enters them in the ledger; bad ones are quarantined with their reasons"
    )
    with job_dag(job, "sync", summary, schedule=[asset(job, "annotations")]) as dag:
        StepOperator(step="sync", job=job.name, outlets=[asset(job, "labels")])
    return dag


def learn_dag(job: Job) -> DAG:
    """Gate, curate, train; gate, evaluate; gate, promote, deploy; before promote a person's approval, if the job asks.

    One run may train, one wait at a gate, one be a person's and, where people approve, one be asked about, side by
    side. At the gate before train at most one run waits, the ledger lets at most one train, and a question ends when a
    newer one is asked.
    """
    labels = asset(job, "labels")
    schedule = job.schedule.nightly
    approval = job.deploy_spec.approval
    by_person = approval.by == "human"
    summary = (
        f"Runs when labels arrive{f', at `{schedule}` {job.schedule.timezone}' if schedule else ''}, and by hand "
        "from the step you choose.\n\n"
        f"{_gates(job)}\n\n"
        "A gate that does not open skips what follows it: the run is green, and the gate's log and its XCom `verdict` "
        "say why. The served model changes only in **promote**."
    )
    with job_dag(
        job,
        "learn",
        summary,
        schedule=_when_labels_arrive(labels, schedule, job.schedule.timezone),
        max_active_runs=4 if by_person else 3,
        params=_form(job),
    ) as dag:

        def step(name: str, *outlets: Asset, **options: Any) -> StepOperator:
            return StepOperator(step=name, job=job.name, outlets=list(outlets), **options)

        gate_train = gate_sensor("train", job.name, job.train_spec.trigger)
        gate_evaluate = gate_sensor("evaluate", job.name, job.eval_spec.trigger, trigger_rule=AFTER_EITHER)
        gate_promote = gate_sensor("promote", job.name, job.deploy_spec.trigger, trigger_rule=AFTER_EITHER)
        start = StartOperator(job=job.name, entries=ENTRIES)
        asked, answer = [], {}
        if by_person:
            approve = PromotionApproval(
                job=job.name,
                wait_seconds=approval.wait_seconds,
                # Each look takes a worker, and for a moment the form from who is about to answer.
                check_seconds=5 * job.deploy_spec.trigger.check_period_seconds,
            )
            asked, answer = [approve], {"answer": approve.output}
        chain(
            start,
            gate_train,
            step("curate", asset(job, "dataset")),
            step("train", asset(job, "candidate"), execution_timeout=TRAINING_TIMEOUT),
            gate_evaluate,
            step("evaluate"),
            gate_promote,
            *asked,
            step("promote", asset(job, "production"), values=answer),
            step("deploy"),
        )
        chain(start, EmptyOperator(task_id=ENTRIES["evaluate"]), gate_evaluate)
        chain(start, EmptyOperator(task_id=ENTRIES["promote"]), gate_promote)
    return dag


def rollback_dag(job: Job) -> DAG:
    """An earlier version is promoted once more and deployed."""
    summary = (
        "Runs by hand: an earlier model version serves again, as a promotion of its own. `ratchet served "
        f"{job.name}` lists which served when; a version that never served is refused."
    )
    params = {
        "version": Param(
            type="string",
            pattern=VERSION["pattern"],
            title="Version",
            description="Such as v3: one that served before.",
        ),
        "reason": Param(type="string", minLength=1, title="Reason", description=REASON),
    }
    with job_dag(job, "rollback", summary, schedule=None, params=params) as dag:
        chain(
            StepOperator(step="rollback", job=job.name, outlets=[asset(job, "production")]),
            StepOperator(step="deploy", job=job.name),
        )
    return dag


def _form(job: Job) -> dict[str, Param]:
    """What a person who starts a run of `<job>.learn` may ask for; what is wrong with it is refused by Airflow."""
    return {
        "start_at": Param("train", enum=list(GATES), title="Start at", description="Earlier steps are skipped."),
        "bypass": Param(
            None,
            type=["null", "array"],
            items={"type": "string", "enum": list(GATES)},
            examples=list(GATES),
            title="Gates to bypass",
            description="These open at once, whatever they would say; give a reason.",
        ),
        "reason": Param(None, type=["null", "string"], title="Reason", description=REASON),
        "dataset_version": Param(
            None,
            **DATASET_VERSION,
            title="Dataset version",
            description="To train or compare on. Empty: what is labelled now, or the newest.",
            section="Versions",
        ),
        "model_version": Param(
            None,
            **VERSION,
            title="Model version",
            description="The candidate to evaluate or promote; empty: the newest.",
            section="Versions",
        ),
        "parent": Param(
            None,
            **VERSION,
            title="Parent version",
            description="The model to train from; empty: the served one.",
            section="Versions",
        ),
        "parameters": Param(
            None,
            **recipe_schema(job),
            title="Recipe parameters",
            description="For this training, over those of the job; also `seed`, `method`, `memory`.",
            section="Recipe",
        ),
    }


def _when_labels_arrive(labels: Asset, cron: str | None, timezone: str) -> Any:
    if cron is None:
        return [labels]
    # Without the zero, a deployment that starts within a tenth of a period after the cron's time runs at once.
    nightly = CronTriggerTimetable(cron, timezone=timezone, run_immediately=timedelta(0))
    return AssetOrTimeSchedule(timetable=nightly, assets=[labels])


def _gates(job: Job) -> str:
    """When each gate opens, as a Markdown table."""
    rule = job.deploy_spec.rule
    support = f"the holdout has at least {job.eval_spec.min_support} boxes of every class"
    better = f"the lower confidence bound of what it gains in `{rule.metric}` is above {rule.margin:g}"
    rows = {
        "train": [_words(job.train_spec.trigger)],
        "evaluate": [support, _words(job.eval_spec.trigger)],
        "promote": [
            _words(job.deploy_spec.trigger),
            better if rule.name == "bound" else "",
            f"nothing falls below its floor in `{job.deploy_spec.floors.metric}`",
        ],
    }
    if job.deploy_spec.approval.by == "human":
        hours = job.deploy_spec.approval.wait_seconds / 3600
        rows["promote"].append(f"then a person approves within {hours:.3g} h")
    table = {gate: "; ".join(part for part in parts if part) or "always" for gate, parts in rows.items()}
    return "| gate before | opens when |\n|---|---|\n" + "\n".join(
        f"| {gate} | {words} |" for gate, words in table.items()
    )


def _words(rule: Rule) -> str:
    """The rule for a person to read; empty if it asks nothing."""
    parts = [f"`{rule.condition}`"] if rule.condition else []
    parts += [_nested(each) for each in rule.all]
    if rule.any:
        options = " or ".join(_nested(each) for each in rule.any)
        parts.append(f"({options})" if len(rule.any) > 1 and (parts or rule.timer) else options)
    if timer := rule.timer:
        days = "" if set(timer.days) == set(DAYS) else f" on {', '.join(timer.days)}"
        parts.append(f"between {timer.start} and {timer.end} {timer.timezone}{days}")
    return " and ".join(parts)


def _nested(rule: Rule) -> str:
    words = _words(rule)
    several = sum(map(bool, (rule.condition, rule.timer, *rule.all, *rule.any))) > 1
    return f"({words})" if several else words


usable, _ = read_jobs()
made = [make(usable_job) for usable_job in usable for make in (collect_dag, sync_dag, learn_dag, rollback_dag)]
globals().update({dag.dag_id: dag for dag in made})
