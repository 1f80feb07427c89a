"""Take one image in: decode it, name it by its hash, keep its bytes, decide its side for ever, remember it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.dataset import ACCEPTED
from data.images import ImageRefused, Limits, decode, difference_hash, same_picture
from data.sample import Sample, sha256
from data.split import assign
from data.store import ObjectMissing, StoredObject
from pipelines.job import Job
from pipelines.workspace import Workspace, sample_key


@dataclass(frozen=True)
class Arrival:
    """An image as it arrived: where it lay, its bytes, its domain, and the bytes of its template if it has one."""

    source: str
    content: bytes
    domain: str
    template: bytes | None = None


def limits(job: Job) -> Limits:
    """What an image of this job may measure."""
    return Limits(
        max_bytes=job.source.max_bytes,
        max_pixels=job.source.max_pixels,
        min_side=job.source.min_side,
    )


def ingest(workspace: Workspace, job: Job, arrival: Arrival) -> Sample:
    """Keep the bytes of an arrival and enter it in the ledger; the same bytes again change nothing.

    Raises:
        ImageRefused: with everything that is wrong with the image and with its template.
    """
    image, _ = decode_pair(job, arrival.content, arrival.template)
    sample_id = sha256(arrival.content)
    known = workspace.ledger.sample(job.name, sample_id)
    if known is not None:
        return known
    template_id = None
    if arrival.template is not None:
        template_id = sha256(arrival.template)
        workspace.store.put_new(sample_key(template_id), arrival.template)
    workspace.store.put_new(sample_key(sample_id), arrival.content)

    fingerprint = difference_hash(image)
    twin = _twin(workspace, job, image, fingerprint)
    if twin is not None:
        split = twin.split
    else:
        train, holdout = workspace.ledger.stratum_counts(job.name, arrival.domain)
        split = assign(sample_id, job.dataset.train_prob, holdout_in_stratum=holdout, train_in_stratum=train)
    height, width = image.shape
    sample = Sample(sample_id, width, height, arrival.domain, arrival.source, split, template_id)
    workspace.ledger.add_sample(job.name, sample, fingerprint)
    return sample


def refuse(workspace: Workspace, job: Job, source: str, content: bytes, problems: Sequence[str]) -> None:
    """Set an unusable image aside with its reasons, where a person finds both."""
    name = sha256(content)
    workspace.store.put_new(refused_key(job, name), content)
    _explain(workspace, job, source, name, problems)


def refuse_unread(workspace: Workspace, job: Job, found: StoredObject, problems: Sequence[str]) -> None:
    """Set an object aside that is not even to be read; the server copies it."""
    name = sha256(f"{found.key} {found.etag}".encode())
    workspace.store.copy(found.key, refused_key(job, name))
    _explain(workspace, job, found.key, name, problems)


def refused_key(job: Job, name: str) -> str:
    """Where a refused object lies in the store; its reasons lie beside it, with `.json` at the end."""
    return f"refused/{job.name}/{name}"


def decode_pair(job: Job, content: bytes, template: bytes | None) -> tuple[np.ndarray, np.ndarray | None]:
    """The pixels of an image and of its template, uint8 [height, width], both of one size and within the job's limits.

    Raises:
        ImageRefused: with everything that is wrong with either.
    """
    problems: list[str] = []
    image = _decoded(job, content, problems)
    beside: list[str] = []
    template_image = None if template is None else _decoded(job, template, beside)
    problems += [f"its template: {problem}" for problem in beside]
    if image is not None and template_image is not None and image.shape != template_image.shape:
        problems.append(
            f"the image is {image.shape[1]} x {image.shape[0]} px and its template "
            f"{template_image.shape[1]} x {template_image.shape[0]} px; both must be of one size"
        )
    if problems or image is None:
        raise ImageRefused(problems)
    return image, template_image


def _decoded(job: Job, content: bytes, problems: list[str]) -> np.ndarray | None:
    try:
        return decode(content, limits(job))
    except ImageRefused as refusal:
        problems += refusal.problems
        return None


def _twin(workspace: Workspace, job: Job, image: np.ndarray, fingerprint: int) -> Sample | None:
    """A sample that shows the same picture; looked for among the latest few that look alike, whatever they show."""
    for candidate in workspace.ledger.near_duplicates(job.name, fingerprint):
        try:
            known = decode(workspace.sample_bytes(candidate.id), ACCEPTED)
        except (ObjectMissing, ImageRefused):
            return candidate  # damaged in the store; that it looked alike is all that is still known
        if same_picture(image, known):
            return candidate
    return None


def _explain(workspace: Workspace, job: Job, source: str, name: str, problems: Sequence[str]) -> None:
    reasons = json.dumps({"source": source, "problems": list(problems)}, indent=2)
    workspace.store.put_new(f"{refused_key(job, name)}.json", reasons.encode(), "application/json")
    workspace.ledger.add_refusal(job.name, source, name, list(problems))
