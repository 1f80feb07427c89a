"""Import: images that are labelled already enter the ledger as if they had been labelled here."""

from __future__ import annotations

from collections.abc import Collection, Iterable
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


def import_labelled(
    workspace: Workspace,
    job: Job,
    images: Iterable[LabelledImage],
    annotator: str,
    classes: Collection[str] | None = None,
) -> Imported:
    """Take in labelled images; the same images with the same labels again change nothing, not even what came later.

    `classes` are those that the labels cover, by default all that the job has when the labels first come in.

    Raises:
        ImportRefused: `classes` is empty or names one that the job does not have, or images are labelled as a whole,
            where a job learns from boxes.
    """
    covered = job.classes if classes is None else classes
    unknown = sorted(set(covered).difference(job.classes))
    if unknown or not covered:
        raise ImportRefused(
            f"the labels are said to cover {', '.join(unknown) or 'no class'}, but the job's classes are "
            f"{', '.join(job.classes)}; name some of these"
        )
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
        problems += [
            f"there is a box of {label!r}, but the labels are said to cover only {', '.join(sorted(covered))}"
            for label in sorted({box.label for box in image.boxes}.intersection(job.classes).difference(covered))
        ]
        annotation = _annotation(workspace, job, image, sample, annotator, classes)
        workspace.ledger.record_annotation(job.name, annotation, problems)
        if problems:
            imported.quarantined.append(f"{image.place}: {'; '.join(problems)}")
        else:
            imported.labelled += 1
    return imported


def _annotation(
    workspace: Workspace,
    job: Job,
    image: LabelledImage,
    sample: Sample,
    annotator: str,
    classes: Collection[str] | None,
) -> Annotation:
    """What the data set says of a sample, and of which classes, since the first time that it said so."""
    now = datetime.now(UTC).isoformat()
    covered = None if classes is None else tuple(sorted(classes))
    annotation = Annotation(sample.id, tuple(image.boxes), annotator, now, classes=covered)
    reference = f"import:{image.place}@{annotation.id}"
    said = workspace.ledger.said(job.name, sample.id, reference)
    if said is not None:
        return replace(annotation, updated_at=said.updated_at, reference=reference, classes=said.classes)
    asked = {*job.classes, *(box.label for box in image.boxes)} if classes is None else classes
    return replace(annotation, reference=reference, classes=tuple(sorted(asked)))
