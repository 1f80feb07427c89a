from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from pipelines.settings import Settings
from services import label_studio, process
from services.ports import free_port
from services.process import ServerFailed

pytestmark = pytest.mark.slow


@pytest.fixture
def client(label_studio_server: Settings) -> httpx.Client:
    headers = {"Authorization": f"Token {label_studio_server.label_studio_token}"}
    return httpx.Client(base_url=label_studio_server.label_studio_url, headers=headers, trust_env=False, timeout=30)


def test_its_one_user_is_this_deployments_own(client: httpx.Client, label_studio_server: Settings) -> None:
    assert [user["email"] for user in client.get("/api/users/").json() if "simulated" not in user["email"]] == [
        label_studio.USER
    ]
    assert httpx.get(f"{label_studio_server.label_studio_url}/api/projects").status_code == 401
    for database in label_studio.CACHE.glob("*.sqlite3"):
        with closing(sqlite3.connect(database)) as kept:
            for table in ("htx_user", "authtoken_token", "organization", "project"):
                assert kept.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


def test_it_calls_nobody_and_refuses_to_be_sent_to_private_addresses(client: httpx.Client) -> None:
    version = client.get("/api/version").json()
    assert version["release"] == "1.23.2"
    assert version["label-studio-os-package"]["latest_version_from_pypi"] is None
    project = client.post("/api/projects", json={"title": "private addresses"}).json()
    endpoint = {"project": project["id"], "bucket": "anything", "s3_endpoint": "http://127.0.0.1:9"}
    assert client.post("/api/storages/s3", json=endpoint).status_code == 403


def test_a_second_start_keeps_everything(label_studio_server: Settings, tmp_path: Path) -> None:
    program = label_studio.PROGRAM
    settings = replace(label_studio_server, home=tmp_path, label_studio_url=f"http://127.0.0.1:{free_port()}")
    headers = {"Authorization": f"Token {settings.label_studio_token}"}
    for titles in ([], ["kept"]):
        server = label_studio.label_studio(settings, {"RATCHET_LABEL_STUDIO_PASSWORD": "changes nothing"}, program)
        record = process.start(server.name, server.command, tmp_path / "record", tmp_path / "log", server.environment)
        try:
            process.wait_until(server.ready, 120, record)
            address = f"{settings.label_studio_url}/api/projects"
            found = httpx.get(address, headers=headers, trust_env=False, timeout=30).json()["results"]
            assert [project["title"] for project in found] == titles
            httpx.post(address, headers=headers, json={"title": "kept"}, trust_env=False, timeout=30)
        finally:
            process.stop(record)


def test_a_missing_program_is_told_with_the_next_step(label_studio_server: Settings, tmp_path: Path) -> None:
    with pytest.raises(ServerFailed, match="make setup"):
        label_studio.label_studio(
            replace(label_studio_server, home=tmp_path), {"RATCHET_LABEL_STUDIO_PASSWORD": ""}, tmp_path / "missing"
        )
