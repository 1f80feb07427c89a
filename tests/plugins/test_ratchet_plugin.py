from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from pipelines.settings import ROOT

pytestmark = pytest.mark.slow

LOAD = """
import json, sys
from airflow.plugins_manager import AirflowPlugin
before = set(sys.modules)
import ratchet_plugin
plugin = ratchet_plugin.RatchetPlugin
print(json.dumps({"modules": sorted(set(sys.modules) - before), "views": plugin.external_views}))
"""


def loaded() -> dict[str, object]:
    """What loading the plugin imports beyond Airflow, as every scheduler, worker and task does, and its views."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'plugins'}"}
    result = subprocess.run([sys.executable, "-c", LOAD], env=environment, capture_output=True, text=True, check=True)
    found: dict[str, object] = json.loads(result.stdout.splitlines()[-1])
    return found


def test_only_who_opens_the_page_pays_for_it() -> None:
    found = loaded()
    assert set(found["modules"]) <= {"ratchet_plugin", "pipelines", "pipelines.settings"}  # type: ignore[call-overload]
    views = {view["destination"]: view for view in found["views"] if view["name"] == "Ratchet"}  # type: ignore[attr-defined]
    assert set(views) == {"nav", "dag", "dag_run"}
    assert views["nav"]["href"] == "ratchet/"
    assert views["dag_run"]["href"] == "ratchet/?dag_id={DAG_ID}&run_id={RUN_ID}"
    assert len({view["url_route"] for view in views.values()}) == 3
    assert views["nav"]["icon"].startswith("data:image/svg+xml,")
