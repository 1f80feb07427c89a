"""A small real deployment for tests of whole runs: Airflow, the store and the inference server, and quick jobs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from fastapi import FastAPI

from data.ledger import Decision
from demo.airflow_api import AirflowApi
from pipelines import steps
from pipelines.importing import import_labelled
from pipelines.settings import ROOT
from pipelines.workspace import Workspace
from services import airflow, object_store, process
from services.deployment import Deployment
from services.inference import inference
from services.object_store import free_seaweedfs_port
from services.ports import free_port
from services.process import Server
from tests.pipelines.tiny import labelled

# Airflow reads a file only if it has the words airflow and dag in it.
DAGS = f"""
# The project's own DAG file for airflow, where an estimator is known that learns in no time.
import tests.pipelines.tiny
from pathlib import Path
file = Path({str(ROOT / "dags" / "continual_learning.py")!r})
exec(compile(file.read_text(), file, "exec"))
"""
JOB = """\
name: {name}
classes: [open, short]
source: {{template: {{sample: _test, template: _temp}}}}
dataset: {{trainProb: 0.5}}
estimator: {{name: Tiny}}
trainSpec:
  trigger:
    condition: {{metric: num_of_samples, operator: ">=", threshold: {labels}}}
    checkPeriodSeconds: 2
    waitSeconds: 600
evalSpec: {{minSupport: 1}}
deploySpec:
  trigger: {{condition: {{metric: ap_delta, operator: ">", threshold: 0}}, checkPeriodSeconds: {look}}}
  rule: {{name: point}}
  floors: {{classes: 1, domains: 1, known: 1}}
  approval: {approval}
  pollPeriodSeconds: 0.2
schedule: {{nightly: null}}
"""
NEVER = 100_000
Found = TypeVar("Found")


def create_app() -> FastAPI:
    """The inference service, where that estimator is known."""
    from serving import app
    from tests.pipelines import tiny

    assert tiny
    return app.create_app()


class Small(Deployment):
    """A deployment without Label Studio."""

    def groups(self) -> list[list[Server]]:
        settings = self.settings
        port = int(settings.store_endpoint.rpartition(":")[2])
        keys = (settings.store_access_key, settings.store_secret_key)
        return [
            [object_store.seaweedfs(settings.home / "store", port, *keys), *airflow.first(settings, self.secrets)],
            [inference(settings, "tests.dags.deployed:create_app"), *airflow.rest(settings, self.secrets)],
        ]


@dataclass(frozen=True)
class Deployed:
    """The running deployment, its Airflow, and how a test works with it."""

    deployment: Small
    workspace: Workspace
    api: AirflowApi

    def candidate(self, job: str, skill: float, run_id: str) -> str:
        """A model of that skill on a few more labels, trained from what serves; its version."""
        seen = sum(self.workspace.ledger.counts(job).values())
        self.label(job, range(seen, seen + 8))
        params = {"parameters": {"skill": skill}}
        steps.run("curate", job, run_id, params)
        return str(steps.run("train", job, run_id, params)["model_version"])

    def label(self, job: str, numbers: range) -> None:
        """Let labelled images arrive."""
        imported = import_labelled(self.workspace, self.workspace.job(job), labelled(numbers), "import")
        assert imported.labelled == len(numbers)

    def first(self, job: str) -> str:
        """Let a first, poor model serve, unless one serves; the version that does."""
        served = self.workspace.served(job)
        if served is not None:
            return served.version
        version = self.candidate(job, 0.3, "first")
        steps.run("promote", job, "first", {"answer": {"approved": True, "words": "to begin with", "by": "test"}})
        steps.run("deploy", job, "first")
        return version

    def serves(self, job: str) -> str:
        """What the inference server says of itself."""
        said = httpx.get(f"{self.workspace.settings.serving_url}/jobs/{job}", trust_env=False).json()
        return str(said["model_version"])

    def state(self, job: str, run_id: str, task: str) -> str | None:
        """The state of a task of a run of `<job>.learn`."""
        return {each.task_id: each.state for each in self.api.tasks(f"{job}.learn", run_id)}.get(task)

    def asked(self, job: str, run_id: str, timeout: float = 120) -> None:
        """Wait until a run asks for approval."""
        self.until(lambda: self.state(job, run_id, "approve") == "awaiting_input", timeout)

    def decided(self, job: str, run_id: str, timeout: float = 120) -> Decision:
        """Wait until a run of `<job>.learn` has ended well; what it decided."""
        assert self.api.wait(f"{job}.learn", run_id, timeout).state == "success"
        decision = self.workspace.ledger.decision(job, run_id)
        assert decision is not None
        return decision

    def server(self, name: str) -> Server:
        return next(server for server in self.deployment.servers() if server.name == name)

    def kill(self, name: str) -> None:
        """End a server and all it started, without a word."""
        server = self.server(name)
        record = process.read_record(self.deployment._record_file(name))
        assert record is not None
        process.stop(record, grace=0.0)
        assert not self.deployment.is_running(server)

    def start(self, name: str) -> None:
        """Start a server again and wait until it is ready."""
        self.deployment._start(self.server(name), print)()

    @staticmethod
    def until(reached: Callable[[], Found], timeout: float = 120) -> Found:
        """Wait until something is so."""
        deadline = time.monotonic() + timeout
        while not (found := reached()):
            assert time.monotonic() < deadline, "it did not come to that in time"
            time.sleep(0.5)
        return found


@contextmanager
def deployed(folder: Path, jobs: dict[str, dict[str, Any]], database: str | None) -> Iterator[Deployed]:
    """Start it with those jobs; Airflow keeps its state in `database`, or in SQLite."""
    for name in ("jobs", "dags"):
        (folder / name).mkdir()
    (folder / "dags" / "learning.py").write_text(DAGS)
    for name, options in jobs.items():
        (folder / "jobs" / f"{name}.yaml").write_text(
            JOB.format(name=name, **{"labels": NEVER, "approval": "none", "look": 1, **options})
        )
    variables = {
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
        "AIRFLOW__CORE__PARALLELISM": "6",
        "AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "2",
        # How soon others take over what a killed one had.
        "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "15",
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "15",
        "AIRFLOW__RATCHET__HOME": str(folder / "home"),
        "AIRFLOW__RATCHET__JOBS": str(folder / "jobs"),
        "AIRFLOW__RATCHET__STORE_ENDPOINT": f"127.0.0.1:{free_seaweedfs_port()}",
        "AIRFLOW__RATCHET__LABEL_STUDIO_URL": "http://127.0.0.1:9",
        "AIRFLOW__RATCHET__SERVING_URL": f"http://127.0.0.1:{free_port()}",
        "AIRFLOW__API__PORT": str(free_port()),
        **({"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database} if database else {}),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith(("AIRFLOW", "RATCHET")):
                patch.delenv(name)
        for name, value in variables.items():
            patch.setenv(name, value)
        here = Deployment.here(folder / "home")
        running = Small(here.settings, here.secrets)
        workspace = Workspace.open(running.settings)
        patch.setattr(steps, "deployment", lambda: workspace)
        try:
            running.up(print)
            workspace.store.ensure_bucket()
            api = AirflowApi(airflow.url(), airflow.USER, running.secrets["RATCHET_AIRFLOW_PASSWORD"])
            api.wait_for_dags({f"{name}.learn" for name in jobs}, 180)
            yield Deployed(running, workspace, api)
        finally:
            running.down(print)
