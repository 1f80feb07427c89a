"""A deployment starts its servers in order, leaves what runs alone, says what stands in its way, and stops the rest.

The servers here are small ones: each listens on a port of its own, and nothing else.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pipelines.settings import Settings
from services import airflow, deployment, label_studio, process
from services.deployment import CannotStart, Deployment
from services.ports import LOOPBACK, PortTaken, free_port
from services.process import Server, ServerFailed
from services.secrets import ensure_secrets

LISTEN = "import socket, time; s = socket.create_server(('127.0.0.1', {port})); time.sleep(600)"
FAIL = "raise SystemExit('no licence')"


def small(name: str, code: str = LISTEN) -> Server:
    """A server that is ready once it listens."""
    port = free_port()
    return Server(
        name=name,
        command=(sys.executable, "-S", "-c", code.format(port=port)),
        environment={},
        ports={"HTTP": port},
        ready=lambda: listens(port),
        setting=f"the port of {name}",
    )


def listens(port: int) -> bool:
    with socket.create_connection((LOOPBACK, port), timeout=1):
        return True


@dataclass(frozen=True)
class Small(Deployment):
    """A deployment of small servers."""

    small: list[list[Server]] = field(default_factory=list)

    def groups(self) -> list[list[Server]]:
        return self.small


Make = Callable[..., Small]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes a deployment of groups of servers below a home that does not exist yet; all of it is stopped at the end."""
    secrets = ensure_secrets(tmp_path / "elsewhere")
    settings = Settings.load({**secrets, "AIRFLOW__RATCHET__HOME": str(tmp_path / "home")})
    yield lambda *groups: Small(settings, secrets, list(groups))
    Small(settings, secrets).down(print)


def running(small: Small) -> list[str]:
    return [server.name for server in small.servers() if small.is_running(server)]


def test_it_starts_in_order_and_stops_in_the_other(make: Make) -> None:
    said: list[str] = []
    two = make([small("Store")], [small("Web server")])
    two.up(said.append)
    assert said == ["Store is up", "Web server is up"]
    assert running(two) == ["Store", "Web server"]
    assert two.log(two.servers()[1]).name == "web-server.log"
    said.clear()
    two.down(said.append)
    assert said == ["stopped Web server", "stopped Store"]
    assert running(two) == []


def test_what_runs_is_left_alone(make: Make) -> None:
    said: list[str] = []
    two = make([small("Store")], [small("Web server")])
    two.up(said.append)
    store, web = (process.read_record(file) for file in sorted((two.settings.home / "run").glob("*.json")))
    assert store is not None
    assert web is not None
    process.stop(web)
    said.clear()
    two.up(said.append)
    assert said == ["Store was up already", "Web server is up"]
    assert process.read_record(two.settings.home / "run" / "store.json") == store


def test_a_taken_port_is_named_and_nothing_is_started(make: Make) -> None:
    two = make([small("Store")], [small("Web server")])
    port = two.servers()[1].ports["HTTP"]
    with socket.create_server((LOOPBACK, port)), pytest.raises(PortTaken) as taken:
        two.up(print)
    assert f"port {port} (HTTP) is taken by" in str(taken.value)
    assert str(taken.value).endswith("stop it or change the port of Web server")
    assert running(two) == []


def test_too_little_disk_is_said_and_nothing_is_started(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployment, "LEAST_FREE_BYTES", 1 << 60)
    one = make([small("Store")])
    with pytest.raises(CannotStart) as refused:
        one.up(print)
    sentence = str(refused.value)
    assert sentence.startswith(f"{one.settings.home} has ")
    assert "GiB of disk left and Ratchet needs 1073741824" in sentence
    assert sentence.endswith("free some, or set [ratchet] home in airflow.cfg to a larger disk")
    assert running(one) == []


def test_a_server_that_fails_is_named_with_its_log_and_the_others_can_be_stopped(make: Make) -> None:
    said: list[str] = []
    three = make([small("Store"), small("Broken", FAIL)], [small("Web server")])
    with pytest.raises(ServerFailed, match=r"Broken ended with exit status 1 .*\n.*no licence"):
        three.up(said.append)
    assert running(three) == ["Store"]
    three.down(said.append)
    assert running(three) == []


def test_down_where_nothing_was_started_does_nothing(make: Make) -> None:
    one = make([small("Store")])
    assert not Deployment.exists(one.settings.home)
    one.down(pytest.fail)
    assert not one.settings.home.exists()


def test_down_forgives_a_damaged_record(make: Make) -> None:
    said: list[str] = []
    one = make([small("Store")])
    one.up(said.append)
    (one.settings.home / "run" / "other.json").write_text("{")
    one.down(said.append)
    assert said == ["Store is up", "stopped Store"]


def test_the_addresses_are_those_of_the_settings_and_lead_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__RATCHET__HOME", str(tmp_path))
    monkeypatch.setenv("AIRFLOW__RATCHET__SERVING_URL", "http://127.0.0.1:1234")
    here = Deployment.here(tmp_path)
    assert here.addresses() == [
        ("Airflow", airflow.url(), f"{airflow.USER} / {here.secrets['RATCHET_AIRFLOW_PASSWORD']}"),
        (
            "Label Studio",
            here.settings.label_studio_url,
            f"{label_studio.USER} / {here.secrets['RATCHET_LABEL_STUDIO_PASSWORD']}",
        ),
        ("Inference server", "http://127.0.0.1:1234", ""),
    ]
    assert Deployment.here(tmp_path) == here
