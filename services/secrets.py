"""The secrets of a deployment: generated at first start into one ignored file that only its owner can read."""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from pipelines.settings import read_secrets

GENERATORS: dict[str, Callable[[], str]] = {
    "RATCHET_STORE_ACCESS_KEY": lambda: secrets.token_hex(10),
    "RATCHET_STORE_SECRET_KEY": lambda: secrets.token_hex(20),
    # Label Studio takes exactly 40 hexadecimal digits.
    "RATCHET_LABEL_STUDIO_TOKEN": lambda: secrets.token_hex(20),
    "RATCHET_LABEL_STUDIO_PASSWORD": lambda: secrets.token_urlsafe(12),
    "RATCHET_AIRFLOW_PASSWORD": lambda: secrets.token_urlsafe(12),
    "AIRFLOW__API_AUTH__JWT_SECRET": lambda: secrets.token_hex(32),
    "AIRFLOW__API__SECRET_KEY": lambda: secrets.token_hex(32),
    "AIRFLOW__CORE__FERNET_KEY": lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
}


def ensure_secrets(home: Path) -> dict[str, str]:
    """The deployment's secrets, variable to value; missing ones are generated and kept in `home`/secrets.env."""
    present = read_secrets(home)
    missing = {name: generate() for name, generate in GENERATORS.items() if name not in present}
    if missing:
        home.mkdir(parents=True, exist_ok=True)
        whole = {**present, **missing}
        text = "# Generated at the first start. Keep it private; it is in no version control.\n"
        text += "".join(f"{name}={value}\n" for name, value in whole.items())
        partial = home / "secrets.env.partial"
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
        partial.replace(home / "secrets.env")
        return whole
    return present
