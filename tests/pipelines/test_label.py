from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from data.failpoint import VARIABLE
from data.sample import Box, Prediction, Sample, sha256
from pipelines import label
from pipelines.job import EstimatorSpecification, Job, Source, TemplateRule
from pipelines.labelling import project as projects
from pipelines.labelling.project import LabellingProject, LabelStudioRefused, connect, find_project
from pipelines.labelling.regions import regions_of
from pipelines.settings import ROOT, Settings
from pipelines.workspace import Workspace, sample_key

pytestmark = pytest.mark.slow

WIDTH, HEIGHT = 320, 240
TRUE = Box(40, 40, 80, 60, "open")


@pytest.fixture
def workspace(label_studio_server: Settings, tmp_path: Path) -> Workspace:
    workspace = Workspace(replace(label_studio_server, ledger_url=f"sqlite:///{tmp_path / 'ledger.db'}"))
    workspace.ledger.upgrade()
    return workspace


@pytest.fixture
def job(request: pytest.FixtureRequest) -> Job:
    return Job(
        name=request.node.name.split("[")[0].removeprefix("test_")[:50].rstrip("_"),
        description="Defects of <printed> boards",
        classes=["open", "short"],
        source=Source(template=TemplateRule()),
        estimator=EstimatorSpecification(name="FPN"),
    )


def board(
    workspace: Workspace, job: Job, number: int, hardness: float = 0.5, model: str = "v3", miner: str = "IBT"
) -> Sample:
    """An image that was collected, predicted and selected."""
    image = io.BytesIO()
    Image.new("L", (WIDTH, HEIGHT), number % 256).save(image, "PNG", dpi=(number + 1, 1))
    content = image.getvalue()
    sample = Sample(sha256(content), WIDTH, HEIGHT, "line 1", f"{number}_test.png", "train", sha256(content))
    workspace.store.put(sample_key(sample.id), content, "image/png")
    workspace.ledger.add_sample(job.name, sample, number << 20)
    prediction = Prediction(sample.id, model, (Box(32, 24, 64, 48, "short", 0.6),))
    workspace.ledger.add_prediction(job.name, prediction, hardness)
    workspace.ledger.select(job.name, sample.id, miner, 1.0, hardness, model)
    return sample


def project_of(workspace: Workspace, job: Job) -> LabellingProject:
    client = connect(workspace.settings)
    return LabellingProject(client, find_project(client, job.name).id)


def tasks_of(project: LabellingProject) -> list[Any]:
    return list(project.client.tasks.list(project=project.id, resolve_uri=False))


def annotate(project: LabellingProject, task: int, *boxes: Box, **changes: Any) -> int:
    return int(project.client.annotations.create(id=task, result=regions_of(boxes, WIDTH, HEIGHT), **changes).id)


def test_push_makes_one_task_of_every_selected_sample(workspace: Workspace, job: Job) -> None:
    samples = {hardness: board(workspace, job, number, hardness) for number, hardness in enumerate((0.2, 0.95, 0.9))}
    assert label.push(workspace, job).pushed == 3

    project = project_of(workspace, job)
    tasks = tasks_of(project)
    assert [task.data["hardness"] for task in tasks] == [0.95, 0.9, 0.2]
    hardest = tasks[0]
    sample = samples[0.95]
    assert hardest.data == {
        "image": f"s3://{workspace.settings.store_bucket}/{sample_key(sample.id)}",
        "template": f"s3://{workspace.settings.store_bucket}/{sample_key(sample.id)}",
        "sample_id": sample.id,
        "domain": "line 1",
        "hardness": 0.95,
        "priority": 0.95,
        "model_version": "v3",
    }
    (prediction,) = hardest.predictions
    assert prediction.score == pytest.approx(0.05)
    assert prediction.result[0]["value"]["x"] == pytest.approx(10.0)
    assert workspace.ledger.task_of(job.name, sample.id) == hardest.id
    assert workspace.ledger.counts(job.name) == {"pushed": 3}

    assert label.push(workspace, job).pushed == 0
    assert len(tasks_of(project)) == 3


def test_people_get_the_lots_first_then_the_hardest_with_the_boxes_of_whichever_model(
    workspace: Workspace, job: Job
) -> None:
    board(workspace, job, 0, hardness=0.7, model="v3")
    label.push(workspace, job)
    board(workspace, job, 1, hardness=0.9, model="v4")
    board(workspace, job, 2, hardness=0.5, model="v4")
    board(workspace, job, 3, hardness=0.0, model="v4", miner="random")
    label.push(workspace, job)
    assert [task.data["hardness"] for task in tasks_of(project_of(workspace, job))] == [0.7, 0.0, 0.9, 0.5]
    project = project_of(workspace, job)
    (tab,) = project.client.views.list(project=project.id)
    settings = workspace.settings
    shown = []
    for _ in range(4):
        answer = httpx.post(
            f"{settings.label_studio_url}/api/dm/actions",
            params={"id": "next_task", "project": project.id, "tabID": tab.id},
            json={"project": project.id, "ordering": tab.data["ordering"]},
            headers={"Authorization": f"Token {settings.label_studio_token}"},
            timeout=30,
        )
        task = answer.json()
        shown.append((task["data"]["hardness"], task["data"]["model_version"], len(task["predictions"])))
        annotate(project, task["id"])
    assert shown == [(0.0, "v4", 1), (0.9, "v4", 1), (0.7, "v3", 1), (0.5, "v4", 1)]


def test_images_come_through_label_studio(workspace: Workspace, job: Job) -> None:
    sample = board(workspace, job, 0)
    label.push(workspace, job)
    (task,) = project_of(workspace, job).client.tasks.list(project=project_of(workspace, job).id, resolve_uri=True)
    address = workspace.settings.label_studio_url + task.data["image"]
    headers = {"Authorization": f"Token {workspace.settings.label_studio_token}"}
    answer = httpx.get(address, headers=headers, timeout=30)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert sha256(answer.content) == sample.id
    assert httpx.get(address, timeout=30).status_code == 401


def test_there_is_never_a_second_project(workspace: Workspace, job: Job) -> None:
    board(workspace, job, 0)
    label.push(workspace, job)
    client = connect(workspace.settings)
    longer = job.model_copy(update={"name": f"{job.name[:40]}_longer"})
    for each in (job, longer, job):
        projects.ensure_project(client, each, workspace.settings.store_bucket)
    project = project_of(workspace, job)
    assert len([found for found in client.projects.list(title=job.name) if found.title == job.name]) == 1
    assert len(client.import_storage.s3.list(project=project.id)) == 1
    assert len(client.views.list(project=project.id)) == 1

    client.projects.create(title=job.name, label_config=projects.labelling_page(job))
    with pytest.raises(LabelStudioRefused, match="rename or delete"):
        label.push(workspace, job)


def test_the_page_follows_the_classes_of_the_job(workspace: Workspace, job: Job) -> None:
    board(workspace, job, 0)
    label.push(workspace, job)
    project = project_of(workspace, job)
    own = projects.labelling_page(job).replace("0.15", "0.4")
    project.client.projects.update(project.id, label_config=own)
    label.push(workspace, job)
    assert project.client.projects.get(project.id).label_config == own

    more = job.model_copy(update={"classes": ["open", "short", "spur"]})
    label.push(workspace, more)
    changed = project.client.projects.get(project.id)
    assert changed.label_config == projects.labelling_page(more)
    assert "spur" in (changed.expert_instruction or "")


@pytest.mark.parametrize("failpoint", ["label.imported", "label.recorded"])
def test_a_push_that_is_killed_and_repeated_doubles_nothing(
    workspace: Workspace, job: Job, failpoint: str, tmp_path: Path
) -> None:
    job = job.model_copy(update={"name": f"killed_{failpoint.replace('.', '_')}"})
    for number in range(5):
        board(workspace, job, number, number / 10)
    (tmp_path / failpoint).touch()
    settings = workspace.settings
    program = f"""
from pathlib import Path, PosixPath
from pipelines import label
from pipelines.job import Job
from pipelines.settings import Settings
from pipelines.workspace import Workspace
label.LEASE_SECONDS = 3
label.push(Workspace({settings!r}), Job.model_validate_json({job.model_dump_json()!r}))
"""
    killed = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, VARIABLE: str(tmp_path)}, cwd=ROOT, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    project = project_of(workspace, job)
    assert len(tasks_of(project)) == 5

    again = label.push(workspace, job)
    tasks = tasks_of(project)
    assert len(tasks) == 5
    assert again.pushed == again.left_behind
    recorded = {task.data["sample_id"]: workspace.ledger.task_of(job.name, task.data["sample_id"]) for task in tasks}
    assert recorded == {task.data["sample_id"]: task.id for task in tasks}
    board(workspace, job, 9)
    assert label.push(workspace, job).left_behind == 0


def test_annotations_come_back_once_and_follow_what_people_do(workspace: Workspace, job: Job) -> None:
    ledger = workspace.ledger
    sample = board(workspace, job, 0)
    label.push(workspace, job)
    project = project_of(workspace, job)
    (task,) = tasks_of(project)
    assert label.changed(workspace, job) == 0
    assert label.pull(workspace, job).labelled == 0

    first = annotate(project, task.id, TRUE)
    assert label.changed(workspace, job) == 1
    pulled = label.pull(workspace, job)
    assert (pulled.labelled, pulled.problems) == (1, [])
    assert label.changed(workspace, job) == 0
    annotation = ledger.annotation(job.name, sample.id)
    assert annotation is not None
    assert annotation.boxes == (TRUE,)
    assert annotation.annotator == "admin@ratchet.local"
    assert ledger.pending(job.name) == 1
    for _ in range(2):
        again = label.pull(workspace, job)
        assert (again.labelled, again.withdrawn) == (0, 0)

    corrected = Box(40, 40, 90, 60, "short")
    project.client.annotations.update(id=first, result=regions_of([corrected], WIDTH, HEIGHT))
    assert label.pull(workspace, job).labelled == 1
    assert ledger.annotation(job.name, sample.id).boxes == (corrected,)  # type: ignore[union-attr]

    second = annotate(project, task.id, TRUE, replace(TRUE, x1=200, x2=240))
    label.pull(workspace, job)
    assert len(ledger.annotation(job.name, sample.id).boxes) == 2  # type: ignore[union-attr]
    project.client.annotations.delete(id=second)
    label.pull(workspace, job)
    assert ledger.annotation(job.name, sample.id).boxes == (corrected,)  # type: ignore[union-attr]

    project.client.annotations.delete(id=first)
    assert label.pull(workspace, job).withdrawn == 1
    assert ledger.counts(job.name) == {"pushed": 1}
    annotate(project, task.id, was_cancelled=True)
    assert label.pull(workspace, job).skipped == 1
    assert ledger.counts(job.name) == {"skipped": 1}
    annotate(project, task.id)
    assert label.pull(workspace, job).labelled == 1
    assert ledger.annotation(job.name, sample.id).boxes == ()  # type: ignore[union-attr]


def test_an_annotation_is_of_the_classes_that_its_page_asked_about(workspace: Workspace, job: Job) -> None:
    first, second = board(workspace, job, 0), board(workspace, job, 1)
    label.push(workspace, job)
    project = project_of(workspace, job)
    tasks = {task.data["sample_id"]: task.id for task in tasks_of(project)}
    annotate(project, tasks[first.id], TRUE)

    more = job.model_copy(update={"classes": ["open", "spur", "short"]})
    label.push(workspace, more)
    spur = replace(TRUE, label="spur")
    annotate(project, tasks[second.id], spur)
    assert label.pull(workspace, more).labelled == 1

    of_two, of_three = (workspace.ledger.annotation(job.name, sample.id) for sample in (first, second))
    assert of_two is not None
    assert (of_two.boxes, of_two.classes) == ((TRUE,), ("open", "short"))
    assert of_three is not None
    assert (of_three.boxes, of_three.classes) == ((spur,), ("open", "short", "spur"))

    workspace.ledger.set_mark(job.name, label.READ_UNTIL, label.EVER.isoformat())
    again = label.pull(workspace, more)
    assert (again.tasks, again.labelled) == (2, 0)
    assert workspace.ledger.annotation(job.name, first.id) == of_two


def test_what_cannot_be_learnt_from_is_quarantined_with_every_reason(workspace: Workspace, job: Job) -> None:
    ledger = workspace.ledger
    sample = board(workspace, job, 0)
    label.push(workspace, job)
    project = project_of(workspace, job)
    (task,) = tasks_of(project)
    wrong = annotate(project, task.id, replace(TRUE, label="scratch", x2=40), TRUE, TRUE, Box(300, 10, 400, 20, "open"))
    pulled = label.pull(workspace, job)
    assert (pulled.labelled, pulled.quarantined, len(pulled.problems)) == (0, 1, 4)
    (quarantined,) = ledger.quarantined(job.name)
    assert quarantined.sample == sample
    assert [problem.split(":")[0] for problem in quarantined.problems] == [
        "region 1",
        "region 1",
        "region 3",
        "region 4",
    ]
    assert label.pull(workspace, job).problems == []

    annotate(project, task.id, TRUE)
    assert label.pull(workspace, job).labelled == 1
    project.client.annotations.update(id=wrong, result=[{"type": "choices"}])
    pulled = label.pull(workspace, job)
    assert (pulled.quarantined, ledger.counts(job.name)) == (0, {"labelled": 1})
    assert ledger.annotation(job.name, sample.id).boxes == (TRUE,)  # type: ignore[union-attr]


def test_an_older_valid_annotation_stands_in_for_a_newer_one_that_was_spoilt(workspace: Workspace, job: Job) -> None:
    sample = board(workspace, job, 0)
    label.push(workspace, job)
    project = project_of(workspace, job)
    (task,) = tasks_of(project)
    annotate(project, task.id, TRUE)
    newer = annotate(project, task.id)
    label.pull(workspace, job)
    assert workspace.ledger.annotation(job.name, sample.id).boxes == ()  # type: ignore[union-attr]
    project.client.annotations.update(id=newer, result=regions_of([replace(TRUE, label="scratch")], WIDTH, HEIGHT))
    label.pull(workspace, job)
    assert workspace.ledger.annotation(job.name, sample.id).boxes == (TRUE,)  # type: ignore[union-attr]


def test_tasks_that_ratchet_did_not_make_are_told_all_at_once(workspace: Workspace, job: Job) -> None:
    sample = board(workspace, job, 0)
    label.push(workspace, job)
    project = project_of(workspace, job)
    (task,) = tasks_of(project)
    whole = task.data
    foreign = [{key: whole[key] for key in whole if key != "sample_id"}, {**whole, "sample_id": "f" * 64}, whole]
    done = [{"result": regions_of([TRUE], WIDTH, HEIGHT)}]
    request = [{"data": data, "annotations": done} for data in foreign]
    project.client.projects.import_tasks(id=project.id, request=request)
    annotate(project, task.id, TRUE)
    pulled = label.pull(workspace, job)
    assert pulled.labelled == 1
    assert len(pulled.problems) == 3
    for said in ("has no sample_id", "no sample of this job", "the same sample"):
        assert any(said in problem for problem in pulled.problems)
    assert workspace.ledger.task_of(job.name, sample.id) == task.id


def test_a_task_that_was_deleted_before_it_was_labelled_is_skipped(workspace: Workspace, job: Job) -> None:
    samples = [board(workspace, job, number) for number in range(3)]
    label.push(workspace, job)
    project = project_of(workspace, job)
    kept, labelled, deleted = (workspace.ledger.task_of(job.name, sample.id) for sample in samples)
    assert kept
    annotate(project, int(labelled or 0), TRUE)
    label.pull(workspace, job)
    for task in (labelled, deleted):
        project.client.tasks.delete(id=str(task))
    pulled = label.pull(workspace, job)
    assert (pulled.skipped, len(pulled.problems)) == (1, 1)
    assert workspace.ledger.counts(job.name) == {"labelled": 1, "pushed": 1, "skipped": 1}
    assert label.pull(workspace, job).problems == []


def test_a_pull_reads_only_what_changed(workspace: Workspace, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        board(workspace, job, number)
    label.push(workspace, job)
    monkeypatch.setattr(label, "OVERLAP", -label.OVERLAP)
    assert label.pull(workspace, job).tasks == 6
    assert label.pull(workspace, job).tasks == 0
