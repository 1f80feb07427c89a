"""A registry on a store of its own, labelled samples to fill it, and processes that can be killed while they do."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, Literal

import numpy as np

from data import failpoint
from data.images import encode_png
from data.registry import Registry
from data.sample import Annotation, Box, Sample, sha256
from data.store import ObjectStore

Step = Literal["first dataset", "second dataset", "model", "promotion"]
STEPS: tuple[Step, ...] = ("first dataset", "second dataset", "model", "promotion")

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["dvc.repo", "pyarrow.dataset", "pyarrow.parquet", __name__])


@dataclass
class Trial:
    """A registry in `folder`, the bytes of its samples, and a process that works on it."""

    folder: Path
    store: ObjectStore
    contents: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return str(self.folder / "registry.git")

    @property
    def registry(self) -> Registry:
        return self.clone("registry")

    def clone(self, name: str, **options: Any) -> Registry:
        return Registry(self.url, self.folder / name, self.store, **options)

    def labelled(self, numbers: Iterable[int], *, label: str = "open") -> list[tuple[Sample, Annotation]]:
        """Samples of 32 x 40 px by number: every fifth is held out, three share a template."""
        return [self._labelled(number, label) for number in numbers]

    def _labelled(self, number: int, label: str) -> tuple[Sample, Annotation]:
        image_id, template_id = self._image(number), self._image(1_000_000 + number // 3)
        sample = Sample(
            id=image_id,
            width=40,
            height=32,
            domain=f"group{number % 2}",
            source=f"inbox/pcb/{number}.png",
            split="train" if number % 5 else "holdout",
            template_id=template_id,
        )
        boxes = (Box(1, 2, 10 + number % 7, 20.5, label), Box(3, 4, 9, 9, "short"))
        return sample, Annotation(image_id, boxes, "a person", f"2026-01-01T00:00:{number % 60:02d}Z", "task 1")

    def _image(self, seed: int) -> str:
        content = encode_png(np.random.default_rng(seed).integers(0, 256, (32, 40), dtype=np.uint8))
        self.contents[sha256(content)] = content
        return sha256(content)

    def read_bytes(self, name: str) -> bytes:
        self.asked.append(name)
        return self.contents[name]

    def publish(self, numbers: Iterable[int], removed: Iterable[str] = (), *, label: str = "open") -> Any:
        return self.registry.publish_dataset(
            "pcb", self.labelled(numbers, label=label), removed, read_bytes=self.read_bytes, checks={"samples": 1}
        )

    def model(self, content: str = "weights") -> Path:
        """A saved model."""
        folder = self.folder / "model"
        (folder / "parts").mkdir(parents=True, exist_ok=True)
        (folder / "parts" / "weights").write_text(content)
        (folder / "model.json").write_text("{}")
        return folder

    def do(self, step: Step) -> None:
        """Take one step."""
        if step == "model":
            self.registry.publish_model(
                "pcb", self.model(), {"run_key": "one", "parent": None, "dataset_version": "d2"}
            )
        elif step == "promotion":
            self.registry.promote(
                "pcb", "v1", instead_of=None, actor="a person", reason="better", decision={"run_id": "a"}
            )
        elif step == "first dataset":
            self.publish(range(6))
        else:
            self.publish(range(4, 9), [self.labelled([2])[0][0].id])

    def start(self, step: Step, failpoints: Path | None = None) -> ForkServerProcess:
        """A process that takes one step; dead at the failpoint that is armed in the folder `failpoints`."""
        store = (self.store.endpoint, self.store.access_key, self.store.secret_key, self.store.bucket)
        ready = PROCESSES.Event()
        process = PROCESSES.Process(target=_take, args=(self.folder, store, step, failpoints, ready))
        process.start()
        assert ready.wait(60)
        return process

    def state(self) -> dict[str, Any]:
        """What anybody can see of the job: every version with its hash, every promotion without its time."""
        seen = self.clone("looking")
        return {
            "datasets": [version.to_json() for version in seen.datasets("pcb")],
            "models": [(model.version, model.hash, model.metadata) for model in seen.models("pcb")],
            "promotions": [(one.number, one.version, one.decision) for one in seen.promotions("pcb")],
        }


def _take(
    folder: Path, store: tuple[str, str, str, str], step: Step, failpoints: Path | None, ready: threading.Event
) -> None:
    if failpoints is not None:
        os.environ[failpoint.VARIABLE] = str(failpoints)
    trial = Trial(folder, ObjectStore(*store))
    ready.set()
    trial.do(step)
