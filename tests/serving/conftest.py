"""A deployment with one job whose models are stamps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from data.archive import write_folder
from data.sample import sha256
from data.store import ObjectStore
from models.version import save_model
from pipelines.deploy import ModelObject, Pointer, pointer_key
from pipelines.settings import Settings
from tests.serving.stamp import Stamp, deployment


@pytest.fixture
def settings(object_store: ObjectStore, tmp_path: Path) -> Settings:
    """A deployment on this test's bucket with the job `boards`."""
    return deployment(object_store, tmp_path)


@pytest.fixture
def publish(object_store: ObjectStore, tmp_path: Path) -> Callable[..., Pointer]:
    """Puts a model into the store and makes a pointer of it, as `deploy` would."""

    def publish(
        version: str, promotion: int, seconds: float = 0.0, hold: Path | str = "", point: bool = True
    ) -> Pointer:
        archive = archive_of(Stamp(version, seconds, str(hold)), tmp_path / f"{version}-{promotion}")
        digest = sha256(archive)
        object_store.put(f"models/{digest}", archive)
        pointer = Pointer(
            job="boards",
            version=version,
            promotion=promotion,
            promoted_at="2026-11-20T10:00:00+00:00",
            model=ModelObject(key=f"models/{digest}", sha256=digest),
            classes=["open", "short"],
        )
        if point:
            object_store.put(pointer_key("boards"), pointer.model_dump_json().encode(), "application/json")
        return pointer

    return publish


def archive_of(estimator: Stamp, folder: Path) -> bytes:
    """The bytes of a saved estimator as one archive."""
    save_model(estimator, folder)
    archive = folder.with_suffix(".tar")
    write_folder(archive, folder)
    return archive.read_bytes()
