"""The check of everything: each kind of damage is found and named, and nothing else is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from data.ledger import Decision
from data.sample import Sample, sha256
from pipelines import label, steps
from pipelines.check import check
from pipelines.deploy import deploy, pointer_key
from pipelines.importing import import_labelled
from pipelines.job import Job
from pipelines.labelling.project import connect, find_project
from pipelines.settings import Settings
from pipelines.workspace import Workspace, sample_key
from tests.pipelines.tiny import labelled, tiny_job

pytestmark = pytest.mark.slow


@pytest.fixture
def job(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Job:
    """The job `tiny` with two promoted versions and its pointer."""
    monkeypatch.setattr(steps, "deployment", lambda: workspace)
    job = tiny_job(workspace)
    for run_id, numbers, skill in (("first", range(8), 0.5), ("second", range(8, 16), 1.0)):
        import_labelled(workspace, job, labelled(numbers), "import")
        for step in ("curate", "train", "promote"):
            steps.run(step, job.name, run_id, {"parameters": {"skill": skill}})
    deploy(workspace, job)
    return job


def found(workspace: Workspace, job: Job) -> list[str]:
    """What the check finds, but for Label Studio, which does not run here."""
    problems = check(workspace, job)
    silent = [problem for problem in problems if "Label Studio at http://127.0.0.1:9 does not answer" in problem]
    assert len(silent) == 1
    return [problem for problem in problems if problem not in silent]


def first_sample(workspace: Workspace, job: Job) -> Sample:
    return next(workspace.ledger.samples(job.name))


def test_where_all_agree_nothing_is_found(workspace: Workspace, job: Job) -> None:
    assert found(workspace, job) == []


def test_lost_and_damaged_bytes(workspace: Workspace, job: Job) -> None:
    sample = first_sample(workspace, job)
    workspace.store.delete(sample_key(sample.id))
    workspace.store.put(sample_key(str(sample.template_id)), b"damaged")
    assert found(workspace, job) == [
        f"the bytes of sample {sample.id} are missing from the store ({sample_key(sample.id)})",
        f"the bytes of sample {sample.template_id} in the store are not the ones of that hash "
        f"({sample_key(str(sample.template_id))})",
    ]


def test_an_orphan(workspace: Workspace, job: Job) -> None:
    key = sample_key(sha256(b"nobody's"))
    workspace.store.put(key, b"nobody's")
    assert found(workspace, job) == [f"{key} in the store belongs to no sample of any job"]


@pytest.mark.parametrize("what", ["a model", "a dataset"])
def test_a_damaged_blob_of_the_registry(workspace: Workspace, job: Job, what: str) -> None:
    model, dataset = workspace.registry.model(job.name, "v1"), workspace.registry.dataset_version(job.name)
    blob = model.archive if what == "a model" else dataset.parts[0].manifest
    workspace.store.put(blob.key, b"damaged")
    damaged = f"the object {blob.key} has the SHA-256 {sha256(b'damaged')}, not {blob.sha256}"
    assert found(workspace, job) == [damaged]

    elsewhere = Workspace(replace(workspace.settings, home=workspace.settings.home / "elsewhere"))
    assert damaged in found(elsewhere, job)


@pytest.mark.parametrize("content", [None, b"no json", b"older"], ids=["missing", "no json", "an older one"])
def test_a_pointer_that_is_not_the_newest_promotion(workspace: Workspace, job: Job, content: bytes | None) -> None:
    key = pointer_key(job.name)
    pointer = json.loads(workspace.store.get(key))
    if content is None:
        workspace.store.delete(key)
    elif content == b"older":
        workspace.store.put_json(key, {**pointer, "version": "v1", "promotion": 1}, None)
    else:
        workspace.store.put(key, content)
    (problem,) = found(workspace, job)
    assert problem.startswith(f"the pointer {key} says ")
    assert problem.endswith("; deploy again")

    workspace.store.delete(key)
    deploy(workspace, job)
    assert found(workspace, job) == []


def test_a_promotion_without_a_decision_and_a_decision_without_a_promotion(workspace: Workspace, job: Job) -> None:
    decided = {"run_id": "by nobody"}
    workspace.registry.promote(job.name, "v1", instead_of="v2", actor="ada", reason="", decision=decided)
    deploy(workspace, job)
    assert found(workspace, job) == ["promotion 3 (v1) has no decision in the ledger"]
    for run_id in ("imagined", "imagined too"):
        workspace.ledger.record_decision(job.name, Decision("promote", run_id, "promoted", [], "ada", "v2", "v1"))
    assert found(workspace, job) == [
        "promotion 3 (v1) has no decision in the ledger",
        "the ledger knows 4 promotions, the registry 3",
    ]


def test_a_ledger_that_does_not_know_the_dataset(workspace: Workspace, job: Job, tmp_path: Path) -> None:
    forgetful = Workspace(replace(workspace.settings, ledger_url=f"sqlite:///{tmp_path / 'another.db'}"))
    sample = first_sample(workspace, job)
    other_side = replace(sample, split="train" if sample.split == "holdout" else "holdout")
    forgetful.ledger.add_sample(job.name, other_side, 1)
    problems = found(forgetful, job)
    assert f"sample {sample.id} is {sample.split} in d2 but {other_side.split} in the ledger" in problems
    assert sum("is in dataset d2 but not in the ledger" in problem for problem in problems) == 15
    assert "promotion 2 (v2) has no decision in the ledger" in problems


def test_tasks_that_are_missing_doubled_or_strange(
    label_studio_server: Settings, workspace: Workspace, job: Job
) -> None:
    there = replace(
        workspace.settings,
        label_studio_url=label_studio_server.label_studio_url,
        label_studio_token=label_studio_server.label_studio_token,
    )
    with_people = Workspace(there)
    assert check(with_people, job) == []
    ids = [sha256(bytes([number])) for number in range(3)]
    for number, sample_id in enumerate(ids):
        with_people.store.put(sample_key(sample_id), bytes([number]))
        with_people.ledger.add_sample(job.name, Sample(sample_id, 64, 64, "line", "", "train"), number << 20)
        with_people.ledger.select(job.name, sample_id, "IBT", 1.0, 0.5)
    label.push(with_people, job)
    assert check(with_people, job) == []

    client = connect(there)
    project = find_project(client, job.name).id
    lost = with_people.ledger.task_of(job.name, ids[0])
    client.tasks.delete(id=str(lost))
    for sample_id in (ids[1], "a stranger"):
        client.tasks.create(project=project, data={"image": "", "template": "", "sample_id": sample_id})
    problems = check(with_people, job)
    assert len(problems) == 3
    assert f"sample {ids[1]} has a second task" in problems[0]
    assert "is about sample a stranger, for which the ledger knows task None" in problems[1]
    assert problems[2] == f"sample {ids[0]} waits for a label, but Label Studio has no task for it"
