"""A whole deployment of its own for the loop's tests: every server real, on free ports, with two small jobs."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from data.failpoint import VARIABLE
from demo.airflow_api import AirflowApi
from pipelines.workspace import Workspace
from services import airflow, label_studio
from services.deployment import Deployment
from services.object_store import free_seaweedfs_port
from services.ports import free_port

JOB = """\
name: {name}
description: A small loop on small boards.
classes: [open, short, mousebite, spur, copper, pin-hole]
source: {{template: {{sample: _test, template: _temp}}}}
dataset: {{trainProb: 0.7}}
estimator: {{name: FPN}}
hardExampleMining: {{name: CloudOnly, budget: 40}}
trainSpec:
  trigger: {{checkPeriodSeconds: 2, condition: {{metric: num_of_samples, operator: ">=", threshold: 8}}}}
  parameters: {{steps: 120, batch_size: 8, crop: 128, checkpoint_every: 20}}
  updateParameters: {{steps: 60, learning_rate: 0.0015}}
evalSpec: {{minSupport: 0}}
deploySpec:
  trigger: {{condition: {{metric: ap_delta, operator: ">", threshold: 0}}}}
  rule: {{name: point}}
  floors: {{classes: 1, domains: 1, known: 1}}
  pollPeriodSeconds: 1
schedule: {{nightly: null}}
"""


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Airflow, Label Studio, SeaweedFS and the inference server, with the jobs `steady` and `killed`."""
    if not label_studio.PROGRAM.exists():
        pytest.skip(f"Label Studio is not installed ({label_studio.PROGRAM}); `make setup` does that")
    folder = tmp_path_factory.mktemp("deployment")
    (folder / "jobs").mkdir()
    failpoints = folder / "failpoints"
    failpoints.mkdir()
    for name in ("steady", "killed"):
        (folder / "jobs" / f"{name}.yaml").write_text(JOB.format(name=name))
    variables = {
        "AIRFLOW__RATCHET__HOME": str(folder / "home"),
        "AIRFLOW__RATCHET__JOBS": str(folder / "jobs"),
        "AIRFLOW__RATCHET__STORE_ENDPOINT": f"127.0.0.1:{free_seaweedfs_port()}",
        "AIRFLOW__RATCHET__LABEL_STUDIO_URL": f"http://127.0.0.1:{free_port()}",
        "AIRFLOW__RATCHET__SERVING_URL": f"http://127.0.0.1:{free_port()}",
        "AIRFLOW__API__PORT": str(free_port()),
        VARIABLE: str(failpoints),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith(("AIRFLOW", "RATCHET")):
                patch.delenv(name)
        for name, value in variables.items():
            patch.setenv(name, value)
        deployed = Deployment.here(folder / "home")
        try:
            deployed.up(print)
            yield deployed
        finally:
            deployed.down(print)


@pytest.fixture(scope="module")
def workspace(deployment: Deployment) -> Workspace:
    """The deployment, opened."""
    return Workspace.open(deployment.settings)


@pytest.fixture(scope="module")
def api(deployment: Deployment) -> AirflowApi:
    """The deployment's Airflow."""
    api = AirflowApi(airflow.url(), airflow.USER, deployment.secrets["RATCHET_AIRFLOW_PASSWORD"])
    api.wait_for_dags({f"{name}.{verb}" for name in ("steady", "killed") for verb in ("collect", "sync", "learn")}, 180)
    return api
