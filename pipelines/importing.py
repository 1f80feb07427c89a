"""Import: images that are labelled already enter the ledger as if they had been labelled here."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from data.formats import LabelledImage
from data.images import ImageRefused
from data.sample import Annotation, box_problems
from pipelines.ingest import Arrival, ingest, refuse
from pipelines.job import Job
from pipelines.workspace import Workspace

logger = logging.getLogger(__name__)


@dataclass
class Imported:
    """How many labelled images an import took in, and which it did not: refused images and quarantined labels."""

    labelled: int = 0
    refused: list[str] = field(default_factory=list)
    quarantined: list[str] = field(default_factory=list)


def import_labelled(workspace: Workspace, job: Job, images: Iterable[LabelledImage], annotator: str) -> Imported:
    """Take in labelled images; the same images with the same labels again change nothing."""
    imported = Imported()
    for image in images:
        content = image.read()
        source = f"import:{image.name}"
        template = image.read_template()
        try:
            sample = ingest(workspace, job, Arrival(source, content, image.domain or "default", template))
        except ImageRefused as refusal:
            refuse(workspace, job, source, content, refusal.problems)
            imported.refused.append(f"{image.name}: {'; '.join(refusal.problems)}")
            continue
        annotation = Annotation(sample.id, tuple(image.boxes), annotator, datetime.now(UTC).isoformat(), source)
        problems = [
            problem for box in image.boxes for problem in box_problems(box, sample.width, sample.height, job.classes)
        ]
        workspace.ledger.record_annotation(job.name, annotation, problems)
        if problems:
            imported.quarantined.append(f"{image.name}: {'; '.join(problems)}")
        else:
            imported.labelled += 1
    return imported
