from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest
from airflow.sdk import AssetWatcher
from ratchet_airflow.triggers import AnnotationsWaiting, ImagesWaiting, LabelsWaiting, WaitingTrigger

from pipelines import steps


def announcements(trigger: WaitingTrigger, seconds: float, meanwhile: Callable[[], None] | None = None) -> list[Any]:
    """What the trigger announces within so many seconds."""
    heard = []

    async def listen() -> None:
        async for event in trigger.run():
            heard.append(event.payload)  # noqa: PERF401 (an endless stream)

    async def session() -> None:
        listening = asyncio.create_task(listen())
        if meanwhile is not None:
            await asyncio.sleep(seconds)
            meanwhile()
        await asyncio.sleep(seconds)
        listening.cancel()

    asyncio.run(session())
    return heard


def again(trigger: WaitingTrigger) -> WaitingTrigger:
    """The trigger as a restarted triggerer makes it from its serialised form."""
    path, arguments = trigger.serialize()
    module, _, name = path.rpartition(".")
    made = getattr(import_module(module), name)(**arguments)
    assert isinstance(made, WaitingTrigger)
    return made


@pytest.mark.parametrize("kind", [ImagesWaiting, AnnotationsWaiting, LabelsWaiting])
def test_is_a_watcher_with_an_identity_of_its_job(kind: type[WaitingTrigger]) -> None:
    AssetWatcher(name="watch", trigger=kind("boards"))
    one, same, other = (kind(job).serialize() for job in ("boards", "boards", "bolts"))
    assert kind.hash(*one) == kind.hash(*same) != kind.hash(*other)
    assert again(kind("boards")).serialize() == one


def test_announces_once_the_gate_is_open_and_again_after_a_restart(label: Callable[[int], None]) -> None:
    trigger = LabelsWaiting("boards", period=0.05, repeat=60)
    assert announcements(trigger, 0.4, meanwhile=lambda: label(3)) == [{"waiting": 3}]
    assert announcements(again(trigger), 0.4) == [{"waiting": 3}]


def test_speaks_at_most_once_per_repeat_while_something_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "images_waiting", lambda _: 7)
    started = time.monotonic()
    heard = announcements(ImagesWaiting("boards", period=0.01, repeat=0.3), 1.0)
    assert 2 <= len(heard) <= (time.monotonic() - started) / 0.3 + 1


def test_goes_on_after_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: Iterator[int | Exception] = iter([ConnectionError("refused"), 0, 2])

    def waiting(job: str) -> int:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(steps, "annotations_waiting", waiting)
    assert announcements(AnnotationsWaiting("boards", period=0.01, repeat=60), 0.5) == [{"waiting": 2}]
