from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import AssetWatcher
from ratchet_airflow import triggers
from ratchet_airflow.triggers import AnnotationsWaiting, ImagesWaiting, LabelsWaiting, WaitingTrigger

from pipelines import steps


@pytest.fixture
def turned(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """What a trigger announces and how long it sleeps, in that order, until it has slept so often.

    Its sleeps take no time; something may happen in the first of them.
    """

    def turn(trigger: WaitingTrigger, sleeps: int, meanwhile: Callable[[], None] = lambda: None) -> list[Any]:
        done: list[Any] = []
        slept = 0

        async def sleep(seconds: float) -> None:
            nonlocal slept
            done.append(seconds)
            slept += 1
            if slept == sleeps:
                raise asyncio.CancelledError
            if slept == 1:
                meanwhile()

        async def listen() -> None:
            async for event in trigger.run():
                done.append(event.payload)  # noqa: PERF401 (an endless stream)

        monkeypatch.setattr(triggers, "asyncio", SimpleNamespace(sleep=sleep, to_thread=asyncio.to_thread))
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(listen())
        return done

    return turn


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


def test_announces_once_the_gate_is_open_and_again_after_a_restart(
    turned: Callable[..., list[Any]], label: Callable[[int], None]
) -> None:
    trigger = LabelsWaiting("boards", period=5, repeat=60)
    assert turned(trigger, 2, meanwhile=lambda: label(3)) == [5, {"waiting": 3}, 60]
    assert turned(again(trigger), 1) == [{"waiting": 3}, 60]


def test_speaks_at_most_once_per_repeat_while_something_waits(
    turned: Callable[..., list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "images_waiting", lambda _: 7)
    assert turned(ImagesWaiting("boards", period=5, repeat=60), 3) == [{"waiting": 7}, 60] * 3


def test_goes_on_after_an_outage(turned: Callable[..., list[Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    answers: Iterator[int | Exception] = iter([ConnectionError("refused"), 0, 2])

    def waiting(job: str) -> int:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(steps, "annotations_waiting", waiting)
    assert turned(AnnotationsWaiting("boards", period=5, repeat=60), 3) == [5, 5, {"waiting": 2}, 60]
