"""A ledger on each database it can live in, and a job of its own for each test."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from data.ledger import Ledger


def postgresql_programs() -> Path | None:
    """The folder of initdb and pg_ctl; PATH first, then where Debian keeps each version."""
    on_path = shutil.which("initdb")
    found = [Path(on_path).resolve()] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return next((path.parent for path in reversed(found) if (path.parent / "pg_ctl").exists()), None)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """A PostgreSQL of this session's own, on a socket in a folder of its own; the URL of its first database."""
    programs = postgresql_programs()
    if programs is None:
        pytest.skip("there is no PostgreSQL here (neither initdb on the PATH nor /usr/lib/postgresql/*/bin)")
    # It refuses to run as root.
    account: dict[str, Any] = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.getuid() == 0 else {}
    owner = account.get("user") or getpass.getuser()
    folder = Path(tempfile.mkdtemp(prefix="ledger-"))
    if account:
        shutil.chown(folder, "nobody", "nogroup")

    def run(program: str, *arguments: str) -> None:
        command = [str(programs / program), "-D", f"{folder}/data", *arguments]
        result = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True, **account)
        assert result.returncode == 0, result.stdout + result.stderr

    try:
        run("initdb", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", f"--username={owner}")
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"
        run("pg_ctl", "start", "--wait", "--silent", f"--log={folder}/log", f"--options={options}")
        try:
            yield f"postgresql+psycopg2://{owner}@/postgres?host={folder}"
        finally:
            run("pg_ctl", "stop", "--mode=immediate", "--silent")
    finally:
        shutil.rmtree(folder)


def empty_database(server: str) -> str:
    """The URL of a new database of the server."""
    name = f"ledger_{uuid.uuid4().hex}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return sa.make_url(server).set(database=name).render_as_string(hide_password=False)


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
