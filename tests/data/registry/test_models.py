"""Model versions: one per run key, the same folder back, its bytes readable by the store alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data.archive import members
from data.registry import UnknownVersion
from tests.data.registry.trial import Trial

pytestmark = pytest.mark.slow


def metadata(run_key: str, parent: str | None = None, **more: Any) -> dict[str, Any]:
    return {"run_key": run_key, "parent": parent, "dataset_version": None, "classes": ["open"], **more}


def test_a_model_comes_back_as_it_was_stored(trial: Trial, tmp_path: Path) -> None:
    stored = trial.registry.publish_model("pcb", trial.model(), metadata("one", loss=0.25))
    assert stored.version == "v1"
    assert trial.clone("elsewhere").model("pcb", "v1") == stored
    assert trial.registry.models("pcb") == [stored]
    assert stored.metadata["loss"] == 0.25
    folder = trial.clone("elsewhere").fetch_model("pcb", "v1", tmp_path / "fetched")
    files = {file.relative_to(folder).as_posix(): file.read_text() for file in folder.rglob("*") if file.is_file()}
    assert files == {"parts/weights": "weights", "model.json": "{}"}


def test_the_store_alone_has_the_bytes_under_the_key(trial: Trial, tmp_path: Path) -> None:
    stored = trial.registry.publish_model("pcb", trial.model(), metadata("one"))
    content = trial.store.get(stored.key)
    assert hashlib.sha256(content).hexdigest() == stored.hash
    archive = tmp_path / "model.tar"
    archive.write_bytes(content)
    assert list(members(archive)) == ["model.json", "parts/weights"]


def test_a_run_key_has_one_version(trial: Trial) -> None:
    first = trial.registry.publish_model("pcb", trial.model("a"), metadata("one"))
    assert trial.registry.publish_model("pcb", trial.model("b"), metadata("one")) == first
    second = trial.registry.publish_model("pcb", trial.model("b"), metadata("two", "v1"))
    assert (second.version, second.hash == first.hash) == ("v2", False)
    assert trial.registry.publish_model("pcb", trial.model("c"), metadata("one")) == first
    assert [model.version for model in trial.registry.models("pcb")] == ["v1", "v2"]
    assert trial.registry.models("other") == []
    assert trial.registry.check("pcb") == []


def test_the_same_folder_is_the_same_bytes(trials: Callable[[], Trial]) -> None:
    one, other = trials(), trials()
    hashes = {trial.registry.publish_model("pcb", trial.model(), metadata("one")).hash for trial in (one, other)}
    assert len(hashes) == 1


def test_nothing_is_stored_of_an_empty_folder(trial: Trial, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="save a model into it first"):
        trial.registry.publish_model("pcb", tmp_path / "empty", metadata("one"))
    with pytest.raises(UnknownVersion, match="pcb has no model version v1; it has none"):
        trial.registry.model("pcb", "v1")
