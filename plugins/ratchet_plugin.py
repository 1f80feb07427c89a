"""The one file that Airflow loads from this folder: links from its navigation to the other places of a deployment."""

from __future__ import annotations

from typing import Any

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

from pipelines.settings import DEFAULTS


def _link(name: str, setting: str, path: str = "") -> dict[str, Any]:
    address = conf.get("ratchet", setting, fallback=DEFAULTS[setting]).rstrip("/")
    return {"name": name, "href": address + path, "destination": "nav", "category": "browse"}


class RatchetPlugin(AirflowPlugin):
    """Ratchet's face in Airflow; its sensors, operators and triggers are imported from `ratchet_airflow`."""

    name = "ratchet"
    external_views = [  # noqa: RUF012 (the base class declares it so)
        _link("Label Studio", "label_studio_url"),
        _link("Inference server", "serving_url", "/docs"),
    ]
