"""The deployment's settings: the file, the environment above it, and the secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.settings import Settings, SettingsRefused, home, jobs_folder, read_secrets

SECRETS = {
    "RATCHET_STORE_ACCESS_KEY": "key",
    "RATCHET_STORE_SECRET_KEY": "secret",
    "RATCHET_LABEL_STUDIO_TOKEN": "token",
}


def environment(folder: Path, section: str = "", **more: str) -> dict[str, str]:
    (folder / "airflow.cfg").write_text(f"[core]\nx = 1\n[ratchet]\nhome = {folder}\n{section}")
    return {"AIRFLOW_HOME": str(folder), **more}


def test_the_file_is_read_and_the_environment_wins(tmp_path: Path) -> None:
    given = environment(tmp_path, "store_bucket = boards\n", AIRFLOW__RATCHET__STORE_ENDPOINT="store:9000", **SECRETS)

    settings = Settings.load(given)

    assert (settings.store_bucket, settings.store_endpoint) == ("boards", "store:9000")
    assert settings.home == tmp_path
    assert settings.ledger_url == f"sqlite:///{tmp_path}/ledger.db"


def test_secrets_come_from_their_file_and_the_environment_wins(tmp_path: Path) -> None:
    lines = "# generated\n" + "".join(f"{name}={value}\n" for name, value in SECRETS.items())
    (tmp_path / "secrets.env").write_text(lines)

    settings = Settings.load(environment(tmp_path, RATCHET_LABEL_STUDIO_TOKEN="other"))

    assert (settings.store_access_key, settings.label_studio_token) == ("key", "other")
    assert read_secrets(tmp_path) == SECRETS


def test_every_problem_is_named_at_once(tmp_path: Path) -> None:
    given = environment(tmp_path, "bucket = boards\n", RATCHET_STORE_ACCESS_KEY="key")

    with pytest.raises(SettingsRefused) as refusal:
        Settings.load(given)

    for word in ("bucket", "store_bucket", "RATCHET_STORE_SECRET_KEY", "RATCHET_LABEL_STUDIO_TOKEN", "make up"):
        assert word in str(refusal.value)


def test_home_is_known_before_any_secret(tmp_path: Path) -> None:
    given = environment(tmp_path, f"jobs = {tmp_path}/jobs\n")
    assert (home(given), jobs_folder(given)) == (tmp_path, tmp_path / "jobs")
