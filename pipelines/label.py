"""Label: what was chosen goes to Label Studio, and what people say there comes back, each exactly once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from pipelines.job import Job
from pipelines.labelling import tasks
from pipelines.labelling.project import LabellingProject, asked_classes, connect, ensure_project, find_project
from pipelines.labelling.pull import Pulled, Pulling, time_of
from pipelines.labelling.push import Pushing
from pipelines.workspace import Workspace

if TYPE_CHECKING:
    from label_studio_sdk import LabelStudio

logger = logging.getLogger(__name__)

BATCH = 100
# Longer than Label Studio works on one batch: whoever takes over from a killed push finds all of its tasks or none.
LEASE_SECONDS = 15.0
LEASE_TIMEOUT_SECONDS = 600.0
# Label Studio stamps a change before it commits it, so that what is stamped earlier may become visible later.
OVERLAP = timedelta(seconds=60)
READ_UNTIL = "label-studio read until"
NEWEST_CHANGE = "label-studio newest change"
EVER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class Pushed:
    """How many samples were given a task, how many of these tasks a killed push had left, and where they all are."""

    pushed: int = 0
    left_behind: int = 0
    project: str = ""


def push(workspace: Workspace, job: Job) -> Pushed:
    """Make a task of every sample that is selected, with the served model's boxes: the lots first, then the hardest.

    Raises:
        LabelStudioRefused: Label Studio's project of the job cannot be used as it is.
    """
    result = Pushed()
    with alone(workspace, job) as check_alone:
        bucket = workspace.settings.store_bucket
        client = connect(workspace.settings)
        found = find_project(client, job.name)
        if found is not None and asked_classes(found) != set(job.classes):
            # What people said so far is about the classes of the page as it is, which is about to change.
            _pull(workspace, job, client, found)
        project = ensure_project(client, job, bucket)
        result.project = f"{workspace.settings.label_studio_url}/projects/{project.id}/data"
        pushing = Pushing(workspace.ledger, job, project, bucket)
        while batch := workspace.ledger.selected(job.name, limit=BATCH):
            there = pushing.left_behind(batch)
            missing = [selected for selected in batch if selected.sample.id not in there]
            check_alone()
            pushing.record({**there, **(pushing.create(missing) if missing else {})})
            result.pushed += len(batch)
            result.left_behind += len(there)
    return result


def pull(workspace: Workspace, job: Job) -> Pulled:
    """Bring into the ledger what people did in Label Studio since the last pull.

    Of several annotations of a task the newest valid one counts; without a valid one the newest is quarantined with its
    reasons. A task that was skipped, or deleted before anybody labelled it, makes its sample skipped.
    """
    with alone(workspace, job):
        client = connect(workspace.settings)
        found = find_project(client, job.name)
        return Pulled() if found is None else _pull(workspace, job, client, found)


def changed(workspace: Workspace, job: Job) -> int:
    """How many tasks people changed since the newest change that a pull has seen."""
    client = connect(workspace.settings)
    found = find_project(client, job.name)
    if found is None:
        return 0
    since = _moment(workspace, job, NEWEST_CHANGE)
    return tasks.count(LabellingProject(client, found.id), tasks.touched(), tasks.changed_after(since))


@contextmanager
def alone(workspace: Workspace, job: Job) -> Iterator[Callable[[], None]]:
    """Nobody else pushes or pulls the job meanwhile; what it gives raises LeaseLost where that is no longer so."""
    name = f"label-studio:{job.name}"
    with workspace.ledger.lease(name, seconds=LEASE_SECONDS, timeout=LEASE_TIMEOUT_SECONDS) as lease:
        yield lease.check


def _pull(workspace: Workspace, job: Job, client: LabelStudio, found: Any) -> Pulled:
    """Read what changed in the project `found`, Label Studio's own record of it; to be called by one at a time."""
    now = parsedate_to_datetime(client.projects.with_raw_response.get(found.id).headers["date"])
    pulling = Pulling(workspace.ledger, job, LabellingProject(client, found.id), asked_classes(found))
    since = _moment(workspace, job, READ_UNTIL)
    newest = _moment(workspace, job, NEWEST_CHANGE)
    for task in tasks.read(pulling.project, tasks.changed_after(since), annotations=True):
        pulling.take(task)
        newest = max(newest, time_of(task["updated_at"]))
    pulling.skip_deleted(now)
    workspace.ledger.set_mark(job.name, NEWEST_CHANGE, newest.isoformat())
    workspace.ledger.set_mark(job.name, READ_UNTIL, max(since, now - OVERLAP).isoformat())
    for problem in pulling.pulled.problems:
        logger.warning("%s", problem)
    return pulling.pulled


def _moment(workspace: Workspace, job: Job, mark: str) -> datetime:
    text = workspace.ledger.mark(job.name, mark)
    return datetime.fromisoformat(text) if text else EVER
