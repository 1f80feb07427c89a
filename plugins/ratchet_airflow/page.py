"""Ratchet's page inside Airflow: its three files, and the data behind them, each for who may read the job's DAG.

Every route needs a user whom Airflow knows; what a route tells of a job needs read permission on `<job>.learn`. Routes
are plain functions, which FastAPI runs in threads, so that the API server goes on answering meanwhile.
"""

from __future__ import annotations

import json
import mimetypes
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import httpx
from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep, get_user
from airflow.models.dag import DagModel
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from sqlalchemy.exc import SQLAlchemyError

from data.images import ImageRefused
from data.registry import GitFailed
from data.sample import sha256
from data.store import ObjectMissing, StoreRefused, StoreUnreachable
from pipelines import overview
from pipelines.evidence import evidence_key
from pipelines.job import JobRefused, UnknownJob
from pipelines.lookout import Lookout, Overviews
from pipelines.settings import Settings, SettingsRefused

STATIC = Path(__file__).parent / "static"
WIDTHS = (320, 1600)
FOR_EVER = "private, max-age=31536000, immutable"
ASK_AGAIN = "private, no-cache"
LABEL_STUDIO_SECONDS = 10.0
# Nothing from anywhere else, and in no frame but Airflow's own.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'self'",
    )
)
UNREACHABLE = (StoreUnreachable, StoreRefused, GitFailed, SQLAlchemyError, SettingsRefused)

app = FastAPI(title="Ratchet", docs_url=None, redoc_url=None, openapi_url=None, dependencies=[Depends(get_user)])


@cache
def overviews() -> Overviews:
    """The overviews of this deployment, kept for all who look."""
    return Overviews(Lookout(Settings.load()))


def _may(user: Any, job: str, verb: str, *, start: bool = False) -> bool:
    """Whether a user may read `<job>.<verb>`, or start runs of it, by Airflow's own permissions."""
    dag_id = f"{job}.{verb}"
    details = DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id))
    manager = get_auth_manager()
    if start:
        return manager.is_authorized_dag(method="POST", access_entity=DagAccessEntity.RUN, details=details, user=user)
    return manager.is_authorized_dag(method="GET", details=details, user=user)


def _readable(job: str, user: GetUserDep) -> str:
    if not _may(user, job, "learn"):
        raise HTTPException(403, f"{user.get_name()} may not read the DAG {job}.learn; ask Airflow's administrator")
    return job


Readable = Annotated[str, Depends(_readable)]


@app.get("/")
@app.get("/page.js")
@app.get("/page.css")
def page(request: Request) -> Response:
    """The page itself: its HTML, its program and its style."""
    name = request.url.path.rpartition("/")[2] or "index.html"
    content = (STATIC / name).read_bytes()
    return _answer(request, content, mimetypes.guess_type(name)[0] or "", sha256(content)[:32], ASK_AGAIN)


@app.get("/jobs")
def list_jobs(request: Request, user: GetUserDep) -> Response:
    """Every job that the user may read, in short, and where the other places of the deployment are."""
    known = overviews()
    settings = known.workspace.settings
    said = {
        "user": user.get_name(),
        "label_studio": settings.label_studio_url,
        "inference": settings.serving_url,
        "jobs": [known.summary(name) for name in overview.jobs(known.workspace) if _may(user, name, "learn")],
    }
    return _json(request, said)


@app.get("/jobs/{job}")
def show_job(request: Request, job: Readable, user: GetUserDep) -> Response:
    """The overview of a job, and which of its runs the user may start; 304 where nothing has changed."""
    may = {verb: _may(user, job, verb, start=True) for verb in ("learn", "rollback")}
    state, found = overviews().overview(job)
    if _known(request, tag := sha256(f"{state} {may}".encode())[:32]):
        return _unchanged(tag)
    return _json(request, {**found, "may": may}, tag)


@app.get("/jobs/{job}/versions")
def show_versions(request: Request, job: Readable) -> Response:
    """The versions that a person can choose to train from, evaluate, promote or roll back to."""
    return _json(request, overview.versions(overviews().workspace, job))


@app.get("/jobs/{job}/classes")
def show_classes(request: Request, job: Readable, metric: str) -> Response:
    """A metric in each class, of both models of each decision."""
    workspace = overviews().workspace
    return _json(request, overview.by_class(workspace, workspace.job(job), metric))


@app.get("/jobs/{job}/samples/{sample_id}/image")
def show_image(
    request: Request, job: Readable, sample_id: str, width: int = WIDTHS[0], template: bool = False
) -> Response:
    """The picture of a sample of this job, or of its template, small or large; it never changes."""
    if width not in WIDTHS:
        raise HTTPException(422, f"width is {width}; it must be one of {', '.join(map(str, WIDTHS))}")
    workspace = overviews().workspace
    sample = workspace.ledger.sample(job, sample_id)
    content_id = None if sample is None else sample.template_id if template else sample.id
    if content_id is None:
        raise HTTPException(404, f"{job} has no {'template of ' if template else ''}sample {sample_id}")
    tag = f"{content_id}-{width}"
    if _known(request, tag):
        return _unchanged(tag, FOR_EVER)
    return _answer(request, overview.picture(workspace, content_id, width), "image/webp", tag, FOR_EVER)


@app.get("/jobs/{job}/samples/{sample_id}/task")
def show_task(job: Readable, sample_id: str) -> Response:
    """Leads to the sample's task in Label Studio."""
    workspace = overviews().workspace
    task = workspace.ledger.task_of(job, sample_id)
    if task is None:
        raise HTTPException(404, f"sample {sample_id} of {job} has no task in Label Studio")
    settings = workspace.settings
    try:
        answer = httpx.get(
            f"{settings.label_studio_url}/api/tasks/{task}/",
            headers={"Authorization": f"Token {settings.label_studio_token}"},
            timeout=LABEL_STUDIO_SECONDS,
            trust_env=False,
        )
        project = answer.raise_for_status().json()["project"]
    except (httpx.HTTPError, ValueError, KeyError) as error:
        raise HTTPException(
            502, f"Label Studio at {settings.label_studio_url} does not give task {task}: {error}"
        ) from None
    return RedirectResponse(f"{settings.label_studio_url}/projects/{project}/data?task={task}", 302)


@app.get("/evidence/{job}/{run_id}/{name}")
def show_evidence(request: Request, job: Readable, run_id: str, name: str) -> Response:
    """A picture that a run shows to people who are asked for their word."""
    content = overviews().workspace.store.get(evidence_key(job, run_id, name))
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return _answer(request, content, kind, sha256(content)[:32], ASK_AGAIN)


@app.exception_handler(HTTPException)
def _refused(request: Request, refusal: HTTPException) -> Response:
    """Airflow's or this page's no; who opens the page itself without being logged in is led to the login."""
    if refusal.status_code == 401 and request.url.path.endswith("/ratchet/"):
        return RedirectResponse(get_auth_manager().get_url_login(next_url=str(request.url)), 303)
    return JSONResponse({"detail": refusal.detail}, refusal.status_code)


def _missing(_request: Request, error: Exception) -> Response:
    return JSONResponse({"detail": str(error)}, 404)


def _unreachable(_request: Request, error: Exception) -> Response:
    return JSONResponse({"detail": str(error).splitlines()[0]}, 503)


for missing in (UnknownJob, ObjectMissing, ImageRefused):
    app.add_exception_handler(missing, _missing)
for unreachable in UNREACHABLE:
    app.add_exception_handler(unreachable, _unreachable)


@app.exception_handler(JobRefused)
def _job_refused(_request: Request, refusal: JobRefused) -> Response:
    return JSONResponse({"detail": str(refusal), "refused": refusal.problems, "file": str(refusal.path)}, 409)


def _json(request: Request, value: Any, tag: str | None = None) -> Response:
    content = json.dumps(value, allow_nan=False).encode()
    return _answer(request, content, "application/json", tag or sha256(content)[:32], ASK_AGAIN)


def _answer(request: Request, content: bytes, kind: str, tag: str, keep: str) -> Response:
    """The content under its tag, or 304 for who has it."""
    if _known(request, tag):
        return _unchanged(tag, keep)
    return Response(content, media_type=kind, headers={**_headers(tag, keep), "Content-Security-Policy": POLICY})


def _unchanged(tag: str, keep: str = ASK_AGAIN) -> Response:
    return Response(status_code=304, headers=_headers(tag, keep))


def _headers(tag: str, keep: str) -> dict[str, str]:
    return {"ETag": f'"{tag}"', "Cache-Control": keep, "X-Content-Type-Options": "nosniff"}


def _known(request: Request, tag: str) -> bool:
    # A server between may have weakened the tag while it compressed the answer.
    return f'"{tag}"' in request.headers.get("if-none-match", "").replace("W/", "").split(", ")
