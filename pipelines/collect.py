"""Collect: new images of the bucket are kept and predicted, and some by lot and the hard ones chosen for labelling."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache

import numpy as np

from data.dataset import ACCEPTED
from data.frames import same_frame
from data.images import ImageRefused, decode
from data.ledger import SampleState
from data.sample import Example, Prediction, Sample
from data.store import ObjectMissing, StoredObject
from pipelines.informative import Surroundings
from pipelines.ingest import Arrival, ingest, refuse, refuse_unread
from pipelines.job import Job
from pipelines.mine import NEAR_DUPLICATE, choose
from pipelines.workspace import Workspace

logger = logging.getLogger(__name__)

LARGEST_BATCH = 1000
NO_MODEL = "none"
PREDICTION_BATCH = 64
# What people were asked about, and of how many in each of these states it is remembered how they look.
ASKED: tuple[SampleState, ...] = ("selected", "pushed", "labelled", "skipped")
REMEMBERED = 2000
# A comparison needs two images; what was compared last is likely to be compared again.
KEPT_DECODED = 16


@dataclass
class Collected:
    """How many images one collection took in, refused, left waiting for their template, predicted and chose.

    And how many it would have chosen, were they not near-duplicates of others.
    """

    arrived: int = 0
    refused: int = 0
    waiting_for_template: int = 0
    predicted: int = 0
    chosen: int = 0
    near_duplicates: int = 0
    model_version: str | None = None


def collect(workspace: Workspace, job: Job) -> dict[str, object]:
    """Take in what lies in the job's inbox, then predict and mine whatever has not been yet; returns the counts."""
    collected = Collected()
    _empty_inbox(workspace, job, collected)
    _mine(workspace, job, collected)
    return asdict(collected)


def images_waiting(workspace: Workspace, job: Job) -> int:
    """How many images lie in the job's inbox ready to be collected, counted among its first thousand objects."""
    arrivals, _ = _pairs(job, workspace.store.list(job.inbox, limit=LARGEST_BATCH))
    return len(arrivals)


def _empty_inbox(workspace: Workspace, job: Job, collected: Collected) -> None:
    arrivals, waiting = _pairs(job, workspace.store.list(job.inbox, limit=LARGEST_BATCH))
    collected.waiting_for_template = waiting
    for image, template in arrivals:
        if image.size > job.source.max_bytes:
            problem = (
                f"{image.key} has {image.size} bytes; at most {job.source.max_bytes} are allowed (source.maxBytes)"
            )
            refuse_unread(workspace, job, image, [problem])
            collected.refused += 1
        else:
            content = workspace.store.get(image.key)
            arrival = Arrival(
                source=image.key,
                content=content,
                domain=_domain(job, image.key),
                template=workspace.store.get(template.key) if template else None,
            )
            try:
                ingest(workspace, job, arrival)
                collected.arrived += 1
            except ImageRefused as refusal:
                refuse(workspace, job, image.key, content, refusal.problems)
                collected.refused += 1
                logger.warning("%s is refused: %s", image.key, "; ".join(refusal.problems))
        # The inbox is emptied last, the image after its template: a collection that is killed on the way finds the
        # image again, knows it, and changes nothing; a template that is left alone would count as an image.
        if template:
            workspace.store.delete(template.key)
        workspace.store.delete(image.key)


def _pairs(job: Job, objects: Iterable[StoredObject]) -> tuple[list[tuple[StoredObject, StoredObject | None]], int]:
    """The images that can be taken in, each with its template, and how many still wait for theirs."""
    found = {stored.key: stored for stored in objects}
    rule = job.source.template
    if rule is None:
        return [(stored, None) for stored in found.values()], 0
    named = {key: template for key in found if (template := rule.template_of(key))}
    templates = set(named.values())
    pairs: list[tuple[StoredObject, StoredObject | None]] = []
    waiting = 0
    for key, stored in sorted(found.items()):
        if key in templates and key not in named:
            continue
        beside = found.get(named.get(key, ""))
        # What has the name of half a pair waits a while for the other half; any other name is an image on its own.
        alone = key not in named and not key.rpartition(".")[0].endswith(rule.template)
        if beside or alone or time.time() - stored.last_modified.timestamp() > rule.wait_seconds:
            pairs.append((stored, beside))
        elif key in named:
            waiting += 1
    return pairs, waiting


def _domain(job: Job, key: str) -> str:
    """The first folder below the inbox; images that lie directly in it belong to the domain `default`."""
    folder, _, rest = key.removeprefix(job.inbox).partition("/")
    return folder if rest else "default"


def _mine(workspace: Workspace, job: Job, collected: Collected) -> None:
    samples = list(workspace.ledger.samples(job.name, state="arrived"))
    if not samples:
        return
    served = workspace.served(job.name)
    if served is None:
        predictions, threshold = [Prediction(sample.id, NO_MODEL, ()) for sample in samples], 0.0
    else:
        predictions, threshold = _predict(workspace, job, samples, served.version)
        collected.predicted, collected.model_version = len(samples), served.version
    shown = {prediction.sample_id: _certain(prediction, threshold) for prediction in predictions}
    counts = workspace.ledger.counts(job.name)
    waiting = counts.get("selected", 0) + counts.get("pushed", 0)
    # Boxes that just miss the threshold are what a model is unsure of; all those below them are noise.
    splits = {sample.id: sample.split for sample in samples}
    surroundings = _surroundings(workspace, job)
    for choice in choose(job, predictions, splits, surroundings, waiting, minimum_score=threshold / 2):
        if served is not None:
            workspace.ledger.add_prediction(job.name, shown[choice.sample_id], choice.hardness)
        if choice.chosen:
            workspace.ledger.select(
                job.name,
                choice.sample_id,
                choice.reason,
                choice.probability,
                choice.hardness,
                collected.model_version,
            )
            collected.chosen += 1
        else:
            workspace.ledger.pass_over(job.name, choice.sample_id, choice.hardness)
            collected.near_duplicates += choice.reason == NEAR_DUPLICATE


def _surroundings(workspace: Workspace, job: Job) -> Surroundings:
    """What the ledger knows of the samples to choose among, and of those that people were asked about of late."""

    @lru_cache(maxsize=KEPT_DECODED)
    def image(sample_id: str) -> np.ndarray:
        return decode(workspace.sample_bytes(sample_id), ACCEPTED)

    def alike(first: str, second: str) -> bool:
        try:
            return same_frame(image(first), image(second))
        except (ObjectMissing, ImageRefused):
            return False  # damaged in the store: whether they show the same is not known, so people are asked

    ledger = workspace.ledger
    return Surroundings(
        looks={look.sample_id: look for look in ledger.looks(job.name, "arrived")},
        asked=[look for state in ASKED for look in ledger.looks(job.name, state, REMEMBERED)],
        support=ledger.support(job.name, "train"),
        same_frame=alike,
    )


def _predict(workspace: Workspace, job: Job, samples: list[Sample], version: str) -> tuple[list[Prediction], float]:
    """What a model version finds in each sample, whatever its score, and the score from which it counts as found."""
    predictor = workspace.predictor(job.name, version)
    predictions = []
    for start in range(0, len(samples), PREDICTION_BATCH):
        batch = samples[start : start + PREDICTION_BATCH]
        found = predictor.predict([_example(workspace, sample) for sample in batch])
        predictions += [
            Prediction(sample.id, version, tuple(boxes)) for sample, boxes in zip(batch, found, strict=True)
        ]
    return predictions, predictor.threshold


def _certain(prediction: Prediction, threshold: float) -> Prediction:
    return replace(prediction, boxes=tuple(box for box in prediction.boxes if (box.score or 0.0) >= threshold))


def _example(workspace: Workspace, sample: Sample) -> Example:
    """A sample as an estimator sees it, without boxes."""
    image = decode(workspace.sample_bytes(sample.id), ACCEPTED)
    template = decode(workspace.sample_bytes(sample.template_id), ACCEPTED) if sample.template_id else None
    return Example(sample.id, image, template, (), sample.domain)
