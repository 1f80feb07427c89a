"""An estimator that marks the whole image with the version it was given, its job, and the service that knows it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from fastapi import FastAPI

from data.images import encode_png
from data.sample import Box, Example
from data.store import ObjectStore
from models.estimator import ClassFactory, ClassType, TrainingReport
from models.metrics import EvaluationReport
from pipelines.settings import Settings
from services import process
from services.inference import inference
from services.ports import free_port

ACCESS_KEY = "ratchet-test"
SECRET_KEY = "ratchet-test-secret"

JOB = {
    "name": "boards",
    "classes": ["open", "short"],
    "estimator": {"name": "Stamp"},
    "source": {"template": {}, "maxBytes": 1_000_000, "minSide": 16},
    "deploySpec": {"pollPeriodSeconds": 0.1},
}


@ClassFactory.register(ClassType.GENERAL, alias="Stamp")
class Stamp:
    """Finds the whole image, labelled `stamp`, and a doubtful corner, `seconds` later.

    Where there is a file `hold` it waits until that is gone, and says so by a file `hold`.reached beside it.
    It refuses images that are darker than 10, fails on black ones, and on all of them where its stamp is `broken`.
    """

    def __init__(self, stamp: str, seconds: float = 0.0, hold: str = ""):
        self.parameters: dict[str, Any] = {"stamp": stamp, "seconds": seconds, "hold": hold}
        self.threshold = 0.5
        self.stamp = stamp
        self.seconds = seconds
        self.hold = hold
        self.weights = ""

    def train(self, *_: Any, **__: Any) -> TrainingReport:
        return TrainingReport(steps=0, best_step=0, seconds=0.0, loss=0.0, threshold=self.threshold)

    def predict(self, examples: Sequence[Example]) -> list[tuple[Box, ...]]:
        return [self._found(example) for example in examples]

    def evaluate(self, *_: Any) -> EvaluationReport:
        raise NotImplementedError

    def save(self, folder: Path) -> None:
        (folder / "weights.json").write_text(json.dumps(self.stamp))

    def load(self, folder: Path) -> None:
        self.weights = json.loads((folder / "weights.json").read_text())

    def _found(self, example: Example) -> tuple[Box, ...]:
        time.sleep(self.seconds)
        while self.hold and Path(self.hold).exists():
            Path(f"{self.hold}.reached").touch()
            time.sleep(0.01)
        if self.weights == "broken" or not example.image.any():
            raise ArithmeticError("there is nothing to see")
        if example.image.max() < 10:
            raise ValueError("it is too dark")
        height, width = example.image.shape
        label = self.weights if example.template is None else f"{self.weights} with template"
        return Box(0, 0, width, height, label, 0.9), Box(0, 0, 1, 1, label, 0.1)


def create_app() -> FastAPI:
    """The service of this process's settings, with this module's estimator registered."""
    from serving import app

    return app.create_app()


def png(width: int = 64, height: int = 48, grey: int = 200) -> bytes:
    """A plain grey image."""
    return encode_png(np.full((height, width), grey, dtype=np.uint8))


def deployment(store: ObjectStore, folder: Path) -> Settings:
    """The settings of a deployment in `folder` on the bucket of `store`, with the job `boards`."""
    jobs = folder / "jobs"
    jobs.mkdir()
    (jobs / "boards.yaml").write_text(yaml.safe_dump(JOB))
    return Settings(
        home=folder / "home",
        jobs=jobs,
        store_endpoint=store.endpoint,
        store_secure=False,
        store_bucket=store.bucket,
        ledger_url=f"sqlite:///{folder / 'ledger.db'}",
        registry_url=str(folder / "registry.git"),
        label_studio_url="",
        serving_url=f"http://127.0.0.1:{free_port()}",
        store_access_key=ACCESS_KEY,
        store_secret_key=SECRET_KEY,
        label_studio_token="unused",
    )


@contextmanager
def serving(settings: Settings, folder: Path) -> Iterator[process.Record]:
    """A running inference server that knows the estimator; its log is in `folder`."""
    server = inference(settings, "tests.serving.stamp:create_app")
    record = process.start(server.name, server.command, folder / "record", folder / "log", server.environment)
    try:
        process.wait_until(server.ready, 60, record)
        yield record
    finally:
        process.stop(record)
