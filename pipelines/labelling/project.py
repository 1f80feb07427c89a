"""A job's project in Label Studio: one, found by its title, with the labelling page its classes need."""

from __future__ import annotations

import colorsys
import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from pipelines.job import Job
from pipelines.labelling.regions import CONTROL, IMAGE
from pipelines.settings import Settings

if TYPE_CHECKING:
    from label_studio_sdk import LabelStudio

TEMPLATE = "template"
STORAGE_TITLE = "Ratchet's object store"
PRIORITY = "priority"
TAB_TITLE = "Drawn by lot, then the hardest"
HOTKEYS = "123456789qwertasdfgzxcvb"
HIDDEN_COLUMNS = [
    f"tasks:{column}"
    for column in (
        "inner_id",
        "completed_at",
        "cancelled_annotations",
        "avg_lead_time",
        "annotations_results",
        "annotations_ids",
        "predictions_score",
        "predictions_model_versions",
        "predictions_results",
        "total_predictions",
        "file_upload",
        "storage_filename",
        "created_at",
        "updated_at",
        "updated_by",
        "draft_exists",
        "data.sample_id",
    )
]


class LabelStudioRefused(RuntimeError):
    """Label Studio is not as the job needs it; the message says what a person must change there."""


@dataclass(frozen=True)
class LabellingProject:
    """A job's project: its client and its number."""

    client: LabelStudio
    id: int


def connect(settings: Settings) -> LabelStudio:
    """A client of this deployment's Label Studio, acting as its administrator."""
    from label_studio_sdk import LabelStudio

    return LabelStudio(base_url=settings.label_studio_url, api_key=settings.label_studio_token, timeout=120)


def ensure_project(client: LabelStudio, job: Job, bucket: str) -> LabellingProject:
    """The project of `job`, created or mended as far as needed; images come from the server's own store at `bucket`.

    To be called by one at a time per job: Label Studio lets two projects have one title. A page that people changed is
    left alone as long as it still has the job's classes and images.

    Raises:
        LabelStudioRefused: two projects have the job's title.
    """
    found = find_project(client, job.name)
    project = LabellingProject(client, found.id if found else _create(client, job))
    if found and _shown(found.label_config) != _shown(labelling_page(job)):
        client.projects.update(found.id, label_config=labelling_page(job), expert_instruction=_instruction(job))
    storages = client.import_storage.s3.list(project=project.id)
    if not any(storage.bucket == bucket for storage in storages):
        # Without presigning the browser needs no way to the store: Label Studio hands the images on.
        client.import_storage.s3.create(
            project=project.id, title=STORAGE_TITLE, bucket=bucket, presign=False, use_blob_urls=True
        )
    if not client.views.list(project=project.id):
        client.views.create(project=project.id, data=_tab())  # type: ignore[arg-type]
    return project


def find_project(client: LabelStudio, job: str) -> Any:
    """Label Studio's own record of the project whose title is the job's name, `job`; None where there is none.

    Raises:
        LabelStudioRefused: two projects have that title.
    """
    found = [project for project in client.projects.list(title=job) if project.title == job]
    if len(found) > 1:
        listed = ", ".join(str(project.id) for project in found)
        raise LabelStudioRefused(f"the projects {listed} are all called {job!r}; rename or delete all but one")
    return found[0] if found else None


def asked_classes(found: Any) -> frozenset[str]:
    """The classes that the labelling page of a project asks about, by Label Studio's own record of it."""
    classes, _ = _shown(found.label_config)
    return frozenset(name for name in classes if name)


def labelling_page(job: Job) -> str:
    """The labelling configuration of `job`, as XML: its classes with colours and hotkeys, board and template."""
    view = ElementTree.Element("View")
    labels = ElementTree.SubElement(
        view, "RectangleLabels", name=CONTROL, toName=IMAGE, canRotate="false", strokeWidth="2", opacity="0.15"
    )
    for number, name in enumerate(job.classes):
        label = ElementTree.SubElement(labels, "Label", value=name, background=_colour(number, len(job.classes)))
        if number < len(HOTKEYS):
            label.set("hotkey", HOTKEYS[number])
    with_template = job.source.template is not None
    columns = "grid-template-columns: 1fr 1fr; column-gap: 12px" if with_template else "grid-template-columns: 1fr"
    images = ElementTree.SubElement(view, "View", style=f"display: grid; {columns}")
    _image(images, IMAGE, "$domain, hardness $hardness, boxes by $model_version")
    if with_template:
        _image(images, TEMPLATE, "Template, without defects")
    return ElementTree.tostring(view, encoding="unicode")


def _image(parent: ElementTree.Element, name: str, heading: str) -> None:
    column = ElementTree.SubElement(parent, "View")
    ElementTree.SubElement(column, "Header", value=heading, size="5")
    ElementTree.SubElement(
        column, "Image", name=name, value=f"${name}", zoom="true", zoomControl="true", rotateControl="false"
    )


def _colour(number: int, count: int) -> str:
    """The colour of class `number` of `count`: hues evenly around the circle, neighbours in different brightness."""
    red, green, blue = colorsys.hsv_to_rgb(number / count, 1.0, 0.9 if number % 2 == 0 else 0.65)
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


def _instruction(job: Job) -> str:
    classes = ", ".join(f"{html.escape(name)}" for name in job.classes)
    template = " Compare the image with its template beside it." if job.source.template else ""
    return (
        f"<p>{html.escape(job.description)}</p>"
        f"<p>Draw one tight, upright box around every {classes}.{template} "
        "The model's boxes are already there: correct them, delete the wrong ones, add the missing ones. "
        "Choose a class by its key, then draw.</p>"
        "<p>Nothing to see? Submit without boxes: that is an answer too. "
        "Skip only an image that nobody should learn from.</p>"
        "<p>The menu beside <i>Label All Tasks</i> has <i>Label Tasks As Displayed</i>: first the images that were "
        "drawn by lot, which tell how good the model is, then the hardest of all.</p>"
    )


def _create(client: LabelStudio, job: Job) -> int:
    project = client.projects.create(
        title=job.name,
        description=job.description or f"Hard examples of the job {job.name}",
        label_config=labelling_page(job),
        expert_instruction=_instruction(job),
        show_instruction=False,
        show_collab_predictions=True,
        enable_empty_annotation=True,
        show_skip_button=True,
        skip_queue="IGNORE_SKIPPED",
        sampling="Sequential sampling",
        maximum_annotations=1,
    )
    return int(project.id)


def _shown(page: str | None) -> tuple[set[str | None], set[str | None]]:
    """The classes and the images of a labelling configuration."""
    root = ElementTree.fromstring(page or "<View/>")
    return {label.get("value") for label in root.iter("Label")}, {image.get("name") for image in root.iter("Image")}


def _tab() -> dict[str, Any]:
    # Label Studio orders by one column alone.
    priority = f"tasks:data.{PRIORITY}"
    return {
        "title": TAB_TITLE,
        "ordering": [f"-{priority}"],
        "columnsDisplayType": {priority: "Number", "tasks:data.hardness": "Number"},
        "hiddenColumns": {"explore": HIDDEN_COLUMNS, "labeling": HIDDEN_COLUMNS},
        "filters": {
            "conjunction": "and",
            "items": [{"filter": "filter:tasks:completed_at", "operator": "empty", "type": "Datetime", "value": True}],
        },
    }
