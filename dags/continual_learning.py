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
    task,
)
from ratchet_airflow.jobs import read_jobs
from ratchet_airflow.operators import StepOperator
from ratchet_airflow.sensors import gate_sensor
from ratchet_airflow.triggers import AnnotationsWaiting, ImagesWaiting, LabelsWaiting, WaitingTrigger

from pipelines.job import Job, Trigger

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
REASON = Param(None, type=["null", "string"], title="Reason", description="Kept with the decision, with your name.")


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
    """Gate, curate, train; gate, evaluate; gate, promote, deploy.

    One run may train, one wait at a gate and one be a person's, side by side: hence three. At the gate before train at
    most one run waits, and the ledger lets at most one train.
    """
    labels = asset(job, "labels")
    schedule = job.schedule.nightly
    summary = (
        f"Runs when labels arrive{f', at `{schedule}` {job.schedule.timezone}' if schedule else ''}, and by hand "
        "from the step you choose.\n\n"
        "| gate before | opens when |\n|---|---|\n"
        f"| train | {_words(job.train_spec.trigger)} |\n"
        f"| evaluate | {_words(job.eval_spec.trigger) or 'the holdout has enough of every class'} |\n"
        f"| promote | {_words(job.deploy_spec.trigger)} |\n\n"
        "A gate that does not open skips what follows it: the run is green, and the gate's log and its XCom `verdict` "
        "say why. The served model changes only in **promote**."
    )
    with job_dag(
        job,
        "learn",
        summary,
        schedule=_when_labels_arrive(labels, schedule, job.schedule.timezone),
        max_active_runs=3,
        params={
            "start_at": Param("train", enum=list(GATES), title="Start at", description="Earlier steps are skipped."),
            "bypass": Param(
                None,
                type=["null", "array"],
                items={"type": "string", "enum": list(GATES)},
                examples=list(GATES),
                title="Gates to bypass",
                description="These open at once, whatever they would say.",
            ),
            "reason": REASON,
            "dataset_version": Param(
                None,
                **DATASET_VERSION,
                title="Dataset version",
                description="Empty: what is labelled now.",
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
        },
    ) as dag:

        @task.branch(task_id="start")
        def start(params: dict[str, Any]) -> str:
            return ENTRIES[params["start_at"]]

        def step(name: str, *outlets: Asset, **options: Any) -> StepOperator:
            return StepOperator(step=name, job=job.name, outlets=list(outlets), **options)

        gate_train = gate_sensor("train", job.name, job.train_spec.trigger)
        gate_evaluate = gate_sensor("evaluate", job.name, job.eval_spec.trigger, trigger_rule=AFTER_EITHER)
        gate_promote = gate_sensor("promote", job.name, job.deploy_spec.trigger, trigger_rule=AFTER_EITHER)
        started = start()  # type: ignore[call-arg, misc]  # Airflow fills in the params
        chain(
            started,
            gate_train,
            step("curate", asset(job, "dataset")),
            step("train", asset(job, "candidate"), execution_timeout=TRAINING_TIMEOUT),
            gate_evaluate,
            step("evaluate"),
            gate_promote,
            step("promote", asset(job, "production")),
            step("deploy"),
        )
        chain(started, EmptyOperator(task_id=ENTRIES["evaluate"]), gate_evaluate)
        chain(started, EmptyOperator(task_id=ENTRIES["promote"]), gate_promote)
    return dag


def rollback_dag(job: Job) -> DAG:
    """An earlier version is promoted once more and deployed."""
    summary = "Runs by hand: an earlier model version serves again, as a promotion of its own."
    params = {
        "version": Param(type="string", pattern="^v[1-9][0-9]*$", title="Version", description="Such as v3."),
        "reason": Param(type="string", minLength=1, title="Reason", description=REASON.description),
    }
    with job_dag(job, "rollback", summary, schedule=None, params=params) as dag:
        chain(
            StepOperator(step="rollback", job=job.name, outlets=[asset(job, "production")]),
            StepOperator(step="deploy", job=job.name),
        )
    return dag


def _when_labels_arrive(labels: Asset, cron: str | None, timezone: str) -> Any:
    if cron is None:
        return [labels]
    # Without the zero, a deployment that starts within a tenth of a period after the cron's time runs at once.
    nightly = CronTriggerTimetable(cron, timezone=timezone, run_immediately=timedelta(0))
    return AssetOrTimeSchedule(timetable=nightly, assets=[labels])


def _words(trigger: Trigger) -> str:
    timer = trigger.timer
    window = f"between {timer.start} and {timer.end} {timer.timezone}" if timer else ""
    return ", ".join(part for part in (f"`{trigger.condition}`" if trigger.condition else "", window) if part)


usable, _ = read_jobs()
made = [make(usable_job) for usable_job in usable for make in (collect_dag, sync_dag, learn_dag, rollback_dag)]
globals().update({dag.dag_id: dag for dag in made})
