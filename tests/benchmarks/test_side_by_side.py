"""Each task has a process of its own, in which libraries compute in one thread."""

from __future__ import annotations

import os

import pytest

from benchmarks.side_by_side import ONE_THREAD, side_by_side


def test_each_task_has_a_process_of_its_own_and_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ONE_THREAD:
        monkeypatch.setenv(name, "2")
    with side_by_side(2) as pool:
        processes = [pool.submit(os.getpid) for _ in range(3)]
        threads = [pool.submit(os.getenv, name) for name in ONE_THREAD]
        assert len({each.result() for each in processes} | {os.getpid()}) == 4
        assert {each.result() for each in threads} == {"1"}
