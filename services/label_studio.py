"""Label Studio in a Python environment of its own, started so that it speaks to nobody but its users and the store."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock

from pipelines.settings import ROOT, Settings
from services.ports import LOOPBACK
from services.process import Server, ServerFailed, tail

LOCK = ROOT / "docker" / "label-studio" / "requirements.lock"
CACHE = ROOT / ".cache" / "label-studio"
DATABASE = "label_studio.sqlite3"
PROGRAM = ROOT / ".venv-label-studio" / "bin" / "label-studio"
USER = "admin@ratchet.local"
SETTING = "[ratchet] label_studio_url in airflow.cfg"

QUIET = {
    "COLLECT_ANALYTICS": "false",
    "LATEST_VERSION_CHECK": "false",
    "SENTRY_DSN": "",
    "FRONTEND_SENTRY_DSN": "",
    # It would ask git for the version of whatever repository it is started in, and show that as its own.
    "GIT_DIR": os.devnull,
    # Without bytecode on disk each start compiles two thousand modules.
    "PYTHONDONTWRITEBYTECODE": "",
}


def label_studio(settings: Settings, secrets: Mapping[str, str], program: Path | None = None) -> Server:
    """Label Studio on loopback at the port of `settings.label_studio_url`, its data in `home`/label-studio/data.

    `secrets` holds the password of its one user, `USER`; `program` is by default the one that `make setup` installs.
    A data folder that does not exist yet starts from a database whose tables are there and empty.

    Raises:
        ServerFailed: the program is not installed, or it could not create its tables.
    """
    folder = settings.home / "label-studio"
    program = program or PROGRAM
    if not program.exists():
        raise ServerFailed(f"{program} does not exist; `make setup` installs Label Studio there from {LOCK}")
    _start_from_empty_tables(program, folder / "data")
    port = urlsplit(settings.label_studio_url).port or 80
    scheme = "https" if settings.store_secure else "http"
    return Server(
        name="Label Studio",
        command=(str(program), "start", "--no-browser", "--internal-host", LOOPBACK, "--port", str(port)),
        environment={
            **QUIET,
            "HOST": "",
            "LABEL_STUDIO_BASE_DATA_DIR": str(folder / "data"),
            "LABEL_STUDIO_USERNAME": USER,
            "LABEL_STUDIO_PASSWORD": secrets["RATCHET_LABEL_STUDIO_PASSWORD"],
            "LABEL_STUDIO_USER_TOKEN": settings.label_studio_token,
            "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
            "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
            # Its guard against server-side request forgery refuses a private address that a user enters, but trusts
            # these: so the guard stays on, and the store's keys stand in no project.
            "S3_ENDPOINT": f"{scheme}://{settings.store_endpoint}",
            "AWS_ACCESS_KEY_ID": settings.store_access_key,
            "AWS_SECRET_ACCESS_KEY": settings.store_secret_key,
        },
        ports={"HTTP": port},
        ready=lambda: _answers(settings.label_studio_url, settings.label_studio_token),
        setting=SETTING,
    )


def _start_from_empty_tables(program: Path, data: Path) -> None:
    """Spare a new data folder the migrations: they take longer than everything else of a first start."""
    if (data / DATABASE).exists():
        return
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = data / f"{DATABASE}.partial"
    shutil.copyfile(_empty_tables(program), partial)
    partial.replace(data / DATABASE)


def _empty_tables(program: Path) -> Path:
    """A database after all migrations, without user, token or secret, kept for the locked version of Label Studio."""
    kept = CACHE / f"{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]}.sqlite3"
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(CACHE / "migrating.lock"):
        if not kept.exists():
            scratch = CACHE / "migrating"
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir()
            environment = {**os.environ, **QUIET, "LABEL_STUDIO_BASE_DATA_DIR": str(scratch)}
            log = scratch / "log"
            with log.open("wb") as output:
                # `version` is the one command that migrates and then ends.
                migration = subprocess.run(
                    [program, "version"], env=environment, stdout=output, stderr=subprocess.STDOUT, check=False
                )
            if migration.returncode != 0:
                raise ServerFailed(f"{program} could not create its tables; the end of {log}:\n{tail(log)}")
            (scratch / DATABASE).replace(kept)
            shutil.rmtree(scratch)
    return kept


def _answers(url: str, token: str) -> bool:
    """Whether the server is up and knows this deployment's token."""
    import httpx

    response = httpx.get(
        f"{url}/api/current-user/whoami", headers={"Authorization": f"Token {token}"}, timeout=5, trust_env=False
    )
    if response.status_code == httpx.codes.UNAUTHORIZED:
        raise ServerFailed("it does not know RATCHET_LABEL_STUDIO_TOKEN; its data folder belongs to other secrets")
    return response.status_code == httpx.codes.OK
