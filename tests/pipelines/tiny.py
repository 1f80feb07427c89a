"""A deployment without servers, an estimator that learns in no time, and the pictures it learns from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data.formats import LabelledImage
from data.images import encode_png
from data.sample import Box, Example
from models.estimator import ClassFactory, ClassType, TrainingReport
from models.metrics import EvaluationReport
from models.metrics import evaluate as measure
from pipelines.job import Job
from pipelines.settings import DEFAULTS, SECRETS, Settings
from pipelines.workspace import Workspace

NOBODY = "127.0.0.1:9"
SIZE = 64
JOB = """\
name: tiny
classes: [open, short]
source: {template: {sample: _test, template: _temp}}
dataset: {trainProb: 0.5}
estimator: {name: Tiny}
trainSpec:
  trigger: {condition: {metric: num_of_samples, operator: ">=", threshold: 3}}
  parameters: {skill: 0.5}
evalSpec: {minSupport: 2}
deploySpec: {rule: {name: point}, floors: {minSupport: 1}}
"""


@ClassFactory.register(ClassType.GENERAL, alias="Tiny")
class Tiny:
    """Finds the share `skill` of its classes' boxes when it is evaluated, and the whole image when it predicts."""

    threshold = 0.5

    def __init__(self, classes: Sequence[str], skill: float = 0.0):
        self.classes = list(classes)
        self.skill = skill
        self.parameters = {"classes": self.classes}

    def train(
        self,
        train_data: Sequence[Example],
        valid_data: Sequence[Example] | None = None,  # noqa: ARG002
        *,
        skill: float = 0.5,
        **_: Any,
    ) -> TrainingReport:
        self.skill = skill
        return TrainingReport(steps=len(train_data), best_step=0, seconds=0.0, loss=0.0, threshold=self.threshold)

    def predict(self, examples: Sequence[Example]) -> list[tuple[Box, ...]]:
        whole = ((float(example.image.shape[1]), float(example.image.shape[0])) for example in examples)
        return [(Box(0.0, 0.0, width, height, self.classes[0], 0.75),) for width, height in whole]

    def evaluate(self, data: Sequence[Example]) -> EvaluationReport:
        truth = {example.sample_id: example.boxes for example in data}
        boxes = [(example.sample_id, box) for example in data for box in example.boxes if box.label in self.classes]
        found: dict[str, list[Box]] = {}
        for sample_id, box in boxes[: round(self.skill * len(boxes))]:
            found.setdefault(sample_id, []).append(Box(box.x1, box.y1, box.x2, box.y2, box.label, 0.9))
        domains = {example.sample_id: example.domain for example in data}
        labelled = {example.sample_id: example.classes for example in data}
        return measure(truth, found, domains, self.classes, self.threshold, labelled)

    def save(self, folder: Path) -> None:
        (folder / "skill.json").write_text(json.dumps(self.skill))

    def load(self, folder: Path) -> None:
        self.skill = json.loads((folder / "skill.json").read_text())


def without_servers(folder: Path) -> Settings:
    """The settings of a deployment in `folder` that has a ledger, a registry and no job yet."""
    (folder / "jobs").mkdir()
    return Settings(
        home=folder,
        jobs=folder / "jobs",
        store_endpoint=NOBODY,
        store_secure=False,
        store_bucket="ratchet",
        ledger_url=f"sqlite:///{folder / 'ledger.db'}",
        registry_url=str(folder / "registry.git"),
        label_studio_url=f"http://{NOBODY}",
        serving_url=f"http://{NOBODY}",
        store_access_key="ratchet-test",
        store_secret_key="ratchet-test-secret",
        label_studio_token="none",
    )


def environment(settings: Settings) -> dict[str, str]:
    """What makes a process work with the deployment of `settings`."""
    values = {field.name: str(getattr(settings, field.name)) for field in fields(settings)}
    return {
        **{f"AIRFLOW__RATCHET__{key.upper()}": values[key] for key in DEFAULTS},
        **{variable: values[field] for field, variable in SECRETS.items()},
    }


def tiny_job(workspace: Workspace) -> Job:
    """The job `tiny`, added to the jobs of a workspace."""
    (workspace.settings.jobs / "tiny.yaml").write_text(JOB)
    return workspace.job("tiny")


def picture(seed: int, size: int = SIZE) -> np.ndarray:
    """An image like no other seed's, uint8 grey [size, size]."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 9), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))


def labelled(numbers: range, domain: str = "line") -> list[LabelledImage]:
    """Labelled images, each with one box of either class."""
    return [
        LabelledImage(
            name=f"{number:03d}_test.png",
            image=encode_png(picture(number)),
            boxes=(Box(4, 4, 20, 20, "open"), Box(30, 30, 50, 50, "short")),
            template=encode_png(picture(10_000 + number)),
            domain=domain,
        )
        for number in numbers
    ]
