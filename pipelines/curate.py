"""Curate: claim the labels a training will use, check them, and write the dataset version it will learn from."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator

from data.checks import CheckReport, check_labels
from data.dataset import ACCEPTED
from data.images import ImageRefused, decode, difference_hash, same_picture
from data.registry import DatasetVersion
from data.sample import Sample
from data.store import ObjectMissing
from pipelines.ingest import limits
from pipelines.job import Job
from pipelines.workspace import Workspace

logger = logging.getLogger(__name__)


class DataRefused(RuntimeError):
    """New labels that must not be learnt from; the message names every failed check."""

    def __init__(self, report: CheckReport):
        self.report = report
        listed = "\n".join(f"  - {failure}" for failure in report.failures)
        super().__init__(
            f"the new labels fail {len(report.failures)} check(s), so no dataset version was written:\n{listed}\n"
            "Mend them in Label Studio and synchronise again; they stay pending until then."
        )


def curate(workspace: Workspace, job: Job, run_id: str) -> DatasetVersion:
    """Claim what is pending for this run and publish the dataset version that has it; the same run gets the same one.

    Raises:
        TrainingActive: another run is training now.
        DataRefused: a check failed, or no image was labelled for one of the job's classes; the claim is given back and
            nothing is written.
    """
    ledger = workspace.ledger
    training = ledger.claim_training(job.name, run_id)
    if training.dataset_version is not None:
        return workspace.registry.dataset_version(job.name, training.dataset_version)
    added, removed = ledger.unversioned(job.name, run_id)
    changed = {sample.id for sample, _ in added}.union(removed)
    report = check_labels(added, job.classes, limits(job), _labelled_for(workspace, job, changed))
    if not report.success:
        refusal = DataRefused(report)
        ledger.fail_training(job.name, run_id, str(refusal))
        raise refusal
    shared = sorted(_on_both_sides(workspace, job, [sample for sample, _ in added]))
    for sample_id, other in shared:
        logger.warning(
            "%s and %s show the same, and one of them is held out: what judges has been learnt from", sample_id, other
        )
    version = workspace.registry.publish_dataset(
        job.name,
        added,
        removed,
        read_bytes=workspace.sample_bytes,
        checks={**report.statistics, "same_on_both_sides": [list(pair) for pair in shared]},
    )
    ledger.record_dataset(job.name, run_id, version.version, added, removed)
    logger.info("dataset %s: %d to train, %d held out", version.version, version.train_count, version.holdout_count)
    return version


def _labelled_for(workspace: Workspace, job: Job, changed: Collection[str]) -> Iterator[Collection[str] | None]:
    """The classes that each sample of the newest dataset version was labelled for, but for those that are `changed`."""
    if workspace.registry.datasets(job.name):
        for row in workspace.registry.dataset(job.name).rows():
            if row.sample.id not in changed:
                yield row.annotation.classes


def _on_both_sides(workspace: Workspace, job: Job, added: Iterable[Sample]) -> set[tuple[str, str]]:
    """Pairs of samples, one of them new, that show the same though one is learnt from and the other judges.

    `ingest` gives a sample its twin's side; two that arrive in the same instant may still miss each other.
    """
    shared = set()
    for sample in added:
        try:
            image = decode(workspace.sample_bytes(sample.id), ACCEPTED)
            for other in workspace.ledger.near_duplicates(job.name, difference_hash(image)):
                if other.split != sample.split and same_picture(
                    image, decode(workspace.sample_bytes(other.id), ACCEPTED)
                ):
                    shared.add((min(sample.id, other.id), max(sample.id, other.id)))
        except (ObjectMissing, ImageRefused):
            continue  # damaged in the store, which publishing says
    return shared
