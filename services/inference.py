"""The inference server as a service of this machine: uvicorn at the host and port of `serving_url`."""

from __future__ import annotations

import sys
from urllib.parse import urlsplit

from pipelines.settings import DEFAULTS, ROOT, SECRETS, Settings
from services.process import Server, ServerFailed

SETTING = "[ratchet] serving_url in airflow.cfg"
APPLICATION = "serving.app:create_app"
LONGEST_SHUTDOWN_SECONDS = 10


def inference(settings: Settings, application: str = APPLICATION) -> Server:
    """The inference server of a deployment; ready once every job serves what was promoted, if anything was.

    `application` makes the FastAPI application, written `module:function`; one of your own can import estimators that
    are not built in.
    """
    address = urlsplit(settings.serving_url)
    port = address.port or 80
    return Server(
        name="Inference",
        command=(
            sys.executable,
            *("-m", "uvicorn", "--factory", application, "--app-dir", str(ROOT)),
            *("--host", address.hostname or "127.0.0.1"),
            *("--port", str(port)),
            *("--timeout-graceful-shutdown", str(LONGEST_SHUTDOWN_SECONDS)),
            "--no-access-log",
        ),
        environment={
            **{f"AIRFLOW__RATCHET__{key.upper()}": str(getattr(settings, key)) for key in DEFAULTS},
            **{variable: getattr(settings, field) for field, variable in SECRETS.items()},
            "TF_CPP_MIN_LOG_LEVEL": "2",
            "PYTHONDONTWRITEBYTECODE": "",
        },
        ports={"HTTP": port},
        ready=lambda: _ready(settings.serving_url),
        setting=SETTING,
    )


def _ready(url: str) -> bool:
    import httpx

    answer = httpx.get(f"{url}/health/ready", timeout=5, trust_env=False).json()
    if not answer["ready"]:
        raise ServerFailed("; ".join(answer["waiting"]))
    return True
