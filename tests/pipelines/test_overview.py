from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from data.images import encode_png
from data.ledger import Decision, Request
from data.sample import Annotation, Box, Prediction, Sample, sha256
from data.store import ObjectMissing
from pipelines import overview, steps
from pipelines.importing import import_labelled
from pipelines.workspace import Workspace, sample_key
from tests.pipelines.tiny import labelled, picture, tiny_job


def sample(number: int, **more: Any) -> Sample:
    return Sample(sha256(str(number).encode()), 640, 480, "line", f"inbox/boards/line/{number}.png", "train", **more)


def whole(workspace: Workspace, name: str = "boards") -> dict[str, Any]:
    """The overview, which must be JSON."""
    found = overview.overview(workspace, workspace.job(name))
    return json.loads(json.dumps(found, allow_nan=False))  # type: ignore[no-any-return]


def test_a_job_to_which_nothing_ever_came(offline: Workspace) -> None:
    found = whole(offline)
    assert found["problems"] == []
    assert found["serving"] is found["training"] is found["production"] is None
    assert (found["counts"], found["decisions"], found["requests"], found["examples"]) == ({}, [], [], [])
    assert found["gate"] == {"met": False, "sentence": "0 of 8 labels", "final": False, "progress": 0.0}
    assert found["holdout"]["left"] == 1.0
    assert (found["metric"], found["approval"], found["has_template"]) == ("ap", False, True)
    assert overview.versions(offline, "boards") == {"models": [], "datasets": []}
    assert overview.by_class(offline, offline.job("boards"), "ap")["open"] == []
    assert overview.jobs(offline) == ["boards"]


def test_decisions_say_what_was_compared_and_how_sure_it_is(offline: Workspace) -> None:
    rule = {"name": "bound", "metric": "ap", "alpha": 0.01, "bound": 0.02}
    metrics = {"candidate": {"ap": 0.9, "f1": float("nan")}, "served": {"ap": 0.8, "ap50": None}, "rule": rule}
    made = Decision("promote", "1", "promoted", ["better"], "ada", "v2", "v1", "d2", metrics, "2026-01-01T00:00:00Z")
    offline.ledger.record_decision("boards", made)
    offline.ledger.record_decision("boards", Decision("rollback", "2", "promoted", ["it drifts"], "bo", "v1", "v2"))
    offline.ledger.record_request("boards", Request("2", "bo", "rollback", [], "it drifts", {"version": "v1"}))

    found = whole(offline)

    first, second = found["decisions"]
    assert first["metrics"] == {"ap": 0.9}
    assert first["compared"] == {"ap": 0.8}
    assert first["bound"] == {"metric": "ap", "least": 0.02, "confidence": 0.99}
    assert (first["verdict"], first["actor"], first["reasons"]) == ("promoted", "ada", ["better"])
    assert (second["verdict"], second["bound"], second["metrics"]) == ("rolled back", None, {})
    (request,) = found["requests"]
    assert (request["run_id"], request["actor"], request["reason"]) == ("2", "bo", "it drifts")


def test_examples_are_the_newest_that_a_miner_chose_with_both_kinds_of_boxes(offline: Workspace) -> None:
    ledger = offline.ledger
    for number in range(3):
        ledger.add_sample("boards", sample(number, template_id=sha256(b"template")), number)
        found = Prediction(sample(number).id, "v1", (Box(1, 2, 30.12345, 40, "open", 0.7),))
        ledger.add_prediction("boards", found, 0.5)
        ledger.select("boards", sample(number).id, "random" if number == 1 else "IBT", 1.0, 0.5, "v1")
    ledger.record_push("boards", sample(2).id, 7)
    said = Annotation(sample(2).id, (Box(1, 2, 30, 40, "short"),), "ada", "2026-01-01T00:00:00Z")
    ledger.record_annotation("boards", said)

    newest, older = whole(offline)["examples"]

    assert (newest["id"], newest["state"], newest["annotator"]) == (sample(2).id, "labelled", "ada")
    assert newest["predicted"] == [{"x1": 1, "y1": 2, "x2": 30.123, "y2": 40, "label": "open", "score": 0.7}]
    assert [box["label"] for box in newest["labelled"]] == ["short"]
    assert (newest["name"], newest["width"], newest["height"], newest["has_template"]) == ("2.png", 640, 480, True)
    assert (older["id"], older["state"], older["labelled"]) == (sample(0).id, "selected", None)


def test_a_training_under_way_is_told(offline: Workspace) -> None:
    offline.ledger.claim_training("boards", "run 1")
    found = whole(offline)
    assert (found["training"]["run_id"], found["training"]["samples"]) == ("run 1", 0)
    assert "run 1 is training now" in found["gate"]["sentence"]


def test_without_its_ledger_the_rest_is_still_told(offline: Workspace) -> None:
    offline.registry.promotions("boards")
    settings = replace(offline.settings, ledger_url=f"sqlite:///{offline.settings.home}")  # a folder is no database
    found = whole(Workspace(settings))
    assert found["serving"] is None
    assert (found["counts"], found["decisions"], found["gate"]) == ({}, [], None)
    assert any("What was decided cannot be read: " in problem for problem in found["problems"])
    assert not any(problem.startswith("What serves") for problem in found["problems"])


def test_without_its_registry_the_rest_is_still_told(offline: Workspace, tmp_path: Path) -> None:
    offline.ledger.add_sample("boards", sample(1), 1)
    settings = replace(offline.settings, registry_url="file:///nowhere/registry.git", home=tmp_path / "elsewhere")
    found = whole(Workspace(settings))
    assert found["counts"] == {"arrived": 1}
    assert any(problem.startswith("What serves cannot be read: ") for problem in found["problems"])


def test_pictures_are_small_grey_and_upright(workspace: Workspace) -> None:
    content = encode_png(picture(1, 640))
    workspace.store.put(sample_key(sha256(content)), content)
    for width in (320, 1600):
        image = Image.open(io.BytesIO(overview.picture(workspace, sha256(content), width)))
        assert (image.format, image.size) == ("WEBP", (min(width, 640), min(width, 640)))
    with pytest.raises(ObjectMissing):
        overview.picture(workspace, sha256(b"none"), 320)


@pytest.mark.slow
def test_after_two_rounds_the_numbers_are_those_of_the_evaluations(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = tiny_job(workspace)
    monkeypatch.setattr(steps, "deployment", lambda: workspace)

    def learn(run_id: str, skill: float, **asked: Any) -> None:
        params = {"parameters": {"skill": skill}, **asked}
        for step in ("start", "curate", "train", "evaluate", "promote"):
            steps.run(step, "tiny", run_id, params)

    import_labelled(workspace, job, labelled(range(40)), "ada")
    learn("run 1", 0.3)
    import_labelled(workspace, job, labelled(range(40, 60)), "ada")
    learn("run 2", 1.0, actor="ada", reason="a new line", bypass=["train"])

    found = whole(workspace, "tiny")
    assert found["problems"] == []
    assert (found["serving"]["version"], found["serving"]["number"]) == ("v2", 2)
    assert (found["serving"]["instead_of"], found["serving"]["run_id"]) == ("v1", "run 2")
    assert [each["candidate"] for each in found["decisions"]] == ["v1", "v2"]
    assert found["decisions"][1]["metrics"]["recall"] == 1.0
    assert found["holdout"]["images"] > 0
    assert found["requests"][0]["bypass"] == ["train"]
    assert found["production"] == {"version": "v2", "metrics": {}}
    assert found["promoted_with"]["recall"] == 1.0

    versions = overview.versions(workspace, "tiny")
    assert [(each["version"], each["parent"], each["serves"]) for each in versions["models"]] == [
        ("v2", "v1", True),
        ("v1", None, False),
    ]
    assert versions["datasets"] == ["d2", "d1"]

    by_class = overview.by_class(workspace, workspace.job("tiny"), "recall")
    assert set(by_class) == {"open", "short"}
    first, second = by_class["open"]
    assert first["served"] is None
    assert (second["run_id"], second["candidate"]) == ("run 2", 1.0)
    assert 0 < second["served"] < 1
