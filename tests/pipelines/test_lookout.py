from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from data.sample import Sample, sha256
from pipelines import holdout, lookout, overview, production
from pipelines.job import Job, JobRefused, UnknownJob
from pipelines.lookout import Lookout, Overviews
from pipelines.overview import StillReading
from pipelines.workspace import Workspace
from tests.pipelines import large


@pytest.fixture(autouse=True)
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time alone changes no state."""
    monkeypatch.setattr(lookout, "CLOCK_SECONDS", 1e9)


def sample(number: int) -> Sample:
    return Sample(sha256(str(number).encode()), 640, 480, "line", f"inbox/boards/line/{number}.png", "train")


def test_a_refused_file_is_told_in_the_list_and_has_no_state(offline: Workspace) -> None:
    (offline.settings.jobs / "broken.yaml").write_text("name: broken\nclasses: []\n")
    known = Overviews(offline)
    summary = known.summary("broken")
    assert len(summary["refused"]) == 2
    assert summary["file"].endswith("broken.yaml")
    assert known.summary("boards")["gate"]["sentence"] == "0 of 8 labels"
    with pytest.raises(JobRefused):
        known.state("broken")
    with pytest.raises(UnknownJob):
        known.state("bolts")


def test_the_state_changes_with_ledger_registry_and_file_and_with_nothing_else(
    offline: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookout, "REGISTRY_SECONDS", 0.0)
    known = Overviews(Lookout(offline.settings))
    states = [known.state("boards")]

    def changed() -> bool:
        states.append(known.state("boards"))
        return states[-1] != states[-2]

    assert not changed()
    offline.ledger.add_sample("boards", sample(1), 1)
    assert changed()
    offline.ledger.add_sample("bolts", sample(1), 1)
    assert not changed()
    tag = ["git", "-C", offline.settings.registry_url]
    commit = run(*tag, "commit-tree", "-m", "a", run(*tag, "mktree"))
    run(*tag, "tag", "-a", "-m", "Model v1", "boards@v1.0.0", commit)
    assert changed()
    run(*tag, "tag", "-a", "-m", "Model v1", "bolts@v1.0.0", commit)
    assert not changed()
    file = offline.settings.jobs / "boards.yaml"
    file.write_text(file.read_text() + "description: other\n")
    assert changed()


def run(*command: str) -> str:
    identity = ["-c", "user.name=ada", "-c", "user.email=ada@localhost"]
    program, *arguments = command
    result = subprocess.run([program, *identity, *arguments], input="", capture_output=True, text=True, check=True)
    return result.stdout.strip()


def test_many_who_ask_at_once_wait_for_one_reading(offline: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    readings = []
    read = overview.overview

    def counted(workspace: Workspace, job: Job, *more: Any) -> dict[str, Any]:
        readings.append(job.name)
        return read(workspace, job, *more)

    monkeypatch.setattr(lookout, "overview", counted)
    known = Overviews(offline)
    with ThreadPoolExecutor(8) as people:
        answers = list(people.map(known.overview, ["boards"] * 8))
    assert readings == ["boards"]
    assert all(answer is answers[0] or answer == answers[0] for answer in answers)
    offline.ledger.add_sample("boards", sample(1), 1)
    assert known.overview("boards")[1]["counts"] == {"arrived": 1}
    assert readings == ["boards"] * 2


def test_what_takes_long_is_told_as_soon_as_it_is_read(offline: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookout, "HOLDOUT_SECONDS", 0.01)
    read, known, over = holdout.state, Overviews(offline), threading.Event()

    def slow(workspace: Workspace, job: Job) -> holdout.HoldoutState:
        assert over.wait(60)
        return read(workspace, job)

    monkeypatch.setattr(holdout, "state", slow)
    first, found = known.overview("boards")
    assert (found["holdout"], found["problems"]) == (None, [])
    assert known.overview("boards") == (first, found)
    over.set()
    wait_for_holdout(known)
    second, found = known.overview("boards")
    assert second != first
    assert found["holdout"]["left"] == 1.0
    assert known.overview("boards") == (second, found)


def test_a_lease_that_is_busy_is_a_problem_and_not_a_delay(offline: Workspace) -> None:
    def busy(_workspace: Workspace, _job: Job) -> holdout.HoldoutState:
        raise TimeoutError("another holds it")

    def reading(_workspace: Workspace, _job: Job) -> holdout.HoldoutState:
        raise StillReading

    job = offline.job("boards")
    assert "another holds it" in overview.overview(offline, job, busy)["problems"][0]
    assert overview.overview(offline, job, reading)["problems"] == []


def test_a_store_that_is_down_costs_a_moment(offline: Workspace) -> None:
    begun = time.monotonic()
    with pytest.raises(ConnectionError):
        Lookout(offline.settings).store.get("anything")
    assert time.monotonic() - begun < 3 * lookout.PATIENCE_SECONDS


def wait_for_holdout(known: Overviews) -> None:
    while known.overview("boards")[1]["holdout"] is None:
        time.sleep(0.05)


@pytest.fixture
def year(workspace: Workspace, tmp_path: Path) -> Lookout:
    """A deployment whose job has run for a year."""
    folder = tmp_path / "manifests"
    folder.mkdir()
    large.grow(workspace, folder)
    return Lookout(workspace.settings)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_is_fast_with_a_hundred_thousand_images_and_two_hundred_versions(year: Lookout) -> None:
    for remembered in (holdout._held_out, production._estimate, production._baseline):
        remembered.cache_clear()
    known = Overviews(year)

    def seconds(ask: Callable[[], object]) -> float:
        begun = time.process_time()
        ask()
        return time.process_time() - begun

    took = {"cold": seconds(lambda: known.overview("boards"))}
    _, found = known.overview("boards")
    assert found["problems"] == []
    took["holdout"] = seconds(lambda: wait_for_holdout(known))
    assert len(found["decisions"]) == large.VERSIONS
    assert sum(found["counts"].values()) == large.SAMPLES
    assert found["production"]["metrics"]["precision"]["images"] > 0
    took["unchanged"] = seconds(lambda: known.overview("boards"))
    year.ledger.add_sample("boards", sample(-1), 1)
    took["changed"] = seconds(lambda: known.overview("boards"))
    took["versions"] = seconds(lambda: overview.versions(year, "boards"))
    took["classes"] = seconds(lambda: overview.by_class(year, year.job("boards"), "ap"))
    took["classes again"] = seconds(lambda: overview.by_class(year, year.job("boards"), "ap"))
    print({name: round(value, 3) for name, value in took.items()})
    limits = {"cold": 2.0, "unchanged": 0.1, "changed": 0.5, "versions": 1.0, "classes": 5.0, "classes again": 0.5}
    assert {name for name, limit in limits.items() if took[name] > limit} == set(), took
