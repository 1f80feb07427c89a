"""Curating labels: what a class needs so that anything can be learnt of it."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest

from data.images import difference_hash, encode_png
from data.sample import Annotation, sha256
from pipelines.curate import DataRefused, curate
from pipelines.importing import import_labelled
from pipelines.job import Job
from pipelines.workspace import Workspace, sample_key
from tests.pipelines.tiny import labelled, picture, tiny_job

pytestmark = pytest.mark.slow


@pytest.fixture
def tiny(workspace: Workspace) -> Job:
    return tiny_job(workspace)


def test_a_class_that_nobody_was_ever_asked_about_is_refused_until_somebody_is(workspace: Workspace, tiny: Job) -> None:
    import_labelled(workspace, tiny, labelled(range(4)), "import")
    dataset = curate(workspace, tiny, "run 1")
    assert dataset.checks["samples_labelled_for_some_classes"] == 0
    workspace.ledger.finish_training(tiny.name, "run 1", dataset_version=dataset.version, candidate="v1")

    wider = tiny.model_copy(update={"classes": [*tiny.classes, "scratch"]})
    import_labelled(workspace, wider, labelled(range(4, 8)), "import", classes=["open", "short"])
    pending = workspace.ledger.pending(tiny.name)
    with pytest.raises(DataRefused, match="no image was labelled for scratch; label images for that"):
        curate(workspace, wider, "run 2")
    assert workspace.ledger.pending(tiny.name) == pending > 0
    assert workspace.registry.dataset_version(tiny.name) == dataset

    (another,) = labelled(range(8, 9))
    import_labelled(workspace, wider, [replace(another, boxes=())], "import")
    published = curate(workspace, wider, "run 2")
    assert published.checks["samples_labelled_for_some_classes"] == 4
    rows = workspace.registry.dataset(tiny.name).rows()
    assert {row.annotation.classes for row in rows} == {("open", "short"), ("open", "scratch", "short")}
    workspace.ledger.finish_training(tiny.name, "run 2", dataset_version=published.version, candidate="v2")

    import_labelled(workspace, wider, labelled(range(9, 12)), "import", classes=["open", "short"])
    assert curate(workspace, wider, "run 3").version == "d3", "an earlier version has an image that was"


def test_what_is_learnt_from_and_judges_too_is_told(
    workspace: Workspace, tiny: Job, caplog: pytest.LogCaptureFixture
) -> None:
    images = labelled(range(6))
    import_labelled(workspace, tiny, images, "import")
    known = workspace.ledger.sample(tiny.name, sha256(images[2].read()))
    assert known is not None
    lighter = np.minimum(picture(2), 250) + np.uint8(3)
    content = encode_png(lighter)
    twin = replace(known, id=sha256(content), split="train" if known.split == "holdout" else "holdout")
    workspace.store.put_new(sample_key(twin.id), content)
    workspace.ledger.add_sample(tiny.name, twin, difference_hash(lighter))
    workspace.ledger.record_annotation(
        tiny.name, Annotation(twin.id, images[2].boxes, "ada", "2026-01-01T00:00:00+00:00")
    )
    with caplog.at_level(logging.WARNING, logger="pipelines.curate"):
        dataset = curate(workspace, tiny, "run")
    assert dataset.checks["same_on_both_sides"] == [sorted([known.id, twin.id])]
    assert f"{min(known.id, twin.id)} and {max(known.id, twin.id)} show the same" in caplog.text
