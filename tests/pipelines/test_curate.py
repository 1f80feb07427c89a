"""Curating labels: what a class needs so that anything can be learnt of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipelines.curate import DataRefused, curate
from pipelines.importing import import_labelled
from pipelines.job import Job
from pipelines.workspace import Workspace
from tests.pipelines.tiny import labelled, tiny_job

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
