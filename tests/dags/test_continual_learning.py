from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG, AssetOrTimeSchedule, CronTriggerTimetable
from airflow.sdk.exceptions import ParamValidationError
from airflow.serialization.serialized_objects import DagSerialization

from pipelines.settings import ROOT
from tests.airflow_home import BROKEN_JOB, write_jobs

VERBS = ("collect", "sync", "learn", "rollback")
HEAVY = (
    "tensorflow",
    "keras",
    "great_expectations",
    "dvc",
    "label_studio_sdk",
    "pandas",
    "minio",
)
PARSE = """
import json, sys, time
from importlib.machinery import SourceFileLoader
import airflow.sdk, airflow.triggers.base, airflow.providers.standard.operators.empty
before = set(sys.modules)
started = time.process_time()
SourceFileLoader("continual_learning", sys.argv[1]).load_module()
print(json.dumps({"seconds": time.process_time() - started, "modules": sorted(set(sys.modules) - before)}))
"""


def bag() -> DagBag:
    return DagBag(str(ROOT / "dags"))


@pytest.fixture(scope="module")
def dags() -> dict[str, DAG]:
    """The DAGs of the project's own jobs."""
    found = bag()
    assert found.import_errors == {}
    return found.dags


def test_every_job_has_its_four_dags(dags: dict[str, DAG]) -> None:
    jobs = [path.stem for path in (ROOT / "dags" / "jobs").glob("*.yaml")]
    assert "pcb_defects" in jobs
    assert set(dags) == {f"{job}.{verb}" for job in jobs for verb in VERBS}


@pytest.mark.parametrize("verb", VERBS)
def test_dag_has_what_every_dag_must_have(dags: dict[str, DAG], verb: str) -> None:
    dag = dags[f"pcb_defects.{verb}"]
    assert dag.doc_md
    assert {"ratchet", "pcb_defects", verb} == dag.tags
    assert dag.catchup is False
    assert dag.max_active_runs == (3 if verb == "learn" else 1)
    for task in dag.tasks:
        assert task.owner == "ratchet"
        assert (task.retries or 0) >= 2
        assert task.retry_delay <= timedelta(minutes=1)
        assert task.execution_timeout


@pytest.mark.parametrize("verb", VERBS)
def test_dag_survives_serialisation(dags: dict[str, DAG], verb: str) -> None:
    dag = dags[f"pcb_defects.{verb}"]
    serialised = json.loads(json.dumps(DagSerialization.to_dict(dag)))
    restored = DagSerialization.from_dict(serialised)
    assert restored.task_dict.keys() == dag.task_dict.keys()
    assert restored.timetable.summary == DagSerialization.from_dict(DagSerialization.to_dict(dag)).timetable.summary


def test_learn_is_one_chain_with_three_entries(dags: dict[str, DAG]) -> None:
    downstream = {task.task_id: task.downstream_task_ids for task in dags["pcb_defects.learn"].tasks}
    assert downstream == {
        "start": {"gate_train", "start_at_evaluate", "start_at_promote"},
        "gate_train": {"curate"},
        "curate": {"train"},
        "train": {"gate_evaluate"},
        "start_at_evaluate": {"gate_evaluate"},
        "gate_evaluate": {"evaluate"},
        "evaluate": {"gate_promote"},
        "start_at_promote": {"gate_promote"},
        "gate_promote": {"promote"},
        "promote": {"deploy"},
        "deploy": set(),
    }


def test_nightly_run_does_not_make_up_for_a_missed_night(dags: dict[str, DAG]) -> None:
    schedule = dags["pcb_defects.learn"].timetable
    assert isinstance(schedule, AssetOrTimeSchedule)
    assert schedule.timetable == CronTriggerTimetable("0 2 * * *", timezone="UTC", run_immediately=timedelta(0))


@pytest.mark.parametrize(
    ("verb", "values", "complaint"),
    [
        ("learn", {"start_at": "deploy"}, "start_at"),
        ("learn", {"bypass": ["everything"]}, "bypass"),
        ("learn", {"parent": "3"}, "parent"),
        ("rollback", {"version": "latest", "reason": "x"}, "version"),
        ("rollback", {"version": "v1", "reason": ""}, "reason"),
        ("rollback", {"version": "v1"}, "reason"),
    ],
)
def test_form_refuses_what_it_cannot_mean(
    dags: dict[str, DAG], verb: str, values: dict[str, Any], complaint: str
) -> None:
    params = copy.deepcopy(dags[f"pcb_defects.{verb}"].params)
    for name, value in values.items():
        params.get_param(name).value = value
    with pytest.raises(ParamValidationError, match=complaint):
        params.validate()


def test_broken_job_is_refused_with_all_that_is_wrong_and_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = write_jobs(tmp_path / "jobs", "boards")
    (jobs / "broken.yaml").write_text(BROKEN_JOB)
    (jobs / "other.yaml").write_text((jobs / "boards.yaml").read_text().replace("boards", "misnamed"))
    monkeypatch.setenv("AIRFLOW__RATCHET__JOBS", str(jobs))
    found = bag()
    assert set(found.dags) == {f"boards.{verb}" for verb in VERBS}
    ((file, error),) = found.import_errors.items()
    assert Path(file).name == "refused_jobs.py"
    for mistake in ("broken.yaml", "classes", "colour", "trainSpec.trigger.timer.start", "other.yaml", "misnamed"):
        assert mistake in error


@pytest.mark.slow
def test_parsing_is_quick_and_imports_nothing_heavy() -> None:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'plugins'}"}
    command = [sys.executable, "-c", PARSE, str(ROOT / "dags" / "continual_learning.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    parsed = json.loads(done.stdout.splitlines()[-1])
    assert parsed["seconds"] < 1
    assert not [module for module in parsed["modules"] if module.startswith(HEAVY)]


def learn_dag(folder: Path, monkeypatch: pytest.MonkeyPatch, extra: str = "") -> DAG:
    """`boards.learn` of a job whose file has these lines too."""
    jobs = write_jobs(folder / "jobs", "boards")
    (jobs / "boards.yaml").write_text((jobs / "boards.yaml").read_text() + extra)
    monkeypatch.setenv("AIRFLOW__RATCHET__JOBS", str(jobs))
    found = bag()
    assert found.import_errors == {}
    return found.dags["boards.learn"]


def test_a_person_is_asked_between_the_gate_and_the_promotion_where_the_job_wants_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dag = learn_dag(tmp_path, monkeypatch, "deploySpec: {approval: {by: human, waitSeconds: 7200}}\n")
    downstream = {task.task_id: task.downstream_task_ids for task in dag.tasks}
    assert downstream["gate_promote"] == {"approve"}
    assert downstream["approve"] == {"promote"}
    assert dag.max_active_runs == 4
    assert "then a person approves within 2 h" in (dag.doc_md or "")
    restored = DagSerialization.from_dict(json.loads(json.dumps(DagSerialization.to_dict(dag))))
    assert restored.task_dict.keys() == dag.task_dict.keys()


def test_the_gates_are_told_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = """
evalSpec: {minSupport: 7}
deploySpec:
  rule: {name: point}
  trigger:
    condition: {metric: ap_delta, operator: ">", threshold: 0}
    timer: {start: "02:00", end: "04:00", days: [sat, sun]}
    any:
    - condition: {metric: precision, operator: ">", threshold: 0.8}
    - all:
      - condition: {metric: recall, operator: ">", threshold: 0.9}
      - condition: {metric: num_of_samples, operator: ">=", threshold: 5}
"""
    told = learn_dag(tmp_path, monkeypatch, rule).doc_md or ""
    assert "| train | `num_of_samples >= 3` |" in told
    assert "| evaluate | the holdout has at least 7 boxes of every class |" in told
    assert (
        "| promote | `ap_delta > 0` and (`precision > 0.8` or (`recall > 0.9` and `num_of_samples >= 5`)) and between "
        "02:00 and 04:00 UTC on sat, sun; nothing falls below its floor in `ap` |"
    ) in told


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ({"stepz": 5}, r"'stepz' was unexpected[\s\S]*'steps'"),
        ({"steps": "many"}, "'many' is not of type 'integer'"),
        ({"seed": -1}, "-1 is less than the minimum of 0"),
        ({"method": "ewc"}, r"'ewc' is not one of \['finetune'"),
        ([1], "is not of type 'null', 'object'"),
    ],
)
def test_a_recipe_that_the_estimator_does_not_know_is_refused_by_the_form(
    dags: dict[str, DAG], parameters: Any, complaint: str
) -> None:
    params = copy.deepcopy(dags["pcb_defects.learn"].params)
    good = {"steps": 50, "learning_rate": 1e-3, "seed": 3, "method": "joint", "memory": 100}
    params.get_param("parameters").value = good
    assert params.validate()["parameters"] == good
    params.get_param("parameters").value = parameters
    with pytest.raises(ParamValidationError, match=complaint):
        params.validate()
