"""The jobs that Airflow shows: one per file of `[ratchet] jobs`, the good ones apart from the refused."""

from __future__ import annotations

from airflow.sdk import conf

from pipelines.job import Job, JobRefused, load_job
from pipelines.settings import DEFAULTS, ROOT


def read_jobs() -> tuple[list[Job], list[JobRefused]]:
    """The jobs that can be used, and why the others cannot."""
    jobs, refusals = [], []
    for path in sorted((ROOT / conf.get("ratchet", "jobs", fallback=DEFAULTS["jobs"])).glob("*.yaml")):
        try:
            jobs.append(load_job(path))
        except JobRefused as refusal:
            refusals.append(refusal)
    return jobs, refusals
