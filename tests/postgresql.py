"""A PostgreSQL for tests, where one is installed."""

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


def postgresql_programs() -> Path | None:
    """The folder of initdb and pg_ctl; PATH first, then where Debian keeps each version."""
    on_path = shutil.which("initdb")
    found = [Path(on_path).resolve()] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return next((path.parent for path in reversed(found) if (path.parent / "pg_ctl").exists()), None)


def server() -> Iterator[str]:
    """A PostgreSQL, on a socket in a folder of its own; the URL of its first database."""
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
