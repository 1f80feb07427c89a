"""A stage: object store, ledger, registry and Airflow's API server alone, for pages to be looked at and tested on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_urlsafe

from demo.airflow_api import AirflowApi, Run
from pipelines import steps
from pipelines.settings import Settings
from pipelines.workspace import Workspace
from services import airflow, object_store, process
from services.object_store import free_seaweedfs_port
from services.ports import free_port
from services.secrets import ensure_secrets

READY_SECONDS = 300.0
VIEWER = "viewer"
# Airflow has no way in to park a task in: what its scheduler and worker would write is written here.
PARK = """
import json, sys
from airflow.models.dagrun import DagRun
from airflow.models.hitl import HITLDetail
from airflow.utils import timezone
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState
from sqlalchemy import select

asked = json.load(sys.stdin)
with create_session() as session:
    where = (DagRun.dag_id == asked["dag_id"], DagRun.run_id == asked["run_id"])
    run = session.scalars(select(DagRun).where(*where)).one()
    run.state, run.start_date = DagRunState.RUNNING, timezone.utcnow()
    waiting = {instance.task_id: instance for instance in run.get_task_instances(session=session)}[asked["task_id"]]
    waiting.state, waiting.start_date = TaskInstanceState(asked["state"]), timezone.utcnow()
    if asked["subject"]:
        question = {"options": ["Approve", "Reject"], "multiple": False, "params": {}, "assignees": []}
        session.add(HITLDetail(ti_id=waiting.id, subject=asked["subject"], body=asked["body"], **question))
"""


@dataclass
class Stage:
    """A deployment whose Airflow has an API server and nothing that runs tasks; `passwords` by user."""

    workspace: Workspace
    api: AirflowApi
    passwords: dict[str, str]
    environment: dict[str, str]
    store: process.Record

    @property
    def url(self) -> str:
        return self.api.url

    def know_dags(self) -> None:
        """Bring the DAGs of the jobs that there are now into Airflow, as its DAG processor would."""
        self._airflow(airflow.PROGRAM, "dags", "reserialize")
        self._airflow(airflow.PROGRAM, "dags", "unpause", "--yes", "--treat-dag-id-as-regex", ".*")

    def park(self, run: Run, task_id: str, state: str, subject: str = "", body: str = "") -> None:
        """Let a task of a run be in a state, such as `deferred`; or `awaiting_input`, with the question it asks."""
        asked = {"dag_id": run.dag_id, "run_id": run.run_id, "task_id": task_id, "state": state}
        self._airflow(sys.executable, "-c", PARK, said=json.dumps({**asked, "subject": subject, "body": body}))

    def _airflow(self, *command: str, said: str = "") -> None:
        subprocess.run(command, env=self.environment, input=said, text=True, capture_output=True, check=True)


@contextmanager
def staged(folder: Path) -> Iterator[Stage]:
    """A stage in an empty folder until the end of the body; meanwhile this process is configured for it."""
    home = folder / "home"
    secrets = ensure_secrets(home)
    variables = {
        "AIRFLOW__RATCHET__HOME": str(home),
        "AIRFLOW__RATCHET__JOBS": str(folder / "jobs"),
        "AIRFLOW__RATCHET__STORE_ENDPOINT": f"127.0.0.1:{free_seaweedfs_port()}",
        "AIRFLOW__API__PORT": str(free_port()),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{airflow.USER}:admin,{VIEWER}:viewer",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
    }
    with ExitStack() as ending:
        ending.enter_context(_configured({**secrets, **variables}))
        settings = Settings.load()
        settings.jobs.mkdir(exist_ok=True)
        port = int(settings.store_endpoint.rpartition(":")[2])
        store = object_store.seaweedfs(folder / "store", port, settings.store_access_key, settings.store_secret_key)
        servers = [store, *airflow.first(settings, secrets)]
        passwords = {airflow.USER: secrets["RATCHET_AIRFLOW_PASSWORD"], VIEWER: token_urlsafe(12)}
        (home / "airflow" / "passwords.json").write_text(json.dumps(passwords))
        records = []
        for server in servers:
            file = folder / server.name.replace(" ", "-")
            record = process.start(
                server.name, server.command, file.with_suffix(".json"), file.with_suffix(".log"), server.environment
            )
            ending.callback(process.stop, record, grace=1)
            records.append(record)
        for server, record in zip(servers, records, strict=True):
            process.wait_until(server.ready, READY_SECONDS, record)
        api = AirflowApi(airflow.url(), airflow.USER, passwords[airflow.USER])
        environment = {**os.environ, **servers[-1].environment}
        workspace = steps.deployment()
        workspace.store.ensure_bucket()
        yield Stage(workspace, api, passwords, environment, records[0])


@contextmanager
def _configured(variables: dict[str, str]) -> Iterator[None]:
    """This process's environment has these variables and no other of Airflow's or Ratchet's, until the end."""
    before = dict(os.environ)
    for name in before:
        if name.startswith(("AIRFLOW__", "RATCHET_")):
            del os.environ[name]
    os.environ.update(variables)
    steps.deployment.cache_clear()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        steps.deployment.cache_clear()
