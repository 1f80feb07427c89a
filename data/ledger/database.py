"""The ledger's SQL database: every method one transaction, one writer per job, SQLite and PostgreSQL alike."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from tenacity import retry, retry_if_exception_message, stop_after_delay, wait_random

from data.ledger.records import LedgerRefused
from data.ledger.tables import jobs

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"
BUSY_SECONDS = 60.0
MIGRATION_LOCK = 0x7261746368  # "ratch", the key of the advisory lock that PostgreSQL migrates under


class Database:
    """Transactions over the SQL database at `url`, an SQLAlchemy URL of SQLite (a file) or PostgreSQL.

    Raises:
        LedgerRefused: the URL is of another database, or of one that ends with its process.
    """

    def __init__(self, url: str):
        self.url = sa.make_url(url)
        self.sqlite = self.url.get_backend_name() == "sqlite"
        if not self.sqlite and self.url.get_backend_name() != "postgresql":
            raise LedgerRefused(f"{self.url} is neither SQLite nor PostgreSQL; use sqlite:///path or postgresql://…")
        if self.sqlite and self.url.database in (None, "", ":memory:"):
            raise LedgerRefused(f"{self.url} ends with its process, a ledger must not; use sqlite:///path/to/ledger.db")
        self._engine = _sqlite_engine(self.url) if self.sqlite else sa.create_engine(self.url, pool_pre_ping=True)
        self._writing_engine = self._engine.execution_options(writes=True)

    def upgrade(self) -> None:
        """Create the tables or bring them to this code's revision; safe from several processes at once.

        Raises:
            LedgerRefused: the ledger was written by a newer Ratchet.
        """
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        if self.sqlite:
            Path(str(self.url.database)).parent.mkdir(parents=True, exist_ok=True)
            self._write_ahead()
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        with self._writing_engine.begin() as connection:
            if not self.sqlite:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except CommandError as error:
                raise LedgerRefused(
                    f"{self.url} cannot be brought to this code's revision ({error}); run the Ratchet that wrote it"
                ) from error

    # SQLite does not wait its busy timeout when two processes change the journal mode at once.
    @retry(retry=retry_if_exception_message(match=".*locked.*"), stop=stop_after_delay(30), wait=wait_random(0, 0.1))
    def _write_ahead(self) -> None:
        with closing(self._engine.raw_connection()) as connection:
            connection.cursor().execute("PRAGMA journal_mode = WAL")

    def close(self) -> None:
        """Close the idle connections; the next method opens new ones."""
        self._engine.dispose()

    def sequence(self, job: str) -> int:
        """The number of the last transaction that wrote to a job; what was read under the same number is still true.

        Read it before what it is to vouch for. 0 where nothing was written.
        """
        with self._reading() as connection:
            return int(connection.execute(sa.select(jobs.c.sequence).where(jobs.c.name == job)).scalar() or 0)

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _writing(self, job: str) -> Iterator[sa.Connection]:
        """A transaction with a number of its own, in which nobody else writes to `job`."""
        with self._writing_engine.begin() as connection:
            next_number(connection, job)
            yield connection


def _sqlite_engine(url: sa.URL) -> sa.Engine:
    # Opening a file is cheap, and a connection that is never kept cannot be carried through a fork.
    engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args={"timeout": BUSY_SECONDS})

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def insert(connection: sa.Connection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that knows ON CONFLICT, in the dialect of `connection`."""
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)


def next_number(connection: sa.Connection, job: str) -> int:
    """The next number of the job's sequence; to be called in its writing transaction."""
    statement = insert(connection, jobs).values(name=job, sequence=1)
    statement = statement.on_conflict_do_update(index_elements=["name"], set_={"sequence": jobs.c.sequence + 1})
    return int(connection.execute(statement.returning(jobs.c.sequence)).scalar_one())


def clock(connection: sa.Connection) -> float:
    """Seconds since 1970 on the one clock that all who share the database can see."""
    if connection.dialect.name == "sqlite":
        return time.time()
    return float(connection.execute(sa.select(sa.extract("epoch", sa.func.clock_timestamp()))).scalar_one())
