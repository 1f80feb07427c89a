"""Where this deployment's servers are and their secrets: `[ratchet]` in airflow.cfg, the environment above it."""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

DEFAULTS = {
    "home": ".ratchet",
    "jobs": "dags/jobs",
    "store_endpoint": "127.0.0.1:18333",
    "store_secure": "False",
    "store_bucket": "ratchet",
    "ledger_url": "",
    "registry_url": "",
    "label_studio_url": "http://127.0.0.1:18980",
    "serving_url": "http://127.0.0.1:18500",
}

SECRETS = {
    "store_access_key": "RATCHET_STORE_ACCESS_KEY",
    "store_secret_key": "RATCHET_STORE_SECRET_KEY",
    "label_studio_token": "RATCHET_LABEL_STUDIO_TOKEN",
}


class SettingsRefused(ValueError):
    """The deployment's settings cannot be used; the message names every problem."""


@dataclass(frozen=True)
class Settings:
    """The addresses and secrets of one deployment; paths are absolute."""

    home: Path
    jobs: Path
    store_endpoint: str
    store_secure: bool
    store_bucket: str
    ledger_url: str
    registry_url: str
    label_studio_url: str
    serving_url: str
    store_access_key: str
    store_secret_key: str
    label_studio_token: str

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read the settings from airflow.cfg, the environment and the secrets file.

        Raises:
            SettingsRefused: an unknown key in `[ratchet]`, or a secret that is set nowhere.
        """
        environment = os.environ if environment is None else environment
        values, problems = _configured(environment)
        home = (ROOT / values["home"]).resolve()
        secrets = {**read_secrets(home), **environment}
        missing = [variable for variable in SECRETS.values() if not secrets.get(variable)]
        if missing:
            problems.append(
                f"no value for {', '.join(missing)}; run `make up` once to generate {home / 'secrets.env'}, "
                "or set them in the environment"
            )
        if problems:
            raise SettingsRefused("; ".join(problems))
        return cls(
            home=home,
            jobs=(ROOT / values["jobs"]).resolve(),
            store_endpoint=values["store_endpoint"],
            store_secure=values["store_secure"].lower() in ("1", "true", "yes"),
            store_bucket=values["store_bucket"],
            ledger_url=values["ledger_url"] or f"sqlite:///{home / 'ledger.db'}",
            registry_url=values["registry_url"] or str(home / "registry.git"),
            label_studio_url=values["label_studio_url"].rstrip("/"),
            serving_url=values["serving_url"].rstrip("/"),
            **{field: secrets[variable] for field, variable in SECRETS.items()},
        )


def _configured(environment: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Each setting's text, and what is wrong with them."""
    file = Path(environment.get("AIRFLOW_HOME", ROOT)) / "airflow.cfg"
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(file)
    section = dict(parser["ratchet"]) if parser.has_section("ratchet") else {}
    problems = [
        f"[ratchet] {key} in {file} is not a setting; the settings are {', '.join(DEFAULTS)}"
        for key in section
        if key not in DEFAULTS
    ]
    prefix = "AIRFLOW__RATCHET__"
    overrides = {key: environment[prefix + key.upper()] for key in DEFAULTS if prefix + key.upper() in environment}
    return {**DEFAULTS, **section, **overrides}, problems


def jobs_folder(environment: Mapping[str, str] | None = None) -> Path:
    """The folder of the jobs' files, known before any secret is."""
    values, _ = _configured(os.environ if environment is None else environment)
    return (ROOT / values["jobs"]).resolve()


def home(environment: Mapping[str, str] | None = None) -> Path:
    """The folder of everything this deployment keeps on this machine, known before any secret is."""
    values, _ = _configured(os.environ if environment is None else environment)
    return (ROOT / values["home"]).resolve()


def read_secrets(home: Path) -> dict[str, str]:
    """The variables of `secrets.env` in `home`; empty where there is no such file."""
    file = home / "secrets.env"
    if not file.exists():
        return {}
    lines = (line.strip() for line in file.read_text().splitlines())
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
