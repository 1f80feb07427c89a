"""Model versions: one archive of the model's folder each, and what it was made from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data.archive import unpack, write_folder
from data.dataset import Blob
from data.failpoint import failpoint
from data.registry.repository import Repository, UnknownVersion, major_version


@dataclass(frozen=True)
class ModelVersion:
    """One version of a job's model: the archive of its folder, and its run key, data, parent, recipe and code."""

    job: str
    version: str
    archive: Blob
    metadata: dict[str, Any]

    @property
    def hash(self) -> str:
        """SHA-256 of the archive."""
        return self.archive.sha256

    @property
    def key(self) -> str:
        """Where the archive lies in the store."""
        return self.archive.key


def publish(repository: Repository, job: str, folder: Path, metadata: Mapping[str, Any]) -> ModelVersion:
    """Store the model in `folder`; the version that has the same `run_key` in its metadata, if there is one."""

    def attempt() -> ModelVersion:
        earlier = versions(repository, job)
        for model in earlier:
            if model.metadata["run_key"] == metadata["run_key"]:
                return model
        number = len(earlier) + 1
        place = repository.clone / "models" / job
        place.mkdir(parents=True, exist_ok=True)
        write_folder(place / "model.tar", folder)
        failpoint("registry.written")
        [archive] = repository.storage.push([place / "model.tar"])
        model = ModelVersion(job, f"v{number}", archive, dict(metadata))
        (place / "model.json").write_text(json.dumps(asdict(model), indent=2, sort_keys=True) + "\n")
        origin = f"from {metadata.get('parent') or 'scratch'} on {metadata.get('dataset_version') or 'nothing'}"
        repository.commit(f"Model {model.version} of {job}, {origin}", tag_name(job, number))
        return model

    if not any(file.is_file() for file in folder.rglob("*")):
        raise FileNotFoundError(f"{folder} has no file in it; save a model into it first")
    return repository.change(attempt)


def versions(repository: Repository, job: str) -> list[ModelVersion]:
    """Every version that is fetched, the newest last."""
    return _read(repository, job, _numbers(repository, job))


def version(repository: Repository, job: str, name: str) -> ModelVersion:
    """One version.

    Raises:
        UnknownVersion: there is none of that name.
    """
    known = {f"v{number}": number for number in _numbers(repository, job)}
    if name not in known:
        repository.fetch()
        known = {f"v{number}": number for number in _numbers(repository, job)}
    if name not in known:
        raise UnknownVersion(f"{job} has no model version {name}; it has {', '.join(known) or 'none'}")
    return _read(repository, job, [known[name]])[0]


def unpack_version(repository: Repository, job: str, name: str, destination: Path) -> Path:
    """Write the folder of a version into the folder `destination`."""
    unpack(repository.storage.local(version(repository, job, name).archive), destination)
    return destination


def tag_name(job: str, number: int | str) -> str:
    """The tag of a model version."""
    return f"{job}@v{number}.0.0"


def _numbers(repository: Repository, job: str) -> list[int]:
    return [major_version(tag) for tag in repository.tags(tag_name(job, "*"))]


def _read(repository: Repository, job: str, numbers: Sequence[int]) -> list[ModelVersion]:
    contents = repository.read([(tag_name(job, number), f"models/{job}/model.json") for number in numbers])
    records = [json.loads(content) for content in contents]
    return [ModelVersion(**{**record, "archive": Blob(**record["archive"])}) for record in records]
