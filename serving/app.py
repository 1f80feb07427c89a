"""The inference service: answers prediction requests with whichever promotion serves each job now."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel

from data.images import ImageRefused
from data.sample import Example, sha256
from data.store import ObjectStore
from pipelines.settings import Settings
from serving.fleet import Fleet
from serving.metrics import Metrics
from serving.request import BodyTooLarge, decoded, received
from serving.swap import Follower

logger = logging.getLogger(__name__)

PAGE = Path(__file__).with_name("page.html")
PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src blob: data:; connect-src 'self'"
)
# Followers ask again by themselves, and a server that is told to stop does not wait for a store that is away.
STORE_PATIENCE_SECONDS = 5.0
BINARY = {"type": "string", "format": "binary"}
REQUEST_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {"type": "object", "required": ["image"], "properties": {"image": BINARY, "template": BINARY}}
        },
        "image/*": {"schema": BINARY},
    },
}

router = APIRouter()


class NothingServes(RuntimeError):
    """No model serves the job yet."""


class PredictionFailed(RuntimeError):
    """The estimator raised an exception for this image."""


class FoundBox(BaseModel):
    """One object: pixel corners from the top left (x2, y2 exclusive), its label and its score in [0, 1]."""

    x1: float
    y1: float
    x2: float
    y2: float
    label: str
    score: float | None


class Answer(BaseModel):
    """What the serving model found in one image, and which model that was."""

    job: str
    model_version: str
    promotion: int
    sample_id: str
    width: int
    height: int
    threshold: float
    boxes: list[FoundBox]


class JobStatus(BaseModel):
    """Which promotion serves a job, since when, and what is wrong if anything is."""

    job: str
    description: str
    model_version: str | None
    promotion: int | None
    since: str | None
    loaded_at: str | None
    classes: list[str]
    template: bool
    problem: str | None


def create_app(settings: Settings | None = None) -> FastAPI:
    """The service for the jobs of a deployment, by default the one this process is configured for."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    settings = settings or Settings.load()
    store = ObjectStore(
        settings.store_endpoint,
        settings.store_access_key,
        settings.store_secret_key,
        settings.store_bucket,
        secure=settings.store_secure,
        patience=STORE_PATIENCE_SECONDS,
    )
    metrics = Metrics()
    fleet = Fleet(settings, store, metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        fleet.start()
        yield
        await run_in_threadpool(fleet.stop)

    app = FastAPI(
        title="Ratchet inference",
        description="Predictions by whichever model version serves each job now.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        exception_handlers={
            ImageRefused: _image_refused,
            BodyTooLarge: _sentence(413),
            NothingServes: _sentence(503),
            PredictionFailed: _sentence(500),
        },
    )
    app.state.fleet = fleet
    app.state.metrics = metrics
    app.include_router(router)
    return app


def _fleet(request: Request) -> Fleet:
    fleet: Fleet = request.app.state.fleet
    return fleet


def _metrics(request: Request) -> Metrics:
    metrics: Metrics = request.app.state.metrics
    return metrics


async def _follower(job: str, request: Request) -> Follower:
    fleet = _fleet(request)
    found = fleet.followers.get(job)
    if found is None:
        reason = fleet.refused.get(job, f"the jobs are {', '.join(sorted(fleet.followers)) or 'none'}")
        raise HTTPException(404, f"there is no job {job!r}: {reason}")
    return found


FollowerOfJob = Annotated[Follower, Depends(_follower)]


@router.post("/jobs/{job}/predict", openapi_extra={"requestBody": REQUEST_BODY})
async def predict(follower: FollowerOfJob, request: Request) -> Answer:
    """Find the objects in one image: a form with the files image and template, or the image alone as the body."""
    metrics = _metrics(request)
    job = follower.job.name
    outcome = "failed"
    with metrics.latency.labels(job).time():
        try:
            image, template = await received(request, follower.job.source.max_bytes)
            answer = await run_in_threadpool(_answer, follower, image, template)
            outcome = "ok"
        except (ImageRefused, BodyTooLarge):
            outcome = "refused"
            raise
        except NothingServes:
            outcome = "unavailable"
            raise
        finally:
            metrics.requests.labels(job, outcome).inc()
    return answer


@router.get("/jobs")
async def list_jobs(request: Request) -> list[JobStatus]:
    """Every job with the promotion that serves it."""
    return [JobStatus(**follower.status()) for _, follower in sorted(_fleet(request).followers.items())]


@router.get("/jobs/{job}")
async def show_job(follower: FollowerOfJob) -> JobStatus:
    """One job with the promotion that serves it."""
    return JobStatus(**follower.status())


@router.get("/health/live")
async def live() -> dict[str, bool]:
    """Whether the process answers."""
    return {"live": True}


@router.get("/health/ready")
async def ready(request: Request) -> JSONResponse:
    """Whether every job serves what was promoted; 503 with the reasons while one does not."""
    waiting = _fleet(request).waiting()
    return JSONResponse({"ready": not waiting, "waiting": waiting}, 503 if waiting else 200)


@router.get("/metrics", response_class=Response)
async def prometheus(request: Request) -> Response:
    """The service's metrics as Prometheus text."""
    return Response(generate_latest(_metrics(request).registry), media_type=CONTENT_TYPE_LATEST)


@router.get("/", include_in_schema=False)
async def page() -> HTMLResponse:
    """What a person sees."""
    return HTMLResponse(PAGE.read_text(), headers={"Content-Security-Policy": PAGE_POLICY})


def _answer(follower: Follower, content: bytes, template_content: bytes | None) -> Answer:
    image, template = decoded(follower.job, content, template_content)
    served = follower.served
    if served is None:
        raise NothingServes(
            f"nothing serves {follower.job.name}: {follower.problem or 'no model of it is promoted yet'}"
        )
    follower.shape = image.shape
    sample_id = sha256(content)
    try:
        found = served.model.predict(Example(sample_id, image, template, (), "default"))
    except ValueError as error:
        raise ImageRefused([str(error)]) from error
    except Exception as error:
        logger.exception("%s of %s failed on the image %s", served.pointer.version, follower.job.name, sample_id)
        raise PredictionFailed(
            f"{served.pointer.version} failed on this image: {type(error).__name__}: {error}; the server's log has more"
        ) from error
    threshold = served.model.predictor.threshold
    return Answer(
        job=follower.job.name,
        model_version=served.pointer.version,
        promotion=served.pointer.promotion,
        sample_id=sample_id,
        width=image.shape[1],
        height=image.shape[0],
        threshold=threshold,
        boxes=[FoundBox(**box.to_json()) for box in found if box.score is None or box.score >= threshold],
    )


async def _image_refused(_: Request, refusal: Exception) -> JSONResponse:
    problems = getattr(refusal, "problems", [])
    return JSONResponse({"detail": f"the image is refused: {'; '.join(problems)}", "problems": problems}, 422)


def _sentence(status: int) -> Callable[[Request, Exception], Coroutine[Any, Any, JSONResponse]]:
    async def handler(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, status)

    return handler
