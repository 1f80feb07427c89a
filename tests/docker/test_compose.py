"""What can be known of the images and of the composition without a container engine."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from pipelines.settings import DEFAULTS, ROOT, SECRETS
from services.object_store import MINIO_VERSION

DOCKER = ROOT / "docker"
TEXT = (DOCKER / "compose.yaml").read_text()
SERVICES: dict[str, Any] = yaml.safe_load(TEXT)["services"]
EXAMPLE = dict(
    line.split("=", 1) for line in (DOCKER / ".env.example").read_text().splitlines() if re.match(r"[A-Z]", line)
)


def test_every_variable_is_in_the_example_and_none_has_a_value() -> None:
    assert set(re.findall(r"(?<!\$)\$\{(\w+)", TEXT)) == EXAMPLE.keys()
    assert set(EXAMPLE.values()) == {""}


def test_environment_file_is_ignored() -> None:
    assert ".env" in (DOCKER / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_loopback_only(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "airflow-init"])
def test_health_is_checked(name: str) -> None:
    service = SERVICES[name]
    build = service.get("build")
    target = build.get("target") if isinstance(build, dict) else None
    if target is None and isinstance(build, str):
        assert "HEALTHCHECK" in (DOCKER / build / "Dockerfile").read_text()
    elif target == "inference":
        assert "HEALTHCHECK" in (DOCKER / "Dockerfile").read_text().split("AS inference")[1].split("FROM")[0]
    else:
        assert "test" in service["healthcheck"]


@pytest.mark.parametrize("name", [name for name in SERVICES if name.startswith("airflow") or name == "inference"])
def test_ratchet_finds_its_settings(name: str) -> None:
    environment = SERVICES[name]["environment"]
    given = {key.removeprefix("AIRFLOW__RATCHET__").lower() for key in environment if "__RATCHET__" in key}
    assert given <= DEFAULTS.keys()
    assert environment.keys() >= set(SECRETS.values())


@pytest.mark.parametrize("file", sorted(DOCKER.rglob("Dockerfile")), ids=lambda file: file.parent.name)
def test_image_is_of_what_is_there_and_does_not_run_as_root(file: Any) -> None:
    text = file.read_text()
    context = ROOT if file.parent == DOCKER else file.parent
    copied = [source for line in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.M) for source in line.split()]
    assert [source for source in copied if not (context / source).exists()] == []
    users = re.findall(r"^USER (\S+)$", text, re.M)
    assert users
    assert users[-1] != "root"


def test_minio_is_the_tested_one() -> None:
    assert f"MINIO_VERSION={MINIO_VERSION}\n" in (DOCKER / "minio" / "Dockerfile").read_text()
