"""Jobs come, change, break and go while the server runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml

from data.store import ObjectStore
from pipelines.settings import Settings
from serving.fleet import Fleet
from serving.metrics import Metrics
from tests.serving.stamp import JOB

pytestmark = pytest.mark.slow


@pytest.fixture
def fleet(settings: Settings, object_store: ObjectStore) -> Iterator[Fleet]:
    """The followers of the deployment's jobs, which looks for others only when the test says so."""
    fleet = Fleet(settings, object_store, Metrics())
    fleet.look()
    yield fleet
    for follower in fleet.followers.values():
        follower.stop()


def test_job_is_followed_from_when_its_file_is_there(fleet: Fleet, settings: Settings) -> None:
    assert list(fleet.followers) == ["boards"]
    (settings.jobs / "welds.yaml").write_text(yaml.safe_dump({**JOB, "name": "welds"}))
    fleet.look()
    assert sorted(fleet.followers) == ["boards", "welds"]


def test_changed_file_changes_the_job_and_keeps_its_follower(fleet: Fleet, settings: Settings) -> None:
    follower = fleet.followers["boards"]
    (settings.jobs / "boards.yaml").write_text(yaml.safe_dump({**JOB, "description": "New words."}))
    fleet.look()
    assert fleet.followers["boards"] is follower
    assert follower.job.description == "New words."


def test_broken_file_leaves_what_serves_and_is_named(fleet: Fleet, settings: Settings) -> None:
    follower = fleet.followers["boards"]
    (settings.jobs / "boards.yaml").write_text("name: boards\n")
    (settings.jobs / "welds.yaml").write_text(yaml.safe_dump({**JOB, "name": "seams"}))
    fleet.look()
    assert fleet.followers == {"boards": follower}
    assert "classes is missing" in fleet.refused["boards"]
    assert "a job's file is called after it, seams.yaml" in fleet.refused["welds"]

    (settings.jobs / "boards.yaml").write_text(yaml.safe_dump(JOB))
    (settings.jobs / "welds.yaml").unlink()
    fleet.look()
    assert fleet.followers == {"boards": follower}
    assert fleet.refused == {}


def test_removed_job_is_no_longer_followed(fleet: Fleet, settings: Settings) -> None:
    follower = fleet.followers["boards"]
    (settings.jobs / "boards.yaml").unlink()
    fleet.look()
    assert fleet.followers == {}
    assert not follower._thread.is_alive()
