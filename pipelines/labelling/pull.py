"""What people did to Label Studio's tasks, as words of the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from data.ledger import Ledger
from data.sample import Annotation, Box, Sample
from pipelines.job import Job
from pipelines.labelling import tasks
from pipelines.labelling.project import LabellingProject
from pipelines.labelling.regions import boxes_of
from pipelines.labelling.tasks import Task

CHUNK = 200


@dataclass
class Pulled:
    """How many tasks changed, how many samples' words changed by that, and everything a person should look at."""

    tasks: int = 0
    labelled: int = 0
    quarantined: int = 0
    skipped: int = 0
    withdrawn: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass
class Pulling:
    """One pull of one job, whose labelling page asks about the classes `asked`; `pulled` grows with every task."""

    ledger: Ledger
    job: Job
    project: LabellingProject
    asked: frozenset[str]
    pulled: Pulled = field(default_factory=Pulled)
    _annotators: dict[int, str] = field(default_factory=dict)

    def take(self, task: Task) -> None:
        """Bring one task's annotations into the ledger, as they stand now."""
        self.pulled.tasks += 1
        sample = self._sample(task)
        if sample is None:
            return
        by_time = sorted(task["annotations"], key=lambda state: (time_of(state["updated_at"]), state["id"]))
        states = {self._reference(state): state for state in reversed(by_time)}
        standing = self._standing(sample, states)
        if standing is not None:
            annotation, problems = standing
            changed = self.ledger.record_annotation(self.job.name, annotation, problems)
            self.pulled.labelled += changed and not problems
            self.pulled.quarantined += changed and bool(problems)
            self.pulled.problems += [f"{self._name(task)}: {problem}" for problem in problems if changed]
        elif states:
            reference, skip = next(iter(states.items()))
            self.pulled.skipped += self.ledger.record_skip(self.job.name, sample.id, skip["updated_at"], reference)
        for reference in self.ledger.references(self.job.name, sample.id):
            if reference.startswith(self._prefix) and reference not in states:
                taken = self.ledger.withdraw_annotation(self.job.name, sample.id, reference)
                self.pulled.withdrawn += taken and not states

    def skip_deleted(self, now: datetime) -> None:
        """Skip each sample that waits for a task that was deleted.

        Label Studio forgets a task without a trace, so the backlog is compared; nothing is if the numbers agree.
        """
        if self.ledger.counts(self.job.name).get("pushed", 0) <= tasks.count(self.project, tasks.unfinished()):
            return
        waiting = list(self.ledger.samples(self.job.name, state="pushed"))
        for start in range(0, len(waiting), CHUNK):
            numbers = {
                sample.id: self.ledger.task_of(self.job.name, sample.id) for sample in waiting[start : start + CHUNK]
            }
            wanted = tasks.numbered([number for number in numbers.values() if number is not None])
            there = {task["id"] for task in tasks.read(self.project, wanted)}
            for sample_id, number in numbers.items():
                if number not in there:
                    reference = f"{self._prefix}task {number} deleted"
                    self.pulled.skipped += self.ledger.record_skip(self.job.name, sample_id, now.isoformat(), reference)
                    self.pulled.problems.append(
                        f"task {number} of project {self.project.id} ({self.job.name}) was deleted; "
                        f"its sample {sample_id} counts as skipped"
                    )

    @property
    def _prefix(self) -> str:
        return f"label-studio:{self.project.id}/"

    def _name(self, task: Task) -> str:
        return f"task {task['id']} of project {self.project.id} ({self.job.name})"

    def _reference(self, state: Mapping[str, Any]) -> str:
        """The name of one state of an annotation: a correction has another one, and this is withdrawn for good."""
        return f"{self._prefix}{state['id']}@{state['updated_at']}"

    def _sample(self, task: Task) -> Sample | None:
        """The sample that `task` is about; None, and a problem, where it is about none or is its second task."""
        problems = self.pulled.problems
        sample_id = task["data"].get("sample_id")
        sample = self.ledger.sample(self.job.name, sample_id) if isinstance(sample_id, str) else None
        if sample is None:
            what = "has no sample_id" if sample_id is None else f"is about {sample_id!r}, no sample of this job"
            problems.append(
                f"{self._name(task)} {what}; delete it and let its image arrive in {self.job.inbox} instead"
            )
            return None
        recorded = self.ledger.task_of(self.job.name, sample.id)
        if recorded is None:
            self.ledger.record_push(self.job.name, sample.id, task["id"])
        elif recorded != task["id"]:
            problems.append(f"{self._name(task)} is about the same sample as task {recorded}; delete it")
            return None
        return sample

    def _standing(self, sample: Sample, states: Mapping[str, Any]) -> tuple[Annotation, list[str]] | None:
        """The newest valid annotation, or else the newest with its problems; None where there are only skips."""
        newest: tuple[Annotation, list[str]] | None = None
        for reference, state in states.items():
            if state["was_cancelled"]:
                continue
            boxes, problems = boxes_of(state["result"] or [], sample.width, sample.height, self.job.classes)
            annotator = self._annotator(state["completed_by"])
            classes = self._classes(sample, reference, boxes)
            annotation = Annotation(sample.id, boxes, annotator, state["updated_at"], reference, classes)
            if not problems:
                return annotation, []
            newest = newest or (annotation, problems)
        return newest

    def _classes(self, sample: Sample, reference: str, boxes: Sequence[Box]) -> tuple[str, ...] | None:
        """What the annotator was asked about: what the page asks for, unless it is known since an earlier pull."""
        said = self.ledger.said(self.job.name, sample.id, reference)
        return tuple(sorted(self.asked.union(box.label for box in boxes))) if said is None else said.classes

    def _annotator(self, number: int) -> str:
        if number not in self._annotators:
            self._annotators[number] = str(self.project.client.users.get(number).email)
        return self._annotators[number]


def time_of(text: str) -> datetime:
    """The moment of one of Label Studio's times."""
    return datetime.fromisoformat(text)
