"""A workspace of a test's own: a real store, a ledger, a registry, and one small job."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.store import ObjectStore
from pipelines.job import Job
from pipelines.settings import Settings
from pipelines.workspace import Workspace

JOB = """\
name: boards
classes: [open, short, mousebite, spur, copper, pin-hole]
source: {template: {sample: _test, template: _temp, waitSeconds: 60}, minSide: 32}
estimator: {name: FPN}
hardExampleMining: {name: IBT, budget: 20, randomShare: 0.2}
trainSpec:
  trigger: {condition: {metric: num_of_samples, operator: ">=", threshold: 8}}
  parameters: {steps: 12, batch_size: 4, crop: 128}
evalSpec: {minSupport: 1}
"""


@pytest.fixture
def workspace(object_store: ObjectStore, tmp_path: Path) -> Workspace:
    """A deployment without Airflow, Label Studio or an inference server."""
    jobs = tmp_path / "jobs"
    jobs.mkdir()
    (jobs / "boards.yaml").write_text(JOB)
    return Workspace(
        Settings(
            home=tmp_path,
            jobs=jobs,
            store_endpoint=object_store.endpoint,
            store_secure=False,
            store_bucket=object_store.bucket,
            ledger_url=f"sqlite:///{tmp_path / 'ledger.db'}",
            registry_url=str(tmp_path / "registry.git"),
            label_studio_url="http://127.0.0.1:9",
            serving_url="http://127.0.0.1:9",
            store_access_key="ratchet-test",
            store_secret_key="ratchet-test-secret",
            label_studio_token="none",
        )
    )


@pytest.fixture
def job(workspace: Workspace) -> Job:
    """The job `boards`."""
    return workspace.job("boards")
