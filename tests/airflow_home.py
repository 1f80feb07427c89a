"""An Airflow for tests: the project's own configuration, with everything that is written in a folder of their own."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path
from types import ModuleType

from pipelines.settings import ROOT

JOB = """
name: {name}
classes: [open, short]
estimator: {{name: FPN}}
trainSpec:
  trigger:
    checkPeriodSeconds: 1
    waitSeconds: 600
    condition: {{metric: num_of_samples, operator: ">=", threshold: 3}}
"""
BROKEN_JOB = """
name: broken
classes: []
colour: green
estimator: {name: FPN}
trainSpec: {trigger: {timer: {start: "25:00", end: "04:00"}}}
"""


@cache
def prepare() -> Path:
    """Point Airflow at a fresh folder; must happen before its first import."""
    folder = Path(tempfile.mkdtemp(prefix="ratchet-airflow-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ.update(
        {
            "AIRFLOW_HOME": str(ROOT),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder / 'airflow.db'}",
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(folder / "logs"),
            "AIRFLOW__LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": str(folder / "logs" / "dag_processor"),
        }
    )
    return folder


def write_jobs(folder: Path, *names: str) -> Path:
    """A jobs folder with a small job of each name, whose gate before train opens at three labels."""
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / f"{name}.yaml").write_text(JOB.format(name=name))
    return folder


def load_dags() -> ModuleType:
    """The DAG file, imported anew with the settings of this moment."""
    from importlib.machinery import SourceFileLoader
    from importlib.util import module_from_spec, spec_from_loader

    loader = SourceFileLoader("continual_learning", str(ROOT / "dags" / "continual_learning.py"))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module
