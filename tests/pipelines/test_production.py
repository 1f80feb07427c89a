"""Production: what the lots say of the served model, whatever else people label."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from data.ledger import Drawn
from data.sample import Annotation, Box, Prediction, Sample, Split, sha256
from models.metrics import evaluate
from pipelines.evaluate import evaluation_key
from pipelines.job import Job
from pipelines.production import baseline, estimate
from pipelines.workspace import Workspace

pytestmark = pytest.mark.slow

OPEN, ANOTHER, SHORT = Box(10, 10, 30, 30, "open"), Box(50, 10, 70, 30, "open"), Box(10, 50, 30, 70, "short")
WRONG = Box(90, 90, 99, 99, "open", 0.7)


def found(box: Box) -> Box:
    """The box as a model finds it, a pixel aside."""
    return Box(box.x1 + 1, box.y1, box.x2 + 1, box.y2, box.label, 0.9)


def labelled(
    workspace: Workspace,
    name: str,
    truth: Sequence[Box],
    predicted: Sequence[Box],
    probability: float = 1.0,
    miner: str = "random",
    version: str = "v1",
    split: Split = "train",
    classes: tuple[str, ...] | None = None,
) -> None:
    """An image that was predicted, chosen and labelled."""
    ledger, sample_id = workspace.ledger, sha256(name.encode())
    ledger.add_sample("boards", Sample(sample_id, 100, 100, "line", name, split), int(sample_id[:12], 16))
    ledger.add_prediction("boards", Prediction(sample_id, version, tuple(predicted)), 0.5)
    ledger.select("boards", sample_id, miner, probability, 0.5, version)
    said = Annotation(sample_id, tuple(truth), "ada", datetime.now(UTC).isoformat(), classes=classes)
    ledger.record_annotation("boards", said)


@pytest.fixture
def serving(workspace: Workspace) -> Workspace:
    """A workspace in which v1 serves the job `boards`, and v2 waits."""
    for number in (1, 2):
        folder = workspace.settings.home / f"model {number}"
        folder.mkdir()
        (folder / "weights").write_text(str(number))
        workspace.registry.publish_model("boards", folder, {"run_key": str(number), "parent": None})
    serve(workspace, "v1", None, "d1")
    return workspace


def serve(workspace: Workspace, version: str, instead_of: str | None, dataset_version: str | None) -> None:
    decision = {"run_id": f"{version} instead of {instead_of}", "kind": "promote", "dataset_version": dataset_version}
    decision = {key: value for key, value in decision.items() if value is not None}
    workspace.registry.promote(
        "boards", version, instead_of=instead_of, actor="ada", reason="because", decision=decision
    )


def test_each_image_counts_as_many_as_it_stood_for(serving: Workspace, job: Job) -> None:
    labelled(serving, "a", [OPEN, ANOTHER, SHORT], [found(OPEN), found(ANOTHER), WRONG])
    labelled(serving, "b", [OPEN], [found(OPEN)], probability=0.25, split="holdout")
    labelled(serving, "c", [], [found(SHORT)], probability=0.5)
    estimates = estimate(serving, job)
    assert {name: (each.value, each.images) for name, each in estimates.items()} == {
        "precision": (pytest.approx(6 / 9), 3),
        "recall": (pytest.approx(6 / 7), 2),
        "f1": (pytest.approx(6 / 8), 3),
        "precision[open]": (pytest.approx(6 / 7), 2),
        "recall[open]": (1.0, 2),
        "f1[open]": (pytest.approx(6 / 6.5), 2),
        "f1[short]": (0.0, 2),
    }
    assert all(0 <= each.low <= each.value <= each.high <= 1 for each in estimates.values())
    assert 0 < estimates["recall[open]"].low < 0.5, "two images do not make it sure"


def test_what_was_chosen_for_being_hard_or_by_another_model_says_nothing(serving: Workspace, job: Job) -> None:
    for name in "abc":
        labelled(serving, name, [OPEN], [found(OPEN)])
    before = estimate(serving, job)
    for number in range(20):
        labelled(serving, f"hard {number}", [OPEN], [WRONG], miner="IBT")
        labelled(serving, f"another {number}", [OPEN], [WRONG], version="v2")
    assert estimate(serving, job) == before
    assert before["precision"].value == 1.0


def test_a_new_label_is_seen_at_once_and_what_is_asked_again_is_not_computed_anew(
    serving: Workspace, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        labelled(serving, name, [OPEN], [found(OPEN)])
    asked: list[str] = []
    drawn = serving.ledger.drawn

    def remember(job: str, version: str) -> list[Drawn]:
        asked.append(version)
        return drawn(job, version)

    monkeypatch.setattr(serving.ledger, "drawn", remember)
    assert estimate(serving, job)["precision"].images == 3
    estimate(serving, job).clear()
    assert estimate(serving, job)["precision"].images == 3
    assert asked == ["v1"]
    labelled(serving, "d", [OPEN], [WRONG])
    assert estimate(serving, job)["precision"].value == pytest.approx(3 / 4)
    assert asked == ["v1", "v1"]


def test_without_a_served_model_or_lots_nothing_is_known(serving: Workspace, job: Job) -> None:
    assert estimate(serving, job) == {}
    labelled(serving, "a", [OPEN], [found(OPEN)])
    assert estimate(serving, job) == {}, "one image is no estimate"
    assert estimate(serving, job.model_copy(update={"name": "others"})) == {}
    assert baseline(serving, job.model_copy(update={"name": "others"})) == {}


def test_what_a_label_says_that_is_no_class_of_the_job_any_more_does_not_count(serving: Workspace, job: Job) -> None:
    for name in "ab":
        labelled(serving, name, [OPEN, SHORT], [found(OPEN), found(SHORT)])
    estimates = estimate(serving, job.model_copy(update={"classes": ["short"]}))
    assert set(estimates) == {f"{metric}{part}" for metric in ("precision", "recall", "f1") for part in ("", "[short]")}
    assert estimates["precision"] == estimates["precision[short]"]


def test_what_nobody_was_asked_about_is_neither_right_nor_wrong(serving: Workspace, job: Job) -> None:
    for name in "ab":
        labelled(serving, name, [OPEN], [found(OPEN), found(SHORT)], classes=("open", "spur"))
    estimates = estimate(serving, job)
    assert (estimates["precision"].value, estimates["f1"].value) == (1.0, 1.0)
    assert "precision[short]" not in estimates


def test_the_baseline_is_what_the_evaluation_said_when_the_model_was_promoted(serving: Workspace, job: Job) -> None:
    def evaluated(version: str, dataset_version: str, *predicted: Box) -> None:
        report = evaluate({"a": [OPEN, SHORT]}, {"a": predicted}, {"a": "line"}, job.classes, threshold=0.5)
        key = evaluation_key("boards", version, dataset_version)
        serving.store.put_new(key, json.dumps(report.to_json()).encode(), "application/json")

    assert baseline(serving, job) == {}, "its evaluation is not there"
    evaluated("v1", "d1", found(OPEN), WRONG)
    assert baseline(serving, job) == {
        "precision": 0.5,
        "recall": 0.5,
        "f1": 0.5,
        "precision[open]": 0.5,
        "recall[open]": 1.0,
        "recall[short]": 0.0,
        "f1[open]": pytest.approx(2 / 3),
        "f1[short]": 0.0,
    }
    evaluated("v2", "d2", found(OPEN), found(SHORT))
    serve(serving, "v2", "v1", "d2")
    assert baseline(serving, job)["precision"] == 1.0
    serve(serving, "v1", "v2", None)
    assert baseline(serving, job)["precision"] == 0.5, "what it was promoted with, not that it was rolled back to"
