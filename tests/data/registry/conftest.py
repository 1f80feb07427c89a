"""Registries that do not exist yet, each with a store of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from data.store import ObjectStore
from tests.data.registry.trial import Trial


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
