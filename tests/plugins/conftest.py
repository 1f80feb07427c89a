"""A job with a real ledger, and what Airflow hands to a task."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from data.sample import Annotation, Box, Sample, sha256
from pipelines import steps
from pipelines.settings import SECRETS
from pipelines.workspace import Workspace
from tests.airflow_home import prepare, write_jobs

prepare()


class Instance:
    """What a sensor uses of its task instance: its XComs, how many others wait, and since when it is rescheduled."""

    def __init__(self) -> None:
        self.xcoms: dict[str, Any] = {}
        self.others_waiting = 0
        self.first_reschedule: Any = None

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value

    def get_ti_count(self, **_: Any) -> int:
        return self.others_waiting

    def get_first_reschedule_date(self, _: Any) -> Any:
        return self.first_reschedule


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A deployment with the job `boards`, as this process is configured for."""
    monkeypatch.setenv("AIRFLOW__RATCHET__HOME", str(tmp_path))
    monkeypatch.setenv("AIRFLOW__RATCHET__JOBS", str(write_jobs(tmp_path / "jobs", "boards")))
    for variable in SECRETS.values():
        monkeypatch.setenv(variable, "secret")
    steps.deployment.cache_clear()
    yield steps.deployment()
    steps.deployment.cache_clear()


@pytest.fixture
def label(workspace: Workspace) -> Callable[[int], None]:
    """Enters that many more labelled samples into the ledger."""
    count = 0

    def enter(more: int) -> None:
        nonlocal count
        for _ in range(more):
            count += 1
            sample = Sample(sha256(str(count).encode()), 640, 640, "default", f"{count}.png", "train")
            workspace.ledger.add_sample("boards", sample, count)
            annotation = Annotation(sample.id, (Box(1, 1, 9, 9, "open"),), "ada", "2026-01-01T00:00:00+00:00")
            workspace.ledger.record_annotation("boards", annotation)

    return enter


@pytest.fixture
def instance() -> Instance:
    return Instance()


@pytest.fixture
def context(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The context of a task in a run that `ada` started, outside Airflow's task runner."""
    from airflow.sdk.bases.operator import ExecutorSafeguard

    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)
    return {
        "run_id": "manual__1",
        "params": {"bypass": None, "reason": "to see"},
        "dag_run": SimpleNamespace(triggering_user_name="ada"),
        "ti": instance,
        "outlet_events": {},
    }
