"""Importing labelled images: once, with what is wrong set aside, and never over what people said since."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from data.formats import LabelledImage
from data.sample import Annotation, Box
from pipelines.importing import ImportRefused, import_labelled
from pipelines.job import Job
from pipelines.workspace import Workspace
from tests.pipelines.tiny import labelled, tiny_job


@pytest.fixture
def tiny(workspace: Workspace) -> Job:
    return tiny_job(workspace)


@pytest.mark.slow
def test_the_same_again_changes_nothing(workspace: Workspace, tiny: Job) -> None:
    first = import_labelled(workspace, tiny, labelled(range(6)), "import")
    before = dict(workspace.ledger.labelled(tiny.name))
    objects = sorted(stored.key for stored in workspace.store.list(""))

    assert import_labelled(workspace, tiny, labelled(range(6)), "import") == first
    assert first.labelled == 6
    assert dict(workspace.ledger.labelled(tiny.name)) == before
    assert {annotation.annotator for annotation in before.values()} == {"import"}
    assert sorted(stored.key for stored in workspace.store.list("")) == objects


@pytest.mark.slow
def test_the_same_again_does_not_undo_a_persons_correction(workspace: Workspace, tiny: Job) -> None:
    import_labelled(workspace, tiny, labelled(range(1)), "import")
    ((sample, _),) = workspace.ledger.labelled(tiny.name)
    corrected = Annotation(sample.id, (Box(1, 1, 9, 9, "open"),), "ada", datetime.now(UTC).isoformat(), "a person's")
    workspace.ledger.record_annotation(tiny.name, corrected)

    import_labelled(workspace, tiny, labelled(range(1)), "import")

    standing = workspace.ledger.annotation(tiny.name, sample.id)
    assert standing is not None
    assert standing.annotator == "ada"


@pytest.mark.slow
def test_other_labels_of_the_same_image_are_the_newer_word(workspace: Workspace, tiny: Job) -> None:
    (image,) = labelled(range(1))
    import_labelled(workspace, tiny, [image], "import")
    import_labelled(workspace, tiny, [replace(image, boxes=image.boxes[:1])], "import")
    ((_, annotation),) = workspace.ledger.labelled(tiny.name)
    assert annotation.boxes == image.boxes[:1]


@pytest.mark.slow
def test_what_cannot_be_used_is_set_aside_and_judged_anew_when_the_job_changes(workspace: Workspace, tiny: Job) -> None:
    good, unknown, broken = labelled(range(3))
    images = [
        good,
        replace(unknown, boxes=(Box(1, 1, 9, 9, "scratch"), Box(60, 60, 70, 70, "open"))),
        replace(broken, image=b"no image"),
    ]
    imported = import_labelled(workspace, tiny, images, "import")
    assert imported.labelled == 1
    assert "line/001_test.png" in imported.quarantined[0]
    assert all(word in imported.quarantined[0] for word in ("scratch", "outside"))
    assert imported.refused == [
        "line/002_test.png: it is not an image; PNG, JPEG, BMP, TIFF, WEBP files are",
    ]
    assert workspace.ledger.counts(tiny.name) == {"labelled": 1, "quarantined": 1}

    images[1] = replace(unknown, boxes=(Box(1, 1, 9, 9, "scratch"),))
    assert import_labelled(workspace, tiny, images[:2], "import").labelled == 1
    wider = tiny.model_copy(update={"classes": [*tiny.classes, "scratch"]})
    assert import_labelled(workspace, wider, images[:2], "import").labelled == 2
    assert workspace.ledger.counts(tiny.name) == {"labelled": 2}


@pytest.mark.slow
def test_labels_stay_of_the_classes_that_the_job_had_when_they_came_in(workspace: Workspace, tiny: Job) -> None:
    before, after = labelled(range(2))
    import_labelled(workspace, tiny, [before], "import")
    wider = tiny.model_copy(update={"classes": [*tiny.classes, "scratch"]})
    for _ in range(2):
        import_labelled(workspace, wider, [before, after], "import")
    (_, of_two), (_, of_three) = workspace.ledger.labelled(tiny.name)
    assert (of_two.classes, of_three.classes) == (("open", "short"), ("open", "scratch", "short"))


@pytest.mark.slow
def test_labels_that_cover_some_classes_only_say_nothing_of_the_others(workspace: Workspace, tiny: Job) -> None:
    good, wrong = labelled(range(2))
    good = replace(good, boxes=good.boxes[:1])
    imported = import_labelled(workspace, tiny, [good, wrong], "import", classes=["open"])
    assert imported.labelled == 1
    assert imported.quarantined == [
        "line/001_test.png: there is a box of 'short', but the labels are said to cover only open"
    ]
    ((_, annotation),) = workspace.ledger.labelled(tiny.name)
    assert annotation.classes == ("open",)
    assert import_labelled(workspace, tiny, [good, wrong], "import", classes=["open"]) == imported

    import_labelled(workspace, tiny, [good, wrong], "import", classes=["short", "open"])
    assert {annotation.classes for _, annotation in workspace.ledger.labelled(tiny.name)} == {("open", "short")}
    import_labelled(workspace, tiny, [good], "import", classes=["open"])
    assert workspace.ledger.annotation(tiny.name, annotation.sample_id).classes == ("open", "short"), "said before"  # type: ignore[union-attr]


@pytest.mark.parametrize(("classes", "said"), [(["open", "scratch"], "cover scratch"), ([], "cover no class")])
def test_labels_must_cover_classes_of_the_job(offline: Workspace, job: Job, classes: list[str], said: str) -> None:
    with pytest.raises(ImportRefused, match=f"{said}, but the job's classes are open, short, .*name some of these"):
        import_labelled(offline, job, labelled(range(1)), "import", classes)
    assert offline.ledger.counts(job.name) == {}


def test_labels_of_whole_images_are_refused_before_anything_is_stored(offline: Workspace, job: Job) -> None:
    whole = LabelledImage("1.png", b"", label="open", domain="line")
    with pytest.raises(ImportRefused, match="labelled as a whole, but jobs learn from boxes"):
        import_labelled(offline, job, [*labelled(range(1)), whole], "import")
    assert offline.ledger.counts(job.name) == {}


@pytest.mark.slow
def test_images_without_a_domain_have_the_default_one(workspace: Workspace, tiny: Job) -> None:
    import_labelled(workspace, tiny, labelled(range(2), domain=""), "import")
    assert {sample.domain for sample in workspace.ledger.samples(tiny.name)} == {"default"}
