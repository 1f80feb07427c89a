"""A registry on a store of its own, labelled samples to fill it, and a process of its own that can be killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.images import encode_png
from data.registry import Registry
from data.sample import Annotation, Box, Sample, sha256
from data.store import ObjectStore

ROOT = Path(__file__).resolve().parents[3]

# What a process of its own does: publish samples, a model and a promotion, as `Trial.step` asks.
PROGRAM = """
import json, sys
from pathlib import Path
from data.registry import Registry
from data.sample import Annotation, Box, Sample
from data.store import ObjectStore

given = json.load(sys.stdin)
registry = Registry(given["url"], Path(given["clone"]), ObjectStore(*given["store"]))
print("ready", flush=True)
if given["kind"] == "dataset":
    pairs = [
        (Sample(**sample), Annotation(boxes=tuple(map(Box.from_json, boxes)), **annotation))
        for sample, annotation, boxes in given["pairs"]
    ]
    read_bytes = lambda name: (Path(given["bytes"]) / name).read_bytes()
    done = registry.publish_dataset("pcb", pairs, given["removed"], read_bytes=read_bytes, checks={"samples": 1})
elif given["kind"] == "model":
    done = registry.publish_model("pcb", Path(given["folder"]), given["metadata"])
else:
    done = registry.promote("pcb", given["version"], actor="a person", reason="better", decision={"run_id": given["run"]})
print(done.version, flush=True)
"""


@dataclass
class Trial:
    """A registry in `folder`, the bytes of its samples, and a process that works on it."""

    folder: Path
    store: ObjectStore
    bytes: dict[str, bytes] = field(default_factory=dict)
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
        self.bytes[sha256(content)] = content
        return sha256(content)

    def read_bytes(self, name: str) -> bytes:
        self.asked.append(name)
        return self.bytes[name]

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

    def start(self, step: dict[str, Any], failpoints: Path | None = None) -> subprocess.Popen[str]:
        """A process that does one step; dead at the failpoint that is armed in the folder `failpoints`."""
        environment = {**os.environ, **({"RATCHET_FAILPOINTS": str(failpoints)} if failpoints else {})}
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            cwd=ROOT,
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        store = [self.store.endpoint, self.store.access_key, self.store.secret_key, self.store.bucket]
        given = {"url": self.url, "clone": str(self.folder / "registry"), "store": store, **step}
        assert process.stdin is not None
        process.stdin.write(json.dumps(given))
        process.stdin.close()
        process.stdin = None
        return process

    def dataset_step(self, numbers: Iterable[int], removed: Iterable[str] = ()) -> dict[str, Any]:
        pairs = self.labelled(numbers)
        place = self.folder / "bytes"
        place.mkdir(exist_ok=True)
        for name, content in self.bytes.items():
            (place / name).write_bytes(content)
        records = [
            (
                {name: getattr(sample, name) for name in Sample.__slots__},
                {name: getattr(annotation, name) for name in Annotation.__slots__ if name != "boxes"},
                [box.to_json() for box in annotation.boxes],
            )
            for sample, annotation in pairs
        ]
        return {"kind": "dataset", "pairs": records, "removed": list(removed), "bytes": str(place)}

    def state(self) -> dict[str, Any]:
        """What anybody can see of the job: every version with its hash, every promotion without its time."""
        seen = self.clone("looking")
        return {
            "datasets": [version.to_json() for version in seen.datasets("pcb")],
            "models": [(model.version, model.hash, model.metadata) for model in seen.models("pcb")],
            "promotions": [(one.number, one.version, one.decision) for one in seen.promotions("pcb")],
        }


@pytest.fixture
def trials(tmp_path: Path, object_store_server: str, fresh_bucket: Callable[[str], ObjectStore]) -> Callable[[], Trial]:
    """Makes trials, each with a folder and a bucket of its own."""
    made: list[Trial] = []

    def make() -> Trial:
        folder = tmp_path / f"trial{len(made)}"
        folder.mkdir()
        made.append(Trial(folder, fresh_bucket(object_store_server)))
        return made[-1]

    return make


@pytest.fixture
def trial(trials: Callable[[], Trial]) -> Trial:
    """One registry that does not exist yet."""
    return trials()
