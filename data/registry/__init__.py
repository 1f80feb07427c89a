"""The registry: every version of every dataset and model, and who served when, in a git and DVC repository of its own.

A version is a tag that was pushed together with its commit, after its bytes. Tags follow GTO's convention, so that
`gto show` and `gto history` read them: `pcb@v3.0.0` is model version v3 of the job pcb, `pcb-data@v2.0.0` its dataset
version d2, `pcb#production#7` its seventh promotion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from data.dataset import Dataset, DatasetVersion
from data.registry import check, datasets, models, promotions
from data.registry.datasets import DatasetRefused
from data.registry.git import GitFailed
from data.registry.models import ModelVersion
from data.registry.promotions import Overtaken, Promotion
from data.registry.repository import Lock, Repository, UnknownVersion
from data.registry.storage import RegistryDamaged
from data.sample import Annotation, Sample
from data.store import ObjectStore

__all__ = [
    "DatasetRefused",
    "DatasetVersion",
    "GitFailed",
    "ModelVersion",
    "Overtaken",
    "Promotion",
    "Registry",
    "RegistryDamaged",
    "UnknownVersion",
]


class Registry:
    """The bare git repository at `url` with its bytes in `store`, used through a clone of this machine's own.

    A path where there is no repository yet gets one. `lock` gives a context manager that keeps every other writer out;
    by default one that keeps out those of this machine. Any method can raise GitFailed, StoreUnreachable.
    """

    def __init__(self, url: str, clone: Path, store: ObjectStore, lock: Lock | None = None):
        self._repository = Repository(url, clone, store, lock)

    def publish_dataset(
        self,
        job: str,
        new: Iterable[tuple[Sample, Annotation]],
        removed: Iterable[str] = (),
        *,
        read_bytes: Callable[[str], bytes],
        checks: Mapping[str, Any],
    ) -> DatasetVersion:
        """Add samples with their labels (or new labels of samples it has) and take the samples `removed` out.

        `read_bytes` gives the bytes of a sample or template and is asked only for those that no version has yet.
        `checks` is kept with the version. Where the newest version already says all that, it is returned.

        Raises:
            DatasetRefused: contradictions, a sample that would change its split, bytes of another hash, or no sample.
        """
        return datasets.publish(self._repository, job, new, removed, read_bytes, checks)

    def dataset(self, job: str, version: str | None = None) -> Dataset:
        """A dataset version, by default the newest, to be read; its bytes are fetched when they are needed.

        Raises:
            UnknownVersion: there is no such version.
        """
        return datasets.open_dataset(self._repository, job, version)

    def dataset_version(self, job: str, version: str | None = None) -> DatasetVersion:
        """What a dataset version consists of, by default the newest.

        Raises:
            UnknownVersion: there is no such version.
        """
        return datasets.version(self._repository, job, version)

    def datasets(self, job: str) -> list[DatasetVersion]:
        """Every dataset version of a job, the newest last."""
        self._repository.fetch()
        return datasets.versions(self._repository, job)

    def publish_model(self, job: str, folder: Path, metadata: Mapping[str, Any]) -> ModelVersion:
        """Store the saved model in `folder` with `metadata`, a JSON object that has at least its `run_key`.

        The same `run_key` gives the version that was stored for it, whatever is in `folder` now.

        Raises:
            FileNotFoundError: there is no file in `folder`.
        """
        return models.publish(self._repository, job, folder, metadata)

    def model(self, job: str, version: str) -> ModelVersion:
        """A model version.

        Raises:
            UnknownVersion: there is no such version.
        """
        return models.version(self._repository, job, version)

    def models(self, job: str) -> list[ModelVersion]:
        """Every model version of a job, the newest last."""
        self._repository.fetch()
        return models.versions(self._repository, job)

    def fetch_model(self, job: str, version: str, destination: Path) -> Path:
        """Write the saved model of a version into the folder `destination`, which is complete when this returns.

        Raises:
            UnknownVersion: there is no such version.
            RegistryDamaged: its bytes are missing or are not the ones that were stored.
        """
        return models.unpack_version(self._repository, job, version, destination)

    def promote(
        self,
        job: str,
        version: str,
        *,
        instead_of: str | None,
        actor: str,
        reason: str,
        decision: Mapping[str, Any],
    ) -> Promotion:
        """Record that a model version serves from now on, `instead_of` the one that does (None: of nothing).

        `decision` has the `run_id` of the run that promotes.

        A run promotes once: later calls for the same `run_id` return its promotion and change nothing.

        Raises:
            UnknownVersion: there is no such version.
            Overtaken: another one serves by now.
        """
        return promotions.promote(self._repository, job, version, instead_of, actor, reason, decision)

    def promotions(self, job: str) -> list[Promotion]:
        """Every promotion of a job, the newest last."""
        self._repository.fetch()
        return promotions.promotions(self._repository, job)

    def check(self, job: str) -> list[str]:
        """Everything that is wrong with the versions of a job, in words; reads every byte of them from the store."""
        return check.check(self._repository, job)

    def state(self, job: str) -> str:
        """A word for what the bare repository has of a job; as long as it is the same, nothing of it has changed."""
        return self._repository.state(
            datasets.tag_name(job, "*"), models.tag_name(job, "*"), promotions.tag_name(job, "*")
        )
