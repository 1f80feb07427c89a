"""Whole runs of `<job>.learn` by Airflow's own rules; only what the steps and gates answer is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.utils import db

from pipelines import steps
from pipelines.gates.conditions import Verdict
from tests.airflow_home import load_dags

pytestmark = pytest.mark.slow

ENTRIES = {"start_at_evaluate", "start_at_promote"}
Run = Callable[..., dict[str, set[str]]]


@pytest.fixture(scope="module")
def learn() -> DAG:
    db.initdb()
    dag = vars(load_dags())["pcb_defects.learn"]
    assert isinstance(dag, DAG)
    return dag


def said(job: str, run_id: str, params: dict[str, Any]) -> dict[str, Any]:
    """What a step answers."""
    return {"start_at": params["start_at"]}


@pytest.fixture
def run(learn: DAG, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the DAG; `closed` names the gates that say no for good, `empty` the steps that find nothing to do."""

    def whole(conf: dict[str, Any] | None = None, closed: tuple[str, ...] = (), empty: tuple[str, ...] = ()) -> Any:
        monkeypatch.setattr(
            steps, "check_gate", lambda gate, *_: Verdict(gate not in closed, f"{gate} says so", final=True)
        )
        monkeypatch.setattr(steps, "run", lambda step, *call: {"skip": "nothing"} if step in empty else said(*call))
        made = learn.test(run_conf=conf or {})
        states = {instance.task_id: str(instance.state) for instance in made.get_task_instances()}
        assert made.state == "success"
        return {state: {name for name in states if states[name] == state} for state in set(states.values())}

    return whole


def test_passes_every_gate_to_the_end(run: Run) -> None:
    assert run()["skipped"] == ENTRIES


def test_rejected_candidate_is_a_green_run_that_does_not_promote(run: Run) -> None:
    assert run(closed=("promote",))["skipped"] == ENTRIES | {"gate_promote", "promote", "deploy"}


def test_nothing_to_learn_skips_all_that_follows(run: Run) -> None:
    assert run(empty=("curate",))["success"] == {"start", "gate_train"}


def test_starts_at_promote(run: Run) -> None:
    done = run({"start_at": "promote"})["success"]
    assert done == {"start", "start_at_promote", "gate_promote", "promote", "deploy"}


def test_starts_at_evaluate_and_is_rejected(run: Run) -> None:
    done = run({"start_at": "evaluate"}, closed=("promote",))["success"]
    assert done == {"start", "start_at_evaluate", "gate_evaluate", "evaluate"}
