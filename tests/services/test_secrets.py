"""Secrets are generated once, can be read by their owner alone, and are what their servers accept."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from cryptography.fernet import Fernet

from pipelines.settings import Settings, read_secrets
from services.secrets import GENERATORS, ensure_secrets


def test_they_are_generated_once(tmp_path: Path) -> None:
    first = ensure_secrets(tmp_path / "home")
    assert first.keys() == GENERATORS.keys()
    assert len(set(first.values())) == len(first)
    assert ensure_secrets(tmp_path / "home") == first == read_secrets(tmp_path / "home")
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["secrets.env"]


def test_two_deployments_share_none(tmp_path: Path) -> None:
    first, second = ensure_secrets(tmp_path / "first"), ensure_secrets(tmp_path / "second")
    assert not set(first.values()) & set(second.values())


def test_only_their_owner_can_read_them(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        ensure_secrets(tmp_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "secrets.env").stat().st_mode) == 0o600


def test_a_missing_one_is_added_and_the_others_stay(tmp_path: Path) -> None:
    kept = {"RATCHET_LABEL_STUDIO_PASSWORD": "chosen = by # a person", "ANOTHER": "variable"}
    (tmp_path / "secrets.env").write_text("# mine\n\n" + "".join(f"{name}={value}\n" for name, value in kept.items()))
    whole = ensure_secrets(tmp_path)
    assert whole.keys() == GENERATORS.keys() | {"ANOTHER"}
    assert whole.items() >= kept.items()
    assert read_secrets(tmp_path) == whole


def test_the_servers_accept_them(tmp_path: Path) -> None:
    secrets = ensure_secrets(tmp_path)
    assert re.fullmatch("[0-9a-f]{40}", secrets["RATCHET_LABEL_STUDIO_TOKEN"])
    fernet = Fernet(secrets["AIRFLOW__CORE__FERNET_KEY"])
    assert fernet.decrypt(fernet.encrypt(b"a password")) == b"a password"
    assert Settings.load(secrets).store_secret_key == secrets["RATCHET_STORE_SECRET_KEY"]
