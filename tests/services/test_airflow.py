"""A whole Airflow of the project's own, as `make up` starts it."""

from __future__ import annotations

import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from data.ledger import Ledger
from data.sample import Annotation, Box, Sample, sha256
from demo.airflow_api import AirflowApi, AirflowRefused
from pipelines.settings import ROOT, Settings
from services import airflow, process
from services.ports import free_port
from services.process import Record, Server
from services.secrets import ensure_secrets
from tests.airflow_home import BROKEN_JOB, write_jobs

pytestmark = pytest.mark.slow


@dataclass
class Running:
    """Airflow with the jobs `boards` and a broken one, its processes by name."""

    folder: Path
    settings: Settings
    api: AirflowApi
    servers: dict[str, Server]
    records: dict[str, Record]

    def start(self, server: Server) -> None:
        name = server.name
        record = process.start(
            name, server.command, self.folder / f"{name}.json", self.folder / f"{name}.log", server.environment
        )
        self.servers[name], self.records[name] = server, record


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("airflow")
        home = folder / "home"
        jobs = write_jobs(folder / "jobs", "boards")
        (jobs / "broken.yaml").write_text(BROKEN_JOB)
        secrets = ensure_secrets(home)
        for variable in ("HOME", "DATABASE"):
            patch.delenv(f"AIRFLOW_{variable}", raising=False)
        patch.delenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", raising=False)
        patch.setenv("AIRFLOW__API__PORT", str(free_port()))
        patch.setenv("AIRFLOW__RATCHET__HOME", str(home))
        patch.setenv("AIRFLOW__RATCHET__JOBS", str(jobs))
        settings = Settings.load({**secrets, "AIRFLOW__RATCHET__HOME": str(home)})
        api = AirflowApi(airflow.url(), airflow.USER, secrets["RATCHET_AIRFLOW_PASSWORD"])
        whole = Running(folder, settings, api, {}, {})
        try:
            for group in (airflow.first(settings, secrets), airflow.rest(settings, secrets)):
                for server in group:
                    whole.start(server)
                for server in group:
                    process.wait_until(server.ready, 300, whole.records[server.name])
            api.wait_for_dags({"boards.learn"}, 60)
            yield whole
        finally:
            for record in whole.records.values():
                process.stop(record)


def test_listens_on_loopback_alone(running: Running) -> None:
    leaders = [psutil.Process(record.pid) for record in running.records.values()]
    members = [member for leader in leaders for member in (leader, *leader.children(recursive=True))]
    listening = [
        connection.laddr.ip
        for member in members
        for connection in member.net_connections()
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening
    assert set(listening) == {"127.0.0.1"}


def test_writes_below_home_alone(running: Running) -> None:
    home = running.settings.home / "airflow"
    assert (home / "airflow.db").exists()
    assert (home / "logs").is_dir()
    assert stat.S_IMODE((home / "passwords.json").stat().st_mode) == 0o600
    untracked = subprocess.run(
        ["git", "-C", str(ROOT), "status", "--porcelain", "--ignored"], capture_output=True, text=True, check=True
    ).stdout
    assert "airflow.db" not in untracked
    assert " logs/" not in untracked
    assert "passwords" not in untracked


def test_broken_job_is_an_import_error_beside_the_others(running: Running) -> None:
    (error,) = running.api.import_errors().values()
    assert "broken.yaml" in error
    assert "colour" in error
    assert "Traceback" not in error
    assert {f"boards.{verb}" for verb in ("collect", "sync", "learn", "rollback")} == running.api.dags()


def test_login_and_form_refuse_in_words(running: Running) -> None:
    with pytest.raises(AirflowRefused, match="refuses the login of admin"):
        AirflowApi(airflow.url(), airflow.USER, "wrong").runs("boards.learn")
    with pytest.raises(AirflowRefused, match="start_at"):
        running.api.trigger("boards.learn", {"start_at": "the end"})


def test_gate_waits_through_a_killed_triggerer_and_scheduler(running: Running) -> None:
    api, dag = running.api, "boards.learn"
    run = api.trigger(dag, {"reason": "a test"})
    assert run.triggering_user_name == airflow.USER

    def gate_is(*states: str) -> bool:
        return any(task.task_id == "gate_train" and task.state in states for task in api.tasks(dag, run.run_id))

    wait_until(lambda: gate_is("deferred"), 120)
    assert "0" in api.xcom(dag, run.run_id, "gate_train", "verdict")
    for name in ("Airflow triggerer", "Airflow scheduler"):
        process.stop(running.records[name], grace=0)
    label(Ledger(running.settings.ledger_url), 3)
    for name in ("Airflow triggerer", "Airflow scheduler"):
        running.start(running.servers[name])
    wait_until(lambda: gate_is("success"), 180)
    assert "3" in api.xcom(dag, run.run_id, "gate_train", "verdict")
    assert "3" in api.log(dag, run.run_id, "gate_train")


def wait_until(reached: Callable[[], bool], timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def label(ledger: Ledger, count: int) -> None:
    """Enter labelled samples of `boards`."""
    ledger.upgrade()
    for number in range(count):
        sample = Sample(sha256(str(number).encode()), 640, 640, "default", f"{number}.png", "train")
        ledger.add_sample("boards", sample, number)
        annotation = Annotation(sample.id, (Box(1, 1, 9, 9, "open"),), "ada", "2026-01-01T00:00:00+00:00")
        ledger.record_annotation("boards", annotation)
