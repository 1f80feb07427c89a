from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import timezone
from airflow.sdk.exceptions import AirflowRescheduleException, AirflowSkipException, TaskDeferred
from ratchet_airflow.sensors import (
    GateSensor,
    PrecisionSensor,
    SampleCountSensor,
    ScheduleSensor,
    gate_sensor,
)
from ratchet_airflow.triggers import GateTrigger

from pipelines import steps
from pipelines.gates.conditions import Verdict
from pipelines.job import Condition, Timer, Trigger

COUNT = Condition(metric="num_of_samples", operator=">=", threshold=3)
DELTA = Condition(metric="ap_delta", operator=">", threshold=0)
NIGHT = Timer(start="02:00", end="04:00")


def sensor(gate: steps.Gate = "train", **options: Any) -> GateSensor:
    return GateSensor(gate=gate, job="boards", **{"poke_interval": 0.05, "timeout": 30, **options})


def deferred(waiting: GateSensor, context: Any) -> GateTrigger:
    with pytest.raises(TaskDeferred) as raised:
        waiting.execute(context)
    assert raised.value.method_name == "resume"
    assert isinstance(raised.value.trigger, GateTrigger)
    return raised.value.trigger


def event_of(trigger: GateTrigger) -> Any:
    """What the trigger says, after it went through its serialised form as on its way to the triggerer."""
    path, arguments = trigger.serialize()
    assert path == "ratchet_airflow.triggers.GateTrigger"

    async def first() -> Any:
        return await asyncio.wait_for(anext(GateTrigger(**arguments).run()), 10)

    return asyncio.run(first()).payload


@pytest.mark.parametrize(
    ("trigger", "expected"),
    [
        (Trigger(condition=COUNT), SampleCountSensor),
        (Trigger(condition=COUNT, timer=NIGHT), SampleCountSensor),
        (Trigger(timer=NIGHT), ScheduleSensor),
        (Trigger(condition=DELTA), PrecisionSensor),
        (Trigger(condition=DELTA, timer=NIGHT), PrecisionSensor),
        (Trigger(), SampleCountSensor),
    ],
)
def test_sensor_is_the_one_for_the_trigger(trigger: Trigger, expected: type[GateSensor]) -> None:
    chosen = gate_sensor("train", "boards", trigger)
    assert type(chosen) is expected
    assert (chosen.task_id, chosen.poke_interval, chosen.timeout) == ("gate_train", 60, 3600)


def test_open_gate_is_passed_at_once(label: Callable[[int], None], context: Any, instance: Any) -> None:
    label(3)
    assert "3" in sensor().execute(context)
    assert "3" in instance.xcoms["verdict"]


def test_waits_in_the_triggerer_until_the_last_label_arrives(
    label: Callable[[int], None], context: Any, instance: Any
) -> None:
    label(2)
    waiting = sensor()
    trigger = deferred(waiting, context)
    assert "2" in instance.xcoms["verdict"]
    label(1)
    event = event_of(trigger)
    assert event["met"]
    assert waiting.resume(context, event) == instance.xcoms["verdict"] == event["sentence"]


def test_is_skipped_with_the_reason_when_the_wait_is_over(workspace: Any, context: Any, instance: Any) -> None:
    waiting = sensor(timeout=0.2)
    event = event_of(deferred(waiting, context))
    assert event["met"] is False
    with pytest.raises(AirflowSkipException, match="waitSeconds"):
        waiting.resume(context, event)
    assert event["sentence"] in instance.xcoms["verdict"]


def test_bypassed_gate_says_by_whom_and_why(workspace: Any, context: Any) -> None:
    context["params"]["bypass"] = ["train"]
    sentence = sensor().execute(context)
    assert "ada" in sentence
    assert "to see" in sentence


def test_a_second_run_does_not_wait_beside_the_first(workspace: Any, context: Any, instance: Any) -> None:
    instance.others_waiting = 1
    with pytest.raises(AirflowSkipException, match="another run already waits"):
        sensor().execute(context)


def test_reschedule_mode_reschedules_passes_and_gives_up(
    label: Callable[[int], None], context: Any, instance: Any
) -> None:
    waiting = sensor(deferrable=False, mode="reschedule", timeout=60)
    with pytest.raises(AirflowRescheduleException):
        waiting.execute(context)

    instance.first_reschedule = timezone.utcnow() - timedelta(seconds=30)
    instance.others_waiting = 1
    with pytest.raises(AirflowRescheduleException):
        waiting.execute(context)

    instance.first_reschedule = timezone.utcnow() - timedelta(seconds=61)
    with pytest.raises(AirflowSkipException, match="waitSeconds"):
        waiting.execute(context)
    assert "waitSeconds" in instance.xcoms["verdict"]

    label(3)
    assert waiting.execute(context) == instance.xcoms["verdict"]


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize("gate", ["evaluate", "promote"])
def test_definite_no_of_a_comparison_is_not_waited_for(
    deferrable: bool, gate: steps.Gate, context: Any, instance: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "check_gate", lambda *_: Verdict(False, "ap_delta is -0.010, and > 0 is asked"))
    with pytest.raises(AirflowSkipException, match=r"-0\.010"):
        sensor(gate, deferrable=deferrable).execute(context)
    assert instance.xcoms["verdict"] == "ap_delta is -0.010, and > 0 is asked"


def test_a_promotion_waits_for_its_window(context: Any, instance: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    verdicts = iter([Verdict(None, "window opens 02:00"), Verdict(False, "ap_delta is -0.010")])
    monkeypatch.setattr(steps, "check_gate", lambda *_: next(verdicts))
    waiting = sensor("promote")
    event = event_of(deferred(waiting, context))
    assert event == {"met": False, "final": True, "sentence": "ap_delta is -0.010"}
    with pytest.raises(AirflowSkipException, match=r"^ap_delta is -0\.010$"):
        waiting.resume(context, event)


def test_wait_is_not_prolonged_by_a_restarted_triggerer(workspace: Any, context: Any) -> None:
    before = time.time()
    _, arguments = deferred(sensor(timeout=30), context).serialize()
    assert before + 30 <= arguments["until"] <= time.time() + 30
