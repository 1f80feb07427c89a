from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

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
from pipelines.gates.rule import Condition, Rule, Timer, Trigger

COUNT = Condition(metric="num_of_samples", operator=">=", threshold=3)
OF_CLASS = Condition(metric="num_of_samples[*]", operator=">=", threshold=3)
DELTA = Condition(metric="ap_delta", operator=">", threshold=0)
PRECISION = Condition(metric="precision", operator="<", threshold=0.8)
COOLDOWN = Condition(metric="hours_since_training", operator=">=", threshold=12)
NIGHT = Timer(start="02:00", end="04:00")
MODES: list[dict[str, Any]] = [
    {"deferrable": True},
    {"deferrable": False, "mode": "reschedule"},
    {"deferrable": False, "mode": "poke"},
]


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
        (Trigger(condition=COOLDOWN), ScheduleSensor),
        (Trigger(any=[Rule(timer=NIGHT), Rule(condition=COOLDOWN)]), ScheduleSensor),
        (Trigger(all=[Rule(condition=OF_CLASS), Rule(condition=COOLDOWN)], timer=NIGHT), SampleCountSensor),
        (Trigger(any=[Rule(condition=COUNT), Rule(all=[Rule(condition=PRECISION)])]), PrecisionSensor),
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


class Waits:
    """Lets a sensor wait in no time, in the triggerer, rescheduled or sleeping; `slept` is how long each wait was."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], None]):
        self.slept: list[float] = []
        self.meanwhile = meanwhile

        async def sleep(seconds: float) -> None:
            self.sleep(seconds)

        monkeypatch.setattr(asyncio, "sleep", sleep)
        monkeypatch.setattr(time, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.meanwhile()

    def through(self, waiting: GateSensor, context: Any) -> str:
        """What the sensor returns in the end."""
        while True:
            try:
                return waiting.execute(context)
            except AirflowRescheduleException as until:
                self.sleep((until.reschedule_date - timezone.utcnow()).total_seconds())
            except TaskDeferred as deferral:
                return waiting.resume(context, event_of(cast(GateTrigger, deferral.trigger)))


@pytest.mark.parametrize("mode", MODES)
def test_predecessor_defect_check_period_seconds_is_thrown_away(
    mode: Any, label: Callable[[int], None], context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = Waits(monkeypatch, lambda: label(1))
    trigger = Trigger(condition=COUNT, check_period_seconds=7, wait_seconds=600)

    assert waits.through(gate_sensor("train", "boards", trigger, **mode), context) == "3 of 3 labels"

    assert waits.slept == pytest.approx([7, 7, 7], abs=0.5)


@pytest.mark.parametrize("mode", MODES)
def test_one_label_at_a_time_opens_the_gate_where_the_same_at_once_does(
    mode: Any, label: Callable[[int], None], context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[str] = []
    monkeypatch.setattr(context["ti"], "xcom_push", lambda key, value: found.append(f"{key}: {value}"))
    waits = Waits(monkeypatch, lambda: label(1))

    assert waits.through(sensor(poke_interval=1, **mode), context) == "3 of 3 labels"

    in_the_triggerer = mode["deferrable"]
    told = [0, 3] if in_the_triggerer else [0, 1, 2, 3]
    assert found == [f"verdict: {count} of 3 labels" for count in told]


def test_a_wait_in_the_triggerer_says_how_far_it_is_in_its_log(
    label: Callable[[int], None], context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    trigger = deferred(sensor(poke_interval=1), context)
    monkeypatch.setattr(GateTrigger, "log", SimpleNamespace(info=said.append))
    Waits(monkeypatch, lambda: label(1))
    event_of(trigger)
    assert said == ["1 of 3 labels", "2 of 3 labels", "3 of 3 labels"]


@pytest.mark.parametrize("mode", MODES)
def test_what_is_checked_seldom_is_checked_once_more_before_it_gives_up(
    mode: Any, workspace: Any, context: Any, instance: Any
) -> None:
    waiting = sensor(poke_interval=600, timeout=0.3, **mode)
    started = timezone.utcnow()
    if mode.get("mode") == "reschedule":
        with pytest.raises(AirflowRescheduleException) as again:
            waiting.execute(context)
        assert again.value.reschedule_date < started + timedelta(seconds=60)
        instance.first_reschedule = started - timedelta(seconds=1)
    event = event_of(deferred(waiting, context)) if mode["deferrable"] else {}
    with pytest.raises(AirflowSkipException, match="waitSeconds"):
        waiting.resume(context, event) if event else waiting.execute(context)
    assert timezone.utcnow() < started + timedelta(seconds=60)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("gate", ["train", "evaluate", "promote"])
def test_what_waiting_cannot_change_is_not_waited_for(
    mode: Any, gate: steps.Gate, context: Any, instance: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "check_gate", lambda *_: Verdict(False, "ap_delta is -0.010", final=True))
    with pytest.raises(AirflowSkipException, match=r"^ap_delta is -0\.010$"):
        sensor(gate, **mode).execute(context)
    assert instance.xcoms["verdict"] == "ap_delta is -0.010"


@pytest.mark.parametrize("mode", MODES)
def test_predecessor_defect_an_error_at_the_gate_is_swallowed(
    mode: Any, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: Any) -> Verdict:
        raise ConnectionError("the ledger does not answer")

    monkeypatch.setattr(steps, "check_gate", unreachable)
    with pytest.raises(ConnectionError, match="does not answer"):
        sensor(**mode).execute(context)


@pytest.mark.parametrize("met", [False, None])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("gate", ["evaluate", "promote"])
def test_what_waiting_can_change_is_waited_for_at_every_gate(
    mode: Any, gate: steps.Gate, met: bool | None, context: Any, instance: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting, late = Verdict(met, "window opens 02:00"), Verdict(False, "ap_delta is -0.010", final=True)
    verdicts = iter([waiting, waiting, late])
    monkeypatch.setattr(steps, "check_gate", lambda *_: next(verdicts))
    waits = Waits(monkeypatch, lambda: None)
    with pytest.raises(AirflowSkipException, match=r"^ap_delta is -0\.010$"):
        waits.through(sensor(gate, **mode), context)
    assert len(waits.slept) == 2
    assert instance.xcoms["verdict"] == "ap_delta is -0.010"


def test_wait_is_not_prolonged_by_a_restarted_triggerer(workspace: Any, context: Any) -> None:
    before = time.time()
    _, arguments = deferred(sensor(timeout=30), context).serialize()
    assert before + 30 <= arguments["until"] <= time.time() + 30
