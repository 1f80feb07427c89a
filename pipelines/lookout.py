"""Lookout: a deployment that many people look at again and again, read no more often than it changes."""

from __future__ import annotations

import hashlib
import json
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from data.registry import DatasetVersion, ModelVersion, Promotion, Registry
from data.registry.repository import Lock
from data.store import ObjectStore
from pipelines import holdout
from pipelines.holdout import HoldoutState
from pipelines.job import Job, JobRefused
from pipelines.overview import StillReading, first_line, listed, overview
from pipelines.workspace import Workspace

# How far the window of a gate may open unseen; everything else is seen as soon as the ledger or the registry changes.
CLOCK_SECONDS = 30.0
# The registry may be far away, and every open page asks.
REGISTRY_SECONDS = 2.0
PATIENCE_SECONDS = 1.0
# Longer than it takes while the dataset version is one that was read before.
HOLDOUT_SECONDS = 0.25


class Glimpse(Registry):
    """A registry that is only read, and asks for a list of versions again only when something of the job changed."""

    def __init__(self, url: str, clone: Path, store: ObjectStore, lock: Lock):
        super().__init__(url, clone, store, lock)
        self._states: dict[str, tuple[float, str]] = {}
        self._lists: dict[tuple[str, str], tuple[str, list[Any]]] = {}

    def state(self, job: str) -> str:
        at, state = self._states.get(job, (-math.inf, ""))
        if time.monotonic() - at > REGISTRY_SECONDS:
            state = super().state(job)
            self._states[job] = (time.monotonic(), state)
        return state

    def models(self, job: str) -> list[ModelVersion]:
        return self._kept("models", job, super().models)

    def datasets(self, job: str) -> list[DatasetVersion]:
        return self._kept("datasets", job, super().datasets)

    def promotions(self, job: str) -> list[Promotion]:
        return self._kept("promotions", job, super().promotions)

    def _kept(self, what: str, job: str, read: Callable[[str], list[Any]]) -> list[Any]:
        state = self.state(job)
        known = self._lists.get((what, job))
        if known is None or known[0] != state:
            known = self._lists[what, job] = (state, read(job))
        return list(known[1])


class Lookout(Workspace):
    """A deployment that is only looked at, by people who wait for the page: the store has little time to answer."""

    @cached_property
    def store(self) -> ObjectStore:
        settings = self.settings
        keys = (settings.store_access_key, settings.store_secret_key)
        return ObjectStore(
            settings.store_endpoint,
            *keys,
            settings.store_bucket,
            secure=settings.store_secure,
            patience=PATIENCE_SECONDS,
        )

    @cached_property
    def registry(self) -> Registry:
        # The clone is everybody's on this machine, and so is the lock under which it is made.
        return Glimpse(
            self.settings.registry_url,
            self.settings.home / "registry",
            self.store,
            lock=lambda: self.ledger.lease("registry", timeout=600),
        )


@dataclass
class Overviews:
    """The overviews of a deployment's jobs, each read again only after something that it tells of has changed."""

    workspace: Workspace
    _read: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    _holdouts: dict[str, tuple[str, Future[HoldoutState]]] = field(default_factory=dict)
    _locks: dict[str, threading.Lock] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _aside: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))

    def state(self, name: str) -> str:
        """A word for the state of a job: as long as it is the same, so is the overview. Cheap enough to ask always.

        Raises:
            UnknownJob: there is no file of that name.
            JobRefused: its file cannot be used.
        """
        said = [self.workspace.job(name).hash, str(int(time.time() / CLOCK_SECONDS))]
        asked: list[Callable[[], object]] = [
            lambda: self.workspace.ledger.sequence(name),
            lambda: self.workspace.registry.state(name),
        ]
        for ask in asked:
            try:
                said.append(str(ask()))
            except Exception as error:  # what cannot be asked is in a state, too: the overview tells of it
                said.append(first_line(error))
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:32]

    def overview(self, name: str) -> tuple[str, dict[str, Any]]:
        """The state of a job and its overview; several who ask at once wait for one reading.

        Raises:
            UnknownJob: there is no file of that name.
            JobRefused: its file cannot be used.
        """
        with self._lock:
            lock = self._locks.setdefault(name, threading.Lock())
        with lock:
            state = self.state(name)
            late = f"{state} but for the holdout"
            known = self._read.get(name)
            asked, reading = self._holdouts.get(name, ("", None))
            arrived = reading is not None and reading.done()
            if known is None or known[0] not in (state, late) or (known[0] == late and arrived):
                found = overview(self.workspace, self.workspace.job(name), partial(self._holdout_state, state))
                asked, reading = self._holdouts[name]
                known = self._read[name] = (state if asked == state and reading.done() else late, found)
            return known

    def _holdout_state(self, state: str, workspace: Workspace, job: Job) -> HoldoutState:
        """The state of the holdout, read aside: a new dataset version has every image of it read once.

        Raises:
            StillReading: it is not read yet.
        """
        known = self._holdouts.get(job.name)
        if known is None or (known[0] != state and known[1].done()):
            known = self._holdouts[job.name] = (state, self._aside.submit(holdout.state, workspace, job))
        done, _ = wait([known[1]], HOLDOUT_SECONDS)
        if not done:
            raise StillReading
        return known[1].result()

    def summary(self, name: str) -> dict[str, Any]:
        """What a list of jobs says of one: what serves, how far the next training is, the last decision."""
        try:
            _, whole = self.overview(name)
        except JobRefused:
            return listed(self.workspace, name)
        names = ("name", "description", "refused", "file", "serving", "gate", "pending", "training", "problems")
        return {**{key: whole[key] for key in names}, "decision": (whole["decisions"] or [None])[-1]}
