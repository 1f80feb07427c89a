"""A PostgreSQL for tests, where one is installed."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from benchmarks.servers import postgresql


def server() -> Iterator[str]:
    """A PostgreSQL, on a socket in a folder of its own; the URL of its first database."""
    with postgresql() as started:
        if started is None:
            pytest.skip("there is no PostgreSQL here (neither initdb on the PATH nor /usr/lib/postgresql/*/bin)")
        yield started[0]


def empty_database(server: str) -> str:
    """The URL of a new database of the server."""
    name = f"ledger_{uuid.uuid4().hex}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return sa.make_url(server).set(database=name).render_as_string(hide_password=False)
