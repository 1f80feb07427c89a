"""A ledger on each database it can live in, and a job of its own for each test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from data.ledger import Ledger
from tests.postgresql import empty_database

DATABASES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)]


@pytest.fixture(params=DATABASES)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without any table."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    return empty_database(request.getfixturevalue("postgresql_server"))


@pytest.fixture(scope="session", params=DATABASES)
def ledger(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """A ledger that the tests share, each with jobs of its own."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('ledger')}/ledger.db"
    else:
        url = empty_database(request.getfixturevalue("postgresql_server"))
    shared = Ledger(url)
    shared.upgrade()
    yield shared
    shared.close()


@pytest.fixture
def job() -> str:
    """A job that nothing is known about."""
    return f"job_{uuid.uuid4().hex}"
