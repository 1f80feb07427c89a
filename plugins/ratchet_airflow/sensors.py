"""The sensors that stand before train, evaluate and promote; what they ask is `pipelines.steps.check_gate`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue
from airflow.sdk.exceptions import AirflowSensorTimeout, AirflowSkipException

from pipelines.gates.rule import NUM_OF_SAMPLES, Condition, Trigger
from ratchet_airflow.operators import run_params
from ratchet_airflow.triggers import GateTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

    from pipelines.steps import Gate

WAITING_STATES = ["deferred", "up_for_reschedule"]


class GateSensor(BaseSensorOperator):
    """Waits until a gate of a job opens; is skipped, with what follows it, when it does not.

    It checks every `poke_interval` seconds for at most `timeout` seconds: in the triggerer, or with `deferrable=False`
    as `mode` says. What each check found stands in the log: how far it is, or why it ends. Under the XCom key `verdict`
    stands the last one, of a wait in the triggerer the first until it is over.
    """

    ui_color = "#fdf0d5"

    def __init__(self, *, gate: Gate, job: str, deferrable: bool = True, **options: Any):
        super().__init__(task_id=options.pop("task_id", f"gate_{gate}"), **options)
        self.gate = gate
        self.job = job
        self.deferrable = deferrable

    def execute(self, context: Context) -> str:
        if not self.deferrable:
            try:
                return str(super().execute(context))
            except AirflowSensorTimeout:
                raise self._closed(context, self._given_up()) from None
        found = self.poke(context)
        if found:
            return str(found.xcom_value)
        return self.defer(
            trigger=GateTrigger(
                gate=self.gate,
                job=self.job,
                run_id=context["run_id"],
                params=run_params(context),
                period=self.poke_interval,
                until=time.time() + self.timeout,
            ),
            method_name="resume",
        )

    def poke(self, context: Context) -> PokeReturnValue:
        """Check the gate once.

        Raises:
            AirflowSkipException: the gate will not open for this run, or another run already waits at it.
        """
        from pipelines import steps

        verdict = steps.check_gate(self.gate, self.job, context["run_id"], run_params(context))
        if verdict.met:
            self._tell(context, verdict.sentence)
            return PokeReturnValue(is_done=True, xcom_value=verdict.sentence)
        if verdict.final:
            raise self._closed(context, verdict.sentence)
        if self._another_waits(context):
            raise self._closed(context, f"{verdict.sentence}; another run already waits for that, so this one ends")
        self._tell(context, verdict.sentence)
        return PokeReturnValue(is_done=False)

    def resume(self, context: Context, event: dict[str, Any]) -> str:
        """Go on with what the trigger found."""
        sentence: str = event["sentence"]
        if not event["met"]:
            raise self._closed(context, sentence if event["final"] else f"{sentence}; {self._given_up()}")
        self._tell(context, sentence)
        return sentence

    def _get_next_poke_interval(self, started_at: Any, run_duration: Callable[[], float], poke_count: int) -> float:
        """Not beyond the end of the wait: what is checked seldom is checked once more then."""
        interval = super()._get_next_poke_interval(started_at, run_duration, poke_count)
        return max(0.0, min(interval, self.timeout - run_duration()))

    def _tell(self, context: Context, sentence: str) -> None:
        self.log.info(sentence)
        context["ti"].xcom_push("verdict", sentence)

    def _closed(self, context: Context, reason: str) -> AirflowSkipException:
        self._tell(context, reason)
        return AirflowSkipException(reason)

    def _given_up(self) -> str:
        return f"this did not change within {self.timeout:g} s (waitSeconds), and the next run looks again"

    def _another_waits(self, context: Context) -> bool:
        """Whether a run before this one waits at the gate before train: that gate asks about the job, not the run.

        Each synchronisation starts a run, and as many would wait side by side until no more may be active.
        """
        instance = context["ti"]
        if self.gate != "train" or instance.get_first_reschedule_date(context) is not None:
            return False
        waiting = instance.get_ti_count(dag_id=self.dag_id, task_ids=[self.task_id], states=WAITING_STATES)
        return waiting > 0


class SampleCountSensor(GateSensor):
    """Waits until there are enough samples, and for the clock where the rule has windows or times too."""


class ScheduleSensor(GateSensor):
    """Waits for the clock alone: a window, or time since the last training."""


class PrecisionSensor(GateSensor):
    """Waits for a metric of the models, whatever else the rule asks for."""


def gate_sensor(gate: Gate, job: str, trigger: Trigger, **options: Any) -> GateSensor:
    """The sensor for what `trigger` waits for, called after what is hardest to foresee of it."""
    asked = {part.asked for part in trigger.parts() if isinstance(part, Condition)}
    sensor: type[GateSensor]
    if any(not metric.is_live for metric in asked):
        sensor = PrecisionSensor
    elif any(metric.name == NUM_OF_SAMPLES for metric in asked) or not any(trigger.parts()):
        sensor = SampleCountSensor
    else:
        sensor = ScheduleSensor
    return sensor(
        gate=gate, job=job, poke_interval=trigger.check_period_seconds, timeout=trigger.wait_seconds, **options
    )
