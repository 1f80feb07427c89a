"""Leases over real processes: one holder at a time, and none for ever."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from data.ledger import LeaseBusy, LeaseLost, Ledger

ROOT = Path(__file__).resolve().parents[3]

HOLD = """
import sys, time
from data.ledger import Ledger
url, name, seconds, held = sys.argv[1:]
with Ledger(url).lease(name, seconds=float(seconds)):
    print("held", flush=True)
    time.sleep(float(held))
"""

COUNT = """
import sys
from pathlib import Path
from data.ledger import Ledger
url, name, file, times = sys.argv[1:]
ledger = Ledger(url)
for _ in range(int(times)):
    with ledger.lease(name):
        count = int(Path(file).read_text())
        Path(file).write_text(str(count + 1))
"""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def holder(ledger: Ledger, name: str, seconds: float, held: float = 60) -> subprocess.Popen[str]:
    """A process that holds the lease from now on."""
    process = start(HOLD, ledger.url.render_as_string(hide_password=False), name, seconds, held)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n", process.communicate()[1]
    return process


def end(process: subprocess.Popen[str]) -> str:
    """Kill the process and return what it complained about."""
    process.kill()
    return process.communicate()[1]


@pytest.fixture
def name() -> str:
    return uuid.uuid4().hex


@pytest.mark.slow
def test_processes_take_turns(ledger: Ledger, name: str, tmp_path: Path) -> None:
    file = tmp_path / "count"
    file.write_text("0")
    url = ledger.url.render_as_string(hide_password=False)
    processes = [start(COUNT, url, name, file, 10) for _ in range(4)]
    for process in processes:
        assert process.communicate()[1] == ""
    assert file.read_text() == "40"


@pytest.mark.slow
def test_the_lease_of_a_killed_holder_expires(ledger: Ledger, name: str) -> None:
    process = holder(ledger, name, seconds=3)
    assert "process" in str(ledger._holder(name))
    end(process)
    with pytest.raises(LeaseBusy, match=f"process {process.pid} on .* holds"), ledger.lease(name, timeout=0):
        pass
    began = time.monotonic()
    with ledger.lease(name, timeout=30) as lease:
        lease.check()
    assert time.monotonic() - began < 10


@pytest.mark.slow
def test_a_holder_that_stood_still_learns_that_it_lost_its_lease(ledger: Ledger, name: str) -> None:
    process = holder(ledger, name, seconds=1, held=1)
    process.send_signal(signal.SIGSTOP)
    try:
        with ledger.lease(name, timeout=30):
            process.send_signal(signal.SIGCONT)
            assert "LeaseLost" in process.communicate(timeout=60)[1]
    finally:
        end(process)


def test_a_lease_is_renewed_while_it_is_held(ledger: Ledger, name: str) -> None:
    with ledger.lease(name, seconds=0.6):
        time.sleep(1.2)
        with pytest.raises(LeaseBusy), ledger.lease(name, timeout=0):
            pass
    with ledger.lease(name, timeout=0):
        pass


def test_a_lease_that_was_lost_is_told_before_the_next_step(ledger: Ledger, name: str) -> None:
    def lose() -> None:
        with ledger.lease(name, seconds=0.3) as lease:
            lease.check()
            lease.token = "another's"
            time.sleep(0.5)
            with pytest.raises(LeaseLost):
                lease.check()

    with pytest.raises(LeaseLost, match="went to someone else"):
        lose()


def test_an_error_in_the_body_is_not_hidden_and_the_lease_is_free_again(ledger: Ledger, name: str) -> None:
    with pytest.raises(KeyError), ledger.lease(name):
        raise KeyError(name)
    with ledger.lease(name, timeout=0):
        pass


def test_leases_of_other_names_are_other_leases(ledger: Ledger, name: str) -> None:
    with ledger.lease(name), ledger.lease(f"{name}_b", timeout=0):
        pass
