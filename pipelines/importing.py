"""Import: images that are labelled already enter the ledger as if they had been labelled here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from data.formats import LabelledImage
from data.images import ImageRefused
from data.sample import Annotation, Sample, box_problems
from pipelines.ingest import Arrival, ingest, refuse
from pipelines.job import Job
from pipelines.workspace import Workspace


class ImportRefused(ValueError):
    """Labelled images that no job can learn from; nothing was stored."""


@dataclass
class Imported:
    """How many labelled images an import took in, and which it did not: refused images and quarantined labels."""

    labelled: int = 0
    refused: list[str] = field(default_factory=list)
    quarantined: list[str] = field(default_factory=list)


def import_labelled(workspace: Workspace, job: Job, images: Iterable[LabelledImage], annotator: str) -> Imported:
    """Take in labelled images; the same images with the same labels again change nothing, not even what came later.

    Raises:
        ImportRefused: images that are labelled as a whole, where a job learns from boxes.
    """
    listed = list(images)
    if whole := [image.place for image in listed if image.label is not None]:
        shown = ", ".join(whole[:3]) + (" and others" if len(whole) > 3 else "")
        raise ImportRefused(f"{shown}: labelled as a whole, but jobs learn from boxes; import a format that has them")
    imported = Imported()
    for image in listed:
        content = image.read()
        source = f"import:{image.place}"
        try:
            sample = ingest(workspace, job, Arrival(source, content, image.domain or "default", image.read_template()))
        except ImageRefused as refusal:
            refuse(workspace, job, source, content, refusal.problems)
            imported.refused.append(f"{image.place}: {'; '.join(refusal.problems)}")
            continue
        problems = [
            problem for box in image.boxes for problem in box_problems(box, sample.width, sample.height, job.classes)
        ]
        workspace.ledger.record_annotation(job.name, _annotation(workspace, job, image, sample, annotator), problems)
        if problems:
            imported.quarantined.append(f"{image.place}: {'; '.join(problems)}")
        else:
            imported.labelled += 1
    return imported


def _annotation(workspace: Workspace, job: Job, image: LabelledImage, sample: Sample, annotator: str) -> Annotation:
    """What the data set says of a sample, since the first time that it said so."""
    now = datetime.now(UTC).isoformat()
    annotation = Annotation(sample.id, tuple(image.boxes), annotator, now)
    reference = f"import:{image.place}@{annotation.id}"
    said = workspace.ledger.said_at(job.name, sample.id, reference)
    return replace(annotation, updated_at=said or now, reference=reference)
