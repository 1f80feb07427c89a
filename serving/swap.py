"""Follow a job's pointer: fetch, verify, load and warm the model it names, and only then let it answer."""

from __future__ import annotations

import logging
import math
import os
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import file_digest
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from data.archive import unpack
from data.sample import Box, Example
from data.store import ObjectMissing, ObjectStore
from models.version import ModelRefused, Predictor, load_predictor
from pipelines.deploy import ModelObject, Pointer, pointer_key
from pipelines.job import Job
from serving.metrics import Metrics

logger = logging.getLogger(__name__)

KEPT_MODELS = 10
LONGEST_RETRY_SECONDS = 60.0
LONGEST_STOP_SECONDS = 5.0
FIRST_SHAPE = (640, 640)


class PointerRefused(ValueError):
    """The pointer names something that cannot or must not serve."""


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory; one prediction at a time, since TensorFlow models share buffers between calls."""

    sha256: str
    predictor: Predictor
    lock: threading.Lock = field(default_factory=threading.Lock)

    def predict(self, example: Example) -> tuple[Box, ...]:
        """The boxes found in one image."""
        with self.lock:
            return tuple(self.predictor.predict([example])[0])


@dataclass(frozen=True)
class Served:
    """A promotion that answers requests; a request keeps the one it began with."""

    pointer: Pointer
    model: LoadedModel
    loaded_at: str


class ModelCache:
    """The model objects on this machine's disk, each downloaded once and verified whenever it is read."""

    def __init__(self, store: ObjectStore, folder: Path):
        self._store = store
        self._folder = folder

    def load(self, model: ModelObject) -> LoadedModel:
        """What predicts for a model object.

        Raises:
            PointerRefused: there is no such object, or its bytes are not those that were promoted.
            ModelRefused: they are not a model that can be loaded here.
        """
        archive = self._fetch(model)
        with tempfile.TemporaryDirectory(prefix="ratchet-model-") as folder:
            unpack(archive, Path(folder))
            return LoadedModel(model.sha256, load_predictor(Path(folder)))

    def prune(self) -> None:
        """Remove all but the models used last, and what a killed download left behind."""
        used: dict[Path, float] = {}
        for file in self._folder.iterdir():
            with suppress(FileNotFoundError):  # another server of this machine prunes the same folder
                used[file] = file.stat().st_mtime
        for file in sorted(used, key=lambda file: -used[file])[KEPT_MODELS:]:
            file.unlink(missing_ok=True)

    def _fetch(self, model: ModelObject) -> Path:
        archive = self._folder / f"{model.sha256}.tar"
        if archive.exists() and _sha256(archive) == model.sha256:
            os.utime(archive)
            return archive
        self._folder.mkdir(parents=True, exist_ok=True)
        partial = archive.with_suffix(f".{os.getpid()}-{threading.get_ident()}.partial")
        try:
            self._store.download(model.key, partial)
            found = _sha256(partial)
            if found != model.sha256:
                raise PointerRefused(
                    f"the bytes under {model.key} are damaged: their SHA-256 is {found}, promoted was {model.sha256}; "
                    "push the model again, or roll back"
                )
            partial.replace(archive)
        except ObjectMissing:
            raise PointerRefused(
                f"there is no model in the store under {model.key}; push the model again, or roll back"
            ) from None
        finally:
            partial.unlink(missing_ok=True)
        return archive


class Follower:
    """Keeps one job's model in step with its pointer, in a thread of its own."""

    def __init__(self, job: Job, store: ObjectStore, cache: ModelCache, metrics: Metrics):
        self.job = job
        self.served: Served | None = None
        self.problem: str | None = None
        self.ready = False
        self.shape = FIRST_SHAPE
        self._store = store
        self._cache = cache
        self._metrics = metrics
        self._etag: str | None = None
        self._etag_problem: str | None = None
        self._failures = 0
        self._try_again_at = math.inf
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"follow-{job.name}", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self, wait_seconds: float = LONGEST_STOP_SECONDS) -> None:
        """Stop following; what is served keeps answering."""
        self._stopped.set()
        self._thread.join(wait_seconds)

    def status(self) -> dict[str, Any]:
        """What serves, since when, and what is wrong if anything is."""
        served = self.served
        return {
            "job": self.job.name,
            "description": self.job.description,
            "model_version": served.pointer.version if served else None,
            "promotion": served.pointer.promotion if served else None,
            "since": served.pointer.promoted_at if served else None,
            "loaded_at": served.loaded_at if served else None,
            "classes": served.pointer.classes if served else self.job.classes,
            "template": self.job.source.template is not None,
            "problem": self.problem,
        }

    def look(self) -> None:
        """Compare with the pointer once and take up what it names; trouble is remembered in `problem`, never raised."""
        try:
            if not self.ready:
                # At the first start of a deployment nothing has been stored yet, not even the bucket.
                self._store.ensure_bucket()
            etag = self._store.etag(pointer_key(self.job.name))
            if etag is not None and (etag != self._etag or time.monotonic() >= self._try_again_at):
                self._follow()
        except Exception as error:
            self.problem = f"the store cannot be asked ({type(error).__name__}: {error}); {self._meanwhile()}"
            return
        if etag is None:
            self._etag = self._etag_problem = None
            self.problem = f"its pointer is gone from the store; {self._meanwhile()}" if self.served else None
        else:
            self.problem = self._etag_problem
        self.ready = self.served is not None or self.problem is None

    def _run(self) -> None:
        while not self._stopped.is_set():
            self.look()
            self._stopped.wait(self.job.deploy_spec.poll_period_seconds)

    def _follow(self) -> None:
        content, etag = self._store.get_with_etag(pointer_key(self.job.name))
        self._failures = self._failures if etag == self._etag else 0
        self._etag = etag
        try:
            self._take_up(_read(content))
        except Exception as error:
            # Whatever an estimator raises while it loads or predicts, the one that serves goes on serving.
            self._failures += 1
            period = self.job.deploy_spec.poll_period_seconds
            self._try_again_at = time.monotonic() + min(period * 2**self._failures, LONGEST_RETRY_SECONDS)
            known = isinstance(error, (PointerRefused, ModelRefused))
            reason = str(error) if known else f"{type(error).__name__}: {error}"
            self._etag_problem = f"{reason}; {self._meanwhile()}"
            self._metrics.swap_failures.labels(self.job.name).inc()
            logger.warning("%s: %s", self.job.name, self._etag_problem, exc_info=self._failures == 1)
        else:
            self._try_again_at = math.inf
            self._etag_problem = None

    def _take_up(self, pointer: Pointer) -> None:
        started = time.monotonic()
        served = self.served
        if pointer.job != self.job.name:
            raise PointerRefused(f"its pointer is one of the job {pointer.job!r}; deploy {self.job.name} again")
        if served and pointer.promotion < served.pointer.promotion:
            raise PointerRefused(
                f"its pointer went back from promotion {served.pointer.promotion} to {pointer.promotion}; "
                "to serve an earlier version, promote that version again"
            )
        if served and pointer == served.pointer:
            return
        if served and pointer.model.sha256 == served.model.sha256:
            model = served.model
        else:
            model = self._cache.load(pointer.model)
            self._warm(model)
            self._cache.prune()
        self.served = Served(pointer, model, datetime.now(UTC).isoformat(timespec="milliseconds"))
        seconds = time.monotonic() - started
        self._metrics.swaps.labels(self.job.name).inc()
        self._metrics.swap_time.labels(self.job.name).observe(seconds)
        logger.info(
            "%s: %s serves by promotion %d, after %.2f s", self.job.name, pointer.version, pointer.promotion, seconds
        )

    def _warm(self, model: LoadedModel) -> None:
        """One prediction on a blank image of the size that was asked for last, so that no request waits for tracing."""
        blank = np.full(self.shape, 255, dtype=np.uint8)
        model.predict(Example(sample_id="", image=blank, template=blank, boxes=(), domain="default"))

    def _meanwhile(self) -> str:
        if self.served is None:
            return "nothing serves, and it tries again"
        pointer = self.served.pointer
        return f"{pointer.version} (promotion {pointer.promotion}) goes on serving, and it tries again"


def _read(content: bytes) -> Pointer:
    try:
        return Pointer.model_validate_json(content)
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, detail['loc'])) or 'it'}: {detail['msg']}" for detail in error.errors())
        raise PointerRefused(f"its pointer is not one ({'; '.join(problems)}); deploy the job again") from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
