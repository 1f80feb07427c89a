"""Deploy: project a job's newest promotion to the pointer object that the inference servers follow."""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING, Any

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data.failpoint import failpoint
from data.store import Conflict, ObjectMissing
from pipelines.job import Job

if TYPE_CHECKING:
    # The inference server reads pointers with nothing but the store at hand.
    from data.registry import ModelVersion, Promotion
    from pipelines.workspace import Workspace

logger = logging.getLogger(__name__)

ASK_AGAIN_SECONDS = 0.5
ANSWER_SECONDS = 10.0


class NothingPromoted(LookupError):
    """The job has no promotion that could be deployed."""


class DeployRefused(RuntimeError):
    """The promotion cannot be deployed; the pointer is as it was."""


class NotConfirmed(RuntimeError):
    """The inference server did not answer with the promotion in time."""


class ModelObject(BaseModel):
    """Where the bytes of a model lie in the store, and their SHA-256."""

    model_config = ConfigDict(frozen=True)

    key: str = Field(min_length=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Pointer(BaseModel):
    """What serves now: one promotion of one job, complete enough to serve it from the store alone."""

    model_config = ConfigDict(frozen=True)

    job: str
    version: str
    promotion: int = Field(ge=1)
    promoted_at: str
    model: ModelObject
    classes: list[str]


def pointer_key(job: str) -> str:
    """Where the pointer of a job lies in the store."""
    return f"serving/{job}.json"


def pointer(promotion: Promotion, model_version: ModelVersion) -> dict[str, Any]:
    """The pointer object of a promotion of `model_version`, as JSON."""
    return Pointer(
        job=promotion.job,
        version=promotion.version,
        promotion=promotion.number,
        promoted_at=promotion.at,
        model=ModelObject(key=model_version.key, sha256=model_version.hash),
        classes=model_version.metadata.get("classes", []),
    ).model_dump()


def deploy(workspace: Workspace, job: Job, promotion: Promotion | None = None) -> dict[str, Any]:
    """Make the pointer of `job` say what its newest promotion says, and return what it says then.

    Repeating it changes nothing, and a pointer that is already at a later promotion stays there.

    Raises:
        NothingPromoted: the job has no promotion.
        DeployRefused: the promoted model's bytes are not in the store.
    """
    promotion = promotion or newest(workspace, job)
    model_version = workspace.registry.model(job.name, promotion.version)
    wanted = pointer(promotion, model_version)
    if not workspace.store.exists(model_version.key):
        raise DeployRefused(
            f"promotion {promotion.number} of {job.name} names {promotion.version}, but its bytes are not in the store "
            f"under {model_version.key}; push them again from a machine that has them, or roll back"
        )
    while True:
        present, etag = _present(workspace, job.name)
        if present == wanted or (present and present["promotion"] > promotion.number):
            return present
        failpoint("deploy.decided")
        try:
            workspace.store.put_json(pointer_key(job.name), wanted, expected_etag=etag)
        except Conflict:
            logger.info("the pointer of %s was moved by another process meanwhile; looking again", job.name)
            continue
        logger.info("%s now points at %s by promotion %d", job.name, promotion.version, promotion.number)
        return wanted


def confirm(workspace: Workspace, job: Job, promotion: int | None = None, timeout: float = 120.0) -> dict[str, Any]:
    """Ask the inference server until it serves `promotion`, by default the newest, or a later one.

    Returns what the server says of the job.

    Raises:
        NothingPromoted: the job has no promotion.
        NotConfirmed: it does not within `timeout` seconds; with what it said last and what to check.
    """
    number = newest(workspace, job).number if promotion is None else promotion
    address = f"{workspace.settings.serving_url}/jobs/{job.name}"
    deadline = time.monotonic() + timeout
    with httpx.Client(timeout=ANSWER_SECONDS, trust_env=False) as client:
        while True:
            said, trouble = _ask(client, address)
            if said is not None and (said["promotion"] or 0) >= number:
                return said
            if time.monotonic() >= deadline:
                break
            time.sleep(ASK_AGAIN_SECONDS)
    if said is not None:
        trouble = f"it serves {_serves(said)}"
        trouble += f" and reports: {said['problem']}" if said["problem"] else "; is it following the same store?"
    raise NotConfirmed(
        f"the inference server does not serve promotion {number} of {job.name} after {timeout:g} s: {trouble}. "
        f"The promotion stands, and the server takes it up as soon as it can; see {address}"
    )


def newest(workspace: Workspace, job: Job) -> Promotion:
    """The newest promotion of the job.

    Raises:
        NothingPromoted: there is none.
    """
    promotion = workspace.served(job.name)
    if promotion is None:
        raise NothingPromoted(f"{job.name} has no promotion yet; promote a model version of it first")
    return promotion


def _present(workspace: Workspace, job: str) -> tuple[dict[str, Any] | None, str]:
    """The pointer as it stands, None where there is no valid one, and the ETag a change of it must expect."""
    try:
        content, etag = workspace.store.get_with_etag(pointer_key(job))
    except ObjectMissing:
        return None, ""
    try:
        return Pointer.model_validate_json(content).model_dump(), etag
    except ValidationError as error:
        logger.warning("the pointer of %s is not one and is replaced: %s", job, error)
        return None, etag


def _ask(client: httpx.Client, address: str) -> tuple[dict[str, Any] | None, str]:
    """What the server says of a job, or why it says nothing."""
    try:
        response = client.get(address)
    except httpx.HTTPError as error:
        return None, f"it does not answer at {address} ({type(error).__name__}); is it running?"
    try:
        said = response.json()
    except json.JSONDecodeError:
        said = None
    if response.status_code == httpx.codes.OK and isinstance(said, dict) and {"promotion", "problem"} <= said.keys():
        return said, ""
    detail = said.get("detail", "") if isinstance(said, dict) else ""
    return None, f"it answers {response.status_code} {detail or 'and not as an inference server of Ratchet does'}"


def _serves(said: dict[str, Any]) -> str:
    if said["promotion"] is None:
        return "nothing"
    return f"{said['model_version']} by promotion {said['promotion']}"
