"""A small client of Airflow's REST API: start a run, wait for it, and read what its tasks logged."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

FINISHED = ("success", "failed")
RUN_FIELDS = ("dag_id", "run_id", "state", "run_type", "triggering_user_name", "start_date", "end_date")
TASK_FIELDS = ("task_id", "state", "try_number", "start_date", "end_date")


class AirflowRefused(RuntimeError):
    """Airflow did not do what was asked; the message holds its answer, `status` the HTTP status where it gave one."""

    def __init__(self, message: str, status: int | None = None):
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Run:
    """One run of a DAG; times are ISO 8601, None where they are still to come."""

    dag_id: str
    run_id: str
    state: str
    run_type: str
    triggering_user_name: str | None
    start_date: str | None
    end_date: str | None

    @property
    def finished(self) -> bool:
        return self.state in FINISHED


@dataclass(frozen=True)
class TaskInstance:
    """One task of a run; its state is None before it is scheduled."""

    task_id: str
    state: str | None
    try_number: int
    start_date: str | None
    end_date: str | None


class AirflowApi:
    """Airflow as the user `username`; the token is fetched with the first request and again when it has expired."""

    def __init__(self, url: str, username: str, password: str):
        self.url = url
        self._credentials = {"username": username, "password": password}
        self._client = httpx.Client(base_url=url, timeout=60, trust_env=False)

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None, run_id: str | None = None) -> Run:
        """Start a run by hand; `conf` fills the DAG's params.

        Raises:
            AirflowRefused: there is no such DAG, or `conf` breaks the rules of its params.
        """
        body = {"logical_date": None, "conf": dict(conf or {})} | ({"dag_run_id": run_id} if run_id else {})
        return _run(self._ask("POST", f"dags/{dag_id}/dagRuns", json=body))

    def run(self, dag_id: str, run_id: str) -> Run:
        """A run as it stands now."""
        return _run(self._ask("GET", f"dags/{dag_id}/dagRuns/{run_id}"))

    def runs(self, dag_id: str, limit: int = 100) -> list[Run]:
        """The latest runs of a DAG, newest first."""
        found = self._ask("GET", f"dags/{dag_id}/dagRuns", params={"order_by": "-run_after", "limit": limit})
        return [_run(run) for run in found["dag_runs"]]

    def tasks(self, dag_id: str, run_id: str) -> list[TaskInstance]:
        """The tasks of a run, in the order in which they started; those still to start come last."""
        found = self._ask("GET", f"dags/{dag_id}/dagRuns/{run_id}/taskInstances")["task_instances"]
        instances = [TaskInstance(**{name: instance[name] for name in TASK_FIELDS}) for instance in found]
        return sorted(instances, key=lambda instance: instance.start_date or "~")

    def wait(self, dag_id: str, run_id: str, timeout: float, period: float = 1.0) -> Run:
        """Wait until a run is finished.

        Raises:
            AirflowRefused: it is not within `timeout` seconds; with the tasks that are not done.
        """
        deadline = time.monotonic() + timeout
        while not (run := self.run(dag_id, run_id)).finished:
            if time.monotonic() > deadline:
                open_tasks = [task for task in self.tasks(dag_id, run_id) if task.end_date is None]
                listed = ", ".join(f"{task.task_id} ({task.state})" for task in open_tasks)
                raise AirflowRefused(f"{dag_id} {run_id} is {run.state} after {timeout:g} s; not done: {listed}")
            time.sleep(period)
        return run

    def dags(self) -> set[str]:
        """The ids of the first hundred DAGs that Airflow knows."""
        return {dag["dag_id"] for dag in self._ask("GET", "dags", params={"limit": 100})["dags"]}

    def wait_for_dags(self, dag_ids: set[str], timeout: float) -> None:
        """Wait until Airflow knows every one of `dag_ids`.

        Raises:
            AirflowRefused: it does not within `timeout` seconds; with its import errors.
        """
        deadline = time.monotonic() + timeout
        while missing := dag_ids - self.dags():
            if time.monotonic() > deadline:
                errors = "\n".join(self.import_errors().values()) or "there are no import errors"
                raise AirflowRefused(f"Airflow does not know {', '.join(sorted(missing))}: {errors}")
            time.sleep(1)

    def import_errors(self) -> dict[str, str]:
        """What is wrong with the files that define DAGs, by file."""
        found = self._ask("GET", "importErrors")["import_errors"]
        return {error["filename"]: error["stack_trace"] for error in found}

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        """What a task left under `key`; None where it left nothing."""
        try:
            entry = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
            return self._ask("GET", entry, params={"deserialize": True})["value"]
        except AirflowRefused as refusal:
            if refusal.status == httpx.codes.NOT_FOUND:
                return None
            raise

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1) -> str:
        """What one try of a task logged, a line per entry."""
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"
        entries = self._ask("GET", path, params={"full_content": True})["content"]
        return "\n".join(_line(entry) for entry in entries)

    def _ask(self, method: str, path: str, **options: Any) -> Any:
        if "Authorization" not in self._client.headers:
            self._log_in()
        response = self._client.request(method, f"/api/v2/{path}", **options)
        if response.status_code == httpx.codes.UNAUTHORIZED:
            self._log_in()
            response = self._client.request(method, f"/api/v2/{path}", **options)
        if response.is_error:
            raise AirflowRefused(
                f"{method} {response.url}: {response.status_code} {response.text}", response.status_code
            )
        return response.json()

    def _log_in(self) -> None:
        response = self._client.post("/auth/token", json=self._credentials)
        if response.is_error:
            raise AirflowRefused(f"{self.url} refuses the login of {self._credentials['username']}: {response.text}")
        self._client.headers["Authorization"] = f"Bearer {response.json()['access_token']}"


def _run(found: Mapping[str, Any]) -> Run:
    return Run(run_id=found["dag_run_id"], **{name: found[name] for name in RUN_FIELDS if name != "run_id"})


def _line(entry: Any) -> str:
    if not isinstance(entry, dict):
        return str(entry)
    time_and_level = " ".join(str(entry[name]) for name in ("timestamp", "level") if entry.get(name))
    return f"{time_and_level} {entry.get('event', '')}".strip()
