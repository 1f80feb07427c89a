"""Free ports are free, and a taken one is named with its holder and the setting that moves it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from services import ports
from services.ports import PortTaken


@pytest.fixture(params=["127.0.0.1", "0.0.0.0"])
def listener(request: pytest.FixtureRequest) -> Iterator[int]:
    with socket.socket() as server:
        server.bind((request.param, 0))
        server.listen()
        yield server.getsockname()[1]


def test_a_free_port_can_be_listened_on() -> None:
    port = ports.free_port()
    with socket.socket() as server:
        server.bind((ports.LOOPBACK, port))
    assert ports.is_free(port)


def test_a_group_is_free_at_every_offset() -> None:
    port = ports.free_group([0, 1, 10000])
    assert port in ports.GROUP_RANGE
    assert all(ports.is_free(port + offset) for offset in (0, 1, 10000))


def test_a_group_that_cannot_be_found_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "is_free", lambda _: False)
    with pytest.raises(PortTaken, match="no group of 2 free ports"):
        ports.free_group([0, 1])


def test_a_taken_port_is_named_with_its_holder_and_its_setting(listener: int) -> None:
    assert not ports.is_free(listener)
    with pytest.raises(PortTaken) as caught:
        ports.require_free({"S3": listener, "filer": ports.free_port()}, "store_endpoint in airflow.cfg")
    message = str(caught.value)
    assert f"port {listener} (S3) is taken by" in message
    assert f"(process {os.getpid()})" in message
    assert message.endswith("stop it or change store_endpoint in airflow.cfg")
    assert "filer" not in message


def test_free_ports_pass() -> None:
    ports.require_free({"S3": ports.free_port()}, "store_endpoint in airflow.cfg")
