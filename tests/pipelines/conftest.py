"""Workspaces of a test's own: a real ledger and registry, small jobs, and a real store where one is needed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from data.store import ObjectStore
from pipelines.job import Job
from pipelines.workspace import Workspace
from tests.pipelines.tiny import without_servers

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
def offline(tmp_path: Path) -> Workspace:
    """A deployment of which no server runs, with the job `boards`."""
    workspace = Workspace(without_servers(tmp_path))
    (workspace.settings.jobs / "boards.yaml").write_text(JOB)
    return workspace


@pytest.fixture
def workspace(object_store: ObjectStore, offline: Workspace) -> Workspace:
    """A deployment without Airflow, Label Studio or an inference server."""
    return Workspace(replace(offline.settings, store_endpoint=object_store.endpoint, store_bucket=object_store.bucket))


@pytest.fixture
def job(offline: Workspace) -> Job:
    """The job `boards`."""
    return offline.job("boards")
