"""The one file that Airflow loads from this folder: Ratchet's page, and links to the other places of a deployment."""

from __future__ import annotations

from typing import Any

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

from pipelines.settings import DEFAULTS

# A ratchet wheel, in the colour of Airflow's own icons beside it.
WHEEL = (
    "data:image/svg+xml,"
    "%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24' fill='none' stroke='{colour}' stroke-width='1.8' "
    "stroke-linejoin='round'%3E%3Cpath d='M12 1.5L16.8 6.3 18.7 4 19.3 10.7 22.3 10.2 18.4 15.7 21.1 17.2 14.5 19 15.6 "
    "21.9 9.5 19 8.4 21.9 5.6 15.7 2.9 17.3 4.7 10.7 1.7 10.2 7.2 6.3 5.3 4 12 4.6Z'/%3E%3Ccircle cx='12' cy='12' "
    "r='3'/%3E%3C/svg%3E"
)
ICONS = {"icon": WHEEL.format(colour="%2324324a"), "icon_dark_mode": WHEEL.format(colour="%23e9eef7")}


def _link(name: str, setting: str, path: str = "") -> dict[str, Any]:
    address = conf.get("ratchet", setting, fallback=DEFAULTS[setting]).rstrip("/")
    return {"name": name, "href": address + path, "destination": "nav", "category": "browse"}


def _view(destination: str, query: str = "", **options: Any) -> dict[str, Any]:
    """The page in Airflow's frame; relative to Airflow's own address, whatever name a person knows it by."""
    route = f"ratchet-{destination.replace('_', '-')}" if query else "ratchet"
    return {"name": "Ratchet", "href": f"ratchet/{query}", "destination": destination, "url_route": route, **options}


async def page(scope: Any, receive: Any, send: Any) -> None:
    """Ratchet's page, as ASGI; imported when somebody asks for it, for every task loads this file."""
    from starlette.concurrency import run_in_threadpool

    app = await run_in_threadpool(_page)
    await app(scope, receive, send)


def _page() -> Any:
    from ratchet_airflow.page import app

    return app


class RatchetPlugin(AirflowPlugin):
    """Ratchet's face in Airflow; its sensors, operators and triggers are imported from `ratchet_airflow`."""

    name = "ratchet"
    fastapi_apps = [{"app": page, "url_prefix": "/ratchet", "name": "Ratchet"}]  # noqa: RUF012 (the base class declares it so)
    external_views = [  # noqa: RUF012
        _view("nav", nav_top_level=True, **ICONS),
        _view("dag", "?dag_id={DAG_ID}"),
        _view("dag_run", "?dag_id={DAG_ID}&run_id={RUN_ID}"),
        _link("Label Studio", "label_studio_url"),
        _link("Inference server", "serving_url", "/docs"),
    ]
