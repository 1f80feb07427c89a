"""The jobs that Airflow shows: one per file of `[ratchet] jobs`, the good ones apart from the refused."""

from __future__ import annotations

from typing import Any

from airflow.sdk import conf

from models.recipe import settings_of
from pipelines.job import METHODS, Job, JobRefused, load_job
from pipelines.settings import DEFAULTS, ROOT

JSON_TYPES = {int: "integer", float: "number", bool: "boolean", str: "string"}


def read_jobs() -> tuple[list[Job], list[JobRefused]]:
    """The jobs that can be used, and why the others cannot."""
    jobs, refusals = [], []
    for path in sorted((ROOT / conf.get("ratchet", "jobs", fallback=DEFAULTS["jobs"])).glob("*.yaml")):
        try:
            jobs.append(load_job(path))
        except JobRefused as refusal:
            refusals.append(refusal)
    return jobs, refusals


def recipe_schema(job: Job) -> dict[str, Any]:
    """The JSON schema of what a training of the job may be told; any object where its estimator does not say."""
    schema: dict[str, Any] = {"type": ["null", "object"]}
    known = settings_of(job.estimator.name)
    if known is None:
        return schema
    properties = {name: {"type": JSON_TYPES[kind]} if kind in JSON_TYPES else {} for name, kind in known.items()}
    return {
        **schema,
        "properties": {
            **properties,
            "seed": {"type": "integer", "minimum": 0},
            "method": {"enum": list(METHODS)},
            "memory": {"type": "integer", "minimum": 1},
        },
        "additionalProperties": False,
    }
