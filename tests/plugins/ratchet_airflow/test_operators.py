from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowSkipException
from ratchet_airflow.operators import StepOperator, run_params

from pipelines import steps


def test_runs_the_step_and_announces_its_answer(context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def run(*call: Any) -> dict[str, Any]:
        calls.append(call)
        return {"labels": 4}

    monkeypatch.setattr(steps, "run", run)
    labels = Asset("ratchet://boards/labels")
    context["outlet_events"] = {labels: SimpleNamespace(extra=None)}
    assert StepOperator(step="sync", job="boards", outlets=[labels]).execute(context) == {"labels": 4}
    assert calls == [("sync", "boards", "manual__1", {"reason": "to see", "actor": "ada"})]
    assert context["outlet_events"][labels].extra == {"labels": 4}


def test_skips_with_the_reason_of_the_step(context: Any, instance: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "run", lambda *_: {"skip": "nothing changed"})
    with pytest.raises(AirflowSkipException, match="nothing changed"):
        StepOperator(step="sync", job="boards").execute(context)
    assert instance.xcoms == {"reason": "nothing changed"}


def test_a_run_that_nobody_started_has_no_actor(context: Any) -> None:
    context["dag_run"].triggering_user_name = None
    assert run_params(context) == {"reason": "to see"}
