"""Servers started by `services.process` are found again, stop without orphans, and fail with their log."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from services import process
from services.process import Record, ServerFailed

SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]
FAMILY = """
import signal, subprocess, sys, time
{stubborn}
sleeper = [sys.executable, "-c", "import signal, time; {child} time.sleep(600)"]
children = [subprocess.Popen(sleeper), subprocess.Popen(sleeper, start_new_session={apart})]
print(*[child.pid for child in children], flush=True)
{then}
"""


def launch(folder: Path, command: list[str]) -> Record:
    return process.start("a server", command, folder / "record.json", folder / "log")


def family(folder: Path, then: str = "time.sleep(600)", *, stubborn: bool = False, apart: bool = False) -> Record:
    ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN);" if stubborn else ""
    return launch(folder, [sys.executable, "-c", FAMILY.format(stubborn=ignore, child=ignore, then=then, apart=apart)])


def children(record: Record) -> list[int]:
    process.wait_until(lambda: len(record.log.read_text().split()) == 2, 10, record)
    return [int(word) for word in record.log.read_text().split()]


def ended(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_it_runs_until_it_is_stopped_and_a_second_start_finds_it(tmp_path: Path) -> None:
    record = launch(tmp_path, SLEEPER)
    assert process.running(record)
    assert process.read_record(tmp_path / "record.json") == record
    assert launch(tmp_path, SLEEPER) == record
    process.stop(record)
    assert not process.running(record)
    process.stop(record)


@pytest.mark.parametrize("apart", [False, True])
def test_stopping_leaves_no_child_behind_even_one_in_a_session_of_its_own(tmp_path: Path, apart: bool) -> None:
    record = family(tmp_path, apart=apart)
    pids = children(record)
    process.stop(record)
    assert all(ended(pid) for pid in [record.pid, *pids])


@pytest.mark.parametrize("apart", [False, True])
def test_what_ignores_the_request_is_killed_after_the_grace(tmp_path: Path, apart: bool) -> None:
    record = family(tmp_path, stubborn=True, apart=apart)
    pids = children(record)
    process.stop(record, grace=0.5)
    assert all(ended(pid) for pid in [record.pid, *pids])


def test_a_stubborn_child_in_another_session_outlives_its_parent_but_not_the_stop(tmp_path: Path) -> None:
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, 2, flush=True); time.sleep(600)"
    )
    start = f"subprocess.Popen([sys.executable, '-c', {stubborn!r}], start_new_session=True)"
    leader = f"import subprocess, sys; {start}.wait()"
    record = launch(tmp_path, [sys.executable, "-c", leader])
    children(record)
    (child,) = psutil.Process(record.pid).children()
    process.stop(record, grace=0.5)
    assert all(ended(pid) for pid in [record.pid, child.pid])


def test_children_are_stopped_though_the_leader_is_dead(tmp_path: Path) -> None:
    record = family(tmp_path)
    pids = children(record)
    psutil.Process(record.pid).kill()
    psutil.Process(record.pid).wait(5)
    assert not process.running(record)
    process.stop(record)
    assert all(ended(pid) for pid in pids)


def test_another_process_with_the_same_number_is_never_touched(tmp_path: Path) -> None:
    bystander = subprocess.Popen(SLEEPER, start_new_session=True)
    try:
        started = psutil.Process(bystander.pid).create_time()
        recycled = Record("a server", bystander.pid, started - 60, tmp_path / "log")
        assert not process.running(recycled)
        process.stop(recycled)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_record_from_before_the_last_boot_names_nothing(tmp_path: Path) -> None:
    record = family(tmp_path)
    pids = children(record)
    psutil.Process(record.pid).kill()
    psutil.Process(record.pid).wait(5)
    process.stop(replace(record, started=psutil.boot_time() - 3600))
    assert not any(ended(pid) for pid in pids)
    process.stop(record)
    assert all(ended(pid) for pid in pids)


def test_a_server_that_ends_is_reported_once_with_its_log_and_what_to_do(tmp_path: Path) -> None:
    record = launch(tmp_path, [sys.executable, "-c", "print('the disk is full'); raise SystemExit(3)"])
    with pytest.raises(ServerFailed) as caught:
        process.wait_until(lambda: False, 10, record, "Free some space.")
    assert "ended with exit status 3" in str(caught.value)
    assert "the disk is full" in str(caught.value)
    assert str(caught.value).endswith("Free some space.")


def test_a_server_that_never_answers_is_reported_with_its_last_answer(tmp_path: Path) -> None:
    record = launch(tmp_path, SLEEPER)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(ServerFailed, match=r"was not ready after 0\.3 s .*ConnectionRefusedError"):
            process.wait_until(lambda: bool(socket.create_connection(closed.getsockname())), 0.3, record)
    process.stop(record)


def test_only_the_end_of_a_long_log_is_shown(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("\n".join(f"line {number}" for number in range(100_000)))
    assert process.tail(tmp_path / "log", 2) == "line 99998\nline 99999"
    assert process.tail(tmp_path / "none") == ""


def test_the_log_of_the_run_before_is_kept(tmp_path: Path) -> None:
    for number in (1, 2):
        record = launch(tmp_path, [sys.executable, "-c", f"print({number})"])
        with pytest.raises(ServerFailed):
            process.wait_until(lambda: False, 10, record)
    assert (tmp_path / "log").read_text() == "2\n"
    assert (tmp_path / "log.previous").read_text() == "1\n"


def test_a_program_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ServerFailed, match="a server cannot be started"):
        launch(tmp_path, [str(tmp_path / "missing")])


@pytest.mark.parametrize("content", ["", "{", json.dumps({"name": "x"})])
def test_a_damaged_record_is_no_record(tmp_path: Path, content: str) -> None:
    (tmp_path / "record.json").write_text(content)
    assert process.read_record(tmp_path / "record.json") is None


def test_the_environment_is_added_to_the_callers(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import os; print(os.environ['PATH'], os.environ['ADDED'], os.getcwd())"]
    record = process.start(
        "it", command, tmp_path / "record.json", tmp_path / "log", {"ADDED": "yes"}, directory=tmp_path
    )
    with pytest.raises(ServerFailed):
        process.wait_until(lambda: False, 10, record)
    assert record.log.read_text() == f"{os.environ['PATH']} yes {tmp_path}\n"
