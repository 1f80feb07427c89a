"""Take one image in: decode it, name it by its hash, keep its bytes, decide its side for ever, remember it."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from data.images import ImageRefused, Limits, decode, difference_hash
from data.sample import Sample, sha256
from data.split import assign
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
    image = _decoded(job, arrival)
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
    twin = workspace.ledger.find_near_duplicate(job.name, fingerprint)
    if twin is not None:
        split = twin.split
    else:
        train, holdout = workspace.ledger.stratum_counts(job.name, arrival.domain)
        split = assign(sample_id, job.dataset.train_prob, holdout_in_stratum=holdout, train_in_stratum=train)
    height, width = image.shape
    sample = Sample(sample_id, width, height, arrival.domain, arrival.source, split, template_id)
    workspace.ledger.add_sample(job.name, sample, fingerprint)
    return sample


def refuse(workspace: Workspace, job: Job, source: str, content: bytes, problems: list[str]) -> None:
    """Set an unusable image aside with its reasons, where a person finds both."""
    name = sha256(content)
    key = f"refused/{job.name}/{name}"
    workspace.store.put_new(key, content)
    workspace.store.put_new(f"{key}.json", json.dumps({"source": source, "problems": problems}, indent=2).encode())
    workspace.ledger.add_refusal(job.name, source, name, problems)


def _decoded(job: Job, arrival: Arrival) -> np.ndarray:
    problems: list[str] = []
    image: np.ndarray | None = None
    template: np.ndarray | None = None
    try:
        image = decode(arrival.content, limits(job))
    except ImageRefused as refusal:
        problems += refusal.problems
    if arrival.template is not None:
        try:
            template = decode(arrival.template, limits(job))
        except ImageRefused as refusal:
            problems += [f"its template: {problem}" for problem in refusal.problems]
    if image is not None and template is not None and image.shape != template.shape:
        problems.append(
            f"the image is {image.shape[1]} x {image.shape[0]} px and its template "
            f"{template.shape[1]} x {template.shape[0]} px; both must be of one size"
        )
    if problems or image is None:
        raise ImageRefused(problems)
    return image
