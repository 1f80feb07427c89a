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
            job = load_job(path)
            if job.name != path.stem:
                raise JobRefused(path, [f"name is {job.name!r}; a job's file is called after it, {job.name}.yaml"])
            jobs.append(job)
        except JobRefused as refusal:
            refusals.append(refusal)
    return jobs, refusals
