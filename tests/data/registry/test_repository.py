"""The clone is a tool: killed anywhere, raced by another writer or broken, the next change ends in the same state."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from data.registry import GitFailed
from data.registry.git import git
from tests.data.registry.trial import STEPS, Trial

pytestmark = pytest.mark.slow

MOMENTS = ["written", "added", "pushed", "committed", "tagged", "released"]
DELAYS = [0.01, 0.03, 0.1, 0.2, 0.4]
UNKILLED: list[dict[str, Any]] = []


@pytest.fixture
def unkilled(trials: Callable[[], Trial]) -> dict[str, Any]:
    """What there is after every step when nothing was killed."""
    if not UNKILLED:
        trial = trials()
        for step in STEPS:
            trial.do(step)
        UNKILLED.append(trial.state())
    [state] = UNKILLED
    assert [version["version"] for version in state["datasets"]] == ["d1", "d2"]
    assert len(state["models"]) == len(state["promotions"]) == 1
    return state


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_any_step_a_retry_ends_in_the_same_state(
    trial: Trial, unkilled: dict[str, Any], moment: str, tmp_path: Path
) -> None:
    armed = tmp_path / f"registry.{moment}"
    for step in STEPS:
        armed.touch()
        killed = trial.start(step, failpoints=tmp_path)
        killed.join(60)
        # A promotion writes no bytes and makes no commit, so it passes those moments by.
        assert killed.exitcode == (0 if armed.exists() else -signal.SIGKILL)
        trial.do(step)
    assert trial.state() == unkilled
    assert trial.registry.check("pcb") == []


@pytest.mark.parametrize("delay", DELAYS)
def test_killed_at_any_time_a_retry_ends_in_the_same_state(
    trial: Trial, unkilled: dict[str, Any], delay: float
) -> None:
    for step in STEPS:
        killed = trial.start(step)
        time.sleep(delay)
        killed.kill()
        killed.join(60)
        trial.do(step)
    assert trial.state() == unkilled
    assert trial.registry.check("pcb") == []


def test_a_killed_writer_s_locks_half_files_and_commits_are_gone_at_the_next_change(trial: Trial) -> None:
    trial.publish(range(5))
    clone = trial.folder / "registry"
    (clone / "data/pcb/2.tar").write_bytes(b"half")
    (clone / "data/pcb/3.parquet.dvc").write_text("half")
    git(clone, "add", "--all")
    git(clone, "commit", "--quiet", "--message", "never pushed")
    for name in ("index.lock", "refs/tags/pcb-data@v2.0.0.lock"):
        lock = clone / ".git" / name
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.touch()
        os.utime(lock, (0, 0))
    assert trial.publish(range(5, 8)).version == "d2"
    assert not (clone / "data/pcb/3.parquet.dvc").exists()
    assert trial.registry.check("pcb") == []


def test_a_lost_clone_is_made_again(trial: Trial) -> None:
    trial.publish(range(5))
    shutil.rmtree(trial.folder / "registry" / ".git")
    assert trial.publish(range(5, 8)).version == "d2"
    shutil.rmtree(trial.folder / "registry")
    assert len(list(trial.registry.dataset("pcb").rows())) == 8
    assert trial.registry.check("pcb") == []


def test_a_clone_without_git_is_not_taken_for_a_part_of_what_it_lies_in(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "inside").mkdir()
    with pytest.raises(GitFailed, match="not a git repository"):
        git(tmp_path / "inside", "status")


def test_writers_that_share_no_lock_both_succeed(trial: Trial) -> None:
    trial.publish(range(3))
    slow, fast = (trial.clone(name, lock=nullcontext) for name in ("slow", "fast"))
    raced: list[str] = []

    def read_bytes(name: str) -> bytes:
        if not raced:
            raced.append(name)
            fast.publish_dataset("pcb", trial.labelled([20]), read_bytes=trial.read_bytes, checks={})
        return bytes(trial.read_bytes(name))

    version = slow.publish_dataset("pcb", trial.labelled([10]), read_bytes=read_bytes, checks={})
    assert raced
    assert version.version == "d3"
    ids = {row.sample.id for row in trial.registry.dataset("pcb").rows()}
    assert ids == {sample.id for sample, _ in trial.labelled([0, 1, 2, 10, 20])}
    orphans = trial.registry.check("pcb")
    assert len(orphans) == 1
    assert "no version names the object" in orphans[0]


def test_readers_wait_for_no_writer(trial: Trial) -> None:
    trial.publish(range(3))
    seen = []

    def read_bytes(name: str) -> bytes:
        seen.append(trial.registry.dataset("pcb").version)
        return bytes(trial.read_bytes(name))

    trial.registry.publish_dataset("pcb", trial.labelled([10]), read_bytes=read_bytes, checks={})
    assert set(seen) == {"d1"}


def test_no_secret_is_on_the_disk(trial: Trial) -> None:
    trial.publish(range(3))
    secret = trial.store.secret_key.encode()
    files = [file for file in trial.folder.rglob("*") if file.is_file()]
    assert files
    assert not [file for file in files if secret in file.read_bytes()]


def test_the_state_of_a_job_changes_with_each_of_its_versions_and_with_no_other(trial: Trial) -> None:
    states, others = [trial.registry.state("pcb")], [trial.registry.state("other")]
    for step in STEPS:
        trial.do(step)
        states.append(trial.registry.state("pcb"))
        others.append(trial.registry.state("other"))
    assert len(set(states)) == len(states)
    assert len(set(others)) == 1
    trial.do(STEPS[-1])
    assert trial.registry.state("pcb") == states[-1]
