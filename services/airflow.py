"""Airflow on this machine: API server, scheduler, DAG processor and triggerer, on loopback, their files below home."""

from __future__ import annotations

import configparser
import json
import os
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import httpx

from pipelines.settings import ROOT, Settings
from services.ports import LOOPBACK
from services.process import Server

SETTING = "[api] port in airflow.cfg"
PROGRAM = str(Path(sys.executable).parent / "airflow")
USER = "admin"
# The health report's name of a component, and its command. Their log servers would listen beyond loopback.
COMPONENTS = {
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag_processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}


def port() -> int:
    """The API server's port: `[api] port` in airflow.cfg, or AIRFLOW__API__PORT."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "airflow.cfg")
    return int(os.environ.get("AIRFLOW__API__PORT", parser.get("api", "port", fallback="8080")))


def url() -> str:
    """The address of the API server and its user interface."""
    return f"http://{LOOPBACK}:{port()}"


def environment(settings: Settings, secrets: Mapping[str, str]) -> dict[str, str]:
    """What every Airflow process and command of this deployment needs in its environment.

    AIRFLOW_HOME is the project's root, where airflow.cfg, dags and plugins are; what Airflow writes goes below
    `settings.home`. A metadata database that the caller's environment names is kept.
    """
    home = settings.home / "airflow"
    database = f"sqlite:///{home / 'airflow.db'}"
    return {
        **secrets,
        "AIRFLOW_HOME": str(ROOT),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": os.environ.get("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", database),
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "AIRFLOW__LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": str(home / "logs" / "dag_processor"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
        "AIRFLOW__API__PORT": str(port()),
        "AIRFLOW__API__BASE_URL": url(),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url()}/execution/",
        "AIRFLOW__RATCHET__HOME": str(settings.home),
        "PATH": f"{Path(PROGRAM).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONPATH": str(ROOT),
        # Without their bytecode, every process and every task compiles Airflow and TensorFlow again.
        "PYTHONDONTWRITEBYTECODE": "",
    }


def first(settings: Settings, secrets: Mapping[str, str]) -> list[Server]:
    """The API server, its database migrated before it starts; tasks fail that start before it listens."""
    _write_password(settings.home / "airflow" / "passwords.json", secrets["RATCHET_AIRFLOW_PASSWORD"])
    return [
        Server(
            name="Airflow API server",
            command=("sh", "-c", '"$0" db migrate && exec "$0" api-server', PROGRAM),
            environment=environment(settings, secrets),
            ports={"Airflow": port()},
            ready=lambda: health()["metadatabase"]["status"] == "healthy",
            setting=SETTING,
        )
    ]


def rest(settings: Settings, secrets: Mapping[str, str]) -> list[Server]:
    """The scheduler, the DAG processor and the triggerer, which start once the API server answers."""
    return [
        Server(
            name=f"Airflow {component.replace('_', ' ')}",
            command=(PROGRAM, *command),
            environment=environment(settings, secrets),
            ports={},
            ready=_beats(component),
            setting=SETTING,
        )
        for component, command in COMPONENTS.items()
    ]


def health() -> dict[str, dict[str, str | None]]:
    """What the API server says of each component: its status and its latest heartbeat.

    Raises:
        httpx.HTTPError: it does not answer.
    """
    response = httpx.get(f"{url()}/api/v2/monitor/health", timeout=10, trust_env=False)
    response.raise_for_status()
    report: dict[str, dict[str, str | None]] = response.json()
    return report


def _beats(component: str) -> Callable[[], bool]:
    """Whether the component has sent a heartbeat since now; that of an ended process counts for half a minute."""
    since = datetime.now(UTC)

    def ready() -> bool:
        beat = health()[component][f"latest_{component}_heartbeat"]
        return beat is not None and datetime.fromisoformat(beat) > since

    return ready


def _write_password(file: Path, password: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        json.dump({USER: password}, stream)
