from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from ratchet_airflow.operators import StartOperator, StepOperator, run_params

from pipelines import steps
from pipelines.request import RequestRefused

ENTRIES = {"train": "gate_train", "promote": "start_at_promote"}


def test_runs_the_step_and_announces_its_answer(context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def run(*call: Any) -> dict[str, Any]:
        calls.append(call)
        return {"labels": 4}

    monkeypatch.setattr(steps, "run", run)
    labels = Asset("ratchet://boards/labels")
    context["outlet_events"] = {labels: SimpleNamespace(extra=None)}
    operator = StepOperator(step="sync", job="boards", outlets=[labels], values={"answer": {"approved": True}})
    assert operator.execute(context) == {"labels": 4}
    told = {"reason": "to see", "actor": "ada", "answer": {"approved": True}}
    assert calls == [("sync", "boards", "manual__1", told)]
    assert context["outlet_events"][labels].extra == {"labels": 4}


def test_skips_with_the_reason_of_the_step(context: Any, instance: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "run", lambda *_: {"skip": "nothing changed"})
    with pytest.raises(AirflowSkipException, match="nothing changed"):
        StepOperator(step="sync", job="boards").execute(context)
    assert instance.xcoms == {"reason": "nothing changed"}


def test_what_a_step_refuses_is_not_tried_again(context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> dict[str, Any]:
        raise RequestRefused(["parent is v9"])

    monkeypatch.setattr(steps, "run", refuse)
    with pytest.raises(AirflowFailException, match="parent is v9"):
        StepOperator(step="rollback", job="boards").execute(context)
    with pytest.raises(AirflowFailException, match="parent is v9"):
        StartOperator(job="boards", entries=ENTRIES).choose_branch(context)


def test_a_run_starts_where_it_was_asked_to(context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "run", lambda *_: {"start_at": "promote", "model_version": "v2"})
    assert StartOperator(job="boards", entries=ENTRIES).choose_branch(context) == "start_at_promote"


def test_a_run_that_nobody_started_has_no_actor(context: Any) -> None:
    context["dag_run"].triggering_user_name = None
    assert run_params(context) == {"reason": "to see"}
