"""A whole deployment on this machine: every server started in order, watched, and stopped; nothing else touched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pipelines.settings import Settings
from services import airflow, inference, label_studio, object_store, process
from services.ports import require_free
from services.process import Server
from services.secrets import ensure_secrets

LEAST_FREE_BYTES = 3 * 1024**3
READY_SECONDS = 600.0
RECORDS = "run"


class CannotStart(RuntimeError):
    """The machine lacks something that the deployment needs."""


@dataclass(frozen=True)
class Deployment:
    """The servers of one deployment, in the order in which they start; `home` holds their records, logs and data."""

    settings: Settings
    secrets: dict[str, str]

    @staticmethod
    def exists(home: Path) -> bool:
        """Whether a deployment was ever started in `home`."""
        return (home / RECORDS).exists() or (home / "secrets.env").exists()

    @classmethod
    def here(cls, home: Path) -> Deployment:
        """The deployment that this process is configured for, its secrets generated if this is its first start."""
        secrets = ensure_secrets(home)
        return cls(Settings.load({**secrets, **os.environ}), secrets)

    def groups(self) -> list[list[Server]]:
        """The servers; those of one group start together, once the group before is ready."""
        settings = self.settings
        port = int(settings.store_endpoint.rpartition(":")[2])
        keys = (settings.store_access_key, settings.store_secret_key)
        return [
            [
                object_store.seaweedfs(settings.home / "store", port, *keys),
                *airflow.first(settings, self.secrets),
                label_studio.label_studio(settings, self.secrets),
            ],
            [inference.inference(settings), *airflow.rest(settings, self.secrets)],
        ]

    def servers(self) -> list[Server]:
        """Every server of the deployment."""
        return [server for group in self.groups() for server in group]

    def addresses(self) -> list[tuple[str, str, str]]:
        """Where a person goes: what is there, its address, and how to log in."""
        return [
            ("Airflow", airflow.url(), f"{airflow.USER} / {self.secrets['RATCHET_AIRFLOW_PASSWORD']}"),
            (
                "Label Studio",
                self.settings.label_studio_url,
                f"{label_studio.USER} / {self.secrets['RATCHET_LABEL_STUDIO_PASSWORD']}",
            ),
            ("Inference server", self.settings.serving_url, ""),
        ]

    def up(self, say: Callable[[str], None]) -> None:
        """Start what does not run yet and wait until everything answers.

        Raises:
            CannotStart: too little disk.
            PortTaken: a port of a server that does not run yet belongs to something else.
            ServerFailed: a server did not become ready.
        """
        groups = self.groups()
        self._require_room()
        for group in groups:
            for server in group:
                if not self.is_running(server):
                    require_free(server.ports, server.setting)
        for group in groups:
            started = [self._start(server, say) for server in group]
            with ThreadPoolExecutor(len(group)) as waiting:
                for result in [waiting.submit(wait) for wait in started]:
                    result.result()

    def down(self, say: Callable[[str], None]) -> None:
        """Stop every server that was started, the last one first."""
        records = [record for file in self._records().glob("*.json") if (record := process.read_record(file))]
        for record in sorted(records, key=lambda record: -record.started):
            process.stop(record)
            self._record_file(record.name).unlink(missing_ok=True)
            say(f"stopped {record.name}")

    def is_running(self, server: Server) -> bool:
        record = process.read_record(self._record_file(server.name))
        return record is not None and process.running(record)

    def log(self, server: Server) -> Path:
        return self.settings.home / "logs" / f"{_file_name(server.name)}.log"

    def _start(self, server: Server, say: Callable[[str], None]) -> Callable[[], None]:
        fresh = not self.is_running(server)
        record = process.start(
            server.name, server.command, self._record_file(server.name), self.log(server), server.environment
        )

        def wait() -> None:
            process.wait_until(server.ready, READY_SECONDS, record)
            say(f"{server.name} {'is up' if fresh else 'was up already'}")

        return wait

    def _require_room(self) -> None:
        home = self.settings.home
        home.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(home).free
        if free < LEAST_FREE_BYTES:
            raise CannotStart(
                f"{home} has {free / 1024**3:.1f} GiB of disk left and Ratchet needs {LEAST_FREE_BYTES / 1024**3:.0f}: "
                "free some, or set [ratchet] home in airflow.cfg to a larger disk"
            )

    def _records(self) -> Path:
        return self.settings.home / RECORDS

    def _record_file(self, name: str) -> Path:
        return self._records() / f"{_file_name(name)}.json"


def _file_name(name: str) -> str:
    return name.lower().replace(" ", "-")
