"""A deployment, opened: its object store, its ledger, its registry and its jobs."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from data.ledger import Ledger
from data.registry import Promotion, Registry
from data.store import ObjectStore
from models.estimator import Estimator
from models.version import Predictor, load_model, load_predictor
from pipelines.job import Job, find_job
from pipelines.settings import Settings


@dataclass(frozen=True)
class Workspace:
    """Everything a step works with; each part is opened when it is first used."""

    settings: Settings

    @classmethod
    def open(cls, settings: Settings | None = None) -> Workspace:
        """The deployment of `settings`, by default the one this process is configured for."""
        return cls(settings or Settings.load())

    @cached_property
    def store(self) -> ObjectStore:
        return ObjectStore(
            self.settings.store_endpoint,
            self.settings.store_access_key,
            self.settings.store_secret_key,
            self.settings.store_bucket,
            secure=self.settings.store_secure,
        )

    @cached_property
    def ledger(self) -> Ledger:
        ledger = Ledger(self.settings.ledger_url)
        ledger.upgrade()
        return ledger

    @cached_property
    def registry(self) -> Registry:
        return Registry(
            self.settings.registry_url,
            self.settings.home / "registry",
            self.store,
            lock=lambda: self.ledger.lease("registry", timeout=600),
        )

    def job(self, name: str) -> Job:
        """The job of that name.

        Raises:
            UnknownJob: no file of the jobs folder has that name.
            JobRefused: its file cannot be used.
        """
        return find_job(self.settings.jobs, name)

    def served(self, job: str) -> Promotion | None:
        """The newest promotion of the job: what serves, or is about to."""
        promotions = self.registry.promotions(job)
        return promotions[-1] if promotions else None

    def sample_bytes(self, sample_id: str) -> bytes:
        """The bytes of a sample or of a template, by their hash."""
        return self.store.get(sample_key(sample_id))

    def model_folder(self, job: str, version: str) -> Path:
        """The folder of a stored model version, fetched once."""
        folder = self.settings.home / "models" / job / version
        if not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{version}.") as place:
                fetched = self.registry.fetch_model(job, version, Path(place) / "model")
                try:
                    fetched.replace(folder)
                except OSError:
                    if not folder.exists():  # else another process was faster
                        raise
        return folder

    def estimator(self, job: str, version: str) -> Estimator:
        """The estimator of a stored model version, ready to learn on."""
        return load_model(self.model_folder(job, version))

    def predictor(self, job: str, version: str) -> Predictor:
        """What predicts for a stored model version, here as where it serves."""
        return load_predictor(self.model_folder(job, version))


def sample_key(sample_id: str) -> str:
    """Where the bytes of a sample or of a template lie in the store."""
    return f"samples/{sample_id[:2]}/{sample_id}"
