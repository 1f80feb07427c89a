"""A rehearsal: the loop turned in a minute by a stand-in that knows the truth, everything else being the real thing.

Drawn boards arrive, are mined, labelled, versioned, evaluated, judged and promoted by the steps that Airflow runs. Only
the detector is replaced: it finds as much of the truth as a training's recipe says (`skill`).
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from data.formats import LabelledImage
from data.images import decode
from data.sample import Annotation, Box, Example, box_problems, sha256
from demo.annotator import EMAIL, Mood, Sitting, draw
from demo.scenario import Scenario
from models.estimator import ClassFactory, ClassType, TrainingReport
from models.metrics import EvaluationReport
from models.metrics import evaluate as measure
from pipelines import steps
from pipelines.approval import Answer
from pipelines.importing import import_labelled
from pipelines.job import Job
from pipelines.workspace import Workspace

JOB = """\
name: {name}
description: Defects on printed circuit boards, found by comparing each board with its template.
classes: [open, short, mousebite, spur, copper, pin-hole]
source: {{template: {{sample: _test, template: _temp}}}}
dataset: {{trainProb: 0.6}}
estimator: {{name: StandIn}}
hardExampleMining: {{name: Informative, budget: 24, randomShare: 0.25}}
trainSpec:
  trigger: {{condition: {{metric: num_of_samples, operator: ">=", threshold: 16}}}}
evalSpec: {{minSupport: 5}}
deploySpec:
  floors: {{classes: 0.15, domains: 0.15, known: 0.05, minSupport: 20}}
  approval: human
"""
FALSE_ALARMS = 1.6
APPROVER = "ada"


@ClassFactory.register(ClassType.GENERAL, alias="StandIn")
class StandIn:
    """Finds about the share `skill` of the boxes it was told of, and adds false alarms where it is not skilled."""

    threshold = 0.5
    truth: ClassVar[dict[str, tuple[Box, ...]]] = {}

    def __init__(self, classes: Sequence[str], skill: float = 0.5):
        self.classes = list(classes)
        self.skill = skill
        self.parameters = {"classes": self.classes}

    @classmethod
    def told(cls, images: Sequence[LabelledImage]) -> None:
        """Remember the true boxes of these images."""
        cls.truth.update({_fingerprint(decode(image.read())): image.boxes for image in images})

    def train(
        self,
        train_data: Sequence[Example],
        valid_data: Sequence[Example] | None = None,  # noqa: ARG002
        *,
        skill: float = 0.5,
        **_: Any,
    ) -> TrainingReport:
        self.skill = skill
        return TrainingReport(steps=len(train_data), best_step=0, seconds=0.0, loss=1 - skill, threshold=self.threshold)

    def predict(self, examples: Sequence[Example]) -> list[tuple[Box, ...]]:
        return [self._found(example.image) for example in examples]

    def evaluate(self, data: Sequence[Example]) -> EvaluationReport:
        found = {example.sample_id: self._found(example.image) for example in data}
        truth = {example.sample_id: example.boxes for example in data}
        domains = {example.sample_id: example.domain for example in data}
        return measure(truth, found, domains, self.classes, self.threshold)

    def save(self, folder: Path) -> None:
        (folder / "skill.json").write_text(json.dumps(self.skill))

    def load(self, folder: Path) -> None:
        self.skill = json.loads((folder / "skill.json").read_text())

    def _found(self, image: np.ndarray) -> tuple[Box, ...]:
        """The same for the same image and skill; each box is as difficult as it is, so that more skill finds more."""
        name = _fingerprint(image)
        chance = random.Random(name)
        luck = random.Random(f"{name} {self.skill}")
        height, width = image.shape
        boxes = []
        for number, box in enumerate(self.truth[name]):
            difficulty = 0.75 * chance.random() + 0.25 * luck.random() + 0.02 * self.classes.index(box.label)
            score = min(0.99, max(0.02, 0.5 + 1.6 * (self.skill - difficulty)))
            shift = [luck.gauss(0, 2 + 4 * (1 - self.skill)) for _ in range(4)]
            x1, y1 = max(0.0, box.x1 + shift[0]), max(0.0, box.y1 + shift[1])
            x2, y2 = min(float(width), box.x2 + shift[2]), min(float(height), box.y2 + shift[3])
            confused = number % 5 == 4 and difficulty > self.skill - 0.1
            label = self.classes[(self.classes.index(box.label) + 1) % len(self.classes)] if confused else box.label
            boxes.append(Box(x1, y1, max(x2, x1 + 4), max(y2, y1 + 4), label, round(score, 3)))
        for _ in range(round(FALSE_ALARMS * (1 - self.skill) * len(boxes) * luck.random())):
            x, y = luck.uniform(0, width - 30), luck.uniform(0, height - 30)
            score = luck.uniform(0.1, 0.45 + 0.4 * (1 - self.skill))
            boxes.append(Box(x, y, x + 26, y + 26, luck.choice(self.classes), round(score, 3)))
        return tuple(sorted(boxes, key=lambda box: -(box.score or 0.0)))


class Rehearsal:
    """The job `name` of a deployment, turned by hand: each method does what a run of Airflow or a person would do."""

    def __init__(self, workspace: Workspace, name: str, scenario: Scenario):
        workspace.settings.jobs.mkdir(parents=True, exist_ok=True)
        (workspace.settings.jobs / f"{name}.yaml").write_text(JOB.format(name=name))
        workspace.store.ensure_bucket()
        self.workspace = workspace
        self.job: Job = workspace.job(name)
        self.truth: dict[str, tuple[Box, ...]] = {}
        self._tasks = 0
        boards = [*scenario.initial, *scenario.left, *(board for night in scenario.nights for board in night.boards)]
        StandIn.told(boards)
        self.truth = {sha256(board.read()): board.boxes for board in boards}

    def begin(self, boards: Sequence[LabelledImage]) -> None:
        """Import boards that are labelled already."""
        import_labelled(self.workspace, self.job, boards, annotator="import by ada")

    def arrive(self, boards: Sequence[LabelledImage]) -> None:
        """Boards arrive, are predicted and mined; those that were chosen become labelling tasks."""
        rule = self.job.source.template
        for board in boards:
            template = board.read_template()
            if rule is not None and template is not None:
                key = f"{self.job.inbox}{board.domain or 'line'}/{rule.template_of(board.name)}"
                self.workspace.store.put(key, template)
            self.workspace.store.put(f"{self.job.inbox}{board.domain or 'line'}/{board.name}", board.read())
        steps.run("collect", self.job.name, "scheduled")
        for selected in self.workspace.ledger.selected(self.job.name):
            self._tasks += 1
            self.workspace.ledger.record_push(self.job.name, selected.sample.id, self._tasks)

    def label(self, mood: Mood = "careful", limit: int | None = None) -> None:
        """The simulated annotator labels what waits, at most `limit` images."""
        ledger = self.workspace.ledger
        for sample in list(ledger.samples(self.job.name, "pushed"))[:limit]:
            sitting = Sitting(sample.width, sample.height, self.job.classes, random.Random(sample.id))
            boxes = draw(self.truth[sample.id], sitting, mood)
            problems = [
                problem for box in boxes for problem in box_problems(box, sample.width, sample.height, self.job.classes)
            ]
            annotation = Annotation(sample.id, tuple(boxes), EMAIL, _now(), f"task {sample.id[:8]}")
            ledger.record_annotation(self.job.name, annotation, problems)

    def correct(self) -> None:
        """What was labelled badly is labelled again, carefully."""
        ledger = self.workspace.ledger
        wrong = [entry.sample for entry in ledger.quarantined(self.job.name)]
        pending = [sample for sample, _ in ledger.labelled(self.job.name)]
        for sample in [*wrong, *pending]:
            annotation = ledger.annotation(self.job.name, sample.id)
            if annotation is not None and annotation.annotator != EMAIL:
                continue
            boxes = tuple(replace(box) for box in self.truth[sample.id])
            ledger.record_annotation(
                self.job.name, Annotation(sample.id, boxes, EMAIL, _now(), f"task {sample.id[:8]}")
            )

    def learn(self, run_id: str, skill: float, **asked: Any) -> None:
        """A run of `<job>.learn` whose training reaches `skill`; whoever is asked approves."""
        self._answer(run_id, asked, self.propose(run_id, skill, **asked))

    def propose(self, run_id: str, skill: float, **asked: Any) -> dict[str, Any]:
        """The same up to the question that a person is asked about the candidate: `subject` and `body`, or `skip`."""
        params = {"parameters": {"skill": skill}, **asked}
        steps.run("start", self.job.name, run_id, params)
        steps.check_gate("train", self.job.name, run_id, params)
        for step in ("curate", "train"):
            steps.run(step, self.job.name, run_id, params)
        return self._judge(run_id, params)

    def promote(self, run_id: str, **asked: Any) -> None:
        """A run of `<job>.learn` that starts at the gate before promote."""
        steps.run("start", self.job.name, run_id, {"start_at": "promote", **asked})
        self._answer(run_id, asked, self._judge(run_id, asked))

    def roll_back(self, run_id: str, version: str, actor: str, reason: str) -> None:
        """A run of `<job>.rollback`."""
        steps.run("rollback", self.job.name, run_id, {"version": version, "actor": actor, "reason": reason})

    def _judge(self, run_id: str, params: Mapping[str, Any]) -> dict[str, Any]:
        steps.run("evaluate", self.job.name, run_id, params)
        verdict = steps.check_gate("promote", self.job.name, run_id, params)
        return steps.run("ask", self.job.name, run_id, params) if verdict.met else {"skip": verdict.sentence}

    def _answer(self, run_id: str, params: Mapping[str, Any], question: Mapping[str, Any]) -> None:
        if "skip" not in question:
            answer = question.get("answer") or Answer.said(True, APPROVER).to_json()
            steps.run("promote", self.job.name, run_id, {**params, "answer": answer})


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _fingerprint(image: np.ndarray) -> str:
    return hashlib.sha256(image.tobytes()).hexdigest()
