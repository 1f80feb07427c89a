"""What runs in the triggerer: the wait at a gate, and the watch for images and annotations."""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseEventTrigger, BaseTrigger, TriggerEvent

if TYPE_CHECKING:
    from pipelines.gates.conditions import Verdict
    from pipelines.steps import Gate


class GateTrigger(BaseTrigger):
    """Checks a gate every `period` seconds until it opens, never will, or the clock shows `until` (seconds since 1970).

    What each check found stands in its log, which Airflow shows with the log of the task that waits.
    Everything it needs is in its arguments, so one that a restarted triggerer takes up again waits no longer for it.
    """

    def __init__(self, gate: Gate, job: str, run_id: str, params: dict[str, Any], period: float, until: float):
        super().__init__()  # type: ignore[no-untyped-call]
        self.gate = gate
        self.job = job
        self.run_id = run_id
        self.params = params
        self.period = period
        self.until = until

    def serialize(self) -> tuple[str, dict[str, Any]]:
        names = ("gate", "job", "run_id", "params", "period", "until")
        return "ratchet_airflow.triggers.GateTrigger", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        while True:
            await asyncio.sleep(max(0.0, min(self.period, self.until - time.time())))
            verdict = await asyncio.to_thread(self._check)
            self.log.info(verdict.sentence)
            if verdict.met or verdict.final or time.time() >= self.until:
                yield TriggerEvent({"met": bool(verdict), "final": verdict.final, "sentence": verdict.sentence})  # type: ignore[no-untyped-call]
                return

    def _check(self) -> Verdict:
        from pipelines import steps

        return steps.check_gate(self.gate, self.job, self.run_id, self.params)


class WaitingTrigger(BaseEventTrigger):
    """Announces that something waits, looking every `period` seconds and speaking at most every `repeat` seconds.

    It speaks for as long as something waits, and no event is counted: one that is lost, repeated, or sent again by a
    restarted triggerer changes nothing, because whoever listens looks for itself.
    """

    def __init__(self, job: str, period: float = 5.0, repeat: float = 30.0):
        super().__init__()  # type: ignore[no-untyped-call]
        self.job = job
        self.period = period
        self.repeat = repeat

    def serialize(self) -> tuple[str, dict[str, Any]]:
        path = f"{type(self).__module__}.{type(self).__qualname__}"
        return path, {"job": self.job, "period": self.period, "repeat": self.repeat}

    @abstractmethod
    def waiting(self) -> int:
        """How many of them wait now."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        while True:
            if waiting := await self._look():
                yield TriggerEvent({"waiting": waiting})  # type: ignore[no-untyped-call]
                await asyncio.sleep(self.repeat)
            else:
                await asyncio.sleep(self.period)

    async def _look(self) -> int:
        try:
            return await asyncio.to_thread(self.waiting)
        except Exception as error:  # a watch that ended here would not come back before the triggerer does
            self.log.warning("%s: cannot tell what waits: %s: %s", self.job, type(error).__name__, error)
            return 0


class ImagesWaiting(WaitingTrigger):
    """Announces that images lie in the job's inbox."""

    def waiting(self) -> int:
        from pipelines import steps

        return steps.images_waiting(self.job)


class AnnotationsWaiting(WaitingTrigger):
    """Announces that annotations changed in Label Studio since they were last synchronised."""

    def waiting(self) -> int:
        from pipelines import steps

        return steps.annotations_waiting(self.job)


class LabelsWaiting(WaitingTrigger):
    """Announces that labels wait and the gate before train is open for them, however they came into the ledger."""

    def waiting(self) -> int:
        from pipelines import steps

        return steps.labels_waiting(self.job)
