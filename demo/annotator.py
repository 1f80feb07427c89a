"""The SIMULATED annotator: labels through Label Studio's interface as a browser does, from truth that a demo knows.

Nobody looks at an image here. Whatever it labels bears its name, `EMAIL`, from Label Studio to the dataset.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal

from data.sample import Box
from pipelines.job import Job
from pipelines.labelling import tasks
from pipelines.labelling.project import LabellingProject, connect, find_project
from pipelines.labelling.regions import regions_of
from pipelines.workspace import Workspace

EMAIL = "simulated-annotator@ratchet.local"
# What Label Studio's SQLite database takes without making anybody wait.
THREADS = 3
JITTER = 2
SECONDS_PER_BOX = 2.0

Mood = Literal["careful", "bad"]


@dataclass(frozen=True)
class Sitting:
    """One image before the annotator: its size in pixels, the classes to choose from, and the annotator's luck."""

    width: int
    height: int
    classes: Sequence[str]
    chance: random.Random


def annotate(
    workspace: Workspace, job: Job, truth: Mapping[str, Sequence[Box]], mood: Mood = "careful", seed: int = 0
) -> int:
    """Annotate the job's unfinished tasks whose sample has a `truth`, by its id; how many. Deterministic by `seed`.

    A careful annotator is up to two pixels off. One in a bad mood leaves, on every fourth image with defects, a box
    that no rule lets pass (an unknown class, outside the image, without area), and on the others every box with the
    class of the next key, which only the gate can notice.
    """
    project = _project(workspace, job)
    if project is None:
        return 0
    annotator = _account(project)

    def create(task: tasks.Task) -> bool:
        drawn = _drawn(workspace, job, task, truth, mood, seed)
        if drawn is None:
            return False
        lead_time = round(3 + SECONDS_PER_BOX * len(drawn), 3)
        project.client.annotations.create(id=task["id"], result=drawn, lead_time=lead_time, completed_by=annotator)
        return True

    with ThreadPoolExecutor(THREADS) as hands:
        return sum(hands.map(create, list(tasks.read(project, tasks.unfinished()))))


def correct(workspace: Workspace, job: Job, truth: Mapping[str, Sequence[Box]], seed: int = 0) -> int:
    """Do every annotation of a sample that has a `truth` again, carefully; how many."""
    project = _project(workspace, job)
    if project is None:
        return 0

    def update(task: tasks.Task) -> bool:
        drawn = _drawn(workspace, job, task, truth, "careful", seed)
        if drawn is None:
            return False
        for annotation in task["annotations"]:
            project.client.annotations.update(id=annotation["id"], result=drawn)
        return bool(task["annotations"])

    with ThreadPoolExecutor(THREADS) as hands:
        return sum(hands.map(update, list(tasks.read(project, tasks.touched(), annotations=True))))


def _project(workspace: Workspace, job: Job) -> LabellingProject | None:
    client = connect(workspace.settings)
    found = find_project(client, job.name)
    return LabellingProject(client, found.id) if found else None


def _drawn(
    workspace: Workspace, job: Job, task: tasks.Task, truth: Mapping[str, Sequence[Box]], mood: Mood, seed: int
) -> list[dict[str, Any]] | None:
    """The regions a browser would leave for a task; None where its truth is not known."""
    sample = workspace.ledger.sample(job.name, task["data"].get("sample_id", ""))
    if sample is None or sample.id not in truth:
        return None
    sitting = Sitting(sample.width, sample.height, job.classes, random.Random(f"{seed}:{sample.id}"))
    boxes = draw(truth[sample.id], sitting, mood)
    return [{**region, "origin": "manual"} for region in regions_of(boxes, sample.width, sample.height)]


def draw(truth: Sequence[Box], sitting: Sitting, mood: Mood) -> list[Box]:
    """What the annotator draws on an image with the boxes `truth`."""
    boxes = [_jittered(box, sitting) for box in truth]
    if mood == "careful" or not boxes:
        return boxes
    if sitting.chance.random() < 0.25:
        return sitting.chance.choice(CAUGHT_BY_RULES)(boxes, sitting)
    return _next_key(boxes, sitting)


def _account(project: LabellingProject) -> int:
    """The number of the simulated annotator's own account; it has no password, so that nobody can log in as it."""
    users = project.client.users
    known = [user.id for user in users.list() if user.email == EMAIL]
    if known:
        return int(known[0])
    return int(users.create(email=EMAIL, username="simulated", first_name="Simulated", last_name="annotator").id)


def _jittered(box: Box, sitting: Sitting) -> Box:
    x1, y1, x2, y2 = (corner + sitting.chance.randint(-JITTER, JITTER) for corner in (box.x1, box.y1, box.x2, box.y2))
    x1, y1 = min(max(x1, 0), sitting.width - 1), min(max(y1, 0), sitting.height - 1)
    return Box(x1, y1, min(max(x2, x1 + 1), sitting.width), min(max(y2, y1 + 1), sitting.height), box.label)


def _next_key(boxes: list[Box], sitting: Sitting) -> list[Box]:
    after = dict(zip(sitting.classes, [*sitting.classes[1:], sitting.classes[0]], strict=True))
    return [replace(box, label=after[box.label]) for box in boxes]


def _first_of_unknown_class(boxes: list[Box], _sitting: Sitting) -> list[Box]:
    return [replace(boxes[0], label="scratch"), *boxes[1:]]


def _first_outside(boxes: list[Box], sitting: Sitting) -> list[Box]:
    x = sitting.width - 1
    return [replace(boxes[0], x1=x, x2=x + boxes[0].width + 5), *boxes[1:]]


def _first_without_area(boxes: list[Box], _sitting: Sitting) -> list[Box]:
    return [replace(boxes[0], x2=boxes[0].x1), *boxes[1:]]


Mistake = Callable[[list[Box], Sitting], list[Box]]
CAUGHT_BY_RULES: tuple[Mistake, ...] = (_first_of_unknown_class, _first_outside, _first_without_area)
