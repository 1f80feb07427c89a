"""Evaluating models whose job has grown: each is judged on what the images were labelled for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from data.sample import Box
from models.estimator import create
from models.paired import paired_delta
from models.version import save_model
from pipelines.curate import curate
from pipelines.evaluate import evaluate
from pipelines.importing import import_labelled
from pipelines.job import Job
from pipelines.workspace import Workspace
from tests.pipelines.tiny import labelled, tiny_job

pytestmark = pytest.mark.slow

SCRATCH = Box(50, 4, 60, 14, "scratch")


def store(workspace: Workspace, job: Job, dataset_version: str, parent: str | None, folder: Path) -> str:
    """A model version that finds every box of the classes that the job has."""
    folder.mkdir()
    estimator = create("Tiny", classes=job.classes, skill=1.0)
    save_model(estimator, folder / "model")
    metadata = {"run_key": folder.name, "parent": parent, "dataset_version": dataset_version}
    return workspace.registry.publish_model(job.name, folder / "model", metadata).version


def test_a_served_model_with_fewer_classes_has_nothing_in_the_others(workspace: Workspace, tmp_path: Path) -> None:
    tiny = tiny_job(workspace)
    import_labelled(workspace, tiny, labelled(range(8)), "import")
    first = curate(workspace, tiny, "run 1").version
    served = store(workspace, tiny, first, None, tmp_path / "served")
    workspace.ledger.finish_training(tiny.name, "run 1", dataset_version=first, candidate=served)
    decision = {"run_id": "run 1", "kind": "promote", "dataset_version": first}
    workspace.registry.promote(tiny.name, served, instead_of=None, actor="ada", reason="", decision=decision)

    wider = tiny.model_copy(update={"classes": [*tiny.classes, "scratch"]})
    new = [replace(image, boxes=(*image.boxes, SCRATCH)) for image in labelled(range(8, 24))]
    import_labelled(workspace, wider, new, "import")
    second = curate(workspace, wider, "run 2").version
    candidate = store(workspace, wider, second, served, tmp_path / "candidate")
    comparison = evaluate(workspace, wider, candidate, second)

    assert comparison.served is not None
    scratches = comparison.candidate.support["scratch"]
    assert 0 < scratches < comparison.candidate.images
    assert comparison.served.support == comparison.candidate.support
    assert (comparison.served.metric("ap[scratch]"), comparison.candidate.metric("ap[scratch]")) == (0.0, 1.0)
    assert comparison.served.metric("ap[open]") == comparison.candidate.metrics["precision"] == 1.0
    assert comparison.deltas()["recall"] > 0
    assert paired_delta(comparison.candidate, comparison.served, "ap").differing == scratches
    assert comparison.known is not None
    assert comparison.known.dataset_version == first
    assert comparison.known.deltas() == dict.fromkeys(comparison.candidate.metrics, 0.0)
