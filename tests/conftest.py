"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import secrets
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from data.store import ObjectStore
from pipelines.settings import Settings
from services import label_studio, process
from services import object_store as servers
from services.ports import free_port
from tests import postgresql

DEEPPCB = Path(__file__).resolve().parent.parent.parent / "shared" / "datasets" / "deeppcb"
CACHE = Path(__file__).resolve().parent.parent / ".cache"
ACCESS_KEY = "ratchet-test"
SECRET_KEY = "ratchet-test-secret"

# How long an example takes says something about the machine's load, nothing about the law.
settings.register_profile("ratchet", deadline=None)
settings.load_profile("ratchet")
# What it remembers of failed examples; by default it would lie in the folder that the tests are started from.
os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", str(CACHE / "hypothesis"))


@pytest.fixture(scope="session")
def deeppcb() -> Path:
    """The folder of the real DeepPCB boards; skips where it is not beside the project."""
    if not (DEEPPCB / "PCBData" / "trainval.txt").exists():
        pytest.skip("the DeepPCB boards are not beside the project (../shared/datasets/deeppcb)")
    return DEEPPCB


def started(server: process.Server, folder: Path) -> Iterator[None]:
    """Run `server` until the fixture ends."""
    record = process.start(server.name, server.command, folder / "record", folder / "log", server.environment)
    try:
        process.wait_until(server.ready, 60, record)
        yield
    finally:
        process.stop(record)


@pytest.fixture(scope="session")
def object_store_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A SeaweedFS of this session's own; its endpoint."""
    folder = tmp_path_factory.mktemp("seaweedfs")
    port = servers.free_seaweedfs_port()
    for _ in started(servers.seaweedfs(folder / "data", port, ACCESS_KEY, SECRET_KEY), folder):
        yield f"127.0.0.1:{port}"


@pytest.fixture(scope="session")
def minio_program() -> Path:
    """MinIO, built once into .cache; skips where there is no Go toolchain."""
    program = servers.build_minio(CACHE)
    if program is None:
        pytest.skip("MinIO is built from source and there is no Go toolchain here (`go` is not on the PATH)")
    return program


@pytest.fixture(scope="session")
def minio_server(minio_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A MinIO of this session's own; its endpoint."""
    folder = tmp_path_factory.mktemp("minio")
    port = free_port()
    for _ in started(servers.minio(folder / "data", port, ACCESS_KEY, SECRET_KEY, minio_program), folder):
        yield f"127.0.0.1:{port}"


@pytest.fixture
def fresh_bucket() -> Iterator[Callable[[str], ObjectStore]]:
    """Makes an ObjectStore on a bucket of this test's own at an endpoint, and empties it afterwards."""
    stores = []

    def make(endpoint: str) -> ObjectStore:
        store = ObjectStore(endpoint, ACCESS_KEY, SECRET_KEY, f"test-{uuid.uuid4().hex}")
        store.ensure_bucket()
        stores.append(store)
        return store

    yield make
    for store in stores:
        for stored in list(store.list("")):
            store.delete(stored.key)
        store.client.remove_bucket(store.bucket)


@pytest.fixture
def object_store(object_store_server: str, fresh_bucket: Callable[[str], ObjectStore]) -> ObjectStore:
    """An empty bucket on SeaweedFS."""
    return fresh_bucket(object_store_server)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """A PostgreSQL of this session's own; the URL of its first database."""
    yield from postgresql.server()


@pytest.fixture(scope="session")
def label_studio_server(object_store_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A Label Studio of this session's own, which serves images from SeaweedFS; the settings that lead to both."""
    program = label_studio.PROGRAM
    if not program.exists():
        pytest.skip(f"Label Studio is not installed ({program}); `make setup` does that")
    folder = tmp_path_factory.mktemp("label-studio")
    settings = Settings(
        home=folder,
        jobs=folder / "jobs",
        store_endpoint=object_store_server,
        store_secure=False,
        store_bucket="ratchet",
        ledger_url=f"sqlite:///{folder / 'ledger.db'}",
        registry_url=str(folder / "registry.git"),
        label_studio_url=f"http://127.0.0.1:{free_port()}",
        serving_url="http://127.0.0.1:9",
        store_access_key=ACCESS_KEY,
        store_secret_key=SECRET_KEY,
        label_studio_token=secrets.token_hex(20),
    )
    ObjectStore(object_store_server, ACCESS_KEY, SECRET_KEY, settings.store_bucket).ensure_bucket()
    password = {"RATCHET_LABEL_STUDIO_PASSWORD": secrets.token_urlsafe(12)}
    for _ in started(label_studio.label_studio(settings, password, program), folder):
        yield settings
