"""Servers as processes: started in a session of their own, known by a record on disk, stopped without orphans."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

# psutil's start time is wall-clock time: a step of the system's clock moves it.
CLOCK_TOLERANCE = 2.0
LOG_LINES = 20

_children: dict[int, subprocess.Popen[bytes]] = {}


class ServerFailed(RuntimeError):
    """A server did not become ready; the message holds the end of its log and what to do."""


@dataclass(frozen=True)
class Server:
    """What it takes to start one server.

    `environment` is added to the caller's, `ports` are all that it opens, `ready` is True once it answers, and
    `setting` is what a person changes to move it to other ports.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    ports: Mapping[str, int]
    ready: Callable[[], bool]
    setting: str


@dataclass(frozen=True)
class Record:
    """A started server: the leader of its session and when that process started (seconds since the epoch)."""

    name: str
    pid: int
    started: float
    log: Path


def start(
    name: str,
    command: Sequence[str],
    record_file: Path,
    log: Path,
    environment: Mapping[str, str] | None = None,
    *,
    directory: Path | None = None,
) -> Record:
    """Start `command` in a session of its own, its output in `log`, and remember it in `record_file`.

    A server that `record_file` knows and that still runs is left alone and returned. `environment` is added to the
    caller's. The log of the run before is kept as `<log>.previous`.

    Raises:
        ServerFailed: the command cannot be started at all.
    """
    known = read_record(record_file)
    if known is not None and running(known):
        return known
    record_file.parent.mkdir(parents=True, exist_ok=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists():
        log.replace(log.with_name(log.name + ".previous"))
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                cwd=directory,
                start_new_session=True,
            )
        except OSError as error:
            raise ServerFailed(f"{name} cannot be started: {error}; install it or mend its path") from None
    _children[process.pid] = process
    try:
        started = psutil.Process(process.pid).create_time()
    except psutil.NoSuchProcess:
        started = time.time()
    record = Record(name, process.pid, started, log)
    _write(record, record_file)
    return record


def read_record(record_file: Path) -> Record | None:
    """The record that `start` left in `record_file`; None where there is none."""
    try:
        content = json.loads(record_file.read_text())
        return Record(content["name"], content["pid"], content["started"], Path(content["log"]))
    except (FileNotFoundError, ValueError, KeyError):
        return None


def running(record: Record) -> bool:
    """Whether the very process that was started still runs; another one with its number does not count."""
    process, same = _bearer(record)
    return process is not None and same and _alive(process)


def stop(record: Record, grace: float = 10.0) -> None:
    """End the server and every process it started: SIGTERM, and SIGKILL for what is left after `grace` seconds."""
    members = _members(record)
    for member in members:
        _signal(member.terminate)
    _, left = psutil.wait_procs(members, timeout=grace)
    while survivors := {member for member in left if _alive(member)} | set(_members(record)):
        for member in survivors:
            _signal(member.kill)
        _, left = psutil.wait_procs(survivors, timeout=1)
    child = _children.pop(record.pid, None)
    if child is not None:
        child.wait()


def wait_until(check: Callable[[], bool], timeout: float, record: Record, advice: str = "") -> None:
    """Wait until `check` is True; an exception of the check means that the server is not ready yet.

    Raises:
        ServerFailed: the server ended or did not answer within `timeout` seconds; with the end of its log and `advice`.
    """
    deadline = time.monotonic() + timeout
    answer = "not ready"
    while running(record):
        try:
            if check():
                return
        except Exception as error:  # whatever a client library raises before its server is there
            answer = f"{type(error).__name__}: {error}"
        if time.monotonic() > deadline:
            raise _failure(record, f"was not ready after {timeout:g} s (last answer: {answer})", advice)
        time.sleep(0.1)
    child = _children.get(record.pid)
    code = f" with exit status {child.wait()}" if child is not None else ""
    raise _failure(record, f"ended{code} before it was ready", advice)


def tail(log: Path, lines: int = LOG_LINES) -> str:
    """The last `lines` lines of `log`, read from its last 64 KiB."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 65536))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""


def _failure(record: Record, what: str, advice: str) -> ServerFailed:
    end = tail(record.log) or "(its log is empty)"
    next_step = advice or "Mend the cause named above and start it again."
    return ServerFailed(f"{record.name} {what}. The end of {record.log}:\n{end}\n{next_step}")


def _bearer(record: Record) -> tuple[psutil.Process | None, bool]:
    """The living process that bears the record's number, and whether it is the one that was started."""
    try:
        process = psutil.Process(record.pid)
        return process, abs(process.create_time() - record.started) < CLOCK_TOLERANCE
    except psutil.NoSuchProcess:
        return None, False


def _members(record: Record) -> list[psutil.Process]:
    """Every living process of the server's session, and what they started in other sessions.

    The kernel does not give a number to a new process while a session bears it, so a live process with the number and
    another start time means that nothing of the session is left.
    """
    process, same = _bearer(record)
    if (process is not None and not same) or psutil.boot_time() > record.started + CLOCK_TOLERANCE:
        return []
    found: dict[int, psutil.Process] = {}
    for candidate in psutil.process_iter():
        try:
            if os.getsid(candidate.pid) == record.pid:
                found.update({member.pid: member for member in [candidate, *candidate.children(recursive=True)]})
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return [member for member in found.values() if _alive(member)]


def _alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _signal(send: Callable[[], None]) -> None:
    try:
        send()
    except psutil.NoSuchProcess:
        return


def _write(record: Record, record_file: Path) -> None:
    content = {"name": record.name, "pid": record.pid, "started": record.started, "log": str(record.log)}
    partial = record_file.with_name(record_file.name + ".partial")
    partial.write_text(json.dumps(content))
    partial.replace(record_file)
