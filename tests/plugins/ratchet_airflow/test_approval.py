"""The task in which a person answers: what it shows, what it hands on, and when it stops waiting."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.standard.operators import hitl
from airflow.sdk import DAG, timezone
from airflow.sdk.exceptions import AirflowSkipException, TaskAwaitingInput
from ratchet_airflow.approval import PromotionApproval

from pipelines import steps

LATE = {"error": "too late", "error_type": "timeout"}


@pytest.fixture
def approve() -> PromotionApproval:
    with DAG("boards.learn", schedule=None, params={"reason": None}):
        return PromotionApproval(job="boards", wait_seconds=600, check_seconds=60, execution_timeout=timedelta(hours=1))


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What Airflow is asked to show to people."""
    asked: dict[str, Any] = {}
    monkeypatch.setattr(hitl, "upsert_hitl_detail", lambda **question: asked.update(question))
    return asked


def saying(monkeypatch: pytest.MonkeyPatch, **answers: Any) -> list[Any]:
    """Let the steps answer so; the calls they get."""
    calls: list[Any] = []

    def run(step: str, *call: Any) -> dict[str, Any]:
        calls.append((step, *call))
        answer = answers[step]
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)

    monkeypatch.setattr(steps, "run", run)
    return calls


def answered(option: str, comment: str | None = None, name: str = "ben") -> dict[str, Any]:
    """The event with which Airflow goes on when a person has answered."""
    return {
        "chosen_options": [option],
        "params_input": {"comment": comment},
        "responded_at": timezone.utcnow(),
        "responded_by_user": {"id": "7", "name": name},
        "timedout": False,
    }


def waiting_since(context: Any, seconds: float) -> None:
    context["ti"].start_date = timezone.utcnow() - timedelta(seconds=seconds)


def test_asks_with_the_evidence_and_waits_until_it_looks_again(
    approve: PromotionApproval, context: Any, instance: Any, shown: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    context["task_instance"] = SimpleNamespace(id="the question")
    calls = saying(monkeypatch, ask={"subject": "Let v2 serve?", "body": "| metric |"})
    with pytest.raises(TaskAwaitingInput) as parked:
        approve.execute(context)
    assert calls == [("ask", "boards", "manual__1", {"reason": "to see", "actor": "ada"})]
    assert (shown["subject"], shown["body"], shown["options"]) == ("Let v2 serve?", "| metric |", ["Approve", "Reject"])
    assert shown["defaults"] is None
    assert list(shown["params"]) == ["comment"]
    assert (parked.value.method_name, parked.value.timeout) == ("execute_complete", timedelta(seconds=60))


def test_does_not_ask_about_what_the_rule_refuses_by_now(
    approve: PromotionApproval, context: Any, instance: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    saying(monkeypatch, ask={"skip": "rejected: v3 serves"})
    with pytest.raises(AirflowSkipException, match="rejected: v3 serves"):
        approve.execute(context)
    assert instance.xcoms == {"reason": "rejected: v3 serves"}


def test_does_not_ask_the_one_who_has_said_it_already(
    approve: PromotionApproval, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"approved": True, "words": "ada approves it: the fair", "by": "ada"}
    saying(monkeypatch, ask={"answer": said})
    assert approve.execute(context) == said


@pytest.mark.parametrize(
    ("option", "comment", "answer"),
    [
        ("Approve", "looks right", {"approved": True, "words": "ben approves it: looks right", "by": "ben"}),
        ("Approve", None, {"approved": True, "words": "ben approves it", "by": "ben"}),
        (
            "Reject",
            "open is worse",
            {"approved": False, "words": "ben does not approve it: open is worse", "by": "ben"},
        ),
    ],
)
def test_hands_on_the_answer_whatever_it_is(
    approve: PromotionApproval, context: Any, option: str, comment: str | None, answer: dict[str, Any]
) -> None:
    assert approve.execute_complete(context, answered(option, comment)) == answer


def test_waits_on_while_the_question_stands_and_there_is_time(
    approve: PromotionApproval, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    saying(monkeypatch, void={"void": None})
    for waited, next_look in ((100, 60), (590, 10)):
        waiting_since(context, waited)
        with pytest.raises(TaskAwaitingInput) as parked:
            approve.execute_complete(context, LATE)
        assert parked.value.timeout is not None
        assert parked.value.timeout.total_seconds() == pytest.approx(next_look, abs=1)


def test_gives_up_when_the_time_is_over(
    approve: PromotionApproval, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    saying(monkeypatch, void={"void": None})
    waiting_since(context, 600)
    said = approve.execute_complete(context, LATE)
    assert said == {"approved": None, "words": "nobody answered within 600 s (approval.waitSeconds)"}


def test_ends_when_the_question_is_void(
    approve: PromotionApproval, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    saying(monkeypatch, void={"void": "v2 was trained from v1, but v3 serves by now"})
    waiting_since(context, 100)
    said = approve.execute_complete(context, LATE)
    assert said["approved"] is None
    assert said["words"] == "nobody had answered when v2 was trained from v1, but v3 serves by now"


def test_an_outage_does_not_end_the_wait(
    approve: PromotionApproval, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    saying(monkeypatch, void=ConnectionError("the ledger is away"))
    waiting_since(context, 100)
    with pytest.raises(TaskAwaitingInput):
        approve.execute_complete(context, LATE)
